"""The results of compare_gans.py as numbers a model: of each seed on the way, and their means with 95 % intervals."""

import json
import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from compare_gans import PROTOCOLS, SETS
from solvers_on_dcgan import interval

from vaegan_jax.errors import UserError
from vaegan_jax.models import CONFIGS


class Measure(NamedTuple):
    """What is measured at every look."""

    key: str
    title: str
    better: str
    """Which way is good: lower or higher."""
    decimals: int
    limits: tuple[float, float] | None = None
    """What it is drawn between; None: what it was."""
    median: bool = False
    """Whether its median is told beside its mean."""


class Run(NamedTuple):
    """One seed of a model."""

    at: tuple[float, ...]
    """Rounds, or real images, before each look."""
    values: dict[str, tuple[float | None, ...]]
    """By measure, a value a look; None for what was not finite."""
    failed: str
    """Why nothing good is there at the end; "" where something is."""
    ended: bool = True
    """Whether the last look is the end."""
    points: np.ndarray | None = None
    """(n, 2) of the samples at the end."""
    folder: str = ""
    speed: float | None = None
    """Real images a second, compiling apart."""


class Board(NamedTuple):
    """A data set with all models that were measured on it."""

    part: str
    title: str
    clock: str
    """What `Run.at` counts."""
    measures: tuple[Measure, ...]
    models: dict[str, tuple[Run, ...]]
    costs: dict[str, dict[str, Any]]
    """By title and model: what it took."""
    protocol: dict[str, Any]


class Cell(NamedTuple):
    """A measure of a model over its seeds."""

    best: dict[str, Any]
    """`interval` of the best look of each seed, of all that had one."""
    final: dict[str, Any]
    """`interval` of the last look of each seed."""
    median: float | None
    """Of the last looks, if every seed has one."""
    complete: bool
    """Whether every seed has a last look."""
    last: tuple[float, ...] = ()
    """The last looks, where all seeds have one; logarithms of what has no limits, whose spread goes with its size."""


def boards(folder: Path) -> tuple[list[Board], dict[str, dict[str, Any]]]:
    """What there is to show, a board a data set, and what each part's numbers depend on.

    Raises UserError for a file that cannot be read.
    """
    found, facts = [], {}
    for part in PROTOCOLS:
        path = folder / f"compare_gans_{part}.json"
        if not path.exists():
            continue
        try:
            told = json.loads(path.read_text())
            found += [_board(part, title, models, told["protocol"]) for title, models in told["results"].items()]
            facts[part] = {name: told[name] for name in ("protocol", "git", "versions", "machine")}
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            again = f"python experiments/compare_gans.py {part}"
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{path} is damaged ({reason}); make it again: {again}") from error
    return found, facts


def _board(part: str, title: str, results: dict[str, Any], protocol: dict[str, Any]) -> Board:
    if part == "points":
        modes = len(SETS[title].means())
        measures = (
            Measure("found", f"modes of {modes}", "higher", 1, (0, modes), True),
            Measure("high_quality", "good samples", "higher", 3, (0, 1), True),
            Measure("kl", "reverse KL, nats", "lower", 3, (0, math.log(modes))),
        )
        models = {
            name: tuple(_on_points(run, result["rounds"]) for run in result["runs"]) for name, result in results.items()
        }
        seconds = {name: result["cpu_seconds"] / len(result["runs"]) for name, result in results.items()}
        compiling = {name: result["compile_seconds"] for name, result in results.items() if "compile_seconds" in result}
        costs = {"CPU s": seconds} | ({"compile s": compiling} if compiling else {})
        return Board(part, title, "rounds", measures, models, costs, protocol)
    models = {name: tuple(map(_on_images, result["runs"])) for name, result in results.items()}
    speeds = {name: interval([run.speed for run in runs])["mean"] for name, runs in models.items()}
    compiling = {name: result["compile_seconds"] for name, result in results.items() if "compile_seconds" in result}
    costs = {"images/s": speeds} | ({"compile s": compiling} if compiling else {})
    return Board(part, Path(title).stem, "real images", _scored(results), models, costs, protocol)


def _on_points(run: dict[str, Any], rounds: int) -> Run:
    """A run on a mixture; it has failed where not one good sample, or nothing finite, is there at the end."""
    looks, points = run["looks"], run.get("samples")
    every = rounds / len(looks)
    values = {key: tuple(look[key] for look in looks) for key in ("found", "high_quality", "kl")}
    failed = "" if looks[-1]["high_quality"] else "no good sample"
    if points is not None:
        points = np.asarray(points, float).reshape(-1, 2)
        failed = failed if np.isfinite(points).all() else "diverged"
    return Run(tuple(every * (place + 1) for place in range(len(looks))), values, failed, points=points)


