"""Spectral normalization against NumPy: decomposition, power iteration, gradient, and who iterates how often."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.networks.layers import Convolution, Dense, TransposedConvolution
from vaegan_jax.networks.network import held, pure
from vaegan_jax.networks.norms import BatchNorm

pytestmark = pytest.mark.usefixtures("compiled_quickly")
LAYERS = {
    "dense": (Dense(5, spectral=True), (3, 7), lambda kernel: kernel),
    "convolution": (Convolution(5, 3, 1, spectral=True), (3, 4, 4, 2), lambda kernel: kernel.reshape(18, 5)),
    "transposed": (
        TransposedConvolution(5, 4, 2, spectral=True),
        (3, 4, 4, 2),
        lambda kernel: kernel.transpose(0, 1, 3, 2).reshape(32, 5),  # [k, k, out, in]
    ),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def made(name):
    """The layer as a network, its parameters, stats and an input."""
    layer, shape, _ = LAYERS[name]
    network = pure(layer, jax.ShapeDtypeStruct(shape, jnp.result_type(float)))
    params, stats = jax.tree.map(lambda leaf: noise(*leaf.shape), jax.eval_shape(network.init, jax.random.key(0)))
    u = stats["spectral"]["u"] / np.linalg.norm(stats["spectral"]["u"])
    v = matrix(name, params) @ u
    stats = {"spectral": {"u": u, "v": v / np.linalg.norm(v)}}
    return compiled(network), params | {"bias": noise(5, seed=3)}, stats, noise(*shape, seed=1)


def compiled(network):
    return network._replace(init=jax.jit(network.init), apply=jax.jit(network.apply, static_argnames="train"))


def matrix(name, params):
    return LAYERS[name][2](np.asarray(params["kernel"]))


@each_layer
def test_one_apply_is_one_power_iteration_and_many_divide_by_the_largest_singular_value_of_numpy(name, float64):
    network, params, stats, x = made(name)
    plain = LAYERS[name][0].clone(spectral=False)
    w, u = matrix(name, params), stats["spectral"]["u"]
    left, sigmas, _ = np.linalg.svd(w)

    @jax.jit
    def run(params, stats, x):
        _, once = network.apply(params, stats, x, train=True)
        step = lambda _, stats: network.apply(params, stats, x, train=True)[1]  # noqa: E731
        converged = jax.lax.fori_loop(0, 400, step, stats)
        scaled = plain.apply({"params": params | {"kernel": params["kernel"] / sigmas[0]}}, x)
        return once["spectral"], converged["spectral"], network.apply(params, converged, x)[0], scaled

    once, converged, y, expected = run(params, stats, x)
    v = w @ u / np.linalg.norm(w @ u)
    np.testing.assert_allclose(once["v"], v, rtol=1e-9)
    np.testing.assert_allclose(once["u"], w.T @ v / np.linalg.norm(w.T @ v), rtol=1e-9)
    np.testing.assert_allclose(abs(left[:, 0] @ converged["v"]), 1, rtol=1e-9)
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-10)


def test_out_of_training_the_stored_vectors_are_used_and_kept(float64):
    network, params, stats, x = made("dense")
    sigma = np.linalg.norm(params["kernel"] @ stats["spectral"]["u"])
    y, kept = network.apply(params, stats, x)
    np.testing.assert_allclose(y, x @ params["kernel"] / sigma + params["bias"][None], rtol=1e-10)
    assert kept is not stats and all((kept["spectral"][k] == stats["spectral"][k]).all() for k in "uv")


@pytest.mark.parametrize("train", [True, False])
def test_the_gradient_goes_through_sigma_with_constant_vectors(train, float64):
    """Miyato et al. 2018, eq. 12: dL/dW = (G - <G, W / sigma> v u') / sigma, with G = dL / d(W / sigma)."""
    network, params, stats, x = made("dense")
    weights = noise(3, 5, seed=4)

    def loss(kernel, train=train):
        y, moved = network.apply(params | {"kernel": kernel}, stats, x, train=train)
        return (weights * y**2).sum(), (y, moved)

    found, (y, moved) = jax.jit(jax.grad(loss, has_aux=True))(params["kernel"])
    w = np.asarray(params["kernel"])
    u, v = (np.asarray((moved if train else stats)["spectral"][k]) for k in "uv")
    sigma, g = v @ w @ u, np.asarray(x).T @ (2 * weights * y)
    np.testing.assert_allclose(found, (g - (g * w / sigma).sum() * np.outer(v, u)) / sigma, rtol=1e-7)


class Two(nn.Module):
    """A spectral layer and a batch norm."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        return BatchNorm()(Dense(4, spectral=True)(x, train), train)


def test_applies_of_one_move_share_one_iteration_while_they_thread_batch_statistics():
    x, other = noise(6, 3).astype(np.float32), noise(6, 3, seed=1).astype(np.float32)
    network = compiled(pure(Two(), jax.ShapeDtypeStruct((1, 3), jnp.float32)))
    params, before = network.init(jax.random.key(0))
    _, once = network.apply(params, before, x, train=True)
    _, twice = network.apply(params, held(once, before), other, train=True)
    for one, two in zip(*(jax.tree.leaves(stats["spectral"]) for stats in (once, twice)), strict=True):
        np.testing.assert_array_equal(one, two)
    threaded = network.apply(params, once, other, train=True)[1]
    assert not np.array_equal(threaded["spectral"]["Dense_0"]["u"], once["spectral"]["Dense_0"]["u"])
    mean = lambda stats: stats["batch_stats"]["BatchNorm_0"]["mean"]  # noqa: E731
    assert not np.array_equal(mean(twice), mean(once))


def test_holding_leaves_networks_without_spectral_vectors_alone():
    stats = {"batch_stats": {"mean": 1}}
    assert held(stats, {}) == held(stats, {"batch_stats": {"mean": 2}}) == stats


def test_vectors_stay_in_float32_under_bfloat16_inputs_and_parameters():
    network = pure(Dense(4, spectral=True), jax.ShapeDtypeStruct((1, 3), jnp.float32))
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
    for given in (params, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), params)):
        apply = lambda params, stats, x: network.apply(params, stats, x, train=True)  # noqa: E731
        y, moved = jax.eval_shape(apply, given, stats, jax.ShapeDtypeStruct((2, 3), jnp.bfloat16))
        assert y.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(moved)} == {jnp.dtype("float32")}


def test_a_kernel_of_zeros_stays_one_and_never_makes_nan():
    network, params, stats, x = made("dense")
    params = jax.tree.map(np.zeros_like, params)
    y, moved = network.apply(params, stats, x, train=True)
    assert not np.any(y) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(moved))
