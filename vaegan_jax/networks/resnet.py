"""Residual generators and discriminators (Gulrajani et al. 2017; Miyato et al. 2018, tables 4 and 6).

| pixels | generator, from the dense map | discriminator |
|---|---|---|
| 32 | 4 x 4 x 256; up 256, 256, 256 | down 128, 128; 128, 128 |
| 64 | 4 x 4 x 1024; up 512, 256, 128, 64 | down 64, 128, 256, 512, 1024 |
| 128 | 4 x 4 x 1024; up 1024, 512, 256, 128, 64 | down 64, 128, 256, 512, 1024; 1024 |

These are for a `width` of 64, with which all channels scale. The generator ends with norm, ReLU, 3 x 3 convolution; the
discriminator's features are the sums of a ReLU over all pixels, or with `pool` "mean", Gulrajani et al.'s, its means.
28 pixels (and others that halve to 4 to 8 in up to three steps) have the channels of 32: up twice from 7 x 7. Those of
64 pixels are the authors' program's.
"""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.networks.attention import SelfAttention
from vaegan_jax.networks.conditions import Place, beside
from vaegan_jax.networks.dcgan import check_attention, sides
from vaegan_jax.networks.layers import Convolution, Dense, activate
from vaegan_jax.networks.norms import Kind, normalize
from vaegan_jax.networks.residual import GLOROT, DownBlock, UpBlock, block

TABLE = {
    4: ((16, 8, 4, 2, 1), ((1, 2, 4, 8, 16), ())),
    5: ((16, 16, 8, 4, 2, 1), ((1, 2, 4, 8, 16), (16,))),
}
"""By how often an image is halved: widths of the dense map and of the blocks up; of the blocks down and then level."""


def plan(image_shape: tuple[int, int, int]) -> tuple[list[tuple[int, int]], tuple, tuple]:
    """The sizes of an image's maps, smallest first, and its row of the table. ValueError for sizes without one."""
    path = sides(image_shape)[::-1]
    halvings = len(path) - 1
    if halvings <= 3:
        return path, (4,) * (halvings + 1), ((2, 2), (2, 2))
    if halvings not in TABLE:
        raise ValueError(f"these residual networks have up to 128 pixels, not {image_shape[0]}x{image_shape[1]}")
    return path, *TABLE[halvings]


class Generator(nn.Module):
    """z (and condition) -> images, unbounded: by blocks that double the sides. ValueError for sizes without a plan."""

    image_shape: tuple[int, int, int]
    width: int = 64
    """What the table has 64 of."""
    norm: Kind = "batch"
    spectral: bool = False
    attention: int = 0
    """Height of the map that self-attention follows; 0 is none."""
    slope: float = 0.0
    conditional: Place = "norm"
    idle_biases: bool = False
    """Also biases that the next batch norm takes out again: published parameter counts have them."""
    rematerialize: bool = False
    """Computes the blocks' inner activations again in the backward pass."""

    @nn.compact
    def __call__(
        self, z: Float[Array, "n d"], condition: Float[Array, "n e"] | None = None, train: bool = False
    ) -> Float[Array, "n h w c"]:
        path, (first, *widths), _ = plan(self.image_shape)
        check_attention(self.attention, [side for side, _ in path[1:]])
        if self.conditional == "input":
            z, condition = beside(z, condition), None
        height, width = path[0]
        x = Dense(height * width * first * self.width, GLOROT, spectral=self.spectral)(z, train)
        x = x.reshape((len(z), height, width, -1))
        up = partial(block(UpBlock, self.rematerialize), idle_biases=self.idle_biases)
        for place, relative in enumerate(widths):
            common = (True, self.norm, self.spectral, self.slope)
            x = up(relative * self.width, *common, name=f"UpBlock_{place}")(x, train, condition)
            if x.shape[1] == self.attention:
                x = SelfAttention(spectral=self.spectral)(x, train)
        x = activate(normalize(self.norm, x, train), self.slope)  # the same for every condition, as the authors have it
        return Convolution(self.image_shape[-1], 3, 1, True, GLOROT, self.spectral)(x, train)


class Body(nn.Module):
    """A discriminator up to its last dense layer: images -> (n, channels of the last block), in at least float32."""

    width: int = 64
    """What the table has 64 of."""
    norm: Kind = "none"
    """Before the ReLUs; "layer" for WGAN-GP's critic (Gulrajani et al. 2017)."""
    spectral: bool = True
    attention: int = 0
    """Height of the map that self-attention follows; 0 is none."""
    slope: float = 0.0
    pool: Literal["sum", "mean"] = "sum"
    """Over the pixels of the last map: Miyato et al.'s, or Gulrajani et al.'s."""
    rematerialize: bool = False
    """Computes the blocks' inner activations again in the backward pass."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n f"]:
        path, _, (down, level) = plan(x.shape[1:])
        check_attention(self.attention, [x.shape[1] >> times for times in range(1, len(down) + 1)])
        for place, relative in enumerate((*down, *level)):
            before = x.shape[1]
            common = (place < len(down), self.norm, self.spectral, self.slope, place == 0)
            layer = block(DownBlock, self.rematerialize)
            x = layer(relative * self.width, *common, name=f"DownBlock_{place}")(x, train)
            if before != x.shape[1] == self.attention:
                x = SelfAttention(spectral=self.spectral)(x, train)
        x = activate(normalize(self.norm, x, train), self.slope)
        total = x.astype(jnp.promote_types(x.dtype, jnp.float32)).sum((1, 2))
        return total if self.pool == "sum" else total / (x.shape[1] * x.shape[2])
