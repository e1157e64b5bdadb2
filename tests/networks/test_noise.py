"""Noise that is put into a network from outside."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.networks import dcgan, noise
from vaegan_jax.networks.layers import Dense
from vaegan_jax.networks.network import pure

pytestmark = pytest.mark.usefixtures("compiled_quickly")
KEYS = jax.random.split(jax.random.key(1), 3)


class Linear(nn.Module):
    """x W V: what noise does to it is known."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        hidden = Dense(4, use_bias=False)(x, train)
        return Dense(2, use_bias=False)(hidden, train)


def test_it_is_added_to_what_each_layer_but_the_first_is_given_relative_to_its_size(float64):
    network = pure(Linear(), jax.ShapeDtypeStruct((1, 3), jnp.float64))
    params, stats = network.init(jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    made, _ = noise.noisy(network, 0.3).apply(params, stats, x, keys=KEYS, train=True)
    hidden = x @ params["Dense_0"]["kernel"]
    drawn = np.stack([jax.random.normal(jax.random.fold_in(key, 1), (4,)) for key in KEYS])
    disturbed = hidden + 0.3 * np.sqrt((hidden**2).mean(1, keepdims=True)) * drawn
    np.testing.assert_allclose(made, disturbed @ params["Dense_1"]["kernel"], rtol=1e-12)


def test_without_keys_there_is_none_and_with_them_each_example_has_its_own(float64):
    network = pure(Linear(), jax.ShapeDtypeStruct((1, 3), jnp.float64))
    (params, stats), disturbed = network.init(jax.random.key(0)), noise.noisy(network, 0.3)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    np.testing.assert_array_equal(disturbed.apply(params, stats, x)[0], network.apply(params, stats, x)[0])
    made, _ = disturbed.apply(params, stats, x, keys=KEYS)
    alone, _ = disturbed.apply(params, stats, x[1:2], keys=KEYS[1:2])
    np.testing.assert_allclose(made[1:2], alone, rtol=1e-12)


def test_every_map_of_a_conditional_generator_has_some_and_gains_have_none(monkeypatch):
    shapes = []
    monkeypatch.setattr(noise, "_like", lambda x, keys: shapes.append(x.shape[1:]) or jnp.zeros_like(x))
    module = dcgan.Generator((16, 16, 1), width=2, conditional="norm")
    examples = (jax.ShapeDtypeStruct((1, 3), jnp.float32), jax.ShapeDtypeStruct((1, 5), jnp.float32))
    network = noise.noisy(pure(module, *examples), 0.1)
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
    jax.eval_shape(
        lambda params, stats: network.apply(params, stats, jnp.ones((3, 3)), jnp.ones((3, 5)), keys=KEYS, train=True),
        params,
        stats,
    )
    assert shapes == [(4, 4, 4), (8, 8, 2)]
