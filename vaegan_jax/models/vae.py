"""Variational autoencoder: one player that owns an encoder q(z | x) and a decoder p(x | z).

Kingma & Welling 2013, "Auto-Encoding Variational Bayes" (arXiv 1312.6114); beta from Higgins et al. 2017; a learned
scalar variance from Rybkin et al. 2020 (arXiv 2006.13202). Images come and go in [-1, 1].
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp

from vaegan_jax import latents
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import check, check_fields
from vaegan_jax.games import Game, Player, Schedule, example_keys
from vaegan_jax.losses import divergences, likelihoods, reductions
from vaegan_jax.networks import dcgan, mlp
from vaegan_jax.networks.network import Network, pure
from vaegan_jax.optimizers import Adam


@dataclass(frozen=True)
class Config:
    """Variational autoencoder (Kingma & Welling 2013)."""

    network: Literal["mlp", "convolutional"] = "mlp"
    """Encoder and decoder: dense layers, or strided convolutions and their transposes."""
    latent_size: int = 10
    """Dimensions of z."""
    hidden_sizes: tuple[int, ...] = (512, 512)
    """Units of the encoder's hidden layers, mirrored in the decoder (mlp)."""
    width: int = 32
    """Channels of the largest convolution's output (convolutional)."""
    likelihood: Literal["bernoulli", "gaussian", "gaussian-learned"] = "bernoulli"
    """p(x | z): Bernoulli with grey pixels as probabilities, Gaussian of fixed, or of one learned, deviation."""
    deviation: float = 0.2
    """Standard deviation of a Gaussian pixel, where black to white is 2 (the first value if learned)."""
    beta: float = 1.0
    """Weight of the KL term; 1 is the evidence lower bound."""
    warmup_kimg: float = 0.0
    """The KL weight rises linearly from 0 over this many thousand images."""
    monte_carlo_samples: int = 1
    """Draws of z per image (L in the paper)."""
    optimizer: Adam = field(default_factory=Adam)
    """Adam of the one player, the VAE."""

    def __post_init__(self):
        check_fields(self)
        check(self.latent_size > 0, f"latent-size must be at least 1, not {self.latent_size}")
        check(min(self.hidden_sizes, default=1) > 0, f"hidden-sizes must be at least 1 each, not {self.hidden_sizes}")
        check(self.width > 0, f"width must be at least 1, not {self.width}")
        check(0 < self.deviation < float("inf"), f"deviation must be above 0 and finite, not {self.deviation}")
        check(0 <= self.beta < float("inf"), f"beta must be 0 or more and finite, not {self.beta}")
        finite = 0 <= self.warmup_kimg < float("inf")
        check(finite, f"warmup-kimg must be 0 or more and finite, not {self.warmup_kimg}")
        check(self.monte_carlo_samples > 0, f"monte-carlo-samples must be at least 1, not {self.monte_carlo_samples}")


def networks(config: Config, spec: DataSpec) -> dict[str, Network]:
    """Encoder and decoder, and the variance if it is learned. ValueError for images that convolutions cannot halve."""
    if config.network == "mlp":
        encoder = mlp.ImageToVector(config.hidden_sizes, 2 * config.latent_size)
        decoder = mlp.VectorToImage(config.hidden_sizes[::-1], spec.image_shape)
    else:
        dcgan.sides(spec.image_shape)
        encoder = dcgan.ImageToVector(2 * config.latent_size, config.width, normalize=False)
        decoder = dcgan.VectorToImage(spec.image_shape, config.width, normalize=False)
    image = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.result_type(float))
    made = {
        "encoder": pure(encoder, image),
        "decoder": pure(decoder, jax.ShapeDtypeStruct((1, config.latent_size), jnp.result_type(float))),
    }
    if config.likelihood == "gaussian-learned":
        first = jnp.asarray(2 * math.log(config.deviation), dtype=float)
        made["variance"] = Network(
            lambda key: ({"log_variance": first}, {}), lambda params, stats: (params["log_variance"], stats)
        )
    return made


def game(config: Config, spec: DataSpec) -> Game:
    """One player, who owns all networks and minimizes -ELBO in nats an image, its KL term weighted by beta.

    Raises ValueError for a warm-up, which counts images, over a spec without a batch size.
    """
    if config.warmup_kimg and not spec.batch_size:
        raise ValueError("warmup-kimg counts images, so spec.batch_size must say how many there are in a move")

    def loss(params, stats, batch, key, step):
        reconstruction, kl = elbo_terms(config, spec, params, stats, batch["image"], example_keys(key, batch))
        reconstruction, kl = reconstruction.mean(), kl.mean()
        seen_kimg = step * (spec.batch_size / 1000)
        warmth = jnp.minimum(seen_kimg / config.warmup_kimg, 1) if config.warmup_kimg else 1.0
        metrics = {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl}
        return reconstruction + config.beta * warmth * kl, ({}, metrics)

    return {"vae": Player(tuple(networks(config, spec)), loss, config.optimizer.transformation())}


