"""Bounds of log p(x) against models whose every likelihood is known, and by enumeration."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.evaluation.likelihood import bounds, exact, latent_models
from vaegan_jax.models import gan, vae
from vaegan_jax.networks.network import init_networks

pytestmark = pytest.mark.usefixtures("compiled_quickly")
RNG = np.random.default_rng(0)
PPCA = exact.LinearGaussian(RNG.normal(size=(5, 20)), RNG.normal(size=20), 0.3)
_, X = PPCA.sample(RNG, 32)
KEY = jax.random.key(0)


def test_log_evidence_and_posterior_are_those_of_the_joint_normal():
    """By conditioning the joint covariance of (x, z), and by scipy's density."""
    covariance = np.block([[PPCA.covariance, PPCA.weights.T], [PPCA.weights, np.eye(5)]])
    gain = covariance[20:, :20] @ np.linalg.inv(covariance[:20, :20])
    np.testing.assert_allclose(PPCA.posterior_mean(X), (X - PPCA.mean) @ gain.T, rtol=1e-9)
    np.testing.assert_allclose(PPCA.posterior_covariance, np.eye(5) - gain @ PPCA.weights.T, rtol=1e-8, atol=1e-12)
    expected = scipy.stats.multivariate_normal(PPCA.mean, PPCA.covariance).logpdf(X)
    np.testing.assert_allclose(PPCA.log_evidence(X), expected, rtol=1e-11)


def test_probabilistic_pca_is_a_stationary_point_of_the_likelihood_and_better_than_its_neighbors():
    x = RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 6)) + 0.5 * RNG.normal(size=(200, 6))
    fit = exact.probabilistic_pca(x, 2)
    best = fit.log_evidence(x).mean()
    decomposition = pytest.importorskip("sklearn.decomposition")
    peer = decomposition.PCA(2).fit(x)  # whose noise is of the covariance with 1/(n - 1)
    np.testing.assert_allclose(fit.deviation**2, peer.noise_variance_ * 199 / 200, rtol=1e-10)
    for change in RNG.normal(size=(20, 2, 6)):
        moved = exact.LinearGaussian(fit.weights + 1e-3 * change, fit.mean, fit.deviation)
        assert 0 < best - moved.log_evidence(x).mean() < 1e-3
    for factor in (0.99, 1.01):
        assert exact.LinearGaussian(fit.weights, fit.mean, factor * fit.deviation).log_evidence(x).mean() < best
    with pytest.raises(ValueError, match=r"latent_size must be in 1 \.\. 5, not 6"):
        exact.probabilistic_pca(x, 6)


def test_the_elbo_misses_log_p_by_the_divergence_of_q_from_the_posterior(float64):
    """In closed form, and by draws within four of their standard errors; rate in closed form to all digits."""
    mean, covariance = PPCA.posterior_mean(X), 2.25 * PPCA.posterior_covariance
    gap = exact.kl(mean, covariance, mean, PPCA.posterior_covariance)
    np.testing.assert_allclose(gap, 5 / 2 * (2.25 - 1 - math.log(2.25)), rtol=1e-12)
    np.testing.assert_allclose(PPCA.elbo(X, mean, covariance), PPCA.log_evidence(X) - gap, rtol=1e-11)
    draws = 2048
    found = bounds.bounds(PPCA.model(1.5), X, KEY, draws)
    prior = np.zeros((32, 5)), np.eye(5)
    np.testing.assert_allclose(found.rate, exact.kl(mean, covariance, *prior), rtol=1e-12)
    # |x - z W|^2 / 2 s^2 has a spread of a few nats, whatever the image.
    error = 4 * found.distortion.std() / math.sqrt(draws)
    assert abs(found.distortion - PPCA.distortion(X, mean, covariance)).max() < 4 * error < 4
    assert abs((found.elbo - PPCA.elbo(X, mean, covariance)).mean()) < 0.1
    estimated = bounds.elbo(PPCA.model(1.5), X, KEY, draws, analytic=False)
    error = 1.98 / math.sqrt(draws * 32)  # of log w, 5/8 times a chi^2 of five degrees
    assert abs((estimated - PPCA.elbo(X, mean, covariance)).mean()) < 4 * error


def test_every_weight_of_the_exact_posterior_is_p_of_x(float64):
    found = bounds.bounds(PPCA.model(), X, KEY, 128)
    np.testing.assert_allclose(bounds.log_weights(PPCA.model(), X, KEY, 128), np.tile(PPCA.log_evidence(X), (128, 1)))
    np.testing.assert_allclose(found.importance_weighted, PPCA.log_evidence(X), rtol=1e-10)
    np.testing.assert_allclose(found.effective_draws, 128, rtol=1e-10)


