"""What is paid for weights, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.losses.weights import orthogonality

DRAW = np.random.default_rng(0).normal


def test_orthogonality_is_the_squared_products_of_different_filters_and_its_gradient_four_w_of_them(float64):
    convolution, dense = DRAW(size=(3, 3, 2, 5)), DRAW(size=(4, 6))
    turned = DRAW(size=(3, 3, 5, 2))
    params = {"a": {"kernel": convolution, "bias": DRAW(size=5)}, "b": {"c": {"kernel": dense}}}
    params |= {"TransposedConvolution_0": {"kernel": turned}}
    params |= {"shared": {"kernel": DRAW(size=(7, 3))}, "norm": {"scale": DRAW(size=5)}}
    value, slope = jax.value_and_grad(orthogonality)(jax.tree.map(jnp.asarray, params))
    expected = 0.0
    back = slope["TransposedConvolution_0"]["kernel"].swapaxes(2, 3)
    pairs = (convolution, slope["a"]["kernel"]), (dense, slope["b"]["c"]["kernel"]), (turned.swapaxes(2, 3), back)
    for kernel, got in pairs:
        matrix = kernel.reshape(-1, kernel.shape[-1])
        overlap = (matrix.T @ matrix) * (1 - np.eye(matrix.shape[1]))
        expected += np.linalg.norm(overlap) ** 2
        np.testing.assert_allclose(got.reshape(matrix.shape), 4 * matrix @ overlap, rtol=1e-10)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    rest = (slope["a"]["bias"], slope["shared"]["kernel"], slope["norm"]["scale"])
    assert all(not np.asarray(leaf).any() for leaf in rest)


def test_filters_at_right_angles_of_any_length_pay_nothing():
    kernel = jnp.asarray(np.linalg.qr(DRAW(size=(8, 4)))[0] * np.array([1.0, 2.0, 0.5, 3.0]), jnp.float32)
    assert float(orthogonality({"layer": {"kernel": kernel}})) < 1e-10
    assert float(orthogonality({})) == 0
