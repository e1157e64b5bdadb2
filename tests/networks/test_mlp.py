"""Multilayer perceptrons against NumPy, and their parameters counted by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.networks.layers import Dense
from vaegan_jax.networks.mlp import ImageToVector, VectorToImage

SHAPE = (3, 2, 2)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def layers(*sizes):
    """Weights and biases of dense layers between vectors of these sizes."""
    return [
        {"kernel": noise(a, b, seed=at), "bias": noise(b, seed=at + 10)}
        for at, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
    ]


def variables(blocks):
    return {"params": {f"Dense_{at}": jax.tree.map(jnp.asarray, block) for at, block in enumerate(blocks)}}


def forward(x, blocks, slope):
    """The network in NumPy: a (leaky) ReLU between the layers."""
    for at, block in enumerate(blocks):
        x = x if at == 0 else np.where(x > 0, x, slope * x)
        x = x @ block["kernel"] + block["bias"]
    return x


def test_a_dense_layer_is_a_product_and_a_sum(float64):
    x, (block,) = noise(5, 4), layers(4, 3)
    y = Dense(3).apply({"params": jax.tree.map(jnp.asarray, block)}, jnp.asarray(x))
    np.testing.assert_allclose(y, x @ block["kernel"] + block["bias"], rtol=1e-13)


def test_a_new_dense_layer_has_weights_of_variance_one_over_its_inputs_and_no_biases():
    params = Dense(300).init(jax.random.key(0), jnp.zeros((1, 200)))["params"]
    assert not params["bias"].any()
    assert abs(params["kernel"].std() * math.sqrt(200) - 1) < 5 / math.sqrt(2 * params["kernel"].size)


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)], ids=str)
def test_from_images_to_vectors_as_in_numpy(hidden, slope, float64):
    x, blocks = noise(6, *SHAPE), layers(12, *hidden, 4)
    y = ImageToVector(hidden, 4, slope).apply(variables(blocks), jnp.asarray(x))
    np.testing.assert_allclose(y, forward(x.reshape(6, 12), blocks, slope), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)], ids=str)
def test_from_vectors_to_images_as_in_numpy(hidden, float64):
    z, blocks = noise(6, 4), layers(4, *hidden, 12)
    x = VectorToImage(hidden, SHAPE).apply(variables(blocks), jnp.asarray(z))
    np.testing.assert_allclose(x, forward(z, blocks, 0.0).reshape(6, *SHAPE), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_parameters_are_those_that_one_counts_by_hand(channels):
    pixels = 28 * 28 * channels
    for module, x, count in (
        (ImageToVector((500, 300), 40), (1, 28, 28, channels), pixels * 500 + 500 + 500 * 300 + 300 + 300 * 40 + 40),
        (VectorToImage((300, 500), (28, 28, channels)), (1, 20), 20 * 300 + 300 + 300 * 500 + 500 + 501 * pixels),
        (ImageToVector((), 40), (1, 28, 28, channels), (pixels + 1) * 40),
    ):
        made = jax.eval_shape(lambda key, module=module, x=x: module.init(key, jnp.zeros(x)), jax.random.key(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(made)) == count
