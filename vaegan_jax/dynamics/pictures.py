"""Pictures of traces: the phase portrait, and the distance against rounds and against field evaluations."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from vaegan_jax.dynamics.instruments import field
from vaegan_jax.dynamics.lab import Trace
from vaegan_jax.dynamics.panels import BLACK, COLORS, DASHES, Panel, Series, Sheet
from vaegan_jax.dynamics.toy import Toy
from vaegan_jax.games import init

ARROWS = 17
SHOWN = 1e-6
"""Distances are drawn down to this part of the first one."""
FRAMES = 60
"""Of an animation."""
PLAYERS = {"min": "minimizes", "max": "maximizes", "generator": "generator", "discriminator": "discriminator"}


def portrait(toy: Toy, limit: float) -> tuple[Float[np.ndarray, " n"], ...]:
    """Where a plain step leads from a grid of points of a game of two numbers: x, y, and -v's two parts."""
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), toy.start))
        state, key = init(toy.game, unravel(flat)), jax.random.key(0)
        joint = field(toy.game, state, toy.batch(0), key)
        x, y = np.meshgrid(np.linspace(-limit, limit, ARROWS), np.linspace(-limit, limit, ARROWS))
        points = jnp.asarray(np.stack([x.ravel(), y.ravel()], 1))
        v = np.asarray(jax.vmap(lambda point: ravel_pytree(joint(unravel(point)))[0])(points))
    return x.ravel(), y.ravel(), -v[:, 0], -v[:, 1]


def sheet(toy: Toy, traces: Sequence[Trace]) -> Sheet:
    """The plane, where the game is of two numbers; then distances, where they are known, by rounds and evaluations."""
    planar, measured = traces[0].points.shape[1] == 2, traces[0].distances is not None
    panels = [_plane(toy, traces)] if planar else []
    if measured:
        panels += [
            _distances(traces, "round", [1.0] * len(traces)),
            _distances(traces, "field evaluations", [trace.evaluations for trace in traces]),
        ]
    elif not planar:
        panels = [_sizes(traces)]
    rounds = len(traces[0].points) - 1
    times = np.unique(np.linspace(0, rounds, min(FRAMES, rounds + 1)).astype(int))
    title = f"{toy.name}: solvers on their way to the equilibrium" if measured else f"{toy.name}: ways of solvers"
    return Sheet(title, (tuple(panels),), times)


def _plane(toy: Toy, traces: Sequence[Trace]) -> Panel:
    start = np.abs(traces[0].points[0]).max() or 1.0
    limit = 2.0 * start
    x, y, u, v = portrait(toy, limit)
    series = [Series("", x, y, "arrows", u=u, v=v)]
    for place, trace in enumerate(traces):
        inside = np.abs(trace.points).max(1) <= 2 * limit  # what has left the picture would only cross it again
        points = trace.points[: len(inside) if inside.all() else int(np.argmin(inside)) + 1]
        series.append(_line(trace, place, *points.T, times=np.arange(len(points)), size=1.3))
    first = traces[0].points[0]
    series.append(Series("", first[:1], first[1:], "dots", BLACK, size=6))
    roles = {network: PLAYERS.get(name, name) for name, player in toy.game.items() for network in player.owns}
    labels = [f"{network} ({roles[network]})" for network in ("x", "y")]
    title, limits = "gray: where plain steps lead", (-limit, limit)
    notes = ((float(first[0]), float(first[1]), "start"),)
    return Panel(title, *labels, tuple(series), xlim=limits, ylim=limits, equal=True, notes=notes)


def _distances(traces: Sequence[Trace], label: str, costs: Sequence[float]) -> Panel:
    """By the round, or by what a round costs; on a logarithmic axis, because solvers differ in it by ten times."""
    series = []
    for place, (trace, cost) in enumerate(zip(traces, costs, strict=True)):
        rounds = np.arange(len(trace.distances))
        series.append(_line(trace, place, rounds * cost, np.maximum(trace.distances, 1e-16), times=rounds))
    first = max(trace.distances[0] for trace in traces) or 1.0
    seen = np.concatenate([line.y[np.isfinite(line.y)] for line in series])
    limits = (max(seen.min() / 2, SHOWN * first), max(min(seen.max() * 2, first / SHOWN), 2 * first))
    by = label != "round"
    return Panel(
        f"distance by {label}", label, "distance to the equilibrium", tuple(series), xlog=by, ylog=True, ylim=limits
    )


def _sizes(traces: Sequence[Trace]) -> Panel:
    """The largest coordinate, of games of which nothing else is known."""
    series = []
    for place, trace in enumerate(traces):
        rounds = np.arange(len(trace.points))
        series.append(_line(trace, place, rounds, np.abs(trace.points).max(1), times=rounds))
    return Panel("the largest number of the point", "round", "largest |number|", tuple(series), ylog=True)


def _line(
    trace: Trace, place: int, x: np.ndarray, y: np.ndarray, times: np.ndarray | None = None, size: float = 1.6
) -> Series:
    dash = place // 2 % len(DASHES)
    return Series(trace.solver, x, y, color=place % len(COLORS), dash=dash, size=size, times=times)
