"""What compare_gans.py measured, as one page that opens offline, as figures, and as a table for the README.

    python experiments/comparison_page.py

Writes figures/compare_gans.html: for each set a table that a click on a header sorts, with means and 95 % intervals
over seeds (Student's t), best and final, and for each model its curves, a line a seed, its points against the modes,
and samples of the same latents on the way. Writes figures/compare_gans_points.png, and figures/compare_gans_images.png
where the runs are under runs/, and prints a Markdown table.

Claim: none of its own; its numbers are those of results/compare_gans_*.json. Of models that a test does not tell from
the best one nobody is called better. Parts that were not measured yet, and seeds that failed, are told. Half a minute.
"""

import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compare_gans
import numpy as np
import why_not_the_ring
from common import FIGURES, HERE, RESULTS, draw, options, tell
from comparison_drawing import at_the_end, curves, embedded, grids, on_the_way, points, scatters
from comparison_numbers import Board, Run, as_good_as_the_best, boards, cell, claims, failures, words

from vaegan_jax.errors import UserError
from vaegan_jax.models import CONFIGS
from vaegan_jax.training.run import write

TEMPLATE = HERE / "comparison_page.html"
READING = """
A number is the mean over seeds ± half of its 95 % interval (Student's t). "Final" is a seed's last look; "best" is the
best of its looks, for each measure apart, and hides what came after it. **Bold** final values cannot be told from the
best one by Welch's t-test at 5 %, of logarithms where a measure has no limits, and no seed is missing. Where a seed has
no value, as those that diverged, a number is of the others, told in brackets, and never bold. Headers sort, a second
click turns the order; a model's name leads to its curves and samples.
"""
POINTS = """
Good samples lie within three standard deviations of a mode, a mode is found if it has one, and reverse KL is that of
the good samples' modes to the uniform distribution, not known without a good one. Seeds without one have 0 modes.
"""


def content(found: list[Board], facts: dict[str, dict[str, Any]], runs: Path) -> str:
    """All that is in the page but its style and its script."""
    title, _, claim, told, protocol, *_ = compare_gans.__doc__.split("\n\n")
    names = list(dict.fromkeys(name for board in found for name in board.models))
    places = {f"set-{board.title}": board.title for board in found} | {"models": "models", "facts": "provenance"}
    links = (f'<a href="#{escape(place)}">{escape(text)}</a>' for place, text in places.items())
    parts = [f"<h1>{prose(title)}</h1>", f"<p>{prose(claim)}</p>"]
    for line, holds in claims(found).items():
        parts.append(f"<p><b>{'Holds' if holds else 'Does not hold'}</b>: {escape(line)}</p>")
    parts += [f"<p>{prose(told)}</p>"]
    parts += [f"<nav>{''.join(links)}</nav>"]
    parts += [f"<details><summary><b>How it was measured</b></summary><p>{prose(protocol)}</p>"]
    parts += [f"<p>{prose(POINTS)}</p></details>", f"<p>{prose(READING)}</p>"]
    parts += [f'<p class="missing">{prose(line)}</p>' for line in missing(found)]
    for board in found:
        parts += [f'<h2 id="set-{escape(board.title)}">{escape(board.title)}</h2>']
        parts += [table(board), f'<p class="note">{escape(summary(board))}</p>']
        parts += missed(RESULTS / "why_not_the_ring.json") if board.title == "ring" else []
    parts += ['<h2 id="models">Model by model</h2>', *(details(name, found, runs) for name in names)]
    parts += [
        '<h2 id="facts">What the numbers depend on</h2>',
        *(provenance(part, told) for part, told in facts.items()),
    ]
    return "\n".join(parts)


def escape(text: Any) -> str:
    return html.escape(str(text))


def prose(text: str) -> str:
    """Text of docstrings: `code` and **bold**."""
    coded = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(text.split())))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", coded)


def missing(found: list[Board]) -> Iterator[str]:
    """What was not measured yet."""
    for part in compare_gans.PROTOCOLS:
        mine = [board for board in found if board.part == part]
        if not mine:
            yield f"Not measured yet: {part} (`python experiments/compare_gans.py {part}`)."
        for board in mine:
            names = [name for name in compare_gans.NAMES if name not in board.models]
            if names:
                yield f"Not measured yet on {board.title}: {', '.join(names)}."


