"""The page of compare_gans.py: its numbers are those of the results, it needs nothing else, and it hides no failure."""

import importlib
import json
import re
import statistics
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaegan_jax.errors import UserError
from vaegan_jax.pictures import grid, png, to_uint8

FOLDER = Path(__file__).parents[1] / "experiments"
FOUND = {"gan": [8, 8, 8], "wgan": [8, 7, 0], "began": [3, 3, 4]}
GOOD = {"gan": [0.97, 0.95, 0.96], "wgan": [0.9, 0.8, 0.0], "began": [0.2, 0.3, 0.1]}
KL = {"gan": [0.01, 0.03, 0.02], "wgan": [0.1, 0.2, None], "began": [1.5, 1.7, 1.6]}
DISTANCES = {"gan": [[20.0, 10.0], [30.0, 14.0]], "wgan": [[15.0, 40.0], [16.0, None]]}
FACTS = {"git": {"commit": "0123abcd", "changed": True}, "versions": {"jax": "1.2"}, "machine": {"cores": 2}}


@pytest.fixture(scope="module")
def page():
    """The script as a module; what it imports from beside it is forgotten afterwards."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("comparison_page")
    for name in {path.stem for path in FOLDER.glob("*.py")} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path, page, monkeypatch):
    """Results and runs that are made up, which the script reads, and where it writes."""
    for name in ("RESULTS", "FIGURES"):
        monkeypatch.setattr(page, name, tmp_path)
    monkeypatch.setattr(importlib.import_module("common"), "FIGURES", tmp_path)
    monkeypatch.setattr(sys, "argv", ["comparison_page.py", "--runs", str(tmp_path)])
    store(tmp_path, "points", {"ring": {name: on_ring(name) for name in FOUND}})
    store(tmp_path, "images", {"fashion_mnist": {name: on_images(name, tmp_path) for name in DISTANCES}})
    return tmp_path


def store(folder, part, results):
    told = {"results": results, "protocol": {"seeds": 3}, **FACTS}
    (folder / f"compare_gans_{part}.json").write_text(json.dumps(told))


def on_ring(name):
    first = {"found": 2, "high_quality": 0.5, "kl": 1.0}
    rows = zip(FOUND[name], GOOD[name], KL[name], strict=True)
    runs = [{"looks": [first, dict(zip(first, row, strict=True))]} for row in rows]
    runs[0]["samples"] = np.random.default_rng(0).normal(size=(500, 2)).round(3).tolist()
    return {"runs": runs, "rounds": 200, "cpu_seconds": 30.0}


def on_images(name, folder):
    """Runs on images with pictures of 16 samples; a distance of None is a seed that diverged before that look."""
    runs = []
    for seed, values in enumerate(DISTANCES[name]):
        run = folder / f"compare_gans_{name}_{seed}"
        (run / "samples").mkdir(parents=True)
        (run / "config.json").write_text(json.dumps({"spec": {"image_shape": [28, 28, 1]}}))
        scores = []
        for step, value in enumerate(values, 1):
            if value is not None:
                (run / "samples" / f"step-{step:08d}.png").write_bytes(png(grid(np.full((16, 28, 28, 1), seed - 0.5))))
                rest = {"better": "lower", "sampling": {"step": step, "images": 64 * step}}
                scores.append({"name": "FD-pixels", "value": value, **rest})
                scores.append({"name": "recall-pixels", "value": 0.5, **rest, "better": "higher"})
        end = {"summary": {"metrics": {"images_per_second": 100.0 + seed}}}
        runs.append({"run": run.name, "scores": scores, **(end if values[-1] else {"diverged": "D is not finite"})})
    return {"runs": runs, "compile_seconds": 7.0}


class Tables(HTMLParser):
    """The rows of all tables, by their model: (value, text) of each cell; and what the page refers to."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.heads, self.references, self.ids, self.inside = [], [], [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.references += [told[name] for name in ("href", "src") if name in told]
        self.ids |= {told["id"]} if "id" in told else set()
        if tag == "table":
            self.tables.append({})
            self.heads.append([])
        elif tag == "button":
            self.heads[-1].append(told["aria-label"])
        elif "data-value" in told:
            if tag == "th":
                self.row = self.tables[-1].setdefault(told["data-value"], [])
            self.row.append([told["data-value"], ""])
        self.inside = tag == "td" or (self.inside and tag in ("br", "small"))

    def handle_endtag(self, tag):
        self.inside = self.inside and tag == "small"

    def handle_data(self, data):
        if self.inside:
            self.row[-1][1] += data


