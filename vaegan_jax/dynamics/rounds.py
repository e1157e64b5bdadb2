"""The matrix of a played round at the equilibrium, whose spectral radius is the factor of the distance in a round.

The round is played from points around the equilibrium, optimizers' and solvers' memories included, and its matrix read
off by differences of fourth order, in float64: exact on linear games. A solver with a period is played for all of it.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from vaegan_jax.dynamics import theory_linear
from vaegan_jax.dynamics.dirac import DISCRIMINATOR, GENERATOR, DiracGan
from vaegan_jax.dynamics.lab import TURNS, in_turns
from vaegan_jax.dynamics.settings import CONSTANTS, Solver
from vaegan_jax.dynamics.solvers import solve
from vaegan_jax.dynamics.toy import MAX, MIN, Toy
from vaegan_jax.errors import check
from vaegan_jax.games import Schedule, init

NEAR = 1e-4
"""Distance of the points that are tried from the equilibrium."""
STENCIL = ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12))
"""Places and weights of the first derivative, to fourth order."""
MOVES = 1e-3
"""An equilibrium that a round moves further than this is none; one that a person wrote down may move a little."""
CHANGING = {
    "anchored": "its pull to the start gets weaker every round",
    "historical-averaging": "the mean of its past gets slower every round",
    "optimistic-adam": "Adam's steps do not shrink near the equilibrium",
    "extra-adam": "Adam's steps do not shrink near the equilibrium",
}
"""Solvers whose rounds have no matrix, and why."""


class Setup(NamedTuple):
    """A game and who plays it."""

    game: Any
    """A configuration, such as `games.Bilinear()`."""
    solver: Solver
    step: Any = 0.1
    """Of every player."""
    follows: bool = True
    """Whether the solver's own step, where it has one, is the players'."""


def changed(setup: Setup, values: Mapping[str, Any]) -> Setup:
    """With other constants: "step", "solver.FIELD", "game.FIELD". UserError for values that the fields refuse."""
    return _changed(setup, values, dataclasses.replace)


def check_linear(setup: Setup) -> None:
    """UserError with the reason where the rounds have no matrix at the equilibrium."""
    name = setup.solver.name
    check(name not in CHANGING, f"solver {name} has no update matrix: {CHANGING.get(name)}")
    toy = setup.game.make(step=1.0)
    check(toy.equilibrium is not None, f"{toy.name} has no equilibrium that is known, and so no update matrix there")
    jumps = isinstance(setup.game, DiracGan) and toy.jacobian is None
    check(not jumps, f"the field of this {toy.name} jumps at the equilibrium: it has no update matrix there")
    _check_fixed(setup)


def radii(setup: Setup, names: Sequence[str]) -> Callable[[Float[np.ndarray, "n k"]], Float[np.ndarray, " n"]]:
    """The function from values of these constants, a row each, to the factors of the distance in a round.

    All values at once where they can be traced, one after the other else. NaN where the round is not finite.
    """
    traceable = all(type(value_of(setup, name)) is float for name in names)

    def matrix(values: jax.Array) -> jax.Array:
        return _round_matrix(_changed(setup, dict(zip(names, values, strict=True)), _forced))

    together = jax.jit(jax.vmap(matrix))

    def one_by_one(values: np.ndarray) -> np.ndarray:
        here = [changed(setup, named(setup, names, place)) for place in values]
        return np.stack([np.asarray(jax.jit(functools.partial(_round_matrix, each))()) for each in here])

    def function(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
        nonlocal traceable
        with jax.enable_x64(True):
            try:
                matrices = np.asarray(together(jnp.asarray(values))) if traceable else one_by_one(values)
            except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
                traceable, matrices = False, one_by_one(values)  # the game, or the solver, needs to know it
        periods = [period(changed(setup, named(setup, names, place)).solver) for place in values]
        return np.array([_radius(matrix) for matrix in matrices]) ** (1 / np.array(periods))

    return function


def value_of(setup: Setup, name: str) -> Any:
    """What a constant is: of "step", "solver.FIELD" or "game.FIELD"."""
    owner, _, field = name.rpartition(".")
    return setup.step if not owner else getattr(getattr(setup, owner), field)


def named(setup: Setup, names: Sequence[str], values: Iterable[Any]) -> dict[str, Any]:
    """Values by the names of their constants, whole where those are."""
    kinds = [int if isinstance(value_of(setup, name), int) else float for name in names]
    return {name: kind(value) for name, kind, value in zip(names, kinds, values, strict=True)}


def period(solver: Solver) -> int:
    """Rounds after which it does the same again."""
    return solver.k if solver.name == "lookahead-minmax" else 1


def theory(setup: Setup) -> float | None:
    """The factor by the closed form; None where there is none."""
    toy = setup.game.make(step=1.0)
    toy = toy._replace(schedule=schedule_of(setup.solver, toy), singular_values=tuple(sorted({*toy.singular_values})))
    return theory_linear.rate(setup.solver, toy, setup.step)


def schedule_of(solver: Solver, toy: Toy) -> Schedule:
    """The game's own, or its players in turns for solvers that need them."""
    return in_turns(toy.schedule) if solver.name in TURNS else toy.schedule


