"""Micro-batches, devices and keys: however a batch is split, it is one batch, and no key is used twice."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import BOTH, KEY, assert_close, gan, gan_batch, gan_state, jit, normals, rounds, still

from vaegan_jax.games import AXIS, POOL, Player, consensus, device_mean, init, play, symplectic


def test_a_pool_of_examples_passes_where_it_is_whole():
    game = {"a": still("A", stats=lambda old: {"A": {POOL: old["A"][POOL] + 1}})}
    state = init(game, {"A": jnp.ones(2)}, {"A": {POOL: jnp.ones((5, 3))}})
    state, _ = jit(play(game, (("a",),)))(state, {"image": jnp.ones((1, 1, 4))}, KEY)
    np.testing.assert_array_equal(state.stats["A"][POOL], np.full((5, 3), 2))


EVERY_WAY = {
    "gradient": {},
    "consensus": {"direction": consensus(0.3)},
    "symplectic": {"direction": symplectic(0.3, align=True)},
}


@pytest.mark.parametrize(
    ("schedule", "micro_batches", "how"),
    [
        (BOTH, 2, {"direction": consensus(0.3), "extrapolate": 0.1}),
        ((*(("critic",),) * 11, *BOTH), 1, {}),
    ],
    ids=["extragradient of consensus on micro-batches", "a loop over moves"],
)
def test_no_key_is_used_twice(schedule, micro_batches, how):
    game = gan(normals)
    with jax.debug_key_reuse(True):
        rounds(play(game, schedule, **how), gan_state(game), gan_batch(micro_batches, len(schedule)), 1)


def test_the_check_of_keys_sees_into_losses():
    def loss(params, stats, batch, key, step):
        return params["A"] * jax.random.normal(key) * jax.random.uniform(key), ({}, {})

    game = {"a": Player(("A",), loss, optax.sgd(0.1))}
    with jax.debug_key_reuse(True), pytest.raises(jax.errors.KeyReuseError):
        rounds(play(game, (("a",),)), init(game, {"A": jnp.ones(())}), {}, 1)


def test_all_of_this_ran_with_silent_broadcasts_between_ranks_refused():
    assert jax.config.jax_numpy_rank_promotion == "raise"
    with pytest.raises(ValueError, match="jax_numpy_rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)


@functools.cache
def whole(way):
    """Three rounds on one device with one micro-batch."""
    return rounds(play(gan(), BOTH, **EVERY_WAY[way]), gan_state(gan()), gan_batch())


@pytest.mark.parametrize(
    ("way", "micro_batches"), [*itertools.product(EVERY_WAY, [2]), ("gradient", 4), ("consensus", 4)]
)
def test_micro_batches_are_one_batch(way, micro_batches, float64):
    round = play(gan(), BOTH, **EVERY_WAY[way])
    assert_close(rounds(round, gan_state(gan()), gan_batch(micro_batches)), whole(way), 1e-12)


def test_float_stats_are_averaged_over_micro_batches_and_integers_counted_once(float64):
    game = gan()
    state, _ = rounds(play(game, (("critic",),)), gan_state(game), gan_batch(4, moves=1), 2)
    mean = np.mean(gan_batch(1, moves=1)["image"], axis=(0, 1, 2))
    np.testing.assert_allclose(state.stats["critic"]["mean"], (0.9 + 1) * 0.1 * mean, rtol=1e-12)
    assert state.stats["critic"]["count"] == 2


def mapped(function, in_axes):
    """Over the four virtual devices of conftest, awaited: JAX 0.10 deadlocks on CPU when two calls are under way."""
    over = jax.pmap(function, AXIS, in_axes=in_axes)
    return lambda *arguments: jax.block_until_ready(over(*arguments))


def on_each(tree):
    return jax.tree.map(lambda leaf: np.stack([leaf] * 4), tree)


@pytest.mark.parametrize("way", ["consensus", "symplectic"])
def test_four_devices_under_pmap_are_one(way, float64):
    round, state = mapped(play(gan(), BOTH, **EVERY_WAY[way]), (0, 0, None)), gan_state(gan())
    state, batch = on_each(state), jax.tree.map(lambda leaf: np.stack(np.split(leaf, 4, axis=2)), gan_batch())
    for _ in range(3):
        state, metrics = round(state, batch, KEY)
    assert_close((state, metrics), on_each(whole(way)), 1e-12)


def test_a_pool_of_examples_is_refused_under_pmap():
    game = {"a": still("A", stats=lambda old: old)}
    state = init(game, {"A": jnp.ones(2)}, {"A": {POOL: jnp.ones((5, 3))}})
    with pytest.raises(ValueError, match=f"{POOL} .*mapped"):
        mapped(play(game, (("a",),)), (None, 0, None))(state, {"image": jnp.ones((4, 1, 1, 2))}, KEY)


def test_device_mean_is_the_mean_over_devices_of_floats_and_the_identity_of_the_rest():
    floats, integers = np.arange(8.0, dtype=np.float32).reshape(4, 2), np.arange(4)
    tree = {"float": jnp.asarray(floats), "integer": jnp.asarray(integers), "flag": jnp.asarray(integers > 1)}
    mean = mapped(device_mean, 0)(tree)
    np.testing.assert_allclose(mean["float"], np.tile(floats.mean(0), (4, 1)))
    np.testing.assert_array_equal(mean["integer"], integers)
    np.testing.assert_array_equal(mean["flag"], integers > 1)
    chex.assert_trees_all_equal(device_mean(tree), tree)
    chex.assert_trees_all_equal(jit(device_mean)(tree), tree)
    # Other axes than that of the devices are left alone.
    chex.assert_trees_all_equal(jax.vmap(device_mean, axis_name="examples")(tree), tree)
