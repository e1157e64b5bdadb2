"""A linen module as a pair of pure functions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.networks.layers import Dense
from vaegan_jax.networks.network import init_networks, pure
from vaegan_jax.networks.norms import BatchNorm


class Normed(nn.Module):
    """A dense layer and a batch norm."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        return BatchNorm()(Dense(3)(x), train)


class Plain(nn.Module):
    """A dense layer."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        return Dense(3)(x)


EXAMPLE = jax.ShapeDtypeStruct((1, 4), jnp.float32)
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
modules = pytest.mark.parametrize("module", [Normed(), Plain()], ids=lambda module: type(module).__name__)


def bits(tree):
    """Names, types and bytes of all leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), str(leaf.dtype), np.asarray(leaf).tobytes()) for path, leaf in leaves]


@modules
def test_init_depends_on_the_key_alone(module):
    init = jax.jit(pure(module, EXAMPLE).init)
    assert bits(init(jax.random.key(0))) == bits(init(jax.random.key(0)))
    assert bits(init(jax.random.key(0))) != bits(init(jax.random.key(1)))


@modules
@pytest.mark.parametrize("train", [True, False])
def test_apply_changes_none_of_its_arguments_and_gives_the_same_again(module, train):
    network = pure(module, EXAMPLE)
    params, stats = network.init(jax.random.key(0))
    before = bits((params, stats))
    first, again = (network.apply(params, stats, jnp.asarray(X), train=train) for _ in range(2))
    assert bits((params, stats)) == before
    assert bits(first) == bits(again)
    assert jax.tree.structure(first[1]) == jax.tree.structure(stats)


def test_only_training_moves_the_stats():
    network = pure(Normed(), EXAMPLE)
    params, stats = network.init(jax.random.key(0))
    assert bits(network.apply(params, stats, jnp.asarray(X))[1]) == bits(stats)
    _, moved = network.apply(params, stats, jnp.asarray(X), train=True)
    for (name, _, old), (same, _, new) in zip(bits(stats), bits(moved), strict=True):
        assert name == same
        assert old != new, name


def test_a_module_without_stats_has_empty_ones():
    network = pure(Plain(), EXAMPLE)
    params, stats = network.init(jax.random.key(0))
    assert stats == {}
    y, moved = network.apply(params, stats, jnp.asarray(X), train=True)
    assert moved == {}
    np.testing.assert_allclose(y, X @ params["Dense_0"]["kernel"], rtol=1e-5, atol=1e-6)


def test_stats_that_the_module_does_not_know_are_kept():
    network = pure(Normed(), EXAMPLE)
    params, stats = network.init(jax.random.key(0))
    stats["spectral"] = {"u": jnp.ones(3)}
    for train in (True, False):
        _, moved = network.apply(params, stats, jnp.asarray(X), train=train)
        np.testing.assert_array_equal(moved["spectral"]["u"], np.ones(3))


def test_every_network_has_its_own_key_whatever_the_order_in_which_they_are_named():
    network = pure(Plain(), EXAMPLE)
    params, stats = init_networks({"b": network, "a": network}, jax.random.key(0))
    swapped, _ = init_networks({"a": network, "b": network}, jax.random.key(0))
    assert set(params) == set(stats) == {"a", "b"}
    assert bits(params["a"]) == bits(swapped["a"])
    assert bits(params["b"]) == bits(swapped["b"])
    assert bits(params["a"]) != bits(params["b"])
