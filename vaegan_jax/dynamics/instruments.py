"""What can be measured of any game at a point: its joint field, the field's Jacobian, weights, and modes over time.

The field v of all players at once is v(w) = (grad_1 loss_1, ..., grad_n loss_n), and a plain step is w - a v(w), so
that a fixed point attracts for small a where the eigenvalues of J = dv/dw have positive real parts. S = (J + J^T) / 2
attracts or repels, A = (J - J^T) / 2 rotates (Balduzzi et al. 2018, arXiv 1802.05642). A *point* is {network: params}.
J v is the vjp of a vjp (`games.products`), so that whatever trains can be measured.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Float, Key, Shaped

from vaegan_jax import games
from vaegan_jax.data.batches import batch as batch_of
from vaegan_jax.data.batches import fetch, read
from vaegan_jax.data.sources import Source
from vaegan_jax.errors import check
from vaegan_jax.games import Batch, Game, Params, Player, State
from vaegan_jax.training.experiment import PLAY, Experiment, augmented

JointField = Callable[[Params], Params]
"""Point -> vector of the same structure."""
Product = Callable[[Params], Params]
"""Vector -> matrix times vector, both of the point's structure."""
DENSE = 5000
"""The most parameters of which a dense Jacobian is made: 200 MB in float64."""
ROWS = 64
"""Rows of it that are made at once."""


class Products(NamedTuple):
    """The field at a point and products with its Jacobian there, all without the matrix; to be traced."""

    value: Params
    jacobian: Product
    transposed: Product
    symmetric: Product
    antisymmetric: Product


class Operator(NamedTuple):
    """A Jacobian for solvers on the host: vectors (size,) in float64, in the order of `ravel_pytree(point)`.

    The products themselves are computed on the device, in the point's own type.
    """

    size: int
    dtype: np.dtype
    jacobian: Callable[[np.ndarray], np.ndarray]
    transposed: Callable[[np.ndarray], np.ndarray]


class Share(NamedTuple):
    """How much of a Jacobian rotates."""

    share: float
    """|A|_F^2 / |J|_F^2, in [0, 1]: 0 where one function is minimized by all, 1 in a bilinear game. NaN where J = 0."""
    error: float
    """Its standard error; 0 where it is exact."""
    symmetric: float
    """|S|_F."""
    antisymmetric: float
    """|A|_F."""
    probes: int
    """Random vectors that it was estimated with; 0 where it is exact."""


def field(game: Game, state: State, batch: Mapping[str, ArrayLike], key: Key[Array, ""]) -> JointField:
    """The field of a move of all players at once, as a pure function of the joint point.

    It is what `games.play` would follow in such a move from this state: batch leaves are (moves, micro-batches,
    examples, ...), of which the first move's are taken, and the key is the run's root key. Stats are held, and so are
    networks that nobody in `game` owns: a game without some of its players has the field of the others.
    The function is a pytree: what is jitted with it as an argument is compiled once for all states of a game.
    """
    leaves = {name: jnp.asarray(leaf) for name, leaf in batch.items()}
    return Partial(_joint(tuple(game.items())), state._replace(opt={}, solver=(), averages=()), leaves, key)


def run_field(experiment: Experiment, state: State, source: Source) -> JointField:
    """The field of a run at a state that `training.reading.read` gives, on the data of the round that comes next.

    `source` holds the training images. Players that the schedule never moves have no part in it.
    """
    indices = batch_of(experiment.config.seed, int(state.step), experiment.batch_shape, len(source))
    data = augmented(experiment, fetch({}, read(source, indices)), jnp.asarray(state.step))
    return field(moving(experiment), state, data, experiment.key(PLAY))


def moving(experiment: Experiment) -> Game:
    """The players that a run's schedule moves."""
    movers = {name for move in experiment.schedule for name in move}
    return {name: player for name, player in experiment.game.items() if name in movers}


def point_of(game: Game, params: Params) -> Params:
    """The joint point: the networks that the game's players own."""
    return {network: params[network] for player in game.values() for network in player.owns}


def entries(networks: Sequence[str], point: Params) -> Bool[np.ndarray, " d"]:
    """Which entries of the vector `ravel_pytree(point)` belong to the networks, of a player say."""
    marks = {n: jax.tree.map(lambda x, mark=n in networks: np.full(np.shape(x), mark), point[n]) for n in point}
    return np.asarray(ravel_pytree(marks)[0], bool)


def jacobian(field: JointField, point: Params) -> Float[np.ndarray, "d d"]:
    """The dense J, float64, in the order of `ravel_pytree(point)`, a vjp a row. UserError beyond 5,000 parameters."""
    size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(point))
    check(size <= DENSE, f"a dense Jacobian of {size:,} parameters is too large (the limit is {DENSE:,})")
    return np.asarray(_dense(_traceable(field), point), np.float64)


def products(field: JointField, point: Params) -> Products:
    """J v, J^T v, S v and A v at a point, each for the price of one or two gradients of the field."""
    value, _, forward, transposed = games.products(lambda point: (field(point), ({}, {})), point)

    def part(sign: float) -> Product:
        return lambda v: jax.tree.map(lambda f, t: (f + sign * t) / 2, forward(v), transposed(v))

    return Products(value, forward, transposed, part(1.0), part(-1.0))