def schedule(config: Config) -> Schedule:
    """One move a round."""
    return (("vae",),)


def elbo_terms(config: Config, spec: DataSpec, params, stats, images, keys) -> tuple[jax.Array, jax.Array]:
    """The two parts of -ELBO in nats, both (n,): -E_q log p(x | z), by Monte Carlo, and KL(q(z | x), N(0, I))."""
    mean, log_variance = encode(config, spec, params, stats, images)
    keys = jax.vmap(lambda key: jax.random.split(key, config.monte_carlo_samples))(keys)

    def reconstruction(keys):
        return -log_likelihood(config, spec, params, stats, images, latents.reparameterize(keys, mean, log_variance))

    expected = jnp.stack([reconstruction(keys[:, draw]) for draw in range(config.monte_carlo_samples)]).mean(0)
    return expected, divergences.kl_standard_normal(mean, log_variance).sum(1)


def log_likelihood(config: Config, spec: DataSpec, params, stats, images, z) -> jax.Array:
    """log p(x | z) in nats, (n,); a density of images in [-1, 1], or the probability of pixels of -1 and 1."""
    output = decode(config, spec, params, stats, z)
    if config.likelihood == "bernoulli":
        return -reductions.sum_events(likelihoods.bernoulli(output, (images + 1) / 2))
    return -reductions.sum_events(likelihoods.gaussian(output, images, _log_variance(config, params)))


def encode(config: Config, spec: DataSpec, params, stats, images) -> tuple[jax.Array, jax.Array]:
    """Mean and log variance of q(z | x): (n, height, width, channels) -> 2 x (n, latent size)."""
    # Probabilities where they are meant: inputs of -1 for all of the black reach a nat less on MNIST in equal time.
    pixels = (images + 1) / 2 if config.likelihood == "bernoulli" else images
    output, _ = networks(config, spec)["encoder"].apply(params["encoder"], stats["encoder"], pixels)
    mean, log_variance = jnp.split(output, 2, axis=1)
    return mean, log_variance


def decode(config: Config, spec: DataSpec, params, stats, z) -> jax.Array:
    """What parameterizes p(x | z), (n, height, width, channels): Bernoulli logits or Gaussian means."""
    return networks(config, spec)["decoder"].apply(params["decoder"], stats["decoder"], z)[0]


def observe(config: Config, spec: DataSpec, params, stats, z, keys) -> jax.Array:
    """Images drawn from p(x | z), noise and all: pixels of -1 or 1 (Bernoulli), or unbounded (Gaussian)."""
    output = decode(config, spec, params, stats, z)
    if config.likelihood == "bernoulli":
        chance = jax.nn.sigmoid(output)
        return jax.vmap(lambda key, p: 2 * jax.random.bernoulli(key, p).astype(p.dtype) - 1)(keys, chance)
    noise = jax.vmap(lambda key: jax.random.normal(key, spec.image_shape, output.dtype))(keys)
    return output + jnp.exp(_log_variance(config, params) / 2) * noise


def prior(config: Config) -> latents.Prior:
    """p(z): standard normal."""
    return _standard_normal(config)


def _standard_normal(config: Config) -> latents.Prior:
    return latents.normal(config.latent_size)


def sample(
    config: Config, spec: DataSpec, params, stats, keys, train: bool = False, prior: latents.Prior | None = None
) -> tuple[jax.Array, dict]:
    """Mean images of p(x | z) at z ~ N(0, I), one per key, in [-1, 1]; and the stats, which a VAE leaves alone.

    `prior` stands in for N(0, I).
    """
    return generate(config, spec, params, stats, (prior or _standard_normal(config))(keys)), stats


def generate(config: Config, spec: DataSpec, params, stats, z) -> jax.Array:
    """Mean images of p(x | z) in [-1, 1], one per latent, (n, height, width, channels)."""
    return _image(config, decode(config, spec, params, stats, z))


def reconstruct(config: Config, spec: DataSpec, params, stats, images) -> jax.Array:
    """Mean images of p(x | z) at the mean of q(z | x), in [-1, 1]."""
    mean, _ = encode(config, spec, params, stats, images)
    return generate(config, spec, params, stats, mean)


def _image(config: Config, output: jax.Array) -> jax.Array:
    return 2 * jax.nn.sigmoid(output) - 1 if config.likelihood == "bernoulli" else jnp.clip(output, -1, 1)


def _log_variance(config: Config, params) -> jax.Array:
    learned = config.likelihood == "gaussian-learned"
    return params["variance"]["log_variance"] if learned else jnp.asarray(2 * math.log(config.deviation))
