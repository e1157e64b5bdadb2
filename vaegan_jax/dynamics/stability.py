"""Over which constants a solver converges: the radius of its played round, with the closed form beside it."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaegan_jax.dynamics.panels import BLACK, DASHED, Heat, Panel, Series, Sheet
from vaegan_jax.dynamics.rounds import Setup, changed, check_linear, named, radii, theory, value_of
from vaegan_jax.dynamics.settings import CONSTANTS
from vaegan_jax.errors import check, unknown

STABLE = 1 - 1e-9
"""A radius below this shrinks."""
CLOSER = 3
"""How often ends and best values are looked for among as many points between two."""
LONGEST = 8.0
"""Steps up to this are looked through for a stable one."""
BETWEEN = 21
"""Steps that are looked at between two of those."""
Radii = Callable[[Float[np.ndarray, "n k"]], Float[np.ndarray, " n"]]


class Range(NamedTuple):
    """Where it converges, open."""

    low: float
    high: float


class Axis(NamedTuple):
    """What is varied."""

    name: str
    """"step", "solver.FIELD" or "game.FIELD"."""
    values: np.ndarray
    """(n,), increasing."""


class Curve(NamedTuple):
    """The radius over one constant, (n,), or a map over two, (m, n), of which the first is the second axis."""

    solver: str
    axes: tuple[Axis, ...]
    radius: np.ndarray
    """Of the played round: its factor of the distance; NaN where it is not finite."""
    theory: np.ndarray | None
    """The same by the closed form; None where there is none."""
    stable: tuple[Range, ...]
    """Over one constant: where the radius is below 1."""
    best: tuple[float, ...]
    """Where it is least."""
    best_radius: float
    best_theory: float | None
    difference: float | None
    """The greatest |radius - theory|."""


def curve(setup: Setup, over: Sequence[tuple[str, float, float]], points: int = 101) -> Curve:
    """The radius over one constant or two, (name, low, high) each, at so many points of each.

    Over one constant the ends of the stable ranges and the best value are looked for between the points, too.
    Raises UserError for a constant that does not exist or is no number, a range that is none, a game without a known
    equilibrium, and a solver whose rounds have no matrix.
    """
    check(points > 1, f"points must be at least 2, not {points}")
    axes = tuple(_axis(setup, *each, points) for each in over)
    names = [axis.name for axis in axes]
    check(len(set(names)) == len(names), f"{names[0]} can be varied once only")
    grid = np.stack([places.ravel() for places in np.meshgrid(*(axis.values for axis in axes))], 1)

    for end in grid[[-1, 0]]:  # what the fields refuse is told first
        first = changed(setup, named(setup, names, end))
    check_linear(first)

    def closed(place: np.ndarray) -> float:
        found = theory(changed(setup, named(setup, names, place)))
        return math.nan if found is None else found

    expected = np.array([closed(place) for place in grid])
    measure = radii(setup, names)
    radius = measure(grid)
    shape = tuple(len(axis.values) for axis in axes[::-1])
    place = 0 if np.isnan(radius).all() else int(np.nanargmin(radius))
    best, least, stable = grid[place], float(radius[place]), ()
    if len(axes) == 1:
        closer = measure if isinstance(value_of(setup, names[0]), float) else None
        stable = _ranges(axes[0].values, radius, closer, points)
        best, least = _least(axes[0].values, radius, place, closer)
    there, gap = closed(best), np.abs(radius - expected)
    known = not np.isnan(expected).all()
    return Curve(
        setup.solver.name,
        axes,
        radius.reshape(shape),
        expected.reshape(shape) if known else None,
        stable,
        tuple(map(float, best)),
        least,
        None if math.isnan(there) else there,
        None if np.isnan(gap).all() else float(np.nanmax(gap)),
    )


def stable_steps(setup: Setup, points: int = 100) -> tuple[Range, ...]:
    """The steps up to 8 with a radius below 1 by the closed form, ends within 1e-5; empty where there is no such step.

    UserError where there is no closed form.
    """

    def closed(values: np.ndarray) -> np.ndarray:
        return np.array([theory(changed(setup, {"step": float(step)})) for (step,) in values], float)

    steps = np.linspace(0, LONGEST, points + 1)[1:]
    radius = closed(steps[:, None])
    check(not np.isnan(radius).all(), f"nobody has a closed form of {setup.solver.name} here")
    found = _ranges(steps, radius, closed, BETWEEN)
    return tuple(each._replace(low=0.0) if each.low == steps[0] else each for each in found)


def sheet(curves: Sequence[Curve], game: str) -> Sheet:
    """The picture: curves of several solvers over one constant, or the map of one over two."""
    first = curves[0]
    title = f"{game}: what a round does to the distance from the equilibrium"
    if len(first.axes) == 2:
        x, y = first.axes
        heat = Heat(x.values, y.values, first.radius, "factor of the distance in a round", 1.0)
        mark = Series("best", *(np.array([at]) for at in first.best), "dots", BLACK, size=7)
        panel = Panel(f"{first.solver}: violet converges, orange diverges", x.name, y.name, (mark,), heat=heat)
        return Sheet(title, ((panel,),), panel_inches=(7.0, 5.0))
    (axis,) = first.axes
    lines = []
    for place, each in enumerate(curves):
        lines.append(Series(each.solver, axis.values, each.radius, color=place % 6, size=2.4))
        if each.theory is not None:
            lines.append(Series("theory", axis.values, each.theory, color=BLACK, dash=DASHED, size=1.2))
    ends = axis.values[[0, -1]]
    lines.append(Series("neither nearer nor farther", ends, np.ones(2), color=7, dash=3))
    seen = np.concatenate([each.radius[np.isfinite(each.radius)] for each in curves])
    high = min(seen.max(initial=1.0), 2.0)
    low = min(seen.min(initial=1.0), 1.0)
    margin = 0.05 * (high - low) + 1e-3
    panel = Panel(
        "below 1 it converges", axis.name, "factor of the distance in a round", tuple(lines),
        xlim=(float(ends[0]), float(ends[1])), ylim=(low - margin, high + margin),
    )  # fmt: skip
    return Sheet(title, ((panel,),), panel_inches=(7.5, 4.6))


def told(curves: Sequence[Curve]) -> list[tuple[str, ...]]:
    """A table for people: head and rows."""
    if len(curves[0].axes) == 2:
        share = "stable part of the map"
        head = ("solver", share, "best", "its radius", "theory there", "greatest difference")
    else:
        head = (
            "solver",
            f"stable {curves[0].axes[0].name}",
            "best",
            "its radius",
            "theory there",
            "greatest difference",
        )
    rows = []
    for each in curves:
        names = [axis.name for axis in each.axes]
        stable = f"{np.mean(each.radius < STABLE):.1%}" if len(names) == 2 else ranges(each.stable, each.axes[0])
        best = ", ".join(f"{name} {value:.6g}" for name, value in zip(names, each.best, strict=True))
        theory = "" if each.best_theory is None else f"{each.best_theory:.6f}"
        gap = "" if each.difference is None else f"{each.difference:.1e}"
        rows.append((each.solver, stable, best, f"{each.best_radius:.6f}", theory, gap))
    return [head, *rows]


def ranges(stable: Sequence[Range], axis: Axis | None = None) -> str:
    """In words; where they end with the axis, it is said that they were not followed further."""
    if not stable:
        return "none"
    ends = (-math.inf, LONGEST) if axis is None else (axis.values[0], axis.values[-1])
    return ", ".join(
        f"{each.low:.6g}{' or less' if each.low == ends[0] else ''} to "
        f"{each.high:.6g}{' or more' if each.high == ends[1] else ''}"
        for each in stable
    )


def plain(each: Curve) -> dict:
    """As JSON has it."""
    return each._asdict() | {
        "axes": [{"name": axis.name, "values": axis.values.tolist()} for axis in each.axes],
        "radius": _listed(each.radius),
        "theory": None if each.theory is None else _listed(each.theory),
        "stable": [list(one) for one in each.stable],
        "best": dict(zip([axis.name for axis in each.axes], each.best, strict=True)),
        "best_radius": None if math.isnan(each.best_radius) else each.best_radius,
    }


def _listed(array: np.ndarray) -> list:
    return np.where(np.isfinite(array), array, np.array(None, object)).tolist()


def _axis(setup: Setup, name: str, low: float, high: float, points: int) -> Axis:
    """The constant of this name, which is the solver's before it is the game's where it is not said whose."""
    solver = [f"solver.{field}" for field in CONSTANTS[setup.solver.name]]
    game = [f"game.{field}" for field in vars(setup.game)]
    wanted = name.replace("-", "_")
    full = next((known for known in ("step", *solver, *game) if wanted in (known, known.rpartition(".")[2])), None)
    numbers = [known for known in ("step", *solver, *game) if _is_number(setup, known)]
    if full is None:
        raise unknown(f"constant of {setup.solver.name} in this game", name, numbers)
    check(_is_number(setup, full), f"{full} is no number that could be varied: {', '.join(numbers)} are")
    check(math.isfinite(low) and math.isfinite(high) and low < high, f"{full}: {low:g} to {high:g} is no range")
    values = np.linspace(low, high, points)
    if not isinstance(value_of(setup, full), float):
        values = np.unique(np.round(values))
    return Axis(full, values)


def _is_number(setup: Setup, name: str) -> bool:
    value = value_of(setup, name)
    return isinstance(value, int | float) and not isinstance(value, bool) or name == "solver.share"


def _ranges(values: np.ndarray, radius: np.ndarray, measure: Radii | None, points: int) -> tuple[Range, ...]:
    """Where the radius is below 1, its ends found closer where there is a measure."""
    inside = radius < STABLE
    found, low = [], None
    for i, shrinks in enumerate(inside):
        if shrinks and low is None:
            low = values[0] if i == 0 else _edge(values[i - 1], values[i], measure, True, points)
        if low is not None and (not shrinks or i == len(values) - 1):
            high = values[i] if shrinks else _edge(values[i - 1], values[i], measure, False, points)
            found.append(Range(float(low), float(high)))
            low = None
    return tuple(found)


def _edge(before: float, after: float, measure: Radii | None, begins: bool, points: int) -> float:
    """Where between two values it begins to be stable, or ends: the one that is not."""
    for _ in range(CLOSER if measure else 0):
        values = np.linspace(before, after, points)
        inside = measure(values[:, None]) < STABLE
        first = max(int(np.argmax(inside == begins)), 1)
        before, after = values[first - 1], values[first]
    return before if begins else after


def _least(values: np.ndarray, radius: np.ndarray, place: int, measure: Radii | None) -> tuple[np.ndarray, float]:
    """The best value and its radius."""
    for _ in range(CLOSER if measure else 0):
        values = np.linspace(values[max(place - 1, 0)], values[min(place + 1, len(values) - 1)], len(values))
        radius = measure(values[:, None])
        place = int(np.nanargmin(radius))
    return values[[place]], float(radius[place])
