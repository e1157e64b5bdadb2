"""Normalizations against NumPy, flax and themselves on several devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import check_slope, on_devices

from vaegan_jax.games import AXIS, device_mean
from vaegan_jax.networks.norms import MOMENTUM, BatchNorm, InstanceNorm, LayerNorm, PixelNorm, normalize

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


LABELS = np.array([0, 2, 1, 2, 0, 0, 1, 2])
TABLES = {"scale": noise(3, CHANNELS, seed=5), "bias": noise(3, CHANNELS, seed=6)}  # of three classes


def conditional(params):
    return {"params": {name: {"kernel": jnp.asarray(table)} for name, table in params.items()}}


def standardized(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPSILON)


@pytest.mark.parametrize(
    ("layer", "axes"),
    [(BatchNorm(), (0, 1, 2)), (InstanceNorm(), (1, 2)), (LayerNorm(), (1, 2, 3))],
    ids=["batch", "instance", "layer"],
)
def test_norms_standardize_over_their_own_axes_and_a_condition_sets_gain_and_shift(layer, axes, float64):
    x, one_hot = inputs((8, 2, 3, CHANNELS)), np.eye(3)[LABELS]
    plain = {"params": variables()["params"]}
    run = jax.jit(lambda given, *inputs: layer.apply(given, inputs[0], True, *inputs[1:], mutable=True)[0])
    y = run(variables() if layer == BatchNorm() else plain, x)
    np.testing.assert_allclose(y, standardized(x, axes) * SCALE + BIAS, rtol=1e-11, atol=1e-12)
    given = conditional(TABLES) | {"batch_stats": variables()["batch_stats"]}
    y = run(given, x, one_hot)
    gain, shift = (TABLES[name][LABELS][:, None, None] for name in ("scale", "bias"))
    np.testing.assert_allclose(y, standardized(x, axes) * (1 + gain) + shift, rtol=1e-11, atol=1e-12)


def test_pixel_norm_gives_every_pixel_a_mean_square_of_one():
    x = inputs((4, 2, 3, CHANNELS)).astype(np.float32)
    y = np.asarray(PixelNorm().apply({}, jnp.asarray(x)))
    np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(y * np.sqrt((x**2).mean(-1, keepdims=True)), x, rtol=1e-5)


@pytest.mark.parametrize("layer", [BatchNorm(), InstanceNorm(), LayerNorm()], ids=lambda layer: type(layer).__name__)
def test_a_new_conditional_norm_has_gain_one_and_shift_zero_whatever_the_condition(layer):
    x, condition = jnp.asarray(inputs((4, 2, 3, CHANNELS)), jnp.float32), jnp.asarray(noise(4, 5), jnp.float32)
    made = jax.jit(lambda *inputs: layer.init_with_output(jax.random.key(0), inputs[0], True, *inputs[1:]))
    (y, given), (plain, _) = made(x, condition), made(x)
    np.testing.assert_array_equal(y, plain)
    assert set(given["params"]) == {"scale", "bias"}


@pytest.mark.slow
def test_a_spectral_condition_begins_with_orthogonal_tables_and_finite_gradients():
    layer, x = BatchNorm(spectral=True), jnp.asarray(inputs((4, 2, 2, CHANNELS)), jnp.float32)
    condition = jnp.eye(4)
    given = jax.jit(layer.init, static_argnums=2)(jax.random.key(0), x, True, condition)
    kernel = np.asarray(given["params"]["scale"]["kernel"])
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(CHANNELS), atol=1e-5)
    loss = lambda params: layer.apply(given | {"params": params}, x, True, condition, mutable=True)[0].sum()  # noqa: E731
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(given["params"])))


def test_the_gradients_of_conditional_norms_are_those_of_finite_differences(float64):
    x, condition = inputs((8, 2, 3, CHANNELS)), np.eye(3)[LABELS]
    weights = jnp.asarray(noise(*x.shape, seed=3))

    def loss(tables, x, condition):
        given = {"params": tables, "batch_stats": variables()["batch_stats"]}
        run = lambda layer: layer.apply(given, x, True, condition, mutable=True)[0]  # noqa: E731
        return sum((run(layer) * weights).sum() for layer in (BatchNorm(), InstanceNorm(), LayerNorm()))

    check_slope(loss, conditional(TABLES)["params"], x, condition)


@pytest.mark.parametrize("lifted", ["pmapped", "sharded"])
def test_conditional_batch_norms_on_four_devices_have_the_outputs_and_statistics_of_one(lifted, float64):
    x, condition = inputs((8, 2, 2, CHANNELS)), np.eye(3)[LABELS]
    run = lambda x, condition: BatchNorm().apply(  # noqa: E731
        conditional(TABLES) | {"batch_stats": variables()["batch_stats"]}, x, True, condition, mutable=["batch_stats"]
    )
    found = jax.jit(run)(x, condition), on_devices(lifted, run, x, condition)
    for one, several in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(several, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", [InstanceNorm(), LayerNorm(), PixelNorm()], ids=lambda layer: type(layer).__name__)
def test_norms_within_an_example_take_their_statistics_in_float32(layer):
    x = np.asarray(1e3 + inputs((2, 8, 8, CHANNELS)), jnp.bfloat16)
    y, given = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    wide = jax.jit(layer.apply)(given, x.astype(np.float32))
    assert y.dtype == jnp.bfloat16 and {leaf.dtype for leaf in jax.tree.leaves(given)} <= {jnp.dtype("float32")}
    np.testing.assert_allclose(np.asarray(y, np.float32), wide, rtol=2**-7, atol=1e-6)


def test_norms_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="a single pixel is zero"):
        InstanceNorm().init(jax.random.key(0), jnp.zeros((2, 1, 1, 3)))

    class Holder(nn.Module):
        @nn.compact
        def __call__(self, kind, x, condition):
            return normalize(kind, x, True, condition)

    for kind in ("none", "pixel"):
        with pytest.raises(ValueError, match=f"a norm whose gain it sets, batch, instance or layer, not {kind}"):
            Holder().init(jax.random.key(0), kind, jnp.zeros((2, 3)), jnp.zeros((2, 4)))
