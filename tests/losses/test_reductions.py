"""Sums over events."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.losses.reductions import sum_events


@pytest.mark.parametrize("shape", [(5, 28, 28, 1), (1, 3), (4,), (3, 0), (2, 2, 1)], ids=str)
def test_the_sum_of_each_example_is_numpys(shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    result = jax.jit(sum_events)(values)
    expected = values.astype(np.float64).reshape(len(values), -1).sum(1) if values.size else np.zeros(len(values))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    assert result.dtype == jnp.float32


def test_the_gradient_is_one_everywhere():
    values = jnp.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(jax.grad(lambda values: sum_events(values).sum())(values), jnp.ones_like(values))
