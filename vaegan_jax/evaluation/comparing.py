"""Runs beside each other by their scores: final and best, over seeds with their spread, and only like with like.

The best checkpoint alone would hide a collapse, and one seed alone says little (Lucic et al. 2018, "Are GANs Created
Equal?"), so both are told, for all runs that differ in nothing but the seed together.
"""

import dataclasses
import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation.cards import FILE, Score, kept, unlike
from vaegan_jax.training.run import read_config

OUTPUTS = (".md", ".html", ".png")
ACROSS = 4
"""Panels beside each other in a picture."""


class Cell(NamedTuple):
    """One metric of the runs of one row, a number a seed: at the last evaluation, and at the best one."""

    final: tuple[float, ...]
    best: tuple[float, ...]


class Column(NamedTuple):
    """A metric, as the runs in it measured it."""

    name: str
    better: str
    example: Score
    """One of its scores, which all others are like."""


class Comparison(NamedTuple):
    """Rows by title, with a cell for each column; and in words what could not be ranked."""

    columns: tuple[Column, ...]
    rows: dict[str, tuple[Cell | None, ...]]
    unranked: tuple[str, ...]


def compare(runs: Sequence[Path]) -> Comparison:
    """Puts runs beside each other; a folder that `vaegan evaluate --samples ... --output` made does for a run.

    A score whose card is unlike those of the other runs is told, not ranked. Raises UserError for a folder that is
    neither, for runs without scores, and where nothing can be compared.
    """
    check(bool(runs), "name the runs to compare: vaegan compare RUN RUN ...")
    scores = {run: _scores(run) for run in dict.fromkeys(runs)}
    columns, unranked = [], []
    for name in dict.fromkeys(score.name for each in scores.values() for score in each):
        found, told = _columns(name, scores)
        columns += found
        unranked += told
    if not columns:
        raise UserError(unranked[0])
    rows = {}
    for title, group in _groups(scores).items():
        rows[title] = tuple(_cell(column, [scores[run] for run in group]) for column in columns)
    return Comparison(tuple(columns), rows, tuple(unranked))


def _scores(run: Path) -> list[Score]:
    """Of a folder, those of the seed of evaluation that was used last."""
    if not (run / FILE).exists():
        read_config(run)
    found = kept(run)
    check(bool(found), f"{run} has no scores yet: vaegan evaluate {run}")
    return [score for score in found if score.sampling.seed == found[-1].sampling.seed]


def _columns(name: str, scores: dict[Path, list[Score]]) -> tuple[list[Column], list[str]]:
    """A column for each way of measuring that runs share, and in words how the runs beside it differ."""
    having = {run: [score for score in each if score.name == name] for run, each in scores.items()}
    having = {run: each for run, each in having.items() if each}
    columns, unranked = [], []
    for score in (score for each in having.values() for score in each):
        if all(unlike(score, column.example) for column in columns):
            cut = score.sampling.truncation
            columns.append(Column(name if cut == "none" else f"{name}, truncation {cut}", score.better, score))
    shared = [column for column in columns if len(having) == 1 or len(_like(column, having)) > 1]
    for run, each in having.items():
        if not any(run in _like(column, having) for column in shared):
            others = [(other, score) for other, theirs in having.items() if other != run for score in theirs]
            other, score = others[0]
            reasons = "; ".join(unlike(score, each[-1]))
            unranked.append(f"{name} of {run} is not ranked: its card and that of {other} differ in {reasons}")
    return shared, unranked


def _like(column: Column, having: dict[Path, list[Score]]) -> list[Path]:
    return [run for run, each in having.items() if any(not unlike(score, column.example) for score in each)]


def _groups(scores: dict[Path, list[Score]]) -> dict[str, list[Path]]:
    """Runs that differ in their seed alone, and were drawn with weights of the same kind, together."""
    groups: dict[str, dict[int, Path]] = {}
    for run, each in scores.items():
        same, seed = str(run), 0
        if (run / "config.json").exists():
            config = dict(read_config(run)[1]["config"])
            seed = config.pop("seed")
            same = json.dumps([config, each[-1].sampling.weights], sort_keys=True)
        if seed in groups.get(same, {}):  # the same run twice is not two seeds
            same = str(run)
        groups.setdefault(same, {})[seed] = run
    return {
        str(next(iter(group.values()))) + (f" ({len(group)} seeds)" if len(group) > 1 else ""): list(group.values())
        for group in groups.values()
    }


def _cell(column: Column, runs: list[list[Score]]) -> Cell | None:
    final, best = [], []
    for scores in runs:
        name = column.example.name
        like = [score for score in scores if score.name == name and not unlike(score, column.example)]
        if not like:
            continue
        final.append(max(like, key=lambda score: score.sampling.step).value)
        pick = {"lower": min, "higher": max}.get(column.better)
        best.append(pick(score.value for score in like) if pick else final[-1])
    return Cell(tuple(final), tuple(best)) if final else None


