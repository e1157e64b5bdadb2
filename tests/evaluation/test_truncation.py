"""Truncation from the command line: samples, scores with their cards, and the curve of several."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import done, refused

from vaegan_jax.evaluation import scoring
from vaegan_jax.evaluation.cards import kept
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.training import reading

pytestmark = pytest.mark.usefixtures("there", "compiled_once")
PIXELS = ["--metrics", "frechet", "--features", "pixels", "--count", 60]


def test_samples_are_truncated_and_say_so():
    told = done("sample", "gan", "--count", 4, "--truncation", 0.5, "--output", "cut.npz")
    assert "standing statistics of 8 x 128 latents truncated at 0.5" in told
    images = {cut: reading.sample("vae-0", 60, truncation=cut)[0] for cut in (None, 1.0, 0.04)}
    spread = {cut: float(np.var(each, 0).mean()) for cut, each in images.items()}
    assert spread[None] > spread[1.0] > 100 * spread[0.04]
    assert "truncation must be above 0 and finite, not 0.0" in refused("sample", "gan", "--truncation", 0)
    assert "not -1.0" in refused("evaluate", "gan", "--truncation", -1)
    assert "truncation is for a run" in refused(
        "evaluate", "--samples", "few.npz", "--data", "data.npz", "--truncation", 1
    )


@pytest.fixture
def copies():
    """Two runs without scores, apart from those that other tests look at."""
    for number in (1, 2):
        shutil.copytree(f"vae-{number}", f"cut-{number}", ignore=shutil.ignore_patterns("scores.jsonl"))
    yield
    for number in (1, 2):
        shutil.rmtree(f"cut-{number}")


def test_scores_of_several_truncations_are_kept_side_by_side_and_not_ranked(copies):
    how = Evaluation("frechet", "pixels", count=60)
    found = scoring.evaluate_truncations("cut-1", [None, 1.0, 0.5], how)
    told = [(score.sampling.truncation, score.value) for scores in found.values() for score in scores]
    assert [cut for cut, _ in told] == ["none", "1", "0.5"] and len({value for _, value in told}) == 3
    assert [(score.sampling.truncation, score.value) for score in kept(Path("cut-1"))] == told
    done("evaluate", "cut-2", *PIXELS, "--truncation", 0.7)
    assert "truncation" in refused("compare", "cut-1", "cut-2")
    done("evaluate", "cut-2", *PIXELS, "--truncation", 0.5)
    assert "FD-pixels, truncation 0.5 (low is good)" in done("compare", "cut-1", "cut-2")
