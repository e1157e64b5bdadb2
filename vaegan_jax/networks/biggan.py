"""BigGAN's residual networks (Brock et al. 2018, arXiv 1809.11096, appendix B, tables 4 to 6).

| pixels | generator, from the dense map | discriminator |
|---|---|---|
| 32 | 4 x 4 x 4; up 4, 4, 4 | down 4, 4; 4, 4 |
| 64 | 4 x 4 x 16; up 16, 8, 4, 2 | down 1, 2, 4, 8; 16 |
| 128 | 4 x 4 x 16; up 16, 8, 4, 2, 1 | down 1, 2, 4, 8, 16; 16 |
| 256 | 4 x 4 x 16; up 16, 8, 8, 4, 2, 1 | down 1, 2, 4, 8, 8, 16; 16 |
| 512 | 4 x 4 x 16; up 16, 8, 8, 4, 2, 1, 1 | down 1, 1, 2, 4, 8, 8, 16; 16 |

in multiples of `width`, 96 in the paper and 64 at 32 pixels. Those of 32 and 64 pixels are the authors' PyTorch
program's. z is cut into equal pieces: the dense map has the first, each block's norms have another one beside an
embedding of the class that all share. Self-attention follows the map of 64 pixels (of 32, for images of 64).
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.networks.attention import SelfAttention
from vaegan_jax.networks.dcgan import check_attention, sides
from vaegan_jax.networks.layers import Convolution, Dense, activate
from vaegan_jax.networks.norms import normalize
from vaegan_jax.networks.residual import DownBlock, UpBlock, block

ORTHOGONAL = nn.initializers.orthogonal()
EMBEDDING = nn.initializers.normal(1.0)
TABLE = {
    4: ((16, 16, 8, 4, 2), ((1, 2, 4, 8), (16,))),
    5: ((16, 16, 8, 4, 2, 1), ((1, 2, 4, 8, 16), (16,))),
    6: ((16, 16, 8, 8, 4, 2, 1), ((1, 2, 4, 8, 8, 16), (16,))),
    7: ((16, 16, 8, 8, 4, 2, 1, 1), ((1, 1, 2, 4, 8, 8, 16), (16,))),
}
"""By how often an image is halved: widths of the dense map and of the blocks up; of the blocks down and then level."""


class Plan(NamedTuple):
    """What is built for images of a size."""

    path: list[tuple[int, int]]
    """Heights and widths of the maps, smallest first."""
    up: tuple[int, ...]
    """Relative widths of the dense map and of the blocks up."""
    down: tuple[int, ...]
    level: tuple[int, ...]
    """Of the blocks that halve, and of those that follow."""

    def attention(self, wanted: int) -> int:
        """The height of the map that self-attention follows, 0 for none; -1 asks for the paper's.

        The paper's is 64 pixels; smaller images have theirs at half of their size, and those of 32 have none.
        ValueError for others.
        """
        heights = [height for height, _ in self.path]
        if wanted == -1:
            return 0 if heights[-1] <= 32 else min(64, heights[-2])
        check_attention(wanted, heights[1:-1])
        return wanted


def plan(image_shape: tuple[int, int, int]) -> Plan:
    """What is built for images of a size; smaller ones than 32 have what those have, as far as they can be halved.

    ValueError for larger sizes that are none of the table's, and smaller ones that cannot be halved.
    """
    told = f"BigGAN has 32, 64, 128, 256 and 512 pixels, not {image_shape[0]}x{image_shape[1]}"
    try:
        path = sides(image_shape)[::-1]
    except ValueError:
        raise ValueError(told) from None
    halvings = len(path) - 1
    if max(image_shape[:2]) <= 32:
        return Plan(path, (4,) * (halvings + 1), (4, 4), (4, 4))
    if halvings not in TABLE or path[-1] != (4 << halvings, 4 << halvings):
        raise ValueError(told)
    up, (down, level) = TABLE[halvings]
    return Plan(path, up, down, level)


class Generator(nn.Module):
    """z (n, d) and classes, one-hot (n, k) -> images, unbounded. ValueError for a z that cannot be cut evenly."""

    image_shape: tuple[int, int, int]
    width: int = 96
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
        built, shared = plan(self.image_shape), embedding(self.shared_size)(condition, train)
        pieces, attention = pieces_of(z, len(built.up)), built.attention(self.attention)
        x = dense_map(pieces[0], built, self.width, train)
        for place, (relative, piece) in enumerate(zip(built.up[1:], pieces[1:], strict=True)):
            told = jnp.concatenate([shared, piece], 1)
            x = block(UpBlock, self.rematerialize)(
                relative * self.width,
                name=f"UpBlock_{place}",
                spectral=True,
                slope=self.slope,
                idle_biases=True,
                epsilon=self.epsilon,
                kernel_init=ORTHOGONAL,
                shortcut_init=ORTHOGONAL,
            )(x, train, told)
            if x.shape[1] == attention:
                x = SelfAttention("biggan", True, ORTHOGONAL)(x, train)
        return image(x, self.image_shape[-1], self.slope, train, self.epsilon, self.filters)


class Body(nn.Module):
    """A discriminator up to its head: images -> (n, channels of the last block), sums over pixels, at least float32."""

    width: int = 96
    attention: int = -1
    """Height of the map that self-attention follows; 0: none; -1: the paper's."""
    rematerialize: bool = False
    """Computes the blocks' inner activations again in the backward pass."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n f"]:
        built = plan(x.shape[1:])
        attention = built.attention(self.attention)
        for place, relative in enumerate((*built.down, *built.level)):
            before, features = x.shape[1], relative * self.width
            x = block(DownBlock, self.rematerialize)(
                features,
                place < len(built.down),
                name=f"DownBlock_{place}",
                spectral=True,
                first=place == 0,
                hidden=features,
                kernel_init=ORTHOGONAL,
                shortcut_init=ORTHOGONAL,
            )(x, train)
            if before != x.shape[1] == attention:
                x = SelfAttention("biggan", True, ORTHOGONAL)(x, train)
        return summed(x)


def embedding(size: int) -> Dense:
    """One-hot classes -> the vectors that all norms share; these are not normalized."""
    return Dense(size, EMBEDDING, use_bias=False, name="shared")


def pieces_of(z: Float[Array, "n d"], count: int) -> list[Float[Array, "n p"]]:
    """z in so many pieces of equal length. ValueError where there are none."""
    if z.shape[1] % count:
        told = f"latent-size {z.shape[1]} cannot be cut into {count} equal pieces"
        raise ValueError(f"{told}: the paper has 20 in each, {20 * count} together")
    return jnp.split(z, count, axis=1)


def dense_map(z: Float[Array, "n d"], built: Plan, width: int, train: bool) -> Float[Array, "n h w c"]:
    """The smallest map, of the module that calls."""
    (height, breadth), channels = built.path[0], built.up[0] * width
    x = Dense(height * breadth * channels, ORTHOGONAL, spectral=True)(z, train)
    return x.reshape((len(z), height, breadth, channels))


def image(
    x: Float[Array, "n h w c"], channels: int, slope: float, train: bool, epsilon: float = 1e-5, filters: int = 0
) -> Float[Array, "n h w e"]:
    """Norm, the same for every class, ReLU and a convolution, of the module that calls; the first of its `filters`."""
    y = activate(normalize("batch", x, train, epsilon=epsilon), slope)
    return Convolution(max(filters, channels), 3, 1, True, ORTHOGONAL, True)(y, train)[..., :channels]


def summed(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """What the head is given: the sum of a ReLU over the pixels."""
    return activate(x, 0.0).astype(jnp.promote_types(x.dtype, jnp.float32)).sum((1, 2))