def _on_images(run: dict[str, Any]) -> Run:
    """A run on images: it has a last look if it came to its end."""
    steps = sorted({(score["sampling"]["step"], score["sampling"]["images"]) for score in run["scores"]})
    seen = {(score["name"], score["sampling"]["step"]): _finite(score["value"]) for score in run["scores"]}
    failed = run.get("diverged") or run.get("refused") or ("" if "summary" in run else "not finished")
    names = dict.fromkeys(name for name, _ in seen)
    values = {name: tuple(seen.get((name, step)) for step, _ in steps) for name in names}
    speed = run.get("summary", {}).get("metrics", {}).get("images_per_second")
    return Run(tuple(images for _, images in steps), values, failed, not failed, folder=run["run"], speed=speed)


def _scored(results: dict[str, Any]) -> tuple[Measure, ...]:
    """The measures of all scores, in their order. ValueError where models were measured in different ways."""
    found: dict[str, Measure] = {}
    cards: dict[str, str] = {}
    for score in (score for result in results.values() for run in result["runs"] for score in run["scores"]):
        name = score["name"]
        card = json.dumps(score.get("protocol"), sort_keys=True)
        if "protocol" in score and cards.setdefault(name, card) != card:
            raise ValueError(f"{name} was measured in different ways")
        low = score["better"] == "lower"
        title = name if low else name.split("-")[0]  # all in the features of the distance
        found[name] = Measure(name, title, score["better"], 2, None if low else (0, 1))
    return tuple(measure for measure in found.values() if measure.better in ("lower", "higher"))


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def cell(measure: Measure, runs: tuple[Run, ...]) -> Cell:
    """Best and final over seeds. The best look is each measure's own, and hides what came after it."""
    pick = max if measure.better == "higher" else min
    looks = [run.values.get(measure.key, ()) for run in runs]
    best = [pick((value for value in row if value is not None), default=None) for row in looks]
    final = [row[-1] if row and run.ended else None for row, run in zip(looks, runs, strict=True)]
    complete = all(value is not None for value in final)
    if not complete:
        return Cell(interval(best), interval(final), None, False)
    scale = math.log if measure.limits is None and min(final) > 0 else float
    return Cell(interval(best), interval(final), float(np.median(final)), True, tuple(map(scale, final)))


def as_good_as_the_best(cells: dict[str, Cell], better: str) -> set[str]:
    """The models that Welch's t-test at 5 % does not tell from the one with the best mean; none for single seeds.

    Models with a seed that failed do not take part: what is left of them is a choice among seeds.
    """
    sure = {name: told.last for name, told in cells.items() if told.complete and len(told.last) > 1}
    if len(sure) < 2:
        return set()
    pick = max if better == "higher" else min
    leader = pick(sure, key=lambda name: np.mean(sure[name]))
    return {name for name, values in sure.items() if name == leader or not told_apart(values, sure[leader])}


def told_apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether Welch's t-test, two-sided at 5 %, tells two models by their seeds."""
    if np.ptp(one) == np.ptp(other) == 0:
        return one[0] != other[0]
    with warnings.catch_warnings():  # of digits lost where all seeds of one model are alike
        warnings.simplefilter("ignore", RuntimeWarning)
        return bool(scipy.stats.ttest_ind(one, other, equal_var=False).pvalue < 0.05)


def claims(found: list[Board]) -> dict[str, bool]:
    """What compare_gans.py claims of the sets that are there, with the numbers, and whether they say so."""
    told = {}
    for board in found:
        cells = [{name: cell(measure, runs) for name, runs in board.models.items()} for measure in board.measures]
        if board.title == "ring":
            modes, good = ({name: each.median for name, each in table.items()} for table in cells[:2])
            reach = [name for name in modes if modes[name] == board.measures[0].limits[1] and good[name] > 0.9]
            line = "on the ring {} of {} models reach all modes with a share of good samples above 0.9, in the median"
            alone = [name for name in modes if CONFIGS[name]().condition == "none"]
            line = f"{line}; of the {len(alone)} that are not told the mode {len({*reach} & {*alone})} do"
            told[line.format(len(reach), len(modes))] = 2 * len(reach) > len(modes)
        elif board.part != "points":
            alone = {name for name in board.models if CONFIGS[name]().condition == "none"}
            table, better = (cells[0], board.measures[0].better) if cells else ({}, "lower")
            best = as_good_as_the_best(table, better)
            among = as_good_as_the_best({name: each for name, each in table.items() if name in alone}, better)
            line = f"on {board.title} {len(best)} of {len(board.models)} models cannot be told from the best one"
            line = f"{line}; of the {len(alone)} that are not told the class {len(among)} from theirs"
            told[f"{line}, by {board.measures[0].title}" if cells else line] = 2 * len(among) > len(alone)
    return told


def words(told: dict[str, Any], decimals: int, seeds: int) -> str:
    """Mean and half width, and of how many seeds where some have none."""
    if told["mean"] is None:
        return "none"
    half = "" if told["half_width"] is None else f" ± {told['half_width']:.{decimals}f}"
    return f"{told['mean']:.{decimals}f}{half}" + (f" ({told['count']} of {seeds})" if told["count"] < seeds else "")


def failures(runs: tuple[Run, ...]) -> str:
    """How many seeds failed, "" for none."""
    count = sum(bool(run.failed) for run in runs)
    return f"{count} of {len(runs)}" if count else ""
