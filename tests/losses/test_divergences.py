"""Gaussian divergences against the papers' formulas, numerical integration and Monte Carlo, and at extremes."""

import inspect
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from vaegan_jax.losses import divergences

MEAN, LOG_VARIANCE, PRIOR_MEAN, PRIOR_LOG_VARIANCE = np.random.default_rng(0).normal(size=(4, 3, 4))
EXTREMES = (-1e4, -31.0, 0.0, 1.0, 31.0, 1e4)


class Row(NamedTuple):
    """A public function, arguments for it, what they give by the paper's formula, and the two normal distributions."""

    function: Callable
    arguments: tuple[np.ndarray, ...]
    expected: np.ndarray
    posterior: tuple[np.ndarray, np.ndarray]
    prior: tuple[np.ndarray, np.ndarray]


def kingma_welling(mean, log_variance):
    sigma = np.exp(log_variance / 2)
    return -0.5 * (1 + np.log(sigma**2) - mean**2 - sigma**2)


def textbook(mean, log_variance, prior_mean, prior_log_variance):
    s, t = np.exp(log_variance / 2), np.exp(prior_log_variance / 2)
    return np.log(t / s) + (s**2 + (mean - prior_mean) ** 2) / (2 * t**2) - 0.5


POSTERIOR, PRIOR = (MEAN, LOG_VARIANCE), (PRIOR_MEAN, PRIOR_LOG_VARIANCE)
STANDARD = (np.zeros_like(MEAN), np.zeros_like(MEAN))
TABLE = {
    "kl_standard_normal": Row(
        divergences.kl_standard_normal, POSTERIOR, kingma_welling(*POSTERIOR), POSTERIOR, STANDARD
    ),
    "kl_normal": Row(divergences.kl_normal, POSTERIOR + PRIOR, textbook(*POSTERIOR, *PRIOR), POSTERIOR, PRIOR),
}
rows = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)


@pytest.fixture(autouse=True)
def no_silent_rank_promotion():
    with jax.numpy_rank_promotion("raise"):
        yield


def value(row, dtype):
    return jax.jit(row.function)(*(jnp.asarray(argument, dtype) for argument in row.arguments))


def distributions(row):
    """scipy's frozen normal distributions: the posterior and the prior, in the shape of the arguments."""
    return tuple(scipy.stats.norm(mean, np.exp(log_variance / 2)) for mean, log_variance in (row.posterior, row.prior))


def test_every_public_function_has_a_row():
    functions = inspect.getmembers(divergences, inspect.isfunction)
    own = {f for name, f in functions if not name.startswith("_") and f.__module__ == divergences.__name__}
    assert own == {row.function for row in TABLE.values()}


@rows
def test_values_in_float64_equal_the_formula_dimension_by_dimension(row, float64):
    np.testing.assert_allclose(value(row, jnp.float64), row.expected, rtol=1e-12, atol=1e-14, strict=True)


@rows
def test_float32_stays_float32_and_agrees_with_float64(row, float64):
    assert value(row, jnp.float32).dtype == jnp.float32
    np.testing.assert_allclose(value(row, jnp.float32), value(row, jnp.float64), rtol=3e-6, atol=3e-6)


@rows
def test_values_equal_numerical_integration(row, float64):
    for index in itertools.product((0, 2), (0, 3)):
        at = [scipy.stats.norm(mean[index], np.exp(lv[index] / 2)) for mean, lv in (row.posterior, row.prior)]
        limits = at[0].mean() - 15 * at[0].std(), at[0].mean() + 15 * at[0].std()
        integral, _ = scipy.integrate.quad(
            lambda x, q, p: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), *limits, args=tuple(at), epsabs=1e-11, limit=200
        )
        np.testing.assert_allclose(value(row, jnp.float64)[index], integral, rtol=1e-9)


@rows
def test_values_lie_within_four_standard_errors_of_monte_carlo(row, float64):
    posterior, prior = distributions(row)
    n = 40_000
    x = posterior.rvs((n, *row.expected.shape), random_state=1)
    ratios = posterior.logpdf(x) - prior.logpdf(x)
    deviation = np.abs(value(row, jnp.float64) - ratios.mean(axis=0))
    assert (deviation < 4 * ratios.std(axis=0, ddof=1) / np.sqrt(n)).all()


