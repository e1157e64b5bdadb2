"""Discriminators that are autoencoders: what they rebuild badly is not real. For EBGAN and BEGAN."""

from dataclasses import replace
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.losses.adversarial import Value
from vaegan_jax.losses.reductions import sum_events
from vaegan_jax.models import gan_networks
from vaegan_jax.models.gan_networks import Judgment
from vaegan_jax.networks.layers import Dense
from vaegan_jax.networks.network import Network, pure

if TYPE_CHECKING:
    from vaegan_jax.models.gan import Config


class Autoencoder(nn.Module):
    """Images -> Judgment: the score is minus the energy, the features are the code (n, code_size)."""

    encoder: nn.Module
    code_size: int
    decoder: nn.Module
    spectral: bool
    norm: str
    """Energy: "l2", the Euclidean norm of what is missing in an image, or "l1", its mean absolute value."""

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"], condition: None = None, train: bool = False) -> Judgment:
        code = Dense(self.code_size, spectral=self.spectral)(self.encoder(images, train), train)
        wide = jnp.promote_types(images.dtype, jnp.float32)
        missing = images.astype(wide) - jnp.tanh(self.decoder(code, None, train).astype(wide))
        if self.norm == "l1":
            energy = sum_events(jnp.abs(missing)) / missing[0].size
        else:
            # The inner term keeps the root's derivative finite where an image is rebuilt exactly.
            energy = jnp.sqrt(sum_events(jnp.square(missing)) + 1e-12)
        return Judgment(-energy, code)


def discriminator(config: "Config", spec: DataSpec, code_size: int, norm: str) -> Network:
    """An autoencoder of the configuration's discriminator and generator. ValueError as for these."""
    spectral = config.spectral != "none"
    decoder = gan_networks.generator_module(replace(config, spectral="both") if spectral else config, spec)
    image = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.result_type(float))
    module = Autoencoder(gan_networks.body(config, spec), code_size, decoder, spectral, norm)
    return pure(module, image, dtype=gan_networks.DTYPES[config.precision])


def on_scores(value: Value) -> Value:
    """A game on energies as one on scores, which are minus these."""
    return Value(lambda real, fake: value.discriminator(-real, -fake), lambda real, fake: value.generator(-real, -fake))