def test_with_one_draw_the_importance_weighted_bound_is_the_elbo(float64):
    model = PPCA.model(1.5)._replace(kl=None)
    found = bounds.bounds(model, X, KEY, 1)
    np.testing.assert_allclose(found.importance_weighted, found.elbo, rtol=1e-13)
    np.testing.assert_array_equal(bounds.importance_weighted(model, X, KEY, 1), found.importance_weighted)


def test_gaps_of_the_importance_weighted_bound_are_those_of_the_table_and_fall_with_k(float64):
    """log w - log p(x) = 5 log 1.5 - 5/8 |e|^2, e standard normal: the same for every such model and image."""
    log_w = bounds.log_weights(PPCA.model(1.5), X, KEY, 20_000) - PPCA.log_evidence(X)
    pivot = 5 * math.log(1.5) - 0.625 * (np.random.default_rng(1).normal(size=(20_000, 32, 5)) ** 2).sum(2)
    assert scipy.stats.ks_2samp(log_w.ravel(), pivot.ravel()).pvalue > 1e-3
    means, table = [], {1: -1.16, 10: -0.21, 100: 0.003, 1000: -0.004}
    for k, measured in table.items():
        runs = (scipy.special.logsumexp(log_w.reshape(-1, k, 32), axis=1) - math.log(k)).mean(1)
        assert abs(measured - runs.mean()) < 3 * runs.std()  # one run of 32 images
        means.append(runs.mean())
    assert abs(means[0] + 1.0977) < 4 * 1.98 / math.sqrt(20_000 * 32)
    assert means[0] < means[1] < means[2] < means[3] < 0.01
    assert np.diff(means)[0] > 0.9
    whole = bounds.bounds(PPCA.model(1.5), X, KEY, 1024)
    merged = scipy.special.logsumexp(log_w[:1024], axis=0) - math.log(1024)
    np.testing.assert_allclose(whole.importance_weighted - PPCA.log_evidence(X), merged, rtol=0, atol=1e-9)
    assert abs(whole.effective_draws.mean() / 1024 - (2.25**2 / 3.5) ** -2.5) < 0.01  # (E w)^2 / E w^2


def test_as_many_draws_are_used_as_were_asked_for(float64):
    """Also where they are fewer than a piece has, or do not fill the last."""
    model, weights = PPCA.model(1.5), bounds.log_weights(PPCA.model(1.5), X[:3], KEY, 256)
    for k in (7, 255):
        expected = scipy.special.logsumexp(weights[:k], axis=0) - math.log(k)
        np.testing.assert_allclose(bounds.importance_weighted(model, X[:3], KEY, k), expected, rtol=1e-11)
        assert bounds.log_weights(model, X[:3], KEY, k).shape == (k, 3)


def test_no_bit_depends_on_which_images_come_together():
    model = PPCA.model(1.5)  # in float32
    whole = bounds.bounds(model, X, KEY, 50)
    parts = [bounds.bounds(model, X[at : at + 5], KEY, 50, first=at) for at in range(0, 32, 5)]
    for name, values in whole._asdict().items():
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), values)
    moved = bounds.importance_weighted(model, X, KEY, 50, first=1)
    assert (moved != whole.importance_weighted).all()


def test_pieces_of_any_size_give_the_same_to_rounding(float64):
    model = PPCA.model(1.5)
    for values, other in zip(*(bounds.bounds(model, X, KEY, 128, rows=rows) for rows in (None, 33)), strict=True):
        np.testing.assert_allclose(other, values, rtol=1e-11)


SPEC = DataSpec("pixels", (2, 2, 1))


def linear_vae(likelihood):
    """A VAE of orthogonal weights, so that its posterior is of independent latents, and q may be exact."""
    basis, _ = np.linalg.qr(RNG.normal(size=(4, 2)))
    same = exact.LinearGaussian(np.diag([0.9, 0.3]) @ basis.T, RNG.normal(size=4), 0.5)
    gain = same.weights.T @ same.posterior_covariance / 0.25
    variance = np.log(np.diag(same.posterior_covariance))
    encoder = np.concatenate([gain, np.zeros((4, 2))], 1), np.concatenate([-same.mean @ gain, variance])
    layers = {"encoder": encoder, "decoder": (same.weights, same.mean)}
    params = {
        name: {"Dense_0": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}
        for name, (kernel, bias) in layers.items()
    }
    config = vae.Config(hidden_sizes=(), latent_size=2, likelihood=likelihood, deviation=0.5)
    return same, latent_models.of_vae(config, SPEC, params, {"encoder": {}, "decoder": {}})


