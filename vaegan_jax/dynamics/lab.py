"""A game under several solvers: trajectories as arrays, and of each the measured rate beside the theory's.

In float64: rates are told to many digits, and diverging trajectories go far. Pictures are drawn from these arrays.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from vaegan_jax.dynamics import rates, theory_linear
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.dynamics.solvers import solve
from vaegan_jax.dynamics.toy import Toy
from vaegan_jax.errors import check
from vaegan_jax.games import Schedule, init

Make = Callable[[float], Toy]
"""The game for a step size, such as `lambda step: Bilinear().make(step=step)`."""
TURNS = ("alternating", "negative-momentum", "lookahead-minmax")
"""Solvers that are shown with players in turns, which is where they do what they are for."""
DEFAULTS = (
    "simultaneous",
    "alternating",
    "negative-momentum",
    "extragradient",
    "optimistic",
    "consensus",
    "competitive",
    "lookahead-minmax",
)
"""What `vaegan dynamics` shows."""


class Trace(NamedTuple):
    """A game played by one solver."""

    solver: str
    points: Float[np.ndarray, "t d"]
    """The joint point before the first round and after each, as `ravel_pytree` orders it."""
    distances: Float[np.ndarray, " t"] | None
    """Of those points to the equilibrium, where it is known."""
    evaluations: float
    """Field evaluations of a round."""
    theory_rate: float | None
    """Factor of the distance in a round by a closed form."""


class Row(NamedTuple):
    """What came of a trace, as the table and the JSON have it."""

    solver: str
    measured_rate: float | None
    """Fitted factor of the distance in a round; None where the equilibrium is not known."""
    theory_rate: float | None
    final_distance: float | None
    field_evaluations: float
    """Of all rounds."""
    verdict: str
    """converges, cycles, diverges or unknown."""


def trace(
    make: Make,
    solver: Solver,
    step: float = 0.1,
    rounds: int = 500,
    start: Sequence[float] | None = None,
    seed: int = 0,
) -> Trace:
    """Plays a game for some rounds. UserError for a solver that cannot play it, or a start of another size."""
    check(rounds > 0, f"rounds must be at least 1, not {rounds}")
    with jax.enable_x64(True):
        toy = make(step)
        schedule = in_turns(toy.schedule) if solver.name in TURNS else toy.schedule
        solved = solve(solver, toy.game, schedule)
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), toy.start))
        if start is not None:
            check(len(start) == len(flat), f"start must be {len(flat)} numbers for {toy.name}, not {len(start)}")
            flat = jnp.asarray(start, float)
        state, key = solved.start(init(solved.game, unravel(flat))), jax.random.key(seed)

        def body(state, batch):
            state, _ = solved.round(state, batch, key, jnp.asarray(False))
            return state, ravel_pytree(state.params)[0]

        moves = len(solved.schedule)
        batches = [toy.batch(number, moves) for number in range(rounds)] if toy.batch(0, moves) else [{}]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        played = jax.jit(lambda state, stacked: jax.lax.scan(body, state, stacked, length=rounds)[1])
        points = np.concatenate([np.asarray(flat)[None], np.asarray(played(state, stacked))])
        distances = None
        if toy.equilibrium is not None:
            distances = rates.distances(points, np.asarray(ravel_pytree(toy.equilibrium)[0], float))
        known = theory_linear.rate(solver, toy._replace(schedule=schedule), step)
    return Trace(solver.name, points, distances, solved.evaluations, known)


def in_turns(schedule: Schedule) -> Schedule:
    """The same players, one after the other."""
    return tuple((name,) for movers in schedule for name in movers)


def row(trace: Trace) -> Row:
    """The numbers of a trace."""
    rounds = len(trace.points) - 1
    if trace.distances is None:
        return Row(trace.solver, None, trace.theory_rate, None, rounds * trace.evaluations, "unknown")
    fitted = rates.fit(trace.distances).rate
    return Row(
        trace.solver,
        None if math.isnan(fitted) else fitted,
        trace.theory_rate,
        float(trace.distances[-1]),
        rounds * trace.evaluations,
        rates.verdict(trace.distances),
    )


def table(rows: Sequence[Row]) -> str:
    """Rows for people: the measured rate beside the theory's."""
    return aligned(lines(rows))


def lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The cells of that table, the head first."""
    head = ("solver", "measured rate", "theory", "final distance", "field evaluations", "verdict")
    return [head] + [
        (
            each.solver,
            "" if each.measured_rate is None else f"{each.measured_rate:.6f}",
            "" if each.theory_rate is None else f"{each.theory_rate:.6f}",
            "" if each.final_distance is None else f"{each.final_distance:.3g}",
            f"{each.field_evaluations:,.0f}",
            each.verdict,
        )
        for each in rows
    ]


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