def summary(board: Board) -> str:
    """Of the seeds and of what failed, in a sentence or two."""
    seeds = max(len(runs) for runs in board.models.values())
    lost = {name: failures(runs) for name, runs in board.models.items() if failures(runs)}
    told = ", ".join(f"{name} {count}" for name, count in lost.items())
    return f"{len(board.models)} models, {seeds} seeds each. " + (
        f"Seeds that failed: {told}." if lost else "None failed."
    )


def missed(path: Path) -> list[str]:
    """Why some models miss the ring, and what changing that does. UserError for a file that cannot be read."""
    if not path.exists():
        return []
    title, _, _, reasons, *_ = why_not_the_ring.__doc__.split("\n\n")
    rows = []
    try:
        for name, row in json.loads(path.read_text())["models"].items():
            then, now = (
                "; ".join(f"{float(np.median(row[side][key])):.3g}" for key in ("found", "high_quality"))
                for side in ("before", "after")
            )
            was, value = (brief(next(iter(row[side].values()))) for side in ("was", "changed"))
            changed = f"{next(iter(row['changed'])).replace('_', ' ')}: {was} → {value}"
            cells = "".join(f"<td>{escape(text)}</td>" for text in (changed, then, now))
            rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        again = "python experiments/why_not_the_ring.py"
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); make it again: {again}") from error
    items = "".join(f"<li>{prose(item)}</li>" for item in re.split(r"^- ", reasons, flags=re.MULTILINE)[1:])
    heads = "".join(f"<th>{text}</th>" for text in ("model", "changed", "modes; good samples", "then"))
    body = f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return [f"<details><summary><b>{prose(title)}</b></summary><ul>{items}</ul>{body}</details>"]


def brief(value: Any) -> str:
    """A setting as people read it."""
    return f"{value:.2g}" if isinstance(value, int | float) else str(value).strip("[]")


def table(board: Board) -> str:
    """The table of a set, to be sorted by its script."""
    cells = {measure: {name: cell(measure, runs) for name, runs in board.models.items()} for measure in board.measures}
    top = {measure: as_good_as_the_best(cells[measure], measure.better) for measure in board.measures}
    groups, heads = ["<th></th>"], [header("model", "model", 0, "")]
    for measure in board.measures:
        columns = ("final", "median", "best") if measure.median else ("final", "best")
        first = "descending" if measure.better == "higher" else "ascending"
        arrow = "high is good" if measure.better == "higher" else "low is good"
        groups.append(f'<th colspan="{len(columns)}">{escape(measure.title)}<br><small>{arrow}</small></th>')
        heads += [header(name, f"{measure.title}, {name}", len(heads) + i, first) for i, name in enumerate(columns)]
    groups.append(f'<th colspan="{len(board.costs) + 1}"></th>')
    for cost in (*board.costs, "failed seeds"):
        heads.append(header(cost, cost, len(heads), "ascending" if cost == "failed seeds" else "descending"))
    rows = []
    for name, runs in board.models.items():
        row = [f'<th scope="row" data-value="{escape(name)}"><a href="#model-{escape(name)}">{escape(name)}</a></th>']
        for measure in board.measures:
            told, high = cells[measure][name], name in top[measure]
            row.append(number(told.final["mean"], words(told.final, measure.decimals, len(runs)), "top" * high))
            if measure.median:
                row.append(
                    number(told.median, "none" if told.median is None else f"{told.median:.{measure.decimals}f}")
                )
            row.append(number(told.best["mean"], words(told.best, measure.decimals, len(runs))))
        for cost in board.costs.values():
            row.append(number(cost.get(name), f"{cost[name]:,.0f}" if cost.get(name) else ""))
        row.append(number(sum(bool(run.failed) for run in runs), failures(runs), "failed"))
        rows.append(f"<tr>{''.join(row)}</tr>")
    head = f"<thead><tr>{''.join(groups)}</tr><tr>{''.join(heads)}</tr></thead>"
    body = "\n".join(rows)
    label = f'role="region" tabindex="0" aria-label="Scores on {escape(board.title)}"'
    return f'<div class="scroll" {label}><table>{head}<tbody>\n{body}\n</tbody></table></div>'


