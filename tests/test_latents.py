"""Priors, ways between latents and the reparameterization trick: moments, gradients, noise that is the example's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaegan_jax import latents

MANY = 20_000
MEAN, LOG_VARIANCE = np.array([-3.0, 0.5, 10.0]), np.array([-2.0, 0.0, 1.5])
PRIORS = {"normal": latents.normal, "uniform": latents.uniform, "truncated": latents.truncated}
MOMENTS = {
    "normal": scipy.stats.norm(),
    "uniform": scipy.stats.uniform(-1, 2),
    "truncated": scipy.stats.truncnorm(-2, 2),
}
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


def test_spherical_latents_have_one_radius_and_no_direction_of_their_own(float64):
    z = np.asarray(latents.spherical(5)(keys(MANY)))
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), np.sqrt(5), rtol=1e-12)
    assert abs(z.mean(0)).max() < 5 / np.sqrt(MANY)
    assert abs(np.cov(z.T) - np.eye(5)).max() < 6 / np.sqrt(MANY)
    # An entry of a point on a sphere: (z / sqrt 5)^2 is Beta(1/2, 2).
    assert scipy.stats.kstest(z[:, 0] ** 2 / 5, scipy.stats.beta(0.5, 2).cdf).pvalue > 1e-6


@pytest.mark.parametrize("threshold", [0.04, 1.0])
def test_truncated_latents_fill_the_interval_and_do_not_leave_it(threshold):
    z = np.asarray(latents.truncated(3, threshold)(keys(MANY)))
    assert -threshold <= z.min() < -0.99 * threshold and 0.99 * threshold < z.max() <= threshold


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_leaves_nothing_is_refused(threshold):
    with pytest.raises(ValueError, match="the threshold of truncation must be above 0"):
        latents.truncated(3, threshold)


def test_categorical_latents_are_one_hot_and_every_choice_is_as_likely():
    z = np.asarray(latents.categorical(4)(keys(MANY)))
    assert set(np.unique(z)) == {0.0, 1.0} and (z.sum(1) == 1).all()
    assert scipy.stats.chisquare(z.sum(0)).pvalue > 1e-6


@pytest.mark.parametrize("name", latents.PRIORS)
def test_every_prior_by_its_name_draws_for_each_key_on_its_own(name):
    draw = latents.PRIORS[name](3)
    whole = draw(keys(6))
    assert whole.shape == (6, 3) and whole.dtype == jnp.float32
    np.testing.assert_array_equal(np.concatenate([draw(keys(6)[:2]), draw(keys(6)[2:])]), whole)


A, B, SHARE = np.array([3.0, 0.0, 4.0]), np.array([-1.0, 2.0, 2.0]), np.linspace(0, 1, 9)


def test_a_line_is_the_weighted_mean_of_its_ends(float64):
    expected = np.outer(1 - SHARE, A) + np.outer(SHARE, B)
    np.testing.assert_allclose(latents.line(jnp.asarray(A), jnp.asarray(B), jnp.asarray(SHARE)), expected, atol=1e-15)


def test_on_a_great_circle_angle_and_norm_go_evenly_from_end_to_end(float64):
    z = np.asarray(latents.great_circle(jnp.asarray(A), jnp.asarray(B), jnp.asarray(SHARE)))
    np.testing.assert_allclose(z[[0, -1]], [A, B], atol=1e-14)
    norms = np.linalg.norm(z, axis=1)
    np.testing.assert_allclose(norms, 5 + (3 - 5) * SHARE, rtol=1e-13)
    cosines = (z @ A) / (norms * 5)
    angle = np.arccos(A @ B / 15)
    np.testing.assert_allclose(np.arccos(np.clip(cosines, -1, 1)), angle * SHARE, atol=1e-7)
    normal = np.cross(A, B)
    np.testing.assert_allclose(z @ normal, 0, atol=1e-12)  # all in one plane


def test_between_ends_of_one_direction_a_great_circle_is_straight(float64):
    ends = jnp.asarray(A), jnp.asarray(2 * A)
    np.testing.assert_allclose(latents.great_circle(*ends, jnp.asarray(SHARE)), np.outer(1 + SHARE, A), rtol=1e-12)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)))
    assert latents.great_circle(*images, jnp.asarray(SHARE)).shape == (9, 3, 4)
    near = A + 1e-9 * B
    z = latents.great_circle(jnp.asarray(A), jnp.asarray(near), jnp.asarray(SHARE))
    np.testing.assert_allclose(z, latents.line(jnp.asarray(A), jnp.asarray(near), jnp.asarray(SHARE)), rtol=1e-9)
