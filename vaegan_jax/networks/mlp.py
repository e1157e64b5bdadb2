"""Multilayer perceptrons between images and vectors."""

import math

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from vaegan_jax.networks.layers import Initializer


class Dense(nn.Module):
    """x W + b, the bias added without rank promotion: (n, c) -> (n, features)."""

    features: int
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "n c"]) -> Float[Array, "n f"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x @ kernel + bias[None]


class ImageToVector(nn.Module):
    """Flattens images, then dense layers: (n, height, width, channels) -> (n, features)."""

    hidden: tuple[int, ...]
    features: int
    slope: float = 0.0
    """Slope of the (leaky) ReLU for negative inputs."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n f"]:
        x = x.reshape((len(x), -1))
        for size in self.hidden:
            x = nn.leaky_relu(Dense(size)(x), self.slope)
        return Dense(self.features)(x)


class VectorToImage(nn.Module):
    """Dense layers, then images: (n, latent size) -> (n, height, width, channels), unbounded."""

    hidden: tuple[int, ...]
    image_shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool = False) -> Float[Array, "n h w c"]:
        for size in self.hidden:
            z = jax.nn.relu(Dense(size)(z))
        return Dense(math.prod(self.image_shape))(z).reshape((len(z), *self.image_shape))
