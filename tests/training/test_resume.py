"""A run that was stopped goes on exactly as if nothing had been, wherever it was cut.

Exactly: the sha256 of the whole state and every row of metrics.jsonl are those of the run that was left alone.
"""

import json
import shutil

import numpy as np
import pytest
from commands import GAN, VAE, contents, done, vaegan
from runs import (
    DCGAN,
    ONE,
    PMAPPED,
    SHARDED,
    SPEED,
    STEPS,
    UNEVEN,
    assert_same,
    cut,
    events,
    facts,
    rows,
    samples,
    saved,
    sha256,
)

from vaegan_jax.training import loop

pytestmark = pytest.mark.usefixtures("compiled_once")


# In pieces


FAST = {"vae": (VAE, ONE), "gan, pmapped": (GAN, PMAPPED)}
SLOW = {
    "vae, sharded": (VAE, SHARDED),
    "gan": (GAN, ONE),
    "vae, pmapped": (VAE, PMAPPED),
    "gan, sharded": (GAN, SHARDED),
    "dcgan": (DCGAN, ONE),
    "dcgan, sharded": (DCGAN, SHARDED),
    "dcgan, pmapped": (DCGAN, PMAPPED),
}
ALL = [
    *(pytest.param(*setting, id=name) for name, setting in FAST.items()),
    *(pytest.param(*setting, id=name, marks=pytest.mark.slow) for name, setting in SLOW.items()),
]


@pytest.mark.parametrize("model, devices", ALL)
def test_a_run_in_pieces_is_the_run_in_one_piece(model, devices, whole, data, tmp_path):
    run = tmp_path / "run"
    done("train", *model, *devices, *UNEVEN, "--data", data, "--steps", 7, "--run", run)
    assert facts(run)["step"] == 7
    done("resume", run, "--steps", STEPS)
    assert_same(run, whole(model, devices))
    assert samples(run) == samples(whole(model, devices))
    averaged = any(path.startswith("averages.") for path in metadata(run))
    assert averaged == (model is not VAE)


def metadata(run):
    """The names of all arrays in the newest checkpoint."""
    tree = json.loads((run / "checkpoints" / str(saved(run)[-1]) / "state" / "_METADATA").read_text())
    return [entry["key_metadata"][0]["key"] for entry in tree["tree_metadata"].values()]


def test_a_run_that_is_done_stays_as_it_is(whole, tmp_path):
    shutil.copytree(whole(VAE, ONE), tmp_path / "run")
    before = contents(tmp_path / "run" / "checkpoints")
    done("resume", tmp_path / "run")
    assert contents(tmp_path / "run" / "checkpoints") == before
    assert_same(tmp_path / "run", whole(VAE, ONE))


def test_other_seeds_make_other_runs(whole, data, tmp_path):
    run = tmp_path / "run"
    done("train", *VAE, *ONE, *UNEVEN, "--data", data, "--steps", STEPS, "--run", run, "--seed", 1)
    assert sha256(run) != sha256(whole(VAE, ONE))


def test_as_many_checkpoints_are_kept_as_asked_for(data, tmp_path):
    run = tmp_path / "run"
    keep = ["--training.keep-checkpoints", 2]
    done("train", *VAE, *ONE, *UNEVEN, *keep, "--data", data, "--steps", 12, "--run", run)
    assert saved(run) == [10, 12]
    done("resume", run, "--steps", STEPS)
    assert saved(run) == [15, 20]


# What a crash leaves beyond the last checkpoint


def test_metrics_and_events_tell_every_round_once(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole(GAN, ONE), run)
    cut(run, after=10)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 21, "images": 336, "gen')
    (run / "samples" / "step-00000099.png").write_bytes(b"")
    assert facts(run)["metrics"]["step"] == 9
    done("resume", run)
    assert_same(run, whole(GAN, ONE))
    assert list(rows(run)) == [3, 6, 9, 12, 15, 18, 20]
    assert sorted(path.name for path in (run / "samples").iterdir()) == [f"step-{n:08d}.png" for n in (8, 16, 20)]
    told = {}
    for step, name, value in events(run):
        assert name not in told.setdefault(step, {})
        told[step][name] = value
    pictures = {step: names.pop("samples") for step, names in told.items() if "samples" in names}
    assert {step for step, names in told.items() if names.pop("averages", None)} == {16, 20}  # kept are the last ones
    grids = {step: (run / "samples" / f"step-{step:08d}.png").read_bytes() for step in (8, 16, 20)}
    assert pictures == grids
    for step, row in rows(run).items():
        speed, wait, *_ = (told[step].pop(name) for name in SPEED)
        assert (
            speed > 0
            and 0 <= wait < 1
            and told[step] == {n: np.float32(value) for n, value in row.items() if n != "step"}
        )
    assert list(told)[-1] == 20 and set(told) - {0} == set(rows(run)) | set(grids)


def test_metrics_and_events_are_cut_back_before_anything_is_trained(whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(whole(VAE, ONE), run)
    cut(run, after=10)
    (run / "samples" / "step-00000004.png").write_bytes(b"no picture")  # which stops nothing

    def stop(*args):
        raise RuntimeError("stop here")

    monkeypatch.setattr(loop, "_stretches", stop)
    with pytest.raises(RuntimeError, match="stop here"):
        vaegan("resume", run)
    assert list(rows(run)) == [3, 6, 9]
    assert {step for step, *_ in events(run)} - {0} == {3, 6, 8, 9}
    assert {path.name for path in (run / "samples").iterdir()} == {"step-00000004.png", "step-00000008.png"}
