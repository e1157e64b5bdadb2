"""`vaegan compare` ranks like with like, best and final, over seeds, and says why it does not rank the rest."""

import dataclasses
import json
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
    assert title == "vae-0 (3 seeds)" and "FD-pixels" in names and not comparison.unranked
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
    assert "FD-pixels of one is not ranked: its card and that of two differ in" in line
    assert "sample count 50 against 100" in line and "resizer tf1 against none" in line


def test_what_is_like_is_ranked_beside_what_is_not():
    runs = [run("one", {10: 1.0}), run("two", {10: 2.0}, sample_count=50)]
    for each in runs:
        other = Protocol("kernel", "data", "ab", "train", 100, 100, "pixels")
        keep(each, [Score("KD-pixels", 0.5, "lower", other, Sampling("gan", 10))])
    comparison = compare(runs)
    assert [column.name for column in comparison.columns] == ["KD-pixels"]
    assert len(comparison.unranked) == 2 and all("sample count" in told for told in comparison.unranked)
    assert comparison.unranked[0] in done("compare", *runs)


def test_a_protocol_that_all_share_is_found_among_several():
    runs = [run("one", {10: 1.0}), run("two", {10: 2.0}, sample_count=50)]
    keep(runs[1], [Score("FD-pixels", 7.0, "lower", kept(runs[0])[0].protocol, Sampling("gan", 10))])
    for number, each in enumerate(runs):  # two seeds of one configuration
        record = json.loads(Path(each, "config.json").read_text())
        record["config"]["seed"] = number
        Path(each, "config.json").write_text(json.dumps(record))
    comparison = compare(runs)
    assert [cell.final for cells in comparison.rows.values() for cell in cells] == [(1.0, 7.0)]
    assert list(comparison.rows) == ["one (2 seeds)"]


def test_one_run_that_is_unlike_does_not_spoil_the_others():
    runs = [run("one", {10: 1.0}), run("two", {10: 2.0}), run("three", {10: 3.0}, sample_count=50)]
    comparison = compare(runs)
    assert [[cell and cell.final for cell in cells] for cells in comparison.rows.values()] == [
        [(1.0,)],
        [(2.0,)],
        [None],
    ]
    (told,) = comparison.unranked
    assert told.startswith("FD-pixels of three is not ranked")


def test_a_copy_of_a_run_is_no_second_seed():
    shutil.rmtree("copy", ignore_errors=True)
    shutil.copytree("vae-0", "copy")
    assert list(compare([Path("vae-0"), Path("copy")]).rows) == ["vae-0", "copy"]


def test_numbers_without_end_are_told_and_drawn(tmp_path):
    runs = [run("one", {10: float("inf")}, "higher"), run("two", {10: 2.0}, "higher")]
    _, rows = table(compare(runs))
    assert rows == [["one", "inf *", "inf"], ["two", "2", "2"]]
    done("compare", *runs, "--output", tmp_path / "scores.png")


def test_samples_of_a_file_are_compared_as_a_run_is():
    words = ["--metrics", "frechet", "--features", "pixels", "--count", 20]
    done("evaluate", "--samples", "few.npz", "--data", "data.npz", *words, "--output", "theirs")
    done("evaluate", run("ours", {}), *words)
    comparison = compare([Path("ours"), Path("theirs")])
    assert list(comparison.rows) == ["ours", "theirs"] and len(comparison.columns) == 1


@pytest.mark.parametrize("suffix", [".md", ".html", ".png"])
def test_a_comparison_is_written_as_a_table_a_page_or_a_picture(suffix, tmp_path):
    path = tmp_path / f"scores{suffix}"
    assert str(path) in done("compare", *RUNS, "--output", path)
    if suffix == ".png":
        picture = np.asarray(Image.open(path).convert("L"))
        assert min(picture.shape) > 100 and picture.std() > 5
    else:
        text = path.read_text()
        assert "vae-0 (3 seeds)" in text and "FD-pixels" in text and "sample_count 200" in text


def test_what_cannot_be_compared_is_told_in_one_line():
    assert "name the runs" in refused("compare")
    assert "there is no run nowhere" in refused("compare", "nowhere")
    shutil.rmtree("unscored", ignore_errors=True)
    shutil.copytree("vae-0", "unscored", ignore=shutil.ignore_patterns(FILE))
    assert "unscored has no scores yet: vaegan evaluate unscored" in refused("compare", "unscored", "vae-0")
    assert "must end in .md, .html, .png" in refused("compare", "vae-0", "--output", "scores.txt")
    assert "cannot write" in refused("compare", "vae-0", "--output", "data.npz/scores.md")