@rows
def test_values_and_two_derivatives_are_finite_in_float32_at_extreme_arguments(row, float64):
    points = np.array(list(itertools.product(EXTREMES, repeat=len(row.arguments))), np.float32)
    arguments = tuple(range(points.shape[1]))
    gradient = jax.grad(row.function, arguments)
    derivatives = row.function, gradient, jax.jacfwd(gradient, arguments), jax.jacrev(gradient, arguments)
    for leaf in jax.tree.leaves(jax.jit(jax.vmap(lambda *point: [f(*point) for f in derivatives]))(*points.T)):
        assert leaf.dtype == jnp.float32  # although float64 is enabled: nothing is promoted
        assert jnp.isfinite(leaf).all()


def test_gradients_equal_the_derivatives_taken_by_hand(float64):
    gradient = jax.jit(jax.vmap(jax.grad(divergences.kl_standard_normal, (0, 1))))
    # Steps of 1/16 from -3 to 3: log-variances on both sides of the points where the formula changes, and on them.
    mean, log_variance = jnp.linspace(3.0, -3.0, 97), jnp.linspace(-3.0, 3.0, 97)
    by_mean, by_log_variance = gradient(mean, log_variance)
    np.testing.assert_allclose(by_mean, mean, rtol=1e-14)
    np.testing.assert_allclose(by_log_variance, np.expm1(log_variance) / 2, rtol=1e-13, atol=1e-15)


def test_divergence_is_nonnegative_in_float32_however_close_the_posterior_collapses():
    magnitude = np.logspace(-20, 1.5, 50_001, dtype=np.float32)
    log_variance = jnp.asarray(np.concatenate([magnitude, -magnitude]))
    zeros = jnp.zeros_like(log_variance)
    assert (jax.jit(divergences.kl_standard_normal)(zeros, log_variance) >= 0).all()
    assert (jax.jit(divergences.kl_normal)(zeros, log_variance, zeros, zeros) >= 0).all()


def test_float32_keeps_digits_of_a_divergence_near_zero():
    log_variance = np.array([-0.03, -0.01, 0.01, 0.03])
    kl = divergences.kl_standard_normal(jnp.zeros(4), jnp.asarray(log_variance, jnp.float32))
    np.testing.assert_allclose(kl, (np.expm1(log_variance) - log_variance) / 2, rtol=1e-4)


def test_divergence_vanishes_exactly_between_equal_distributions():
    arguments = [jnp.asarray(a, jnp.float32) for a in POSTERIOR]
    assert (jax.jit(divergences.kl_normal)(*arguments, *arguments) == 0).all()
    assert (jax.jit(divergences.kl_standard_normal)(jnp.zeros(3), jnp.zeros(3)) == 0).all()


def test_divergence_from_a_standard_prior_is_the_special_case(float64):
    arguments = [jnp.asarray(a) for a in POSTERIOR]
    zeros = jnp.zeros_like(arguments[0])
    np.testing.assert_array_equal(
        divergences.kl_normal(*arguments, zeros, zeros), divergences.kl_standard_normal(*arguments)
    )


def test_divergence_does_not_change_when_both_distributions_are_moved_and_stretched(float64):
    shift, stretch = 2.5, 0.3
    moved = [
        np.exp(stretch / 2) * argument + shift if i % 2 == 0 else argument + stretch
        for i, argument in enumerate(POSTERIOR + PRIOR)
    ]
    np.testing.assert_allclose(divergences.kl_normal(*map(jnp.asarray, moved)), TABLE["kl_normal"].expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (1, 4)])
def test_arguments_of_different_shapes_are_refused(shape):
    full, other = jnp.zeros((3, 4)), jnp.zeros(shape)
    with pytest.raises((AssertionError, TypeError)):
        divergences.kl_standard_normal(full, other)
    with pytest.raises((AssertionError, TypeError)):
        divergences.kl_normal(full, full, full, other)
