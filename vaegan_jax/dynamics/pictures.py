"""Pictures of traces: the phase portrait, and the distance against rounds and against field evaluations."""

import io
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from vaegan_jax.dynamics.instruments import field
from vaegan_jax.dynamics.lab import Trace
from vaegan_jax.dynamics.toy import Toy
from vaegan_jax.games import init

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#999999")
"""Told apart by color-blind people, too (Okabe & Ito 2008)."""
STYLES = ("-", "--", "-.", ":")
ARROWS = 17
SHOWN = 1e-6
"""Distances are drawn down to this part of the first one."""


def portrait(toy: Toy, limit: float) -> tuple[Float[np.ndarray, "n n"], ...]:
    """Where a plain step leads from a grid of points of a game of two numbers: x, y, and -v's two parts."""
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), toy.start))
        state, key = init(toy.game, unravel(flat)), jax.random.key(0)
        joint = field(toy.game, state, toy.batch(0), key)
        x, y = np.meshgrid(np.linspace(-limit, limit, ARROWS), np.linspace(-limit, limit, ARROWS))
        points = jnp.asarray(np.stack([x.ravel(), y.ravel()], 1))
        v = np.asarray(jax.vmap(lambda point: ravel_pytree(joint(unravel(point)))[0])(points))
    return x, y, -v[:, 0].reshape(x.shape), -v[:, 1].reshape(x.shape)


def figure(toy: Toy, traces: Sequence[Trace]) -> bytes:
    """PNG: on the left the plane, where the game is of two numbers; then distances by rounds and by evaluations."""
    from matplotlib.figure import Figure

    planar = traces[0].points.shape[1] == 2
    drawn = Figure(figsize=(15 if planar else 10, 5.6), layout="constrained")
    panels = list(drawn.subplots(1, 3 if planar else 2))
    if planar:
        _plane(panels.pop(0), toy, traces)
    _distances(panels[0], traces, "round", lambda trace: 1.0)
    _distances(panels[1], traces, "field evaluations", lambda trace: trace.evaluations)
    lines = panels[0].get_lines()
    drawn.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 4), fontsize=11)
    drawn.suptitle(f"{toy.name}: distance to the equilibrium by solver" if planar else toy.name)
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _plane(panel, toy: Toy, traces: Sequence[Trace]) -> None:
    start = np.abs(traces[0].points[0]).max() or 1.0
    limit = 2.0 * start
    x, y, u, v = portrait(toy, limit)
    panel.quiver(x, y, u, v, color="0.75", pivot="mid")
    for place, trace in enumerate(traces):
        inside = np.abs(trace.points).max(1) <= 2 * limit  # what has left the picture would only cross it again
        points = trace.points[: len(inside) if inside.all() else int(np.argmin(inside))]
        panel.plot(points[:, 0], points[:, 1], **_style(place), linewidth=1.3)
    panel.plot(*traces[0].points[0], "ko", markersize=6)
    panel.annotate("start", traces[0].points[0], xytext=(6, 6), textcoords="offset points")
    panel.set(
        xlim=(-limit, limit), ylim=(-limit, limit), xlabel="x (minimizes)", ylabel="y (maximizes)", aspect="equal"
    )
    panel.set_title("where plain steps lead (gray), and paths")


def _distances(panel, traces: Sequence[Trace], label: str, cost) -> None:
    for place, trace in enumerate(traces):
        if trace.distances is not None:
            floor = np.maximum(trace.distances, 1e-16)
            panel.plot(np.arange(len(floor)) * cost(trace), floor, label=trace.solver, linewidth=1.6, **_style(place))
    first = max((trace.distances[0] for trace in traces if trace.distances is not None), default=1.0) or 1.0
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, SHOWN * first), min(high, first / SHOWN))
    if label != "round":  # solvers differ in it by more than ten times
        panel.set_xscale("log")
    panel.set(xlabel=label, ylabel="distance to the equilibrium", title=f"distance by {label}")
    panel.grid(alpha=0.3)


def _style(place: int) -> dict[str, str]:
    return {"color": COLORS[place % len(COLORS)], "linestyle": STYLES[place // 2 % len(STYLES)]}