def interval(values):
    """Mean and half width; Student's quantiles are from a table."""
    quantile = {2: 12.7062, 3: 4.30265}[len(values)]
    return statistics.mean(values), quantile * statistics.stdev(values) / len(values) ** 0.5


def shown(page, folder):
    return page.content(*page.boards(folder), folder)


def test_the_numbers_of_the_page_are_means_and_intervals_of_the_seeds(page, folder):
    tables = Tables(shown(page, folder))
    ring, heads = tables.tables[0], tables.heads[0]
    assert list(ring) == list(FOUND) and all(len(row) == len(heads) for row in ring.values())
    for measure, values, digits in (("modes of 8", FOUND, 1), ("good samples", GOOD, 3)):
        for name, final in values.items():
            cells = {
                head.rpartition(", ")[2]: cell for head, cell in zip(heads, ring[name], strict=True) if measure in head
            }
            mean, half = interval(final)
            assert float(cells["final"][0]) == pytest.approx(mean, abs=1e-6)
            assert cells["final"][1] == f"{mean:.{digits}f} ± {half:.{digits}f}"
            assert float(cells["median"][0]) == statistics.median(final)
            best = interval([max(value, {"modes of 8": 2, "good samples": 0.5}[measure]) for value in final])
            assert cells["best"][1] == f"{best[0]:.{digits}f} ± {best[1]:.{digits}f}"
    kl = heads.index("reverse KL, nats, final")
    assert ring["wgan"][kl][1] == "{:.3f} ± {:.3f}(2 of 3)".format(*interval([0.1, 0.2]))
    assert ring["gan"][heads.index("CPU s")][1] == "10"
    table = next(line for line in page.markdown(page.boards(folder)[0]).splitlines() if "`gan`" in line)
    assert "8.0 ± 0.0" in table and "{:.2f} ± {:.2f}".format(*interval([10.0, 14.0])) in table


def test_best_and_final_are_told_apart_and_no_failure_is_hidden(page, folder):
    text = shown(page, folder)
    images, heads = (each[1] for each in (Tables(text).tables, Tables(text).heads))
    final, best, failed = (heads.index(name) for name in ("FD-pixels, final", "FD-pixels, best", "failed seeds"))
    assert images["wgan"][best][1] == "{:.2f} ± {:.2f}".format(*interval([15.0, 16.0]))
    assert images["wgan"][final][1] == "40.00(1 of 2)" and images["wgan"][failed][1] == "1 of 2"
    assert [images["gan"][heads.index(cost)][1] for cost in ("images/s", "compile s")] == ["100", "7"]
    assert images["gan"][failed][1] == ""
    assert "seed 1: D is not finite" in text and "seed 2: no good sample" in text
    assert "Seeds that failed: wgan 1 of 3." in text
    assert "on the ring 1 of 3 models reach all modes" in text