def _round_matrix(setup: Setup) -> jax.Array:
    function, fixed = _round(setup)

    def column(direction: jax.Array) -> jax.Array:
        return sum(weight * function(fixed + NEAR * place * direction) for place, weight in STENCIL) / NEAR

    return jax.vmap(column, out_axes=1)(jnp.eye(fixed.size))


def _round(setup: Setup) -> tuple[Callable[[jax.Array], jax.Array], jax.Array]:
    """A round as a function of all numbers that it changes, in one vector, and this vector at the equilibrium.

    Other leaves are 0, such as optax's flag of a first round, which is unlike the others.
    """
    solver = Solver() if setup.solver.name == "averaging" else setup.solver  # its mean looks on
    players = (MIN, MAX) if not isinstance(setup.game, DiracGan) else (GENERATOR, DISCRIMINATOR)
    toy = setup.game.make({name: optax.sgd(setup.step) for name in players}, step=1.0)
    solved = solve(solver, toy.game, schedule_of(setup.solver, toy))
    equilibrium = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), toy.equilibrium)
    leaves, structure = jax.tree.flatten(solved.start(init(solved.game, equilibrium)))
    moves = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    key, batch = jax.random.key(0), toy.batch(0, len(solved.schedule))

    def moving(leaves: Sequence[jax.Array]) -> list[jax.Array]:
        return [leaf for leaf, counts in zip(leaves, moves, strict=True) if counts]

    fixed, unravel = ravel_pytree(moving(leaves))

    def function(vector: jax.Array) -> jax.Array:
        floats = iter(unravel(vector))
        full = [next(floats) if counts else jnp.zeros_like(leaf) for leaf, counts in zip(leaves, moves, strict=True)]
        state = structure.unflatten(full)
        for _ in range(period(solver)):
            state, _ = solved.round(state, batch, key, False)
        return ravel_pytree(moving(jax.tree.leaves(state)))[0]

    return function, fixed


def _check_fixed(setup: Setup) -> None:
    """UserError where a round moves the equilibrium, as that of a game whose rounds are drawn does."""
    with jax.enable_x64(True):
        function, fixed = _round(setup)
        far = float(jnp.abs(jax.jit(function)(fixed) - fixed).max())
    hint = " (--game.batch-size 0 plays it without noise)" if hasattr(setup.game, "batch_size") else ""
    check(far <= MOVES, f"a round moves the equilibrium by {far:.3g}: it has no update matrix there{hint}")


def _radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max()) if np.isfinite(matrix).all() else float("nan")


def _changed(setup: Setup, values: Mapping[str, Any], replace: Callable) -> Setup:
    of = {"game": {}, "solver": {}}
    for name, value in values.items():
        owner, _, field = name.rpartition(".")
        if owner:
            of[owner][field] = value
        else:
            setup = setup._replace(step=value)
    if setup.follows and "step" in values and "step" in CONSTANTS[setup.solver.name] and "step" not in of["solver"]:
        of["solver"]["step"] = setup.step
    for owner, fields in of.items():
        setup = setup._replace(**{owner: replace(getattr(setup, owner), **fields)}) if fields else setup
    return setup


def _forced(config: Any, **fields: Any) -> Any:
    """`dataclasses.replace` without the checks, which no traced value passes."""
    config = copy.copy(config)
    for name, value in fields.items():
        object.__setattr__(config, name, value)
    return config
