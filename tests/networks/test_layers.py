"""The layers around the convolutions' triple: sizes, transposes, resampling, types."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.networks.layers import Convolution, Dense, TransposedConvolution
from vaegan_jax.networks.resampling import average_pool, nearest

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def shape_of(layer, shape):
    return jax.eval_shape(layer.init_with_output, jax.random.key(0), jnp.zeros(shape))[0].shape


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 3), (7, 8), (28, 28), (5, 6), (33, 16)], ids=str)
def test_a_convolution_divides_the_sides_by_its_stride_rounded_up_and_a_transposed_one_multiplies_them(size, stride):
    h, w = size
    for kernel in (3, 4, 5):
        rounded = (2, (h + stride - 1) // stride, (w + stride - 1) // stride, 5)
        assert shape_of(Convolution(5, kernel, stride), (2, h, w, 3)) == rounded
        assert shape_of(TransposedConvolution(5, kernel, stride), (2, h, w, 3)) == (2, h * stride, w * stride, 5)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2), (5, 3)])
def test_a_convolution_and_a_transposed_one_that_share_a_kernel_are_adjoint(kernel, stride, float64):
    size = (3, 5)  # of y; x has stride times as many
    x, y = jnp.asarray(noise(2, stride * size[0], stride * size[1], 3)), jnp.asarray(noise(2, *size, 4, seed=1))
    shared = {"params": {"kernel": jnp.asarray(noise(kernel, kernel, 3, 4, seed=2))}}
    forward = Convolution(4, kernel, stride, use_bias=False).apply(shared, x)
    back = TransposedConvolution(3, kernel, stride, use_bias=False).apply(shared, y)
    np.testing.assert_allclose((forward * y).sum(), (x * back).sum(), rtol=1e-12)


@pytest.mark.parametrize("size", [(7, 6), (8, 5)], ids=str)
def test_convolutions_with_a_bias_equal_those_of_flax(size, float64):
    x = jnp.asarray(noise(2, *size, 3))
    kernel, bias = jnp.asarray(noise(4, 4, 3, 5, seed=1)), jnp.asarray(noise(5, seed=2))
    common = {"kernel_size": (4, 4), "strides": (2, 2), "padding": "SAME", "param_dtype": x.dtype}
    with jax.numpy_rank_promotion("allow"):
        expected = nn.Conv(5, **common).apply({"params": {"kernel": kernel, "bias": bias}}, x)
        swapped = {"kernel": kernel.swapaxes(2, 3), "bias": bias}  # of a transpose: (k, k, out, in)
        transposed = nn.ConvTranspose(5, transpose_kernel=True, **common).apply({"params": swapped}, x)
    np.testing.assert_allclose(
        Convolution(5).apply({"params": {"kernel": kernel, "bias": bias}}, x), expected, rtol=1e-11, atol=1e-11
    )
    np.testing.assert_allclose(
        TransposedConvolution(5).apply({"params": swapped}, x), transposed, rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_resampling_convolutions_equal_a_resampling_and_a_convolution_with_their_gradients(k, float64):
    x, kernel = noise(2, 4, 6, 3), noise(k, k, 3, 5, seed=1)
    weights = {"up": noise(2, 8, 12, 5, seed=2), "down": noise(2, 2, 3, 5, seed=3)}
    apply = lambda kernel, x, **options: Convolution(5, k, 1, False, **options).apply(  # noqa: E731
        {"params": {"kernel": kernel}}, x
    )
    separate = {
        "up": lambda kernel, x: apply(kernel, nearest(x)),
        "down": lambda kernel, x: average_pool(apply(kernel, x)),
    }
    together = {way: lambda kernel, x, way=way: apply(kernel, x, resample=way) for way in separate}

    @functools.partial(jax.jit, static_argnums=0)
    def values_and_gradients(which, kernel, x):
        ways = (separate, together)[which]
        loss = lambda kernel, x: sum((ways[way](kernel, x) * weights[way]).sum() for way in ways)  # noqa: E731
        return [ways[way](kernel, x) for way in ways], jax.grad(loss, (0, 1))(kernel, x)

    expected, found = (values_and_gradients(which, kernel, x) for which in (0, 1))
    for a, b in zip(*map(jax.tree.leaves, (expected, found)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("k", "stride", "size"), [(4, 1, 4), (3, 2, 4), (3, 1, 5)])
def test_resampling_refuses_what_it_cannot_fuse(k, stride, size):
    with pytest.raises(ValueError, match=f"not {k} x {k} of stride {stride}|cannot be halved"):
        shape_of(Convolution(2, k, stride, resample="down"), (1, size, size, 3))


def test_layers_compute_in_the_type_of_their_input_with_parameters_in_float32():
    for layer, shape in (
        (Dense(3, spectral=True), (2, 4)),
        (Convolution(3, spectral=True), (2, 4, 4, 5)),
        (Convolution(3, 3, 1, resample="up"), (2, 4, 4, 5)),
        (TransposedConvolution(3, spectral=True), (2, 4, 4, 5)),
    ):
        x = jnp.asarray(noise(*shape), jnp.bfloat16)
        y, given = jax.eval_shape(lambda x, layer=layer: layer.init_with_output(jax.random.key(0), x, train=True), x)
        assert y.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(given)} == {jnp.dtype("float32")}


def test_leaving_the_bias_out_leaves_the_kernel():
    x = np.asarray(noise(2, 4), np.float32)
    y, given = jax.jit(Dense(3, use_bias=False).init_with_output)(jax.random.key(0), x)
    assert set(given["params"]) == {"kernel"}
    np.testing.assert_allclose(y, x @ np.asarray(given["params"]["kernel"]), rtol=1e-5, atol=1e-6)