def test_only_what_a_test_does_not_tell_from_the_best_is_bold_and_a_failed_seed_never(page):
    """Welch's: t of 1.6 at 2.6 degrees of freedom is no difference, one of 13 at 4 is one."""
    numbers = importlib.import_module("comparison_numbers")
    told = lambda *last, complete=True: numbers.Cell({}, {}, None, complete, last)  # noqa: E731
    cells = {"best": told(0.85, 0.9, 0.95), "wide": told(0.4, 0.7, 0.95), "worse": told(0.35, 0.4, 0.45)}
    cells["lost"] = told(0.99, 0.99, complete=False)
    assert page.as_good_as_the_best(cells, "higher") == {"best", "wide"}
    assert page.as_good_as_the_best(cells, "lower") == {"wide", "worse"}
    assert page.as_good_as_the_best({"alone": told(1.0, 1.1)}, "lower") == set()
    alike = {"one": told(8.0, 8.0), "other": told(8.0, 8.0), "less": told(7.0, 7.0)}
    assert page.as_good_as_the_best(alike, "higher") == {"one", "other"}


def test_a_wide_interval_of_what_has_no_limits_does_not_hide_that_every_seed_is_worse(page):
    """Distances of 62, 57 and 29 beside 5.7, 6.6 and 6.0: of these themselves the test sees no difference."""
    numbers = importlib.import_module("comparison_numbers")
    measure = numbers.Measure("FD-pixels", "FD-pixels", "lower", 2)
    runs = {
        name: tuple(numbers.Run((1.0,), {"FD-pixels": (value,)}, "") for value in values)
        for name, values in {"good": (5.7, 6.6, 6.0), "bad": (62.4, 56.8, 29.2)}.items()
    }
    cells = {name: numbers.cell(measure, members) for name, members in runs.items()}
    assert page.as_good_as_the_best(cells, "lower") == {"good"}


def test_what_the_comparison_claims_is_borne_out_by_its_results(page):
    numbers = importlib.import_module("comparison_numbers")
    found, _ = numbers.boards(FOLDER / "results")
    told = numbers.claims(found)
    assert len(told) == 2 and all(told.values())
    changed = json.loads((FOLDER / "results" / "why_not_the_ring.json").read_text())["models"]
    better = importlib.import_module("why_not_the_ring").better
    assert len(changed) == 9 and all(map(better, changed.values()))
    for board in found:  # one model far ahead of the others: then the claim on images is false
        if board.part == "images":
            first = {measure.key: (1e-9,) for measure in board.measures}
            ahead = tuple(run._replace(values=run.values | first) for run in board.models["gan"])
            told = numbers.claims([board._replace(models=board.models | {"gan": ahead})])
            assert list(told.values()) == [False]


def test_the_page_needs_nothing_else_and_leads_to_each_model(page, folder, capsys):
    page.main()
    told, text = capsys.readouterr(), (folder / "compare_gans.html").read_text()
    assert shown(page, folder) in text and "| `gan` | **8.0 ± 0.0** |" in told.out
    found = Tables(text)
    assert "http" not in text and "@import" not in text and "url(" not in text
    assert {reference[:22] for reference in found.references if reference[0] != "#"} == {"data:image/png;base64,"}
    assert {reference[1:] for reference in found.references if reference[0] == "#"} <= found.ids
    assert "0123abcd with changes" in text and "jax 1.2" in text
    assert "Not measured yet on ring: dcgan, lsgan" in text
    assert "Not measured yet: color (<code>python experiments/compare_gans.py color</code>)" in text
    assert len(re.findall(r'<svg class="points".*?</svg>', text)) == len(FOUND)
    for name in ("points", "images"):
        assert min(Image.open(folder / f"compare_gans_{name}.png").size) > 100


