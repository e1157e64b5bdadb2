"""The VAE against linear-Gaussian models, whose evidence, posterior and bound are known in closed form."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.models import vae

SPEC = DataSpec("pixels", (2, 2, 1), batch_size=8)
PIXELS, LATENT, DEVIATION = 4, 2, 0.5
LINEAR = vae.Config(hidden_sizes=(), latent_size=LATENT, likelihood="gaussian", deviation=DEVIATION)
DRAWS = 20_000
LIKELIHOODS = ("bernoulli", "gaussian", "gaussian-learned")
pytestmark = pytest.mark.usefixtures("compiled_quickly")


class Linear:
    """x = z W + c + s e by the decoder; q(z | x) = N(x A + a, diag exp(x B + b)) by the encoder."""

    def __init__(self, exact=False):
        draw = np.random.default_rng(0).normal
        basis, _ = np.linalg.qr(draw(size=(PIXELS, LATENT)))
        self.w, self.c = np.diag([0.9, 0.3]) @ basis.T, 0.3 * draw(size=PIXELS)  # orthogonal rows
        # The posterior: its precision is I + W W^T / s^2, diagonal by the choice of W.
        self.variance = 1 / np.diag(np.eye(LATENT) + self.w @ self.w.T / DEVIATION**2)
        self.a_kernel = self.w.T / DEVIATION**2 * self.variance
        self.a, self.b_kernel, self.b = -self.c @ self.a_kernel, np.zeros((PIXELS, LATENT)), np.log(self.variance)
        if not exact:
            self.a_kernel = self.a_kernel + 0.2 * draw(size=(PIXELS, LATENT))
            self.a, self.b = self.a + 0.3, self.b + [0.7, -0.5]
            self.b_kernel = 0.2 * draw(size=(PIXELS, LATENT))

    @property
    def params(self):
        encoder = np.concatenate([self.a_kernel, self.b_kernel], 1), np.concatenate([self.a, self.b])
        made = {"encoder": encoder, "decoder": (self.w, self.c)}
        return {
            name: {"Dense_0": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}
            for name, (kernel, bias) in made.items()
        }

    def posterior(self, x):
        return x @ self.a_kernel + self.a, x @ self.b_kernel + self.b

    def reconstruction(self, x):
        """E_q -log p(x | z), which is quadratic in z."""
        mean, log_variance = self.posterior(x)
        residual = ((x - mean @ self.w - self.c) ** 2).sum(1) + np.exp(log_variance) @ (self.w**2).sum(1)
        return PIXELS / 2 * np.log(2 * np.pi * DEVIATION**2) + residual / (2 * DEVIATION**2)

    def kl(self, x):
        mean, log_variance = self.posterior(x)
        return 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1)

    def evidence(self, x):
        covariance = self.w.T @ self.w + DEVIATION**2 * np.eye(PIXELS)
        return scipy.stats.multivariate_normal(self.c, covariance).logpdf(x)


X = np.random.default_rng(1).uniform(-1, 1, (3, PIXELS))
STATS = {"encoder": {}, "decoder": {}, "variance": {}}


def encoded(likelihood):
    """What the encoder sees of X: grey as probabilities for Bernoulli pixels."""
    return (X + 1) / 2 if likelihood == "bernoulli" else X


def images(x):
    return jnp.asarray(x).reshape(-1, *SPEC.image_shape)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def terms(config, params, x, seed=0):
    """The two parts of -ELBO for rows of pixels, in NumPy."""
    run = jax.jit(lambda params, x, keys: vae.elbo_terms(config, SPEC, params, STATS, x, keys))
    return [np.asarray(term, np.float64) for term in run(params, images(x), keys(len(x), seed))]


@pytest.mark.parametrize("exact", [False, True], ids=["another posterior", "exact posterior"])
def test_many_draws_of_the_linear_bound_agree_with_its_closed_form(exact, float64):
    """Within four standard errors of 20,000 draws for each of three images; and the KL needs no draws."""
    model = Linear(exact)
    reconstruction, kl = (term.reshape(3, DRAWS) for term in terms(LINEAR, model.params, np.repeat(X, DRAWS, axis=0)))
    error = reconstruction.std(1) / math.sqrt(DRAWS)
    assert (error < 0.05).all()
    assert (abs(reconstruction.mean(1) - model.reconstruction(X)) < 4 * error).all()
    np.testing.assert_allclose(kl, np.tile(model.kl(X)[:, None], DRAWS), rtol=1e-11, atol=1e-13)
    # The bound, and equality where q is the posterior.
    gap = model.evidence(X) + reconstruction.mean(1) + kl.mean(1)
    np.testing.assert_allclose(
        model.evidence(X) + model.reconstruction(X) + model.kl(X), gap, rtol=0, atol=4 * error.max()
    )
    assert (abs(gap) < 4 * error).all() if exact else (gap > 10 * error).all()


def test_the_closed_form_is_tight_at_the_posterior_and_below_the_evidence_elsewhere():
    """Of the formulas that the test above compares with."""
    exact, other = Linear(exact=True), Linear()
    np.testing.assert_allclose(-exact.reconstruction(X) - exact.kl(X), exact.evidence(X), rtol=1e-12)
    assert (-other.reconstruction(X) - other.kl(X) < other.evidence(X) - 0.1).all()


def settled(model):
    """A posterior of variance e^-60: z is its mean, to all digits."""
    model.b_kernel, model.b = np.zeros((PIXELS, LATENT)), np.full(LATENT, -60.0)
    return model


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_without_noise_the_reconstruction_is_the_likelihood_of_the_decoded_mean(likelihood, float64):
    model = settled(Linear())
    config = vae.Config(hidden_sizes=(), latent_size=LATENT, likelihood=likelihood, deviation=DEVIATION)
    log_variance = {"variance": {"log_variance": jnp.asarray(-0.7)}} if likelihood == "gaussian-learned" else {}
    reconstruction, kl = terms(config, model.params | log_variance, X)
    seen = encoded(likelihood)
    output = model.posterior(seen)[0] @ model.w + model.c
    if likelihood == "bernoulli":
        p = scipy.special.expit(output)
        expected = -(seen * np.log(p) + (1 - seen) * np.log(1 - p))
    else:
        deviation = DEVIATION if likelihood == "gaussian" else math.exp(-0.35)
        expected = -scipy.stats.norm.logpdf(X, output, deviation)
    np.testing.assert_allclose(reconstruction, expected.sum(1), rtol=1e-11)
    np.testing.assert_allclose(kl, model.kl(seen), rtol=1e-12)


def loss_of(config, params, x, step=0, spec=SPEC, seed=0):
    batch = {"image": images(x), "position": jnp.arange(len(x))}
    player = vae.game(config, spec)["vae"]
    value, (stats, metrics) = player.loss(params, STATS, batch, jax.random.key(seed), jnp.int32(step))
    assert stats == {}
    return float(value), {name: float(metric) for name, metric in metrics.items()}


def test_the_loss_is_the_mean_over_the_batch_of_the_sum_of_both_terms(float64):
    model = settled(Linear())
    value, metrics = loss_of(LINEAR, model.params, X)
    np.testing.assert_allclose(metrics["reconstruction"], model.reconstruction(X).mean(), rtol=1e-11)
    np.testing.assert_allclose(metrics["kl"], model.kl(X).mean(), rtol=1e-12)
    np.testing.assert_allclose(value, metrics["reconstruction"] + metrics["kl"], rtol=1e-14)
    np.testing.assert_allclose(metrics["elbo"], -value, rtol=1e-14)


def test_beta_and_the_warm_up_in_images_weigh_the_kl_alone(float64):
    model = settled(Linear())
    _, metrics = loss_of(LINEAR, model.params, X)
    for beta in (0.0, 0.5, 4.0):
        config = replace(LINEAR, beta=beta)
        value, same = loss_of(config, model.params, X, step=7)
        np.testing.assert_allclose(value, metrics["reconstruction"] + beta * metrics["kl"], rtol=1e-13)
        assert same == metrics  # which tell the bound, whatever the weight
    config = replace(LINEAR, beta=2.0, warmup_kimg=0.4)
    for step, weight in ((0, 0), (1, 8 / 400), (20, 160 / 400), (50, 1), (51, 1), (10**6, 1)):  # 8 images a step
        value, _ = loss_of(config, model.params, X, step)
        np.testing.assert_allclose(value, metrics["reconstruction"] + 2 * weight * metrics["kl"], rtol=1e-13)
    for batch_size, step in ((4, 40), (16, 10), (160, 1)):  # the same 160 images
        value, _ = loss_of(config, model.params, X, step, DataSpec("pixels", (2, 2, 1), batch_size=batch_size))
        np.testing.assert_allclose(value, metrics["reconstruction"] + 2 * 0.4 * metrics["kl"], rtol=1e-13)


def test_several_draws_of_z_are_averaged(float64):
    """The mean stays, the variance is divided by the number of draws: both within five standard errors."""
    model, several = Linear(), replace(LINEAR, monte_carlo_samples=4)
    x = np.repeat(X[:1], 4000, axis=0)
    (one, kl), (four, same) = terms(LINEAR, model.params, x), terms(several, model.params, x, seed=1)
    np.testing.assert_allclose(same, kl, rtol=1e-12)
    assert abs(four.mean() - model.reconstruction(X[:1])[0]) < 5 * four.std() / math.sqrt(4000)
    assert abs(4 * four.var() / one.var() - 1) < 5 * math.sqrt(2 * 6 / 4000)  # the fourth moment is that of a chi^2


def test_the_learned_variance_is_a_network_of_the_player_and_best_at_the_mean_squared_residual(float64):
    config = replace(LINEAR, likelihood="gaussian-learned")
    assert vae.game(config, SPEC)["vae"].owns == ("encoder", "decoder", "variance")
    assert vae.game(LINEAR, SPEC)["vae"].owns == ("encoder", "decoder")
    params, stats = vae.networks(config, SPEC)["variance"].init(jax.random.key(0))
    assert stats == {}
    np.testing.assert_allclose(params["log_variance"], 2 * math.log(DEVIATION), rtol=1e-14)

    model = settled(Linear())
    best = np.log(((X - model.posterior(X)[0] @ model.w - model.c) ** 2).mean())
    batch = {"image": images(X), "position": jnp.arange(3)}

    @jax.jit
    @jax.grad
    def slope(log_variance):
        params = model.params | {"variance": {"log_variance": log_variance}}
        return vae.game(config, SPEC)["vae"].loss(params, STATS, batch, jax.random.key(0), jnp.int32(0))[0]

    assert abs(slope(best)) < 1e-11
    assert slope(best - 0.1) < 0 < slope(best + 0.1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_images_made_by_a_linear_vae_are_the_means_of_its_decoder(likelihood, float64):
    model = Linear()
    config = replace(LINEAR, likelihood=likelihood)
    squash = (lambda y: 2 * scipy.special.expit(y) - 1) if likelihood == "bernoulli" else (lambda y: np.clip(y, -1, 1))
    mean, log_variance = vae.encode(config, SPEC, model.params, STATS, images(X))
    expected = model.posterior(encoded(likelihood))
    np.testing.assert_allclose(mean, expected[0], rtol=1e-12)
    np.testing.assert_allclose(log_variance, expected[1], rtol=1e-12)
    again = vae.reconstruct(config, SPEC, model.params, STATS, images(X))
    np.testing.assert_allclose(again.reshape(3, PIXELS), squash(expected[0] @ model.w + model.c), rtol=1e-11)
    made, stats = jax.jit(lambda keys: vae.sample(config, SPEC, model.params, STATS, keys))(keys(DRAWS))
    assert stats == STATS
    if likelihood == "bernoulli":  # whose logits have the mean c and the covariance W^T W, as z has 0 and I
        logits = scipy.special.logit((np.asarray(made).reshape(DRAWS, PIXELS) + 1) / 2)
        covariance = model.w.T @ model.w
        assert (abs(logits.mean(0) - model.c) < 5 * np.sqrt(np.diag(covariance) / DRAWS)).all()
        assert abs(np.cov(logits.T) - covariance).max() < 5 * covariance.max() * math.sqrt(2 / DRAWS)
