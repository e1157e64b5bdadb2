"""Small games that several tests of the engine play, and how they look at them."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats
from jax.flatten_util import ravel_pytree

from vaegan_jax.games import Player, example_keys, init

KEY = jax.random.key(0)
JOINT, TURNS = (("first", "second"),), (("first",), ("second",))
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiling is what takes long


class Svd(NamedTuple):
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray


# The largest singular value is 1: a s stays below 1/2, where optimism has a double root and eigenvalues lose digits.
MATRICES = {
    "xy": Svd(np.eye(1), np.ones(1), np.eye(1)),
    "4x4": Svd(
        scipy.stats.ortho_group.rvs(4, random_state=1),
        np.array([1.0, 0.7, 0.4, 0.15]),
        scipy.stats.ortho_group.rvs(4, random_state=2),
    ),
}


def bilinear(matrix, txs, dtype):
    """min_x max_y x^T A y with its parameters: of two scalars where A has one entry."""
    svd = MATRICES[matrix]
    A = jnp.asarray(svd.left * svd.values @ svd.right.T, dtype)
    A = A[0, 0] if A.size == 1 else A

    def player(network, sign, tx):
        def loss(params, stats, batch, key, step):
            return sign * jnp.dot(params["x"], jnp.dot(A, params["y"])), ({}, {})

        return Player((network,), loss, tx)

    start = {name: jnp.ones(A.shape[:1], dtype) for name in ("x", "y")}
    return {"first": player("x", 1, txs[0]), "second": player("y", -1, txs[1])}, start


def vectorized(round, state):
    """One jitted round as a function of the vector of the state's floats: parameters, then the optimizers' traces."""
    leaves, structure = jax.tree.flatten(state)
    moving = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    start, unravel = ravel_pytree([leaf for leaf, moves in zip(leaves, moving, strict=True) if moves])

    @jit
    def function(vector):
        # What is no float is a step of 0 and optax's flag of a first step, which is unlike the others: false here.
        floats = iter(unravel(vector))
        full = [next(floats) if m else jnp.zeros_like(leaf) for leaf, m in zip(leaves, moving, strict=True)]
        new, _ = round(structure.unflatten(full), {}, KEY)
        return ravel_pytree([leaf for leaf, m in zip(jax.tree.leaves(new), moving, strict=True) if m])[0]

    return start, function


def update_matrix(start, function):
    return np.stack([function(basis) for basis in np.eye(len(start), dtype=start.dtype)], axis=1).astype(np.float64)


def still(*owns, stats=lambda old: {}, metrics=None):
    """A player with a constant slope, whose loss makes its stats from the old ones by the function given."""

    def loss(params, old, batch, key, step):
        return sum(jnp.sum(params[network]) for network in owns), (stats(old), metrics or {})

    return Player(owns, loss, optax.sgd(0.1))


COUNTED = {"A": {"count": jnp.zeros((), jnp.int32), "mean": jnp.zeros(2)}}


def split(array, moves=1, micro_batches=1):
    """(examples, ...) in the engine's layout, the same examples for each move."""
    micro = np.reshape(array, (micro_batches, -1, *array.shape[1:]))
    return np.broadcast_to(micro, (moves, *micro.shape))


def words(key, batch):
    """The two words of each example's key as noise in [-1/2, 1/2): draws of jax.random take much longer to compile."""
    return jax.random.key_data(example_keys(key, batch)).astype(float) / 2.0**32 - 0.5


def normals(key, batch):
    key, _ = jax.random.split(key)  # uses the key up, which folding a number in does not
    return jax.vmap(lambda key: jax.random.normal(key, (2,)))(example_keys(key, batch))


def gan(noise=words):
    """A small least-squares GAN with noise by position, whose losses are means over examples that no network mixes."""

    def scores(params, batch, key):
        drawn = noise(key, batch)
        fake = drawn @ params["generator"]["kernel"] + params["generator"]["bias"]
        critic = params["critic"]
        return (jnp.square(image @ critic["kernel"]) @ critic["out"] for image in (fake, batch["image"] + drawn))

    def critic_loss(params, stats, batch, key, step):
        fake, real = scores(params, batch, key)
        mean = 0.9 * stats["critic"]["mean"] + 0.1 * jnp.mean(batch["image"], axis=0)
        moved = {"count": stats["critic"]["count"] + 1, "mean": mean}
        return jnp.mean(jnp.square(fake) + jnp.square(real - 1)), ({"critic": moved}, {"real": jnp.mean(real)})

    def generator_loss(params, stats, batch, key, step):
        fake, _ = scores(params, batch, key)
        return jnp.mean(jnp.square(fake - 1)), ({}, {"fake": jnp.mean(fake)})

    return {
        "critic": Player(("critic",), critic_loss, optax.sgd(0.1, momentum=0.5)),
        "generator": Player(("generator",), generator_loss, optax.sgd(0.1)),
    }


BOTH = (("critic", "generator"),)


def gan_state(game):
    rng = np.random.default_rng(6)
    kernel, out, mixing = (jnp.asarray(rng.normal(size=shape) / 2) for shape in ((2, 3), (3,), (2, 2)))
    params = {"critic": {"kernel": kernel, "out": out}, "generator": {"kernel": mixing, "bias": jnp.zeros((1, 2))}}
    return init(game, params, {"critic": {"count": jnp.zeros((), int), "mean": jnp.zeros(2)}})


def gan_batch(micro_batches=1, moves=1):
    leaves = {"image": np.random.default_rng(7).normal(size=(8, 2)), "position": np.arange(8)}
    return {name: split(leaf, moves, micro_batches) for name, leaf in leaves.items()}


def rounds(round, state, batch, count=3):
    round = jit(round)
    for _ in range(count):
        state, metrics = round(state, batch, KEY)
    return state, metrics


def assert_close(left, right, tolerance):
    chex.assert_trees_all_equal_dtypes(left, right)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), left, right)
