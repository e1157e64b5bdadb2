"""VAE + GAN: a generator that also has to rebuild real images, as the decoder of a variational autoencoder.

An encoder is added, q(z | x) = N(mean, deviation^2), which pays minus the evidence lower bound in nats an image, with
a Gaussian likelihood of variance 1 a pixel value (Kingma & Welling 2013, arXiv 1312.6114); the generator pays the
weighted reconstruction beside what its discriminator costs it. A hybrid of Chintala et al. 2016 ("How to train a GAN?",
point 8); Larsen et al. 2015 (arXiv 1512.09300) measure the reconstruction in the discriminator's features instead.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.latents import reparameterize
from vaegan_jax.losses.divergences import kl_standard_normal
from vaegan_jax.losses.reductions import sum_events
from vaegan_jax.models import adversarial_game, gan_networks
from vaegan_jax.models.adversarial_game import Seams, Table, Term, more
from vaegan_jax.models.further_players import Part
from vaegan_jax.models.gan_networks import DTYPES
from vaegan_jax.networks import dcgan, mlp
from vaegan_jax.networks.network import Network, pure

if TYPE_CHECKING:
    from vaegan_jax.models.gan import Config


def part(config: "Config", spec: DataSpec) -> Part:
    """The encoder as a player, who steps as the generator does. ValueError for images that do not halve."""
    network = _encoder(config, spec)

    def kl(table: Table) -> jax.Array:
        return kl_standard_normal(*_posterior(network, table)).sum(1)

    terms = {"reconstruction": _reconstruction(network), "kl": kl}
    return Part(network, terms, config.generator_optimizer.transformation())


def rebuilding(config: "Config", spec: DataSpec, seams: Seams) -> Seams:
    """The seams of a generator that pays the weighted reconstruction, too."""
    weight, error = config.techniques.autoencoding, _reconstruction(_encoder(config, spec))
    return seams._replace(terms=more(seams.terms, "generator", reconstruction=lambda table: weight * error(table)))


def encodes(config: "Config") -> bool:
    """Whether a model of this configuration rebuilds images that come without a class."""
    return config.techniques.autoencoding > 0 and config.condition == "none"


def reconstruct(config: "Config", spec: DataSpec, params, stats, images) -> jax.Array:
    """Images in [-1, 1] that the generator makes of the mean of q(z | x), (n, height, width, channels)."""
    mean, _ = _moments(_encoder(config, spec), params, images)
    return adversarial_game.generate(
        gan_networks.generator(config, spec), params, stats, mean, labels=None, classes=0, train=False
    )[0]


def _encoder(config: "Config", spec: DataSpec) -> Network:
    """Images -> means and log variances, (n, 2 x latent size): that of `vae`, without norms."""
    size = 2 * config.latent_size
    if config.network == "mlp":
        module = mlp.ImageToVector(config.hidden_sizes, size)
    else:
        dcgan.sides(spec.image_shape)
        module = dcgan.ImageToVector(size, config.width, normalize=False)
    image = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.result_type(float))
    return pure(module, image, dtype=DTYPES[config.precision])


def _posterior(network: Network, table: Table) -> tuple[jax.Array, jax.Array]:
    """Mean and log variance of q(z | x) of real images as they come, before noise and augmentation."""
    return _moments(network, table.params, table.images)


def _moments(network: Network, params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    output, _ = network.apply(params["encoder"], {}, images, train=True)  # without norms: it is the same in training
    mean, log_variance = jnp.split(output, 2, axis=1)
    return mean, log_variance


def _reconstruction(network: Network) -> Term:
    """(n,): |x - G(z)|^2 / 2 at a draw of z, in nats but for a constant."""

    def term(table: Table) -> jax.Array:
        z = reparameterize(table.keys, *_posterior(network, table))
        return sum_events(jnp.square(table.images - table.generate(z))) / 2

    return term