def test_a_vae_of_the_library_with_its_exact_posterior_gives_log_p_itself(float64):
    same, model = linear_vae("gaussian")
    x = RNG.uniform(-1, 1, (6, 4))
    found = bounds.bounds(model, x.reshape(6, 2, 2, 1), KEY, 2)
    np.testing.assert_allclose(found.importance_weighted, same.log_evidence(x), rtol=1e-11)
    mean, covariance = same.posterior_mean(x), same.posterior_covariance
    np.testing.assert_allclose(found.rate, exact.kl(mean, covariance, np.zeros((6, 2)), np.eye(2)), rtol=1e-11)


def test_probabilities_of_all_binary_images_sum_to_one(float64):
    """p(x | z) exactly; the estimates of p(x) = E w within their error, q being somewhat wider than the prior."""
    _, model = linear_vae("bernoulli")
    every = jnp.asarray(list(itertools.product([-1.0, 1.0], repeat=4))).reshape(16, 2, 2, 1)
    z = jnp.tile(jnp.asarray([[0.3, -1.2]]), (16, 1))
    np.testing.assert_allclose(np.exp(jax.jit(model.log_likelihood)(model.params, every, z)).sum(), 1, rtol=1e-12)
    wide = model._replace(encode=lambda params, x: (jnp.zeros((len(x), 2)), jnp.full((len(x), 2), 0.3)))
    weights = np.exp(bounds.log_weights(wide, every, KEY, 1024))
    error = math.sqrt(weights.var(0).sum() / 1024)
    assert abs(weights.mean(0).sum() - 1) < 4 * error < 0.05
    # Simulation draws by the same probabilities.
    keys = jax.random.split(KEY, 20_000)
    images = jax.jit(model.simulate)(model.params, jnp.tile(z[:1], (20_000, 1)), keys).reshape(-1, 4)
    index = ((np.asarray(images) + 1) / 2 @ [8, 4, 2, 1]).astype(int)
    expected = np.exp(jax.jit(model.log_likelihood)(model.params, every, z))
    assert scipy.stats.chisquare(np.bincount(index, minlength=16), 20_000 * expected).pvalue > 1e-3


def test_a_simulated_gaussian_vae_has_the_covariance_of_its_model(float64):
    same, model = linear_vae("gaussian")
    keys = jax.random.split(KEY, 20_000)
    z = jax.jit(model.sample_prior)(jax.random.split(jax.random.key(1), 20_000))
    x = np.asarray(jax.jit(model.simulate)(model.params, z, keys)).reshape(-1, 4)
    assert abs(x.mean(0) - same.mean).max() < 5 * math.sqrt(same.covariance.max() / 20_000)
    assert abs(np.cov(x.T) - same.covariance).max() < 5 * same.covariance.max() * math.sqrt(2 / 20_000)


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_a_gan_has_the_density_of_gaussian_pixels_around_its_images(prior, float64):
    config = gan.Config(network="mlp", latent_size=3, hidden_sizes=(8,), prior=prior)
    shapes, stats = jax.eval_shape(lambda key: init_networks(gan.networks(config, SPEC), key), KEY)
    params = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape)), shapes)
    model = latent_models.of_gan(config, SPEC, params, stats, 0.3)
    z = model.sample_prior(jax.random.split(KEY, 5))
    latents = z if prior == "normal" else 2 * jax.scipy.stats.norm.cdf(z) - 1
    generator = gan.networks(config, SPEC)["generator"]
    made, _ = jax.jit(generator.apply)(params["generator"], stats["generator"], latents)
    x = jnp.asarray(RNG.uniform(-1, 1, (5, 2, 2, 1)))
    expected = scipy.stats.norm.logpdf(x, np.tanh(made), 0.3).sum((1, 2, 3))
    np.testing.assert_allclose(jax.jit(model.log_likelihood)(model.params, x, z), expected, rtol=1e-10)
    np.testing.assert_allclose(model.log_prior(z), scipy.stats.norm.logpdf(z).sum(1), rtol=1e-12)
    assert latent_models.of_gan(config, SPEC, params, stats, 0.5).functions == model.functions  # one program for both
    with pytest.raises(ValueError, match="no encode"):
        bounds.bounds(model, x, KEY, 1)


def test_the_standard_error_is_that_of_the_mean_over_images():
    values = RNG.normal(size=30)
    mean, error = bounds.over_images(values)
    np.testing.assert_allclose([mean, error], [values.mean(), scipy.stats.sem(values)], rtol=1e-12)
    assert math.isnan(bounds.over_images(values[:1]).standard_error)


def test_no_draws_are_refused():
    with pytest.raises(ValueError, match="draws must be at least 1, not 0"):
        bounds.bounds(PPCA.model(), X, KEY, 0)
