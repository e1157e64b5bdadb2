"""`vaegan compare` ranks like with like, best and final, over seeds, and says why it does not rank the rest."""

import dataclasses
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from commands import done, refused
from PIL import Image

from vaegan_jax.evaluation.cards import FILE, Protocol, Sampling, Score, keep, kept
from vaegan_jax.evaluation.comparing import compare, table

pytestmark = pytest.mark.usefixtures("compiled_once", "there")
RUNS = [Path(f"vae-{seed}") for seed in range(3)]


def run(name, values, better="lower", seed=7, **protocol):
    """A copy of a run with scores of our own, by round."""
    shutil.rmtree(name, ignore_errors=True)
    shutil.copytree("gan", name)
    (Path(name) / FILE).unlink(missing_ok=True)
    card = dataclasses.replace(Protocol("frechet", "data", "ab", "train", 100, 100, "pixels"), **protocol)
    scores = [Score("FD-pixels", value, better, card, Sampling("gan", step)) for step, value in values.items()]
    keep(Path(name), scores)
    return Path(name)


def test_runs_of_three_seeds_are_one_row_with_mean_and_deviation():
    comparison = compare(RUNS)
    (title,), names = comparison.rows, [column.name for column in comparison.columns]
    assert title == "vae-0 and 2 more seeds" and "FD-pixels" in names and not comparison.unlike
    cell = comparison.rows[title][names.index("FD-pixels")]
    final = [max(each, key=lambda score: score.sampling.step).value for each in map(frechets, RUNS)]
    assert sorted(cell.final) == sorted(final)
    assert sorted(cell.best) == sorted(min(score.value for score in each) for each in map(frechets, RUNS))
    head, (row,) = table(comparison)
    place = head.index("FD-pixels (low is good), final")
    assert row[place] == f"{statistics.mean(final):.4g} +- {statistics.stdev(final):.2g} (3 seeds)"


def frechets(run):
    found = [score for score in kept(run) if score.name == "FD-pixels" and score.protocol.sample_count == 200]
    return [score for score in found if score.sampling.seed == 0]


def test_best_and_final_are_told_apart_and_the_final_one_decides():
    runs = [run("collapsed", {10: 1.0, 20: 9.0}), run("steady", {10: 5.0, 20: 4.0})]
    # Two runs of the same configuration would be two seeds of one row.
    text = Path("steady/config.json").read_text()
    Path("steady/config.json").write_text(text.replace('"latent_size": 2', '"latent_size": 3'))
    comparison = compare(runs)
    assert [(cell.final, cell.best) for (cell,) in comparison.rows.values()] == [((9.0,), (1.0,)), ((4.0,), (4.0,))]
    _, rows = table(comparison)
    assert rows == [["collapsed", "9", "1"], ["steady", "4 *", "4"]]


def test_a_high_score_wins_where_high_is_good():
    runs = [run("low", {10: 1.0}, "higher"), run("high", {10: 2.0, 20: 1.5}, "higher")]
    text = Path("high/config.json").read_text()
    Path("high/config.json").write_text(text.replace('"latent_size": 2', '"latent_size": 3'))
    assert table(compare(runs))[1] == [["low", "1", "1"], ["high", "1.5 *", "2"]]


def test_unlike_cards_are_not_ranked_and_the_difference_is_told():
    runs = [run("one", {10: 1.0}), run("two", {10: 2.0}, sample_count=50, resizer="tf1")]
    line = refused("compare", *runs)
    assert "FD-pixels is not ranked: the cards of one and two differ in" in line
    assert "sample count 100 against 50" in line and "resizer none against tf1" in line


def test_what_is_like_is_ranked_beside_what_is_not():
    runs = [run("one", {10: 1.0}), run("two", {10: 2.0}, sample_count=50)]
    for each in runs:
        other = Protocol("kernel", "data", "ab", "train", 100, 100, "pixels")
        keep(each, [Score("KD-pixels", 0.5, "lower", other, Sampling("gan", 10))])
    comparison = compare(runs)
    assert [column.name for column in comparison.columns] == ["KD-pixels"]
    assert len(comparison.unlike) == 1 and "sample count" in comparison.unlike[0]
    assert comparison.unlike[0] in done("compare", *runs)


def test_a_protocol_that_all_share_is_found_among_several():
    runs = [run("one", {10: 1.0}), run("two", {10: 2.0}, sample_count=50)]
    keep(runs[1], [Score("FD-pixels", 7.0, "lower", kept(runs[0])[0].protocol, Sampling("gan", 10))])
    comparison = compare(runs)
    assert [cell.final for cells in comparison.rows.values() for cell in cells] == [(1.0, 7.0)]


@pytest.mark.parametrize("suffix", [".md", ".html", ".png"])
def test_a_comparison_is_written_as_a_table_a_page_or_a_picture(suffix, tmp_path):
    path = tmp_path / f"scores{suffix}"
    assert str(path) in done("compare", *RUNS, "--output", path)
    if suffix == ".png":
        picture = np.asarray(Image.open(path).convert("L"))
        assert min(picture.shape) > 100 and picture.std() > 5
    else:
        text = path.read_text()
        assert "vae-0 and 2 more seeds" in text and "FD-pixels" in text and "sample_count 200" in text


def test_what_cannot_be_compared_is_told_in_one_line():
    assert "name the runs" in refused("compare")
    assert "there is no run nowhere" in refused("compare", "nowhere")
    shutil.rmtree("unscored", ignore_errors=True)
    shutil.copytree("vae-0", "unscored", ignore=shutil.ignore_patterns(FILE))
    assert "unscored has no scores yet: vaegan evaluate unscored" in refused("compare", "unscored", "vae-0")
    assert "must end in .md, .html, .png" in refused("compare", "vae-0", "--output", "scores.txt")
    assert "cannot write" in refused("compare", "vae-0", "--output", "data.npz/scores.md")
