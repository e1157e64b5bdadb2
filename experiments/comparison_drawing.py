"""What comparison_page.py draws of compare_gans.py: curves and points as SVG, grids of samples, and figures of all."""

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from compare_gans import SETS, scale_of
from comparison_numbers import Board, Measure, Run, cell, words
from matplotlib.figure import Figure
from PIL import Image

from vaegan_jax.pictures import GAP, SMALLEST

WIDE, TALL = 220, 130
"""Units of a panel of curves, without its labels."""
SIDE = 240
"""Units of a panel of points."""
SHADES = 16
"""Colors of a grid of samples in the page."""
ACROSS = 10
"""Panels beside each other in a figure."""


def limits(board: Board, measure: Measure) -> tuple[float, float]:
    """The same for all models, so that panels can be compared; logarithms are taken of what has no limits."""
    values = [value for runs in board.models.values() for run in runs for value in run.values.get(measure.key, ())]
    known = [value for value in values if value is not None]
    if measure.limits is None:
        positive = [value for value in known if value > 0]
        low, high = (min(positive), max(positive)) if positive else (1.0, 10.0)
        return low / 1.1, high * 1.1
    return measure.limits[0], max([measure.limits[1], *known])


def curves(board: Board, measure: Measure, runs: Sequence[Run]) -> str:
    """A measure by time, a line a seed; a cross where a seed ended before its time."""
    low, high = limits(board, measure)
    end = max((at for others in board.models.values() for run in others for at in run.at), default=1.0)
    height = (lambda v: math.log(max(v, low))) if measure.limits is None else (lambda v: v)
    y = lambda v: round(TALL * (1 - (height(v) - height(low)) / (height(high) - height(low))), 1)  # noqa: E731
    lines = []
    for seed, run in enumerate(runs):
        known = [(at, v) for at, v in zip(run.at, run.values.get(measure.key, ()), strict=False) if v is not None]
        places = [f"{round(WIDE * at / end, 1):g} {y(v):g}" for at, v in known]
        if places:
            lines.append(f'<path d="M{"L".join(places)}"><title>seed {seed}</title></path>')
        if places and not run.ended:
            across, down = places[-1].split()
            lines.append(f'<text class="cross" x="{across}" y="{down}">×<title>seed {seed} ended</title></text>')
    middle = math.sqrt(low * high) if measure.limits is None else (low + high) / 2
    ticks = "".join(
        f'<path class="rule" d="M0 {y(v):g}h{WIDE}"/><text class="y" x="-6" y="{y(v):g}">{v:.3g}</text>'
        for v in (low, middle, high)
    )
    title = html.escape(f"{measure.title} by {board.clock}, a line a seed")
    return (
        f'<svg class="curves" viewBox="-46 -24 {WIDE + 56} {TALL + 46}" role="img" aria-label="{title}">'
        f'<text x="0" y="-10">{html.escape(measure.title)}</text>{ticks}'
        f'<text x="0" y="{TALL + 16}">0</text>'
        f'<text class="end" x="{WIDE}" y="{TALL + 16}">{end:,.0f} {board.clock}</text>{"".join(lines)}</svg>'
    )


def points(board: Board, run: Run) -> str:
    """The samples of a run against the modes, each a circle of three deviations: within it a sample is good."""
    mixture = SETS[board.title]
    reach = 1 / scale_of(mixture)  # of the generator's tanh
    unit = SIDE / (2 * reach)
    place = lambda xy: np.stack([xy[:, 0] + reach, reach - xy[:, 1]], 1) * unit  # noqa: E731
    finite = run.points[np.isfinite(run.points).all(1)]
    dots, last = [], np.zeros(2, int)
    for dot in sorted(np.rint(10 * place(finite)).astype(int).tolist()):  # neighbors first: short steps
        step = np.subtract(dot, last)
        dots.append(f"m{step[0]} {step[1]}h0".replace(" -", "-"))
        last = dot
    radius = max(3 * mixture.deviation * unit, 2.5)
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>' for x, y in place(mixture.means()))
    return (
        f'<svg class="points" viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{len(finite)} samples of seed 0">'
        f'<path transform="scale(.1)" d="M0 0{"".join(dots)}"/><g class="modes">{circles}</g>'
        f'<text x="{SIDE / 2:g}" y="{SIDE / 2:g}">{html.escape(run.failed)}</text></svg>'
    )


