"""Negative log-likelihoods against scipy, against the papers' formulas, and at the edges of float32."""

import inspect
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaegan_jax.losses import likelihoods

RNG = np.random.default_rng(0)
NORMAL, UNIFORM, BINARY = RNG.normal(size=(3, 5, 7)), RNG.uniform(size=(5, 7)), RNG.integers(0, 2, (5, 7)) * 1.0
EXTREMES = (-1e4, -31.0, 0.0, 30.0, 31.0, 1e4)


class Row(NamedTuple):
    """A public function, arguments for it, and what they give by the paper's formula in NumPy or by scipy."""

    function: Callable
    arguments: tuple[np.ndarray, ...]
    expected: np.ndarray


def cross_entropy(logits, x):
    return -(x * -np.logaddexp(0, -logits) + (1 - x) * -np.logaddexp(0, logits))


def normal_information(mean, x, log_variance):
    return np.log(np.sqrt(2 * np.pi * np.exp(log_variance))) + (x - mean) ** 2 / (2 * np.exp(log_variance))


MEAN, X, LOG_VARIANCE = NORMAL
TABLE = {
    "bounded_exp": Row(likelihoods.bounded_exp, (3 * X,), np.exp(3 * X)),
    "bernoulli of grey values": Row(likelihoods.bernoulli, (5 * MEAN, UNIFORM), cross_entropy(5 * MEAN, UNIFORM)),
    "bernoulli": Row(
        likelihoods.bernoulli, (5 * MEAN, BINARY), -scipy.stats.bernoulli.logpmf(BINARY, scipy.special.expit(5 * MEAN))
    ),
    "gaussian by the formula": Row(
        likelihoods.gaussian, (MEAN, X, LOG_VARIANCE), normal_information(MEAN, X, LOG_VARIANCE)
    ),
    "gaussian": Row(
        likelihoods.gaussian, (MEAN, X, LOG_VARIANCE), -scipy.stats.norm.logpdf(X, MEAN, np.exp(LOG_VARIANCE / 2))
    ),
    "gaussian of one variance": Row(
        likelihoods.gaussian, (MEAN, X, np.array(-1.5)), -scipy.stats.norm.logpdf(X, MEAN, np.exp(-0.75))
    ),
    "gaussian of a variance per column": Row(
        likelihoods.gaussian, (MEAN, X, LOG_VARIANCE[:1]), normal_information(MEAN, X, LOG_VARIANCE[:1])
    ),
}
rows = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
FUNCTIONS = {row.function.__name__: row for row in TABLE.values()}  # one row for each function


@pytest.fixture(autouse=True)
def no_silent_rank_promotion():
    with jax.numpy_rank_promotion("raise"):
        yield


def arrays(row, dtype):
    return tuple(jnp.asarray(argument, dtype) for argument in row.arguments)


def test_every_public_function_has_a_row():
    functions = inspect.getmembers(likelihoods, inspect.isfunction)
    own = {f for name, f in functions if not name.startswith("_") and f.__module__ == likelihoods.__name__}
    assert own == {row.function for row in TABLE.values()}


@rows
def test_values_in_float64_equal_the_reference_element_by_element(row, float64):
    value = jax.jit(row.function)(*arrays(row, jnp.float64))
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(value, row.expected, rtol=1e-11, atol=1e-13, strict=True)


@rows
def test_float32_stays_float32_and_agrees_with_float64(row, float64):
    value = jax.jit(row.function)(*arrays(row, jnp.float32))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, row.expected, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("row", FUNCTIONS.values(), ids=FUNCTIONS)
def test_values_and_two_derivatives_are_finite_in_float32_at_extreme_arguments(row, float64):
    points = np.array(list(itertools.product(EXTREMES, repeat=len(row.arguments))), np.float32)
    arguments = tuple(range(points.shape[1]))
    gradient = jax.grad(row.function, arguments)
    derivatives = row.function, gradient, jax.jacfwd(gradient, arguments), jax.jacrev(gradient, arguments)
    for leaf in jax.tree.leaves(jax.jit(jax.vmap(lambda *point: [f(*point) for f in derivatives]))(*points.T)):
        assert leaf.dtype == jnp.float32  # although float64 is enabled: nothing is promoted
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize("logit", [0.0, 1e-3, 1.0, 20.0, 80.0])
def test_bernoulli_keeps_the_relative_precision_of_a_small_tail_in_float32(logit):
    for sign, x in ((1.0, 1.0), (-1.0, 0.0)):
        value = likelihoods.bernoulli(jnp.float32(sign * logit), jnp.float32(x))
        np.testing.assert_allclose(value, np.log1p(np.exp(-logit)), rtol=1e-6)


