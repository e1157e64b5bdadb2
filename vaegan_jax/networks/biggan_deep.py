"""BigGAN-deep's residual networks (Brock et al. 2018, arXiv 1809.11096, appendix B, tables 7 to 9).

The stages are those of BigGAN, `networks.biggan`, each of two blocks with a bottleneck of a quarter of the channels;
the paper's `width` is 128. Shortcuts have no convolution: up, channels too many are dropped; down, those that lack come
from a 1 x 1 convolution. z is not cut: the dense map and all norms have it whole, beside the embedding of the class.
The discriminator begins with a convolution of the image.

| pixels | discriminator, from the first convolution |
|---|---|
| 32 | 4; down 4, 4; 4 |
| 64 | 1; down 2, 4, 8, 16 |
| 128 | 1; down 2, 4, 8, 16, 16 |
| 256 | 1; down 2, 4, 8, 8, 16, 16 |
| 512 | 1; down 1, 2, 4, 8, 8, 16, 16 |
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.networks.attention import SelfAttention
from vaegan_jax.networks.biggan import ORTHOGONAL, dense_map, embedding, image, plan, summed
from vaegan_jax.networks.layers import Convolution, activate
from vaegan_jax.networks.norms import normalize
from vaegan_jax.networks.resampling import average_pool, nearest
from vaegan_jax.networks.residual import block

BOTTLENECK = 4
"""What the channels of a block are divided by, between its 1 x 1 convolutions."""
STAGES = {
    4: (1, (2, 4, 8, 16)),
    5: (1, (2, 4, 8, 16, 16)),
    6: (1, (2, 4, 8, 8, 16, 16)),
    7: (1, (1, 2, 4, 8, 8, 16, 16)),
}
"""By how often an image is halved: widths of the discriminator's first convolution and of its stages."""


class UpBlock(nn.Module):
    """Four times norm, ReLU, convolution, 1 x 1, 3 x 3, 3 x 3, 1 x 1: (n, h, w, c) -> (n, h, w or twice, features)."""

    features: int
    up: bool
    slope: float = 0.0
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], condition: Float[Array, "n e"], train: bool = False
    ) -> Float[Array, "n h2 w2 f"]:
        hidden, y, resample = x.shape[-1] // BOTTLENECK, x, "up" if self.up else "none"
        shapes = ((hidden, 1, "none"), (hidden, 3, resample), (hidden, 3, "none"), (self.features, 1, "none"))
        for features, size, resample in shapes:
            y = activate(normalize("batch", y, train, condition, spectral=True, epsilon=self.epsilon), self.slope)
            y = _convolution(features, size, resample)(y, train)
        short = x[..., : self.features]
        return y + (nearest(short) if self.up else short)


class DownBlock(nn.Module):
    """Four times ReLU, convolution, 1 x 1, 3 x 3, 3 x 3, 1 x 1: (n, h, w, c) -> (n, h, w or half, features)."""

    features: int
    down: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n h2 w2 f"]:
        hidden, y = self.features // BOTTLENECK, x
        for size in (1, 3, 3):
            y = _convolution(hidden, size)(activate(y, 0.0), train)
        y = activate(y, 0.0)
        if self.down:
            x, y = average_pool(x), average_pool(y)
        if lacking := self.features - x.shape[-1]:
            x = jnp.concatenate([x, _convolution(lacking, 1, name="shortcut")(x, train)], -1)
        return x + _convolution(self.features, 1)(y, train)


class Generator(nn.Module):
    """z (n, d) and classes, one-hot (n, k) -> images, unbounded."""

    image_shape: tuple[int, int, int]
    width: int = 128
    shared_size: int = 128
    """Dimensions of the embedding of the class that all norms share."""
    attention: int = -1
    """Height of the map that self-attention follows; 0: none; -1: the paper's."""
    slope: float = 0.0
    rematerialize: bool = False
    """Computes the blocks' inner activations again in the backward pass."""
    epsilon: float = 1e-5
    """Of the norms."""
    filters: int = 0
    """Of the last convolution, where more than the image's channels, which are the first, count in its norm."""

    @nn.compact
    def __call__(
        self, z: Float[Array, "n d"], condition: Float[Array, "n k"], train: bool = False
    ) -> Float[Array, "n h w c"]:
        built = plan(self.image_shape)
        attention = built.attention(self.attention)
        told = jnp.concatenate([z, embedding(self.shared_size)(condition, train)], 1)
        x = dense_map(told, built, self.width, train)
        layer = block(UpBlock, self.rematerialize)
        for place, relative in enumerate(built.up[1:]):
            for offset, features in enumerate((x.shape[-1], relative * self.width)):
                name = f"UpBlock_{2 * place + offset}"
                x = layer(features, offset == 1, self.slope, self.epsilon, name=name)(x, told, train)
            if x.shape[1] == attention:
                x = SelfAttention("biggan", True, ORTHOGONAL)(x, train)
        return image(x, self.image_shape[-1], self.slope, train, self.epsilon, self.filters)


class Body(nn.Module):
    """A discriminator up to its head: images -> (n, channels of the last block), sums over pixels, at least float32."""

    width: int = 128
    attention: int = -1
    """Height of the map that self-attention follows; 0: none; -1: the paper's."""
    rematerialize: bool = False
    """Computes the blocks' inner activations again in the backward pass."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n f"]:
        built = plan(x.shape[1:])
        attention, halvings = built.attention(self.attention), len(built.path) - 1
        first, stages = STAGES.get(halvings, (4, (*built.down, *built.level[1:])))
        x, layer = _convolution(first * self.width, 3)(x, train), block(DownBlock, self.rematerialize)
        for place, relative in enumerate(stages):
            halved = place < (halvings if halvings in STAGES else len(built.down))
            x = layer(relative * self.width, halved, name=f"DownBlock_{2 * place}")(x, train)
            x = layer(relative * self.width, False, name=f"DownBlock_{2 * place + 1}")(x, train)
            if halved and x.shape[1] == attention:
                x = SelfAttention("biggan", True, ORTHOGONAL)(x, train)
        return summed(x)


def _convolution(features: int, size: int, resample: str = "none", name: str | None = None) -> Convolution:
    return Convolution(features, size, 1, True, ORTHOGONAL, True, resample, name=name)
