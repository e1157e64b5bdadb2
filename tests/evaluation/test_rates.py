"""What latents carry, against linear-Gaussian models."""

import math

import jax
import numpy as np
import pytest

from vaegan_jax.evaluation.likelihood import exact, rates
from vaegan_jax.evaluation.likelihood.bounds import Estimate
from vaegan_jax.evaluation.likelihood.rates import RatePoint

pytestmark = pytest.mark.usefixtures("compiled_quickly")
RNG = np.random.default_rng(0)
WEIGHTS = np.concatenate([RNG.normal(size=(4, 12)), np.zeros((2, 12))])  # two latents that images do not tell
MODEL = exact.LinearGaussian(WEIGHTS, RNG.normal(size=12), 0.5)
X = MODEL.sample(RNG, 600)[1]
KEY = jax.random.key(0)


def test_a_unit_is_active_where_its_mean_varies_over_images_by_more_than_a_hundredth():
    means = RNG.permuted(np.tile([-1.0, 1.0], (3, 500)), axis=1).T * np.sqrt([0.0101, 0.0099, 2.0])
    found = rates.active_units(means)
    np.testing.assert_allclose(found.variances, [0.0101, 0.0099, 2.0], rtol=1e-12)
    assert found.count == 2
    assert rates.active_units(means + 5).count == 2
    assert rates.active_units(means, threshold=0.001).count == 3


def test_latents_that_images_do_not_tell_are_inactive():
    """Var E[z | x] = I - the posterior's covariance (law of total variance)."""
    means = rates.posterior_means(MODEL.model(), X, images_at_once=250)
    np.testing.assert_allclose(means, MODEL.posterior_mean(X), atol=1e-4)
    found = rates.active_units(means)
    assert found.count == 4
    expected = 1 - np.diag(MODEL.posterior_covariance)
    assert (abs(found.variances - expected) < 5 * math.sqrt(2 / 600)).all()


def test_rate_and_distortion_are_those_of_the_closed_forms(float64):
    point = rates.rate_distortion(MODEL.model(1.5), X[:50], KEY, draws=200)
    mean, covariance = MODEL.posterior_mean(X[:50]), 2.25 * MODEL.posterior_covariance
    rate = exact.kl(mean, covariance, np.zeros((50, 6)), np.eye(6))
    assert point.rate.mean == pytest.approx(rate.mean(), rel=1e-12)
    assert point.rate.standard_error == pytest.approx(rate.std(ddof=1) / math.sqrt(50), rel=1e-12)
    assert abs(point.distortion.mean - MODEL.distortion(X[:50], mean, covariance).mean()) < 0.2
    elbo = MODEL.elbo(X[:50], mean, covariance).mean()
    assert abs(point.rate.mean + point.distortion.mean + elbo) < 0.2


def test_the_curve_drops_points_that_another_beats_in_both():
    made = {"a": (5, 80), "b": (2, 100), "c": (6, 81), "d": (20, 70), "e": (2, 101), "f": (1, 120)}
    points = {name: RatePoint(Estimate(rate, 0.1), Estimate(d, 0.1)) for name, (rate, d) in made.items()}
    assert list(rates.rate_distortion_curve(points)) == ["f", "b", "a", "d"]


@pytest.mark.parametrize("inflation", [1.0, 1.5])
def test_the_generative_information_bound_is_the_mutual_information_at_the_posterior(inflation, float64):
    """1/2 log det(I + W W^T / s^2), less KL(posterior || q) = d/2 (1/r^2 - 1 + 2 log r) for q r times as wide."""
    found = rates.generative_information(MODEL.model(inflation), 20_000, KEY)
    loss = 6 / 2 * (inflation**-2 - 1 + 2 * math.log(inflation))
    assert MODEL.mutual_information() == pytest.approx(
        0.5 * np.linalg.slogdet(np.eye(12) + WEIGHTS.T @ WEIGHTS / 0.25)[1], rel=1e-12
    )
    assert abs(found.mean - (MODEL.mutual_information() - loss)) < 4 * found.standard_error < 0.1


def test_without_an_encoder_or_a_simulator_there_is_no_bound():
    with pytest.raises(ValueError, match="no encode"):
        rates.generative_information(MODEL.model()._replace(encode=None), 3, KEY)
    with pytest.raises(ValueError, match="no simulate"):
        rates.generative_information(MODEL.model()._replace(simulate=None), 3, KEY)