def operator(field: JointField, point: Params) -> Operator:
    """The Jacobian at a point as two functions of the host; both are compiled once a game, at their first call."""
    vector, traceable = ravel_pytree(point)[0], _traceable(field)

    def product(transposed: bool) -> Callable[[np.ndarray], np.ndarray]:
        return lambda v: np.asarray(
            _product(transposed, traceable, point, jnp.asarray(v.ravel(), vector.dtype)), np.float64
        )

    return Operator(vector.size, np.dtype(vector.dtype), product(False), product(True))


def rotation_share(field: JointField, point: Params, key: Key[Array, ""], probes: int = 100) -> Share:
    """|A|_F^2 / |J|_F^2 with random signs z, since E|Mz|^2 = |M|_F^2 (Hutchinson 1990), at 2 products a probe.

    |J|_F^2 is taken as |S|_F^2 + |A|_F^2 of the same probes, so that the share lies in [0, 1]; its error is that of a
    ratio of two means, to first order. UserError for fewer than 2 probes.
    """
    check(probes > 1, f"probes must be at least 2, not {probes}")
    told = [_probed(_traceable(field), point, one) for one in jax.random.split(key, probes)]
    both = np.stack([np.asarray(pair, np.float64) for pair in told], 1)
    (symmetric, antisymmetric), total = both.mean(1), both.sum(0)
    if not total.mean():
        return Share(float("nan"), 0.0, 0.0, 0.0, probes)
    share = antisymmetric / total.mean()
    error = np.std(both[1] - share * total, ddof=1) / probes**0.5 / total.mean()
    return Share(float(share), float(error), float(symmetric**0.5), float(antisymmetric**0.5), probes)


def exact_share(jacobian: Float[np.ndarray, "d d"]) -> Share:
    """The same of a dense Jacobian."""
    symmetric, antisymmetric = (float(np.linalg.norm(jacobian + sign * jacobian.T) / 2) for sign in (1, -1))
    total = symmetric**2 + antisymmetric**2
    return Share(antisymmetric**2 / total if total else float("nan"), 0.0, symmetric, antisymmetric, 0)


def gradient_norms(game: Game, field: JointField, point: Params) -> dict[str, float]:
    """The Euclidean norm of each player's part of the field."""
    vector = _evaluated(_traceable(field), point)
    return {
        name: float(optax.tree.norm({network: vector[network] for network in player.owns}))
        for name, player in game.items()
    }


def singular_values(params: Params) -> dict[str, Float[np.ndarray, " s"]]:
    """Of every array of two axes or more, by its path such as "generator.Dense_0.kernel", the largest first.

    Kernels of convolutions (k, k, in, out) are taken as (k k in, out), and those of transposed ones, which are stored
    as (k, k, out, in), in the same way (Miyato et al. 2018, arXiv 1802.05957, section 3, do so to normalize them).
    """
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name, kernel = jax.tree_util.keystr(path, simple=True, separator="."), np.asarray(leaf, np.float64)
        if kernel.ndim > 1:
            found[name] = np.linalg.svd(as_matrix(name, kernel), compute_uv=False)
    return found


def as_matrix(name: str, kernel: Shaped[ArrayLike, "*inputs out"]) -> Shaped[ArrayLike, "m n"]:
    """A kernel as the matrix whose singular values `singular_values` tells, by the name of its layer."""
    kernel = kernel.swapaxes(-1, -2) if "TransposedConvolution" in name else kernel
    return kernel.reshape(-1, kernel.shape[-1])


@functools.lru_cache(maxsize=8)
def _joint(players: tuple[tuple[str, Player], ...]) -> Callable[[State, Batch, Array, Params], Params]:
    """The same function for the same game, so that jit knows it again."""
    game = dict(players)

    def evaluate(state: State, batch: Batch, key: Array, point: Params) -> Params:
        return games.joint(game, state, batch, key)(point)[0]

    return evaluate


def _traceable(field: JointField) -> Partial:
    return field if isinstance(field, Partial) else Partial(field)


@jax.jit
def _dense(field: Partial, point: Params) -> Array:
    vector, unravel = ravel_pytree(point)
    _, pull = jax.vjp(lambda vector: ravel_pytree(field(unravel(vector)))[0], vector)
    return jax.lax.map(lambda row: pull(row)[0], jnp.eye(vector.size, dtype=vector.dtype), batch_size=ROWS)


@functools.partial(jax.jit, static_argnums=0)
def _product(transposed: bool, field: Partial, point: Params, vector: Array) -> Array:
    made = products(field, point)
    return ravel_pytree((made.transposed if transposed else made.jacobian)(ravel_pytree(point)[1](vector)))[0]


@jax.jit
def _probed(field: Partial, point: Params, key: Array) -> Array:
    """|S z|^2 and |A z|^2. Not a loop over probes: convolutions within one are slow on CPUs."""
    (vector, unravel), made = ravel_pytree(point), products(field, point)
    z = unravel(jax.random.rademacher(key, vector.shape, vector.dtype))
    f, t = (ravel_pytree(product(z))[0] for product in (made.jacobian, made.transposed))
    return jnp.stack([jnp.square((f + t) / 2).sum(), jnp.square((f - t) / 2).sum()])


@jax.jit
def _evaluated(field: Partial, point: Params) -> Params:
    return field(point)