def test_curves_and_points_lie_where_they_belong(page, folder):
    drawing = importlib.import_module("comparison_drawing")
    board = page.boards(folder)[0][0]
    lines = re.findall(
        r'<path d="M(\S+) (\S+)L(\S+) (\S+)"><title>seed',
        drawing.curves(board, board.measures[0], board.models["wgan"]),
    )
    place = lambda value: round(drawing.TALL * (1 - value / 8), 1)  # noqa: E731
    half, end = drawing.WIDE / 2, drawing.WIDE
    assert [[*map(float, line)] for line in lines] == [[half, place(2), end, place(v)] for v in FOUND["wgan"]]
    run = board.models["gan"][0]
    steps = re.findall(r"m(-?\d+) ?(-?\d+)h0", drawing.points(board, run))
    reach = 1 / 0.8
    drawn = np.cumsum(np.array(steps, float), 0) / 10 / drawing.SIDE * 2 * reach
    expected = np.stack([run.points[:, 0] + reach, reach - run.points[:, 1]], 1)
    np.testing.assert_allclose(np.sort(drawn, 0), np.sort(expected, 0), atol=0.001)


def test_grids_are_cut_from_the_pictures_of_a_run_as_large_as_its_images(page, folder):
    drawing = importlib.import_module("comparison_drawing")
    images = np.random.default_rng(0).uniform(-1, 1, (16, 28, 28, 1))
    path = folder / "compare_gans_gan_0" / "samples" / "step-00000002.png"
    path.write_bytes(png(grid(images)))
    rows = np.asarray(drawing.tiles(path, 2))
    assert rows.shape == (1 + 2 * 29, 1 + 4 * 29)
    cut = np.stack([rows[top : top + 28, left : left + 28] for top in (1, 30) for left in (1, 30, 59, 88)])
    np.testing.assert_array_equal(cut, to_uint8(images[:8, :, :, 0]))


def test_what_is_not_there_is_told_and_a_broken_file_is_one_clear_line(page, folder, capsys):
    for path in folder.glob("*_gan_*/samples/*.png"):
        path.unlink()
    assert "The runs with its samples are not in" in shown(page, folder)
    capsys.readouterr()
    for broken in ("{", "[]", '{"results": {"ring": {"gan": {}}}, "protocol": {}}', '{"results": {"moon": {}}}'):
        (folder / "compare_gans_points.json").write_text(broken)
        with pytest.raises(UserError, match="make it again: python experiments/compare_gans.py points"):
            page.boards(folder)
        with pytest.raises(SystemExit, match=r"^comparison_page: .*damaged.*\)") as stopped:
            page.main()
        assert "\n" not in str(stopped.value.code)
    for path in folder.glob("*.json"):
        path.unlink()
    page.main()
    assert "<table" not in (folder / "compare_gans.html").read_text()
    assert capsys.readouterr().err.count("Not measured yet") == 3


def test_scores_of_different_protocols_are_refused(page, folder):
    results = {"fashion_mnist": {name: on_images(name, folder / name) for name in DISTANCES}}
    for name, count in (("gan", 1), ("wgan", 2)):
        results["fashion_mnist"][name]["runs"][0]["scores"][0]["protocol"] = {"sample_count": count}
    store(folder, "images", results)
    with pytest.raises(UserError, match="FD-pixels was measured in different ways"):
        page.boards(folder)


def test_why_models_miss_the_ring_is_told_with_medians_before_and_after(page, folder):
    path = folder / "why_not_the_ring.json"
    assert page.missed(path) == []
    side = lambda found, good: {"found": found, "high_quality": good}  # noqa: E731
    row = {"was": {"clip": 0.01}, "changed": {"clip": 0.1}}
    row |= {"before": side([8, 8, 7], [0.1, 0.05, 0.0]), "after": side([8, 8, 8], [0.9, 0.8, 0.7])}
    path.write_text(json.dumps({"models": {"wgan": row}}))
    (text,) = page.missed(path)
    assert "<td>clip: 0.01 → 0.1</td><td>8; 0.05</td><td>8; 0.8</td>" in text
    assert text.count("<li>") == 6 and "Changed: clipped at 0.1" in text
    path.write_text('{"models": {"wgan": {}}}')
    with pytest.raises(UserError, match="why_not_the_ring.json is damaged .*make it again: python experiments/why_not"):
        page.missed(path)