def header(text: str, label: str, column: int, first: str) -> str:
    """A header that sorts; `first` is the order of the first click, "" for text."""
    data = f'data-column="{column}"' + (f' data-first="{first}"' if first else "")
    return f'<th scope="col" {data}><button type="button" aria-label="{escape(label)}">{escape(text)}</button></th>'


def number(value: float | None, text: str, kind: str = "") -> str:
    """A cell that knows its value."""
    known = "" if value is None else f"{value:.9g}"
    shown = re.sub(r" (\(.*\))", r"<br><small>\1</small>", escape(text))
    return f'<td data-value="{known}"' + (f' class="{kind}"' if kind and text else "") + f">{shown}</td>"


def details(name: str, found: list[Board], runs: Path) -> str:
    """A model's curves, points and samples on every set."""
    line = (CONFIGS[name].__doc__ or "").splitlines()[0] if name in CONFIGS else ""
    parts = [f'<details id="model-{escape(name)}"><summary><b>{escape(name)}</b> {prose(line)}</summary>']
    for board in found:
        if name not in board.models:
            continue
        members = board.models[name]
        drawn = [curves(board, measure, members) for measure in board.measures]
        if members[0].points is not None:
            drawn.insert(0, points(board, members[0]))
        parts.append(f'<h3>{escape(board.title)}</h3><div class="panels">{"".join(drawn)}</div>')
        for seed, run in enumerate(members):
            if run.failed:
                parts.append(f'<p class="failed">seed {seed}: {escape(run.failed)}</p>')
        parts.append(f'<div class="panels">{samples(members, runs)}</div>' if members[0].folder else "")
    return "\n".join([*parts, "</details>"])


def samples(members: tuple[Run, ...], runs: Path) -> str:
    """Pictures of the same latents: of seed 0 on the way, and of every seed at its end."""
    way = embedded(on_the_way(members[0], runs), "seed 0, a row a look, the same latents")
    end = embedded(at_the_end(members, runs), "the end of each seed")
    return way + end or f'<p class="note">The runs with its samples are not in {escape(runs)}.</p>'


def provenance(part: str, told: dict[str, Any]) -> str:
    """Commit, versions, machine and protocol of a part."""
    git = told["git"] or {"commit": "unknown"}
    rows = {
        "commit": git["commit"] + (" with changes" if git.get("changed") else ""),
        "versions": listed(told["versions"]),
        "machine": listed(told["machine"]),
        "protocol": listed(told["protocol"]),
    }
    body = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows.items())
    return f"<h3>{escape(part)}</h3><dl>{body}</dl>"


def listed(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def markdown(found: list[Board]) -> str:
    """The README's table: final values, the leading two measures of points and the first of images with its best."""
    columns = {}
    for board in found:
        for measure in board.measures[: 2 if board.part == "points" else 3]:
            columns[f"{board.title}: {measure.title}"] = (board, measure)
    names = dict.fromkeys(name for board in found for name in board.models)
    lines = ["| " + " | ".join(["model", *columns]) + " |", "|" + "---|" * (len(columns) + 1)]
    for name in names:
        row = [f"`{name}`"]
        for board, measure in columns.values():
            runs = board.models.get(name, ())
            cells = {other: cell(measure, theirs) for other, theirs in board.models.items()}
            text = words(cells[name].final, measure.decimals, len(runs)) if runs else ""
            row.append(f"**{text}**" if name in as_good_as_the_best(cells, measure.better) else text)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    arguments = options(__doc__).parse_args()
    try:
        found, facts = boards(RESULTS)
    except UserError as error:
        raise SystemExit(f"comparison_page: {error}") from None
    for line in missing(found):
        print(line.replace("`", ""), file=sys.stderr)
    text = TEMPLATE.read_text().replace("<!--CONTENT-->", content(found, facts, arguments.runs))
    write(FIGURES / "compare_gans.html", text)
    on_points = [board for board in found if board.part == "points"]
    if on_points:
        draw("compare_gans_points", scatters(on_points))
    for board in found:
        if board.part != "points" and (figure := grids(board, arguments.runs)):
            draw(f"compare_gans_{board.part}", figure, dpi=80)
    print(markdown(found), end="\n\n")
    tell(claims(found))


if __name__ == "__main__":
    main()