def tiles(path: Path, rows: int) -> Image.Image | None:
    """The first rows of a run's picture of samples, not enlarged; None if it is not there."""
    try:
        spec = json.loads((path.parents[1] / "config.json").read_text())["spec"]
        side = max(spec["image_shape"][:2])
        picture = Image.open(path).convert("L" if spec["image_shape"][2] == 1 else "RGB")
    except (OSError, ValueError, LookupError):
        return None
    factor = max(1, round(SMALLEST / side))
    tall = GAP + rows * (side * factor + GAP)
    picture = picture.crop((0, 0, picture.width, min(tall, picture.height)))
    return picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.NEAREST)


def stacked(pictures: Sequence[Image.Image | None]) -> Image.Image | None:
    """Pictures under each other."""
    there = [picture for picture in pictures if picture is not None]
    if not there:
        return None
    whole = Image.new(there[0].mode, (max(p.width for p in there), sum(p.height for p in there)), "white")
    top = 0
    for picture in there:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole


def on_the_way(run: Run, runs: Path) -> Image.Image | None:
    """A row of samples at each look of a run, of the same latents."""
    return stacked([tiles(path, 1) for path in sorted((runs / run.folder / "samples").glob("step-*.png"))])


def at_the_end(members: Sequence[Run], runs: Path, rows: int = 1) -> Image.Image | None:
    """The last samples of every seed under each other, of those that failed, too."""
    last = [sorted((runs / run.folder / "samples").glob("step-*.png"))[-1:] for run in members]
    return stacked([tiles(paths[0], rows) for paths in last if paths])


def embedded(picture: Image.Image | None, title: str) -> str:
    """A picture as an element of a page, in few colors; "" for none."""
    if picture is None:
        return ""
    file = io.BytesIO()
    picture.quantize(SHADES if picture.mode == "L" else 64).save(file, "png", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    told = html.escape(title)
    size = f'width="{2 * picture.width}" height="{2 * picture.height}"'
    image = f'<img alt="{told}" {size} src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{told}</figcaption></figure>"


def scatters(found: Sequence[Board]) -> Figure:
    """The samples of seed 0 of every model on every mixture, titled with what its seeds reached."""
    heights = [math.ceil(len(board.models) / ACROSS) for board in found]
    figure = Figure(figsize=(1.5 * ACROSS, 2.05 * sum(heights) + 0.3 * len(found)), layout="constrained")
    parts = np.atleast_1d(figure.subfigures(len(found), 1, height_ratios=heights))
    for board, part, height in zip(found, parts, heights, strict=True):
        mixture, panels = SETS[board.title], part.subplots(height, ACROSS, squeeze=False).ravel()
        reach = 1 / scale_of(mixture)
        part.suptitle(f"{board.title}: 500 samples of seed 0; mean and 95 % interval of the seeds", fontsize=11)
        for panel in panels:
            panel.axis("off")
        for panel, (name, runs) in zip(panels, board.models.items(), strict=False):
            told = [words(cell(m, runs).final, m.decimals, len(runs)) for m in board.measures[:2]]
            panel.set_title(f"{name}\nmodes {told[0]}\ngood {told[1]}", fontsize=8)
            panel.plot(*mixture.means().T, "+", color="0.6", markersize=5, markeredgewidth=0.7)
            panel.plot(*runs[0].points.T, ".", color="#0072B2", markersize=1.6)
            if runs[0].failed:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
                panel.text(0, 0, runs[0].failed, color="#D55E00", ha="center", va="center", fontsize=8, bbox=box)
            panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    return figure


def grids(board: Board, runs: Path) -> Figure | None:
    """The last samples of every model's seed 0, of the same latents; None where no run is there."""
    pictures = {name: at_the_end(members[:1], runs, 3) for name, members in board.models.items()}
    there = {name: picture for name, picture in pictures.items() if picture is not None}
    if not there or not board.measures:
        return None
    across = 4
    down, first = math.ceil(len(there) / across), next(iter(there.values()))
    tall = 3 * first.height / first.width + 0.3
    figure = Figure(figsize=(3 * across, tall * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, (name, picture) in zip(panels, there.items(), strict=False):
        members, measure = board.models[name], board.measures[0]
        told = words(cell(measure, members).final, measure.decimals, len(members))
        panel.set_title(f"{name}: {measure.title} {told}", fontsize=9)
        panel.imshow(picture.convert("RGB"), interpolation="nearest")
    return figure