def test_bernoulli_probabilities_of_both_outcomes_sum_to_one(float64):
    logits = jnp.asarray(np.linspace(-40, 40, 81))
    zero, one = (np.exp(-likelihoods.bernoulli(logits, jnp.full_like(logits, x))) for x in (0.0, 1.0))
    np.testing.assert_allclose(zero + one, 1.0, rtol=1e-14)


def test_gaussian_density_integrates_to_one(float64):
    x = jnp.asarray(np.linspace(-30, 30, 20001))
    for log_variance in (-3.0, 0.0, 2.5):
        density = np.exp(-likelihoods.gaussian(jnp.full_like(x, 0.7), x, log_variance))
        np.testing.assert_allclose(np.trapezoid(density, x), 1.0, rtol=1e-12)


def test_gaussian_takes_a_python_float_without_changing_the_dtype(float64):
    for dtype in (jnp.float32, jnp.float64):
        mean, x = (jnp.asarray(a, dtype) for a in (MEAN, X))
        value = likelihoods.gaussian(mean, x, -1.5)
        assert value.dtype == dtype
        np.testing.assert_allclose(value, TABLE["gaussian of one variance"].expected, rtol=3e-6)


def test_gaussian_with_a_learned_variance_is_smallest_at_the_squared_error():
    slope = jax.jit(jax.grad(likelihoods.gaussian, argnums=2))
    for error in (1e-3, 1.0, 50.0):
        arguments = jnp.float32(0.0), jnp.float32(error)
        best = 2 * math.log(error)
        assert abs(slope(*arguments, jnp.float32(best))) < 1e-5
        assert slope(*arguments, jnp.float32(best - 1)) < 0 < slope(*arguments, jnp.float32(best + 1))


@pytest.mark.parametrize("bound", [2.0, 30.0])
def test_bounded_exp_is_exp_below_its_bound_and_the_tangent_above(bound, float64):
    below, above = np.linspace(-40, bound, 50), np.linspace(bound, 1e4, 50)
    f = jax.jit(lambda x: likelihoods.bounded_exp(x, bound))
    slope = jax.jit(jax.vmap(jax.grad(f)))
    np.testing.assert_allclose(f(below), np.exp(below), rtol=1e-14)
    np.testing.assert_allclose(slope(below), np.exp(below), rtol=1e-14)
    np.testing.assert_allclose(f(above), np.exp(bound) * (1 + above - bound), rtol=1e-12)
    np.testing.assert_allclose(slope(above), np.full(50, np.exp(bound)), rtol=1e-14)


def test_bounded_exp_does_not_hide_a_nan():
    assert jnp.isnan(likelihoods.bounded_exp(jnp.float32(jnp.nan)))


@pytest.mark.parametrize("shape", [(5,), (5, 1), (7,), (1, 7)])
def test_arguments_of_different_shapes_are_refused(shape):
    x, other = jnp.zeros((5, 7)), jnp.zeros(shape)
    with pytest.raises((AssertionError, TypeError)):
        likelihoods.bernoulli(x, other)
    with pytest.raises((AssertionError, TypeError)):
        likelihoods.gaussian(other, x, 0.0)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (1, 5, 7), (2, 1, 1)])
def test_a_variance_that_would_broadcast_by_accident_is_refused(shape):
    x = jnp.zeros((5, 7))
    with pytest.raises((AssertionError, TypeError)):
        likelihoods.gaussian(x, x, jnp.zeros(shape))
    column = jnp.zeros((5, 1))
    with pytest.raises((AssertionError, TypeError)):
        likelihoods.gaussian(column, column, jnp.zeros((5, 7)))
