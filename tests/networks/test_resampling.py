"""Resampling against loops over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.networks.resampling import average_pool, max_pool, nearest, pixel_shuffle

X = np.random.default_rng(0).normal(size=(2, 4, 6, 8)).astype(np.float32)
PIXELS = [(y, x) for y in range(4) for x in range(6)]


def test_pools_are_the_mean_and_the_largest_of_each_two_by_two_pixels():
    for pool, reference in ((average_pool, np.mean), (max_pool, np.max)):
        pooled = np.asarray(jax.jit(pool)(X))
        assert pooled.shape == (2, 2, 3, 8)
        for y, x in PIXELS[::2]:
            block = X[:, y // 2 * 2 :, x // 2 * 2 :][:, :2, :2]
            np.testing.assert_allclose(pooled[:, y // 2, x // 2], reference(block, (1, 2)), rtol=1e-5, atol=1e-6)


def test_nearest_repeats_pixels_and_pixel_shuffle_makes_pixels_of_channels():
    up, shuffled = (np.asarray(jax.jit(way)(X)) for way in (nearest, pixel_shuffle))
    assert up.shape == (2, 8, 12, 8) and shuffled.shape == (2, 8, 12, 2)
    for (y, x), i, j in ((pixel, i, j) for pixel in PIXELS for i in (0, 1) for j in (0, 1)):
        np.testing.assert_array_equal(up[:, 2 * y + i, 2 * x + j], X[:, y, x])
        np.testing.assert_array_equal(shuffled[:, 2 * y + i, 2 * x + j], X[:, y, x, 2 * i + j :: 4])


def test_pixel_shuffle_equals_that_of_torch():
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.pixel_shuffle(torch.from_numpy(X.transpose(0, 3, 1, 2).copy()), 2)
    np.testing.assert_array_equal(jax.jit(pixel_shuffle)(X), expected.permute(0, 2, 3, 1).numpy())


def test_an_average_of_bfloat16_is_rounded_once():
    x = X.astype(jnp.bfloat16)
    pooled, exact = jax.jit(average_pool)(x), jax.jit(average_pool)(x.astype(np.float32))
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_array_equal(pooled, np.asarray(exact).astype(jnp.bfloat16))


def test_the_gradient_of_a_largest_pixel_goes_to_it():
    slope, largest = jax.jit(lambda x: (jax.grad(lambda x: max_pool(x).sum())(x), nearest(max_pool(x))))(X)
    np.testing.assert_array_equal(slope, np.asarray(largest) == X)


def test_what_does_not_divide_is_refused():
    for pool in (average_pool, max_pool):
        with pytest.raises(ValueError, match="5x4 pixels cannot be pooled by 2"):
            pool(jnp.zeros((1, 5, 4, 1)))
    with pytest.raises(ValueError, match="6 channels are no multiple of 2 x 2"):
        pixel_shuffle(jnp.zeros((1, 4, 4, 6)))
