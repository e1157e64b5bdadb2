"""Statistics across a batch against NumPy, and the same on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import check_slope, on_devices

from vaegan_jax.games import AXIS, device_mean
from vaegan_jax.gathering import everyone, mine
from vaegan_jax.networks.minibatch import MinibatchDeviation, MinibatchDiscrimination

pytestmark = pytest.mark.usefixtures("compiled_quickly")
LAYERS = {
    "discrimination": (MinibatchDiscrimination(3, 2), (8, 5)),
    "deviation": (MinibatchDeviation(), (8, 2, 3, 4)),
    "deviation of groups": (MinibatchDeviation(group=4), (8, 2, 3, 4)),
}
each_layer = pytest.mark.parametrize("name", LAYERS)
each_lift = pytest.mark.parametrize("lifted", ["pmapped", "sharded"])


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def params(name):
    return {"params": {"kernel": 0.4 * noise(5, 6, seed=1)}} if name == "discrimination" else {}


def test_discrimination_is_the_paper_s_sum_over_the_batch(float64):
    x, kernel = noise(8, 5), np.asarray(params("discrimination")["params"]["kernel"])
    y = np.asarray(jax.jit(MinibatchDiscrimination(3, 2).apply)(params("discrimination"), x))
    np.testing.assert_array_equal(y[:, :5], x)
    m = (x @ kernel).reshape(8, 3, 2)
    for i in range(8):
        for b in range(3):
            expected = sum(np.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in range(8))
            np.testing.assert_allclose(y[i, 5 + b], expected, rtol=1e-12)


def test_deviation_is_the_mean_over_features_of_the_deviation_over_the_batch_or_a_group(float64):
    x = noise(8, 2, 3, 4)
    y = np.asarray(jax.jit(MinibatchDeviation(epsilon=0.0).apply)({}, x))
    np.testing.assert_array_equal(y[..., :4], x)
    np.testing.assert_allclose(y[..., 4], np.full((8, 2, 3), x.std(0).mean()), rtol=1e-12)
    y = np.asarray(jax.jit(MinibatchDeviation(4, 0.0).apply)({}, x))
    for start in (0, 1):  # every second example is of a group
        expected = np.full((4, 2, 3), x[start::2].std(0).mean())
        np.testing.assert_allclose(y[start::2, ..., 4], expected, rtol=1e-12)


@each_layer
def test_a_collapsed_batch_is_told_from_a_varied_one_with_finite_gradients(name):
    layer, shape = LAYERS[name]
    given = jax.tree.map(lambda leaf: leaf.astype(np.float32), params(name))
    told = lambda x: layer.apply(given, x)[..., shape[-1] :]  # noqa: E731
    run = jax.jit(lambda x: (told(x), jax.grad(lambda x: told(x).sum())(x)))
    (varied, _), (same, slope) = (run(x.astype(np.float32)) for x in (noise(*shape), np.ones(shape)))
    assert np.all(same > varied) if name == "discrimination" else np.all(same < 1e-3)
    assert np.isfinite(slope).all()


def test_gradients_are_those_of_finite_differences(float64):
    to = noise(8, 9, seed=3)

    def loss(given, x):
        x = MinibatchDiscrimination(3, 2).apply(given, x)
        return (MinibatchDeviation(group=4).apply({}, x) * to).sum()

    check_slope(loss, params("discrimination"), noise(8, 5))


@each_lift
@each_layer
def test_four_devices_tell_what_one_tells_and_have_its_gradients(name, lifted, float64):
    layer, shape = LAYERS[name]
    extra = 3 if name == "discrimination" else 1
    x, to = noise(*shape), noise(*shape[:-1], shape[-1] + extra, seed=2)

    def run(x, to):
        def loss(given, x):
            y = layer.apply(given, x)
            return (y * to).mean(), y

        (to_params, to_x), y = jax.grad(loss, (0, 1), has_aux=True)(params(name), x)
        return y, device_mean(to_params), to_x

    (y, to_params, to_x), several = jax.jit(run)(x, to), on_devices(lifted, run, x, to)
    np.testing.assert_allclose(several[0], y, rtol=1e-12)
    for a, b in zip(*map(jax.tree.leaves, (to_params, several[1])), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-14)
    share = 4 if lifted == "pmapped" else 1  # there a mean is of a quarter of the examples
    np.testing.assert_allclose(several[2] / share, to_x, rtol=1e-10, atol=1e-14)


def test_everyone_is_the_global_batch_in_order_and_mine_its_inverse():
    x = np.arange(16.0).reshape(4, 2, 2)
    seen, own = jax.pmap(lambda x: (everyone(x), mine(everyone(x))), AXIS, devices=jax.devices()[:4])(x)
    for device in range(4):
        np.testing.assert_array_equal(seen[device], x.reshape(8, 2))
    np.testing.assert_array_equal(own, x)
    assert mine(everyone(jnp.asarray(x))).shape == x.shape


def test_under_bfloat16_they_are_told_in_float32_precision():
    x = np.asarray(100 + noise(8, 2, 3, 4), jnp.bfloat16)
    y = jax.jit(MinibatchDeviation().apply)({}, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(y, np.float32)[0, 0, 0, 4], np.asarray(x, np.float64).std(0).mean(), rtol=2**-8
    )


def test_groups_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ValueError, match="groups of 3 do not divide a batch of 8"):
        MinibatchDeviation(3).apply({}, jnp.zeros((8, 2)))
