"""Where a condition (n, e) enters a network: one-hot labels, or any other vector."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.networks.layers import Dense

Place = Literal["input", "norm"]
"""Beside the latent vector (Mirza & Osindero 2014), or as gains and shifts of the norms (de Vries et al. 2017)."""


class ConditionChannels(nn.Module):
    """Appends the condition to an image, as `features` more channels that are the same at every pixel.

    For the discriminator of Mirza & Osindero 2014 (arXiv 1411.1784): a linear embedding of few dimensions, upsampled to
    the image's size. One-hot labels so become vectors of the order of the pixels. -> (n, h, w, c + features).
    """

    features: int = 8
    spectral: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], condition: Float[Array, "n e"], train: bool = False
    ) -> Float[Array, "n h w c2"]:
        embed = Dense(self.features, nn.initializers.normal(1.0), use_bias=False, spectral=self.spectral)
        y = embed(condition, train).astype(x.dtype)
        return jnp.concatenate([x, jnp.broadcast_to(y[:, None, None], (*x.shape[:-1], self.features))], -1)


def beside(z: Float[Array, "n d"], condition: Float[Array, "n e"] | None) -> Float[Array, "n d2"]:
    """The latent vectors with the condition appended, if there is one."""
    return z if condition is None else jnp.concatenate([z, condition.astype(z.dtype)], 1)
