"""What a toy game is: a game of the engine that comes with its answers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import ArrayLike

from vaegan_jax.errors import check
from vaegan_jax.games import Batch, Game, Params, Player, Schedule

Optimizers = Mapping[str, optax.GradientTransformation]
Value = Callable[[jax.Array, jax.Array, Batch], jax.Array]

MIN, MAX = "min", "max"
"""The players of min_x max_y f(x, y); they own the networks "x" and "y"."""
JOINT: Schedule = ((MIN, MAX),)
"""Both at once, from the same point."""


def no_data(round: int, moves: int = 1) -> Batch:
    """The batch of a game that needs no data."""
    return {}


class Toy(NamedTuple):
    """A game of the engine with its answers. Wherever parameters are a vector, it is `ravel_pytree(start)`'s."""

    name: str
    game: Game
    schedule: Schedule
    """All players at once; a solver may choose another."""
    start: Params
    """A usual starting point."""
    equilibrium: Params | None
    jacobian: np.ndarray | None
    """(d, d), float64: of the field at the equilibrium, where it has a closed form."""
    singular_values: tuple[float, ...] = ()
    """Of the matrix of a bilinear game: the closed forms of `theory` take them."""
    batch: Callable[..., Batch] = no_data
    """(round, moves=1) -> the data of a round, leaves (moves, micro-batches, examples, ...)."""
    sample: Callable[[Params, jax.Array], jax.Array] | None = None
    """Of a GAN: (params, keys (n,)) -> generated samples (n, 2)."""
    real: Callable[[jax.Array], jax.Array] | None = None
    """Of a GAN: keys (n,) -> samples of the data (n, 2)."""


def zero_sum(f: Value, optimizers: Optimizers | None, step: float) -> Game:
    """min_x max_y f(x, y, batch): the player "min" owns x and minimizes f, "max" owns y and minimizes -f."""
    chosen = choose(optimizers, step, (MIN, MAX))

    def player(name: str, network: str, sign: int) -> Player:
        def loss(params, stats, batch, key, step):
            return sign * f(params["x"], params["y"], batch), ({}, {})

        return Player((network,), loss, chosen[name])

    return {MIN: player(MIN, "x", 1), MAX: player(MAX, "y", -1)}


def choose(optimizers: Optimizers | None, step: float, players: tuple[str, ...]) -> Optimizers:
    """The optimizer of each player: plain steps of size `step` where none is given.

    Raises UserError for a step that is not above 0 and finite, ValueError for an optimizer of nobody.
    """
    check(0 < step < float("inf"), f"step must be above 0 and finite, not {step}")
    if strangers := sorted(set(optimizers or {}) - set(players)):
        raise ValueError(f"optimizers of {', '.join(strangers)}, but the players are {', '.join(players)}")
    return {name: optax.sgd(step) for name in players} | dict(optimizers or {})


def point(x: ArrayLike, y: ArrayLike) -> Params:
    """The parameters of a game of two networks, in JAX's default precision."""
    return {"x": jnp.asarray(x, float), "y": jnp.asarray(y, float)}


def answer(make: Callable[[], Any]) -> Any:
    """What `make` computes; None where a field of the game is traced, so that its answers have no value."""
    try:
        return make()
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        return None


def coupled(matrix: np.ndarray) -> np.ndarray:
    """J of the field (A y, -A^T x) of min_x max_y x^T A y."""
    n, m = matrix.shape
    return np.block([[np.zeros((n, n)), matrix], [-matrix.T, np.zeros((m, m))]])
