"""Batch norm against NumPy, flax and itself on several devices; the layers around the convolutions' triple."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.games import AXIS, device_mean
from vaegan_jax.networks.layers import MOMENTUM, BatchNorm, Convolution, TransposedConvolution

EPSILON = 1e-5
CHANNELS = 3
shapes = pytest.mark.parametrize("shape", [(8, CHANNELS), (8, 2, 3, CHANNELS)], ids=str)
SCALE, BIAS = np.array([1.5, -0.7, 0.2]), np.array([0.3, 2.0, -1.0])
RUNNING_MEAN, RUNNING_VARIANCE = np.array([-1.0, 0.5, 3.0]), np.array([0.5, 1.0, 2.5])
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def inputs(shape):
    """Each channel with a mean and a deviation of its own."""
    return noise(*shape, seed=1) * [0.3, 1.0, 4.0] + [-2.0, 0.5, 7.0]


def variables(dtype=np.float64):
    params = {"scale": jnp.asarray(SCALE, dtype), "bias": jnp.asarray(BIAS, dtype)}
    running = {"mean": jnp.asarray(RUNNING_MEAN, dtype), "variance": jnp.asarray(RUNNING_VARIANCE, dtype)}
    return {"params": params, "batch_stats": running}


def training(given, x):
    """Outputs, and the new running statistics."""
    y, changed = BatchNorm().apply(given, x, True, mutable=["batch_stats"])
    return y, changed["batch_stats"]


def moments(x):
    """Mean and biased variance of each channel, by sums."""
    rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    mean = rows.sum(0) / len(rows)
    return mean, ((rows - mean) ** 2).sum(0) / len(rows)


@shapes
def test_in_training_batch_norm_has_the_mean_and_the_biased_variance_of_the_batch(shape, float64):
    x = inputs(shape)
    mean, variance = moments(x)
    y, _ = training(variables(), jnp.asarray(x))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + EPSILON) * SCALE + BIAS, rtol=1e-12, atol=1e-12)


@shapes
def test_in_training_the_running_statistics_move_by_a_tenth_towards_those_of_the_batch(shape, float64):
    x = inputs(shape)
    mean, variance = moments(x)
    _, running = training(variables(), jnp.asarray(x))
    assert MOMENTUM == 0.9
    np.testing.assert_allclose(running["mean"], 0.9 * RUNNING_MEAN + 0.1 * mean, rtol=1e-12)
    np.testing.assert_allclose(running["variance"], 0.9 * RUNNING_VARIANCE + 0.1 * variance, rtol=1e-12)


@shapes
def test_out_of_training_batch_norm_is_an_affine_map_by_the_running_statistics(shape, float64):
    x = inputs(shape)
    y, changed = BatchNorm().apply(variables(), jnp.asarray(x), False, mutable=["batch_stats"])
    expected = (x - RUNNING_MEAN) / np.sqrt(RUNNING_VARIANCE + EPSILON) * SCALE + BIAS
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    for old, new in zip(*map(jax.tree.leaves, (variables()["batch_stats"], changed["batch_stats"])), strict=True):
        np.testing.assert_array_equal(old, new)


@shapes
def test_the_gradient_of_batch_norm_in_training_is_the_formula_of_the_paper(shape, float64):
    x, weights = inputs(shape), noise(*shape)

    def loss(params, x):
        return (training(variables() | {"params": params}, x)[0] * weights).sum()

    to_params, to_x = jax.grad(loss, (0, 1))(variables()["params"], jnp.asarray(x))
    mean, variance = moments(x)
    axes, count = tuple(range(x.ndim - 1)), x.size // CHANNELS
    normal = (x - mean) / np.sqrt(variance + EPSILON)
    # Ioffe & Szegedy 2015, section 3, with the terms collected: what is left of dy without its mean and its x part.
    rest = weights - weights.sum(axes) / count - normal * (weights * normal).sum(axes) / count
    np.testing.assert_allclose(to_x, SCALE / np.sqrt(variance + EPSILON) * rest, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(to_params["scale"], (weights * normal).sum(axes), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(to_params["bias"], weights.sum(axes), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_equals_that_of_flax(train, float64):
    x, ours = jnp.asarray(inputs((6, 4, 5, CHANNELS))), variables()
    theirs = nn.BatchNorm(not train, momentum=MOMENTUM, epsilon=EPSILON, use_fast_variance=False, dtype=x.dtype)
    renamed = {"mean": ours["batch_stats"]["mean"], "var": ours["batch_stats"]["variance"]}
    with jax.numpy_rank_promotion("allow"):  # flax's own way to add vectors
        expected, changed = theirs.apply(ours | {"batch_stats": renamed}, x, mutable=["batch_stats"])
    y, running = BatchNorm().apply(ours, x, train, mutable=["batch_stats"])
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    for name, other in (("mean", "mean"), ("variance", "var")):
        np.testing.assert_allclose(running["batch_stats"][name], changed["batch_stats"][other], rtol=1e-12)


def test_four_devices_under_pmap_have_the_outputs_statistics_and_gradients_of_one(float64):
    shape = (8, 2, 2, CHANNELS)
    x, weights = jnp.asarray(inputs(shape)), jnp.asarray(noise(*shape))

    def run(x, weights):
        def loss(params, x):
            y, running = training(variables() | {"params": params}, x)
            return (y * weights).mean(), (y, running)

        (_, aux), (to_params, to_x) = jax.value_and_grad(loss, (0, 1), has_aux=True)(variables()["params"], x)
        return aux, device_mean(to_params), to_x

    (y, running), to_params, to_x = run(x, weights)
    deal = lambda leaf: leaf.reshape(4, 2, *leaf.shape[1:])  # noqa: E731
    (ys, runnings), to_several, to_xs = jax.pmap(run, AXIS, devices=jax.devices()[:4])(deal(x), deal(weights))
    np.testing.assert_allclose(ys.reshape(y.shape), y, rtol=1e-12, atol=1e-12)
    for one, several in zip(*map(jax.tree.leaves, ((running, to_params), (runnings, to_several))), strict=True):
        for device in range(4):
            np.testing.assert_allclose(several[device], one, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(to_xs.reshape(x.shape) / 4, to_x, rtol=1e-9, atol=1e-13)  # the mean of 2, not of 8


def test_statistics_stay_in_float32_where_the_input_is_bfloat16():
    x = jnp.asarray(inputs((16, 4, 4, CHANNELS)), jnp.bfloat16)
    mean, variance = moments(np.asarray(x, np.float64))
    y, running = training(variables(np.float32), x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(running)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(running["mean"], 0.9 * RUNNING_MEAN + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(running["variance"], 0.9 * RUNNING_VARIANCE + 0.1 * variance, rtol=1e-5)
    expected = (np.asarray(x, np.float64) - mean) / np.sqrt(variance + EPSILON) * SCALE + BIAS
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8, atol=1e-5)  # one rounding, at the end


def test_the_variance_survives_a_mean_that_is_far_from_zero():
    x = (1e4 + noise(64, CHANNELS)).astype(np.float32)
    _, running = training(variables(np.float32), jnp.asarray(x))
    batch = (np.asarray(running["variance"], np.float64) - 0.9 * RUNNING_VARIANCE) / 0.1
    np.testing.assert_allclose(batch, moments(x)[1], rtol=1e-3)


def test_a_batch_of_equal_inputs_gives_the_bias_and_finite_gradients():
    x = jnp.full((4, CHANNELS), 3.0)
    y, _ = training(variables(np.float32), x)
    np.testing.assert_allclose(y, np.tile(np.float32(BIAS), (4, 1)), rtol=1e-6)
    assert jnp.isfinite(jax.grad(lambda x: jnp.square(training(variables(np.float32), x)[0]).sum())(x)).all()


def test_batch_norm_begins_with_the_identity_and_with_the_statistics_of_a_standard_normal():
    given = BatchNorm().init(jax.random.key(0), jnp.asarray(inputs((8, CHANNELS)), jnp.float32), True)
    expected = {"params": {"scale": 1, "bias": 0}, "batch_stats": {"mean": 0, "variance": 1}}
    assert jax.tree.structure(given) == jax.tree.structure(expected)
    for leaf, value in zip(jax.tree.leaves(given), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(leaf, np.full(CHANNELS, value, np.float32))


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
