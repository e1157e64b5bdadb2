"""Annealed importance sampling against probabilistic PCA, and against quadrature where the decoder is not linear."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.likelihood import annealing, exact, latent_models
from vaegan_jax.evaluation.likelihood.annealing import Annealing
from vaegan_jax.models import gan, vae
from vaegan_jax.networks.network import init_networks

pytestmark = pytest.mark.usefixtures("compiled_quickly")
RNG = np.random.default_rng(0)
PPCA = exact.LinearGaussian(RNG.normal(size=(5, 20)), RNG.normal(size=20), 0.3)
Z, X = PPCA.sample(RNG, 32)
KEY = jax.random.key(0)


@pytest.mark.parametrize("radius", [0.0, 4.0])
def test_temperatures_rise_from_0_to_1_along_the_sigmoid_or_a_line(radius):
    beta = annealing.inverse_temperatures(Annealing(temperatures=50, radius=radius))
    assert (beta[0], beta[-1], len(beta)) == (0, 1, 51)
    assert (np.diff(beta) > 0).all()
    np.testing.assert_allclose(beta + beta[::-1], 1, rtol=1e-12)
    if radius:
        ends = scipy.special.expit([-4, 4, -4 + 8 * 10 / 50])
        np.testing.assert_allclose(beta[10], (ends[2] - ends[0]) / (ends[1] - ends[0]), rtol=1e-12)
    else:
        np.testing.assert_allclose(np.diff(beta), 1 / 50, rtol=1e-10)


@pytest.mark.slow
def test_a_thousand_temperatures_hold_the_exact_log_evidence_between_bounds_within_a_fifth_of_a_nat(float64):
    """Probabilistic PCA with 20 pixels, 5 latents and a deviation of 0.3; forward chains of float64."""
    model, log_p = PPCA.model(), PPCA.log_evidence(X)
    lower = annealing.annealed(model, X, KEY)
    upper = annealing.annealed_backwards(model, X, Z, KEY, step_sizes=lower.step_sizes)
    errors = [bound.log_evidence - log_p for bound in (lower, upper)]
    assert abs(errors[0].mean()) < 0.2 and abs(errors[1].mean()) < 0.2
    noise = [4 * error.std() / math.sqrt(32) for error in errors]
    assert errors[0].mean() < noise[0] < 0.5 and -errors[1].mean() < noise[1] < 0.5
    assert 0.6 < lower.acceptance.mean() < 0.7
    assert lower.log_weights.shape == (16, 32)


def weights_of(model, x, z, settings):
    """log w - log p(x) of forward chains and log w + log p(x) of backward ones: means of 1 without the logs."""
    log_p = ONE.log_evidence(x)
    forward = annealing.annealed(model, x, KEY, settings).log_weights - log_p
    backward = annealing.annealed_backwards(model, x, z, KEY, settings).log_weights + log_p
    return np.exp(forward), np.exp(backward)


ONE = exact.LinearGaussian(np.array([[0.5]]), np.array([0.2]), 1.0)


def test_few_temperatures_are_unbiased_in_either_direction(float64):
    """E w = p(x) and, from exact draws, E w = 1 / p(x), whatever the number of temperatures and the step size."""
    x = np.repeat([[-0.5], [1.7]], 2000, axis=0)
    mean, deviation = ONE.posterior_mean(x), math.sqrt(ONE.posterior_covariance[0, 0])
    z = mean + deviation * RNG.normal(size=mean.shape)
    settings = Annealing(temperatures=4, chains=4, leapfrog_steps=2, first_step_size=1.4, images_at_once=4000)
    for weights in weights_of(ONE.model(), x, z, settings):
        for image in np.split(weights.mean(0), 2):  # chains that start from one draw are not independent
            error = image.std() / math.sqrt(2000)
            assert abs(image.mean() - 1) < 4 * error < 0.02
    # The step is so large that a transition which forgets to reject would show.
    assert annealing.annealed(ONE.model(), x, KEY, settings).acceptance.mean() < 0.9


SHORT = Annealing(temperatures=20, chains=2, leapfrog_steps=2, images_at_once=3)


def test_step_sizes_are_frozen_or_adapted_as_the_name_says(float64):
    settings, inside = SHORT, replace(SHORT, step_sizes="adapted-in-the-chain")
    x, z = X[:3], Z[:3]
    frozen, adapted = (annealing.annealed(PPCA.model(), x, KEY, mode) for mode in (settings, inside))
    assert (frozen.step_sizes[0] == 0.3).all() and (adapted.step_sizes[0] == 0.3).all()
    assert (frozen.step_sizes[1:] != adapted.step_sizes[1:]).any()  # another run's chains set them
    # What the exact draws are does not touch frozen steps, but does those that adapt to them.
    moved = [annealing.annealed_backwards(PPCA.model(), x, start, KEY, settings).step_sizes for start in (z, z + 1)]
    np.testing.assert_array_equal(*moved)
    # Backward chains pass the same temperatures with the same steps, which may be given.
    np.testing.assert_array_equal(frozen.step_sizes[:-1], moved[0][1:])
    made, given = (
        annealing.annealed_backwards(PPCA.model(), x, z, KEY, settings, step_sizes=steps).log_weights
        for steps in (None, frozen.step_sizes)
    )
    np.testing.assert_array_equal(made, given)
    moved = [annealing.annealed_backwards(PPCA.model(), x, start, KEY, inside).step_sizes for start in (z, z + 1)]
    assert (moved[0] != moved[1]).any()


def test_no_bit_depends_on_which_images_are_annealed_together(float64):
    settings = SHORT
    whole = annealing.annealed(PPCA.model(), X[:7], KEY, settings)
    for at, count in ((0, 2), (2, 5)):
        part = annealing.annealed(PPCA.model(), X[at : at + count], KEY, settings, first=at)
        np.testing.assert_array_equal(part.log_weights, whole.log_weights[:, at : at + count])
    assert (annealing.annealed(PPCA.model(), X[:7], KEY, settings, first=1).log_weights != whole.log_weights).all()


def test_a_trajectory_that_leaves_all_numbers_is_rejected(float64):
    settings = replace(SHORT, first_step_size=1e200)
    found = annealing.annealed(PPCA.model(), X[:3], KEY, settings)
    assert np.isfinite(found.log_weights).all()
    assert (found.acceptance == 0).all()


SPEC = DataSpec("pixels", (2, 2, 1))


def nonlinear(kind):
    """A model with one latent, and binary or real images that it might have made."""
    if kind == "vae":
        config = vae.Config(hidden_sizes=(8,), latent_size=1)
        params, stats = init_networks(vae.networks(config, SPEC), KEY)
        params = jax.tree.map(lambda leaf: 3 * leaf, params)
        return latent_models.of_vae(config, SPEC, params, stats)
    prior = kind.removeprefix("gan of a ").removesuffix(" prior")
    config = gan.Config(network="mlp", hidden_sizes=(8,), latent_size=1, prior=prior)
    params, stats = init_networks(gan.networks(config, SPEC), KEY)
    params = jax.tree.map(lambda leaf: 2 * leaf + 0.1, params)
    return latent_models.of_gan(config, SPEC, params, stats, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vae", "gan of a normal prior", "gan of a uniform prior"])
def test_decoders_that_are_not_linear_agree_with_quadrature_and_have_a_small_gap(kind, float64):
    model = nonlinear(kind)
    settings = Annealing(temperatures=200, chains=16, images_at_once=16)
    images, latents = annealing.simulated(model, 16, KEY)
    grid = jnp.linspace(-8, 8, 4001)[:, None]

    def log_p(x):
        repeated = jnp.broadcast_to(x[None], (len(grid), *x.shape))
        log_joint = model.log_likelihood(model.params, repeated, grid) + model.log_prior(grid)
        return scipy.special.logsumexp(np.asarray(log_joint)) + math.log(float(grid[1, 0] - grid[0, 0]))

    expected = np.array([log_p(x) for x in images])
    found = annealing.annealed(model, images, KEY, settings)
    assert abs(found.log_evidence - expected).mean() < 0.1
    both = annealing.bidirectional(model, 16, KEY, settings)
    np.testing.assert_array_equal(both.lower, found.log_evidence)
    assert abs(both.upper - expected).mean() < 0.1
    assert abs(both.gap.mean) < 0.1 and both.gap.mean == pytest.approx((both.upper - both.lower).mean())


@pytest.mark.slow
def test_few_temperatures_leave_a_gap_and_the_sandwich_holds(float64):
    model = PPCA.model()
    x, z = annealing.simulated(model, 32, KEY)
    log_p = PPCA.log_evidence(np.asarray(x))
    both = annealing.bidirectional(model, 32, KEY, Annealing(temperatures=30))
    assert both.lower.mean() < log_p.mean() - 0.5 and both.upper.mean() > log_p.mean() + 0.5
    assert both.gap.mean > 4 * both.gap.standard_error


def test_simulated_pairs_are_those_of_the_model():
    """And the first of many are the few."""
    x, z = annealing.simulated(PPCA.model(), 5000, KEY)
    joint = np.concatenate([np.asarray(x), np.asarray(z)], axis=1)
    expected = np.block([[PPCA.covariance, PPCA.weights.T], [PPCA.weights, np.eye(5)]])
    assert abs(np.cov(joint.T) - expected).max() < 6 * expected.max() * math.sqrt(2 / 5000)
    np.testing.assert_array_equal(annealing.simulated(PPCA.model(), 3, KEY)[1], z[:3])


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"temperatures": 0}, "temperatures must be at least 1, not 0"),
        ({"chains": 0}, "chains must be at least 1, not 0"),
        ({"radius": -1.0}, r"radius must be in \[0, 30\], not -1.0"),
        ({"first_step_size": 0.0}, "first-step-size must be above 0, not 0.0"),
        ({"target_acceptance": 1.0}, r"target-acceptance must be in \(0, 1\), not 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, told):
    with pytest.raises(UserError, match=told):
        Annealing(**wrong)


def test_backward_chains_need_a_model_that_simulates():
    with pytest.raises(ValueError, match="no simulate"):
        annealing.bidirectional(PPCA.model()._replace(simulate=None), 2, KEY)
