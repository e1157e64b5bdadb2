"""Priors and the reparameterization trick: moments, gradients, and noise that belongs to the example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaegan_jax import latents

MANY = 20_000
MEAN, LOG_VARIANCE = np.array([-3.0, 0.5, 10.0]), np.array([-2.0, 0.0, 1.5])
PRIORS = {"normal": latents.normal, "uniform": latents.uniform}
MOMENTS = {"normal": scipy.stats.norm(), "uniform": scipy.stats.uniform(-1, 2)}
priors = pytest.mark.parametrize("prior", PRIORS)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def rows(vector, count):
    return jnp.tile(jnp.asarray(vector)[None], (count, 1))


def test_a_reparameterized_latent_has_the_given_mean_and_standard_deviation():
    """Within five standard errors; sigma^2 eps would have a deviation 10 to 60 % off, hundreds of them."""
    z = latents.reparameterize(keys(MANY), rows(np.float32(MEAN), MANY), rows(np.float32(LOG_VARIANCE), MANY))
    z, sigma = np.asarray(z, np.float64), np.exp(LOG_VARIANCE / 2)
    assert (abs(z.mean(0) - MEAN) < 5 * sigma / np.sqrt(MANY)).all()
    assert (abs(z.std(0) - sigma) < 5 * sigma / np.sqrt(2 * MANY)).all()


def test_it_is_the_mean_and_sigma_times_a_standard_normal_of_the_key(float64):
    mean, log_variance = rows(MEAN, 7), rows(LOG_VARIANCE, 7)
    epsilon = np.asarray(latents.reparameterize(keys(7), jnp.zeros((7, 3)), jnp.zeros((7, 3))))
    z = latents.reparameterize(keys(7), mean, log_variance)
    np.testing.assert_allclose(z, MEAN + np.sqrt(np.exp(LOG_VARIANCE)) * epsilon, rtol=1e-14)


def test_its_gradients_are_pathwise(float64):
    mean, log_variance = rows(MEAN, 7), rows(LOG_VARIANCE, 7)
    weights = np.random.default_rng(0).normal(size=(7, 3))
    loss = lambda m, v: (weights * latents.reparameterize(keys(7), m, v)).sum()  # noqa: E731
    to_mean, to_log_variance = jax.grad(loss, (0, 1))(mean, log_variance)
    z = np.asarray(latents.reparameterize(keys(7), mean, log_variance))
    np.testing.assert_allclose(to_mean, weights, rtol=1e-14)
    np.testing.assert_allclose(to_log_variance, weights * (z - MEAN) / 2, rtol=1e-12)  # d sigma / d log sigma^2


@pytest.mark.parametrize("extreme", [-1e4, 1e4])
def test_an_extreme_variance_gives_finite_latents_and_gradients(extreme):
    mean, log_variance = jnp.zeros((4, 3)), jnp.full((4, 3), extreme)
    for value in (
        latents.reparameterize(keys(4), mean, log_variance),
        jax.grad(lambda v: latents.reparameterize(keys(4), mean, v).sum())(log_variance),
    ):
        assert jnp.isfinite(value).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_latents_have_the_type_of_the_posterior_s_parameters(dtype):
    assert latents.reparameterize(keys(4), jnp.zeros((4, 3), dtype), jnp.zeros((4, 3), dtype)).dtype == dtype


@priors
def test_a_prior_has_its_distribution(prior):
    """Mean and variance within five standard errors; Kolmogorov and Smirnov's test at one in a million."""
    z, law = np.asarray(PRIORS[prior](3)(keys(MANY)), np.float64), MOMENTS[prior]
    assert z.shape == (MANY, 3)
    fourth = (law.stats("k") + 3) * law.var() ** 2
    assert (abs(z.mean(0)) < 5 * law.std() / np.sqrt(MANY)).all()
    assert (abs((z**2).mean(0) - law.var()) < 5 * np.sqrt((fourth - law.var() ** 2) / MANY)).all()
    assert all(scipy.stats.kstest(column, law.cdf).pvalue > 1e-6 for column in z.T)


def test_the_uniform_prior_fills_its_cube_and_does_not_leave_it():
    z = latents.uniform(3)(keys(MANY))
    assert -1 <= z.min() < -0.999 and 0.999 < z.max() <= 1


@priors
def test_one_key_gives_one_latent_and_another_key_an_independent_one(prior):
    draw = PRIORS[prior](3)
    np.testing.assert_array_equal(draw(keys(5)), draw(keys(5)))
    left, right = (np.asarray(draw(keys(MANY, seed)), np.float64) for seed in (0, 1))
    several = np.concatenate([left, right, np.roll(left, 1, axis=0)], axis=1)  # dimensions, seeds, neighbors
    correlation = np.corrcoef(several.T) - np.eye(9)
    assert abs(correlation).max() < 5.5 / np.sqrt(MANY)


@priors
def test_latents_do_not_depend_on_how_the_batch_is_split(prior):
    draw = PRIORS[prior](3)
    whole = draw(keys(12))
    for parts in (1, 2, 4, 12):
        split = [draw(part) for part in keys(12).reshape(parts, -1)]
        np.testing.assert_array_equal(np.concatenate(split), whole)


def test_reparameterized_latents_do_not_either():
    mean, log_variance = rows(np.float32(MEAN), 12), rows(np.float32(LOG_VARIANCE), 12)
    whole = latents.reparameterize(keys(12), mean, log_variance)
    split = [
        latents.reparameterize(keys(12)[at : at + 3], mean[at : at + 3], log_variance[at : at + 3])
        for at in range(0, 12, 3)
    ]
    np.testing.assert_array_equal(np.concatenate(split), whole)
