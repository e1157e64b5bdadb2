"""Multilayer perceptrons between vectors and images, or arrays of any other shape, such as points in the plane."""

import math
from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from vaegan_jax.networks.conditions import beside
from vaegan_jax.networks.layers import Dense, activate
from vaegan_jax.networks.norms import has_shift, normalize

Norm = Literal["none", "batch", "layer", "pixel"]


class VectorToImage(nn.Module):
    """A generator: dense layers, then the image: (n, latent size) -> (n, *image_shape), unbounded.

    A condition is appended to z. Norms follow the hidden layers, before their (leaky) ReLU.
    """

    hidden: tuple[int, ...]
    image_shape: tuple[int, ...]
    norm: Norm = "none"
    spectral: bool = False
    slope: float = 0.0

    @nn.compact
    def __call__(
        self, z: Float[Array, "n d"], condition: Float[Array, "n e"] | None = None, train: bool = False
    ) -> Float[Array, "n *image"]:
        x = _hidden(self, beside(z, condition), train)
        x = Dense(math.prod(self.image_shape), spectral=self.spectral)(x, train)
        return x.reshape((len(z), *self.image_shape))


class Body(nn.Module):
    """A discriminator up to its last dense layer: (n, ...) -> (n, the last of `hidden`)."""

    hidden: tuple[int, ...]
    norm: Norm = "none"
    spectral: bool = False
    slope: float = 0.2

    @nn.compact
    def __call__(self, x: Float[Array, "n ..."], train: bool = False) -> Float[Array, "n f"]:
        return _hidden(self, x.reshape((len(x), -1)), train)


class ImageToVector(nn.Module):
    """An encoder or a discriminator with its last layer: (n, ...) -> (n, features)."""

    hidden: tuple[int, ...]
    features: int
    slope: float = 0.0
    """Slope of the (leaky) ReLU for negative inputs."""
    norm: Norm = "none"
    spectral: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n ..."], train: bool = False) -> Float[Array, "n f"]:
        x = _hidden(self, x.reshape((len(x), -1)), train)
        return Dense(self.features, spectral=self.spectral)(x, train)


def _hidden(module: nn.Module, x, train: bool):
    for size in module.hidden:
        x = Dense(size, use_bias=not has_shift(module.norm), spectral=module.spectral)(x, train)
        x = activate(normalize(module.norm, x, train), module.slope)
    return x