def table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Head and rows in words: mean +- standard deviation over seeds, the best final value of a column with a star."""
    head = ["run"]
    for column in comparison.columns:
        arrow = {"lower": " (low is good)", "higher": " (high is good)"}.get(column.better, "")
        head += [f"{column.name}{arrow}, final", "best"]
    leading = [_leader(comparison, place) for place in range(len(comparison.columns))]
    rows = []
    for title, cells in comparison.rows.items():
        row = [title]
        for place, cell in enumerate(cells):
            star = " *" if title == leading[place] else ""
            row += ["", ""] if cell is None else [_told(cell.final) + star, _told(cell.best)]
        rows.append(row)
    return head, rows


def _leader(comparison: Comparison, place: int) -> str | None:
    """The row with the best mean of final values; none where there is nothing to lead, or a value is not a number."""
    cells = {title: cells[place] for title, cells in comparison.rows.items() if cells[place]}
    means = {title: float(np.mean(cell.final)) for title, cell in cells.items()}
    pick = {"lower": min, "higher": max}.get(comparison.columns[place].better)
    ranked = pick and len(means) > 1 and not any(map(math.isnan, means.values()))
    return pick(means, key=means.__getitem__) if ranked else None


def _told(values: tuple[float, ...]) -> str:
    mean = f"{np.mean(values):.4g}"
    if len(values) == 1:
        return mean
    spread = f" +- {np.std(values, ddof=1):.2g}" if np.isfinite(values).all() else ""
    return f"{mean}{spread} ({len(values)} seeds)"


def protocols(comparison: Comparison) -> list[str]:
    """What each column's numbers depend on, a line each."""
    lines = []
    for column in comparison.columns:
        facts = {name: value for name, value in dataclasses.asdict(column.example.protocol).items() if value}
        settings = facts.pop("settings", {})
        facts = {name: str(value)[:12] if name.endswith("sha256") else value for name, value in facts.items()}
        lines.append(f"{column.name}: " + ", ".join(f"{name} {value}" for name, value in (facts | settings).items()))
    return lines


def rendered(comparison: Comparison, suffix: str) -> bytes:
    """The comparison as the bytes of a .md, .html or .png file."""
    head, rows = table(comparison)
    notes = [*protocols(comparison), *comparison.unranked]
    if suffix == ".md":
        lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
        return ("\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n").encode()
    if suffix == ".html":
        return _page(head, rows, notes).encode()
    return _figure(comparison)


def _page(head: list[str], rows: list[list[str]], notes: list[str]) -> str:
    def line(tag: str, row: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    body = "\n".join([line("th", head), *(line("td", row) for row in rows)])
    listed = "\n".join(f"<li>{html.escape(note)}</li>" for note in notes)
    style = (
        "body{font:15px sans-serif;margin:1.5em}div{overflow-x:auto}table{border-collapse:collapse}"
        "td,th{padding:.4em .8em;border-bottom:1px solid #ccc;text-align:left}td{white-space:nowrap}"
    )
    return (
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Scores</title>'
        f"<style>{style}</style>\n<div><table>\n{body}\n</table></div>\n<ul>\n{listed}\n</ul>\n"
    )


def _figure(comparison: Comparison) -> bytes:
    """A panel a metric: a dot a seed at the last evaluation, a ring at the best."""
    from matplotlib.figure import Figure

    titles, columns = list(comparison.rows), comparison.columns
    across = min(len(columns), ACROSS)
    down = math.ceil(len(columns) / across)
    figure = Figure(figsize=(2 + 2.4 * across, 0.6 + (0.8 + 0.3 * len(titles)) * down), layout="constrained")
    panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for panel in panels[len(columns) :]:
        panel.axis("off")
    for place, (panel, column) in enumerate(zip(panels, columns, strict=False)):
        for height, title in enumerate(titles):
            if cell := comparison.rows[title][place]:
                panel.plot(cell.best, [height] * len(cell.best), "o", color="0.6", fillstyle="none", label="best")
                panel.plot(cell.final, [height] * len(cell.final), "o", color="C0", label="final")
        arrow = {"lower": "low is good", "higher": "high is good"}.get(column.better, "")
        panel.set_title(f"{column.name}\n{arrow}", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.set_yticks(range(len(titles)), titles)
        panel.set_ylim(len(titles) - 0.5, -0.5)
        panel.grid(axis="x", alpha=0.3)
    named = {handle.get_label(): handle for panel in panels for handle in panel.lines}  # each kind of dot once
    figure.legend(handles=list(named.values()), loc="outside lower center", ncols=2)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
