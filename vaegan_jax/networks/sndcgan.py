"""The plain convolutional networks of spectral normalization (Miyato et al. 2018, table 3), for DCGAN's image sizes.

The discriminator has, at each size, a 3 x 3 convolution and a 4 x 4 one of stride 2, and a last 3 x 3 one; the
generator 4 x 4 transposed ones and a last 3 x 3 one. The table's channels: both at a size have the same (the authors'
program doubles them at the second instead). Images are halved thrice, 32 pixels to 4 and 64 to 8; 28 twice, to 7.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from vaegan_jax.networks.attention import SelfAttention
from vaegan_jax.networks.conditions import Place, beside
from vaegan_jax.networks.dcgan import check_attention, sides
from vaegan_jax.networks.layers import Convolution, Dense, TransposedConvolution, activate
from vaegan_jax.networks.norms import Kind, has_shift, normalize

INIT = nn.initializers.normal(0.02)


class Generator(nn.Module):
    """z (and condition) -> images, unbounded. ValueError as for a DCGAN's."""

    image_shape: tuple[int, int, int]
    width: int = 64
    """Channels of the largest map."""
    norm: Kind = "batch"
    spectral: bool = False
    attention: int = 0
    """Height of the map that self-attention follows; 0 is none."""
    slope: float = 0.0
    conditional: Place = "input"

    @nn.compact
    def __call__(
        self, z: Float[Array, "n d"], condition: Float[Array, "n e"] | None = None, train: bool = False
    ) -> Float[Array, "n h w c"]:
        path = _sides(self.image_shape)[::-1]
        check_attention(self.attention, [side for side, _ in path])
        if self.conditional == "input":
            z, condition = beside(z, condition), None

        def hidden(x):
            y = activate(normalize(self.norm, x, train, condition, spectral=self.spectral), self.slope)
            return SelfAttention(spectral=self.spectral)(y, train) if y.shape[1] == self.attention else y

        (height, width), *larger = path
        features, bias = self.width * 2 ** len(larger), not has_shift(self.norm)
        x = Dense(height * width * features, INIT, spectral=self.spectral)(z, train)
        x = hidden(x.reshape((len(z), height, width, features)))  # the table has no norm here, the program has
        for level in reversed(range(len(larger))):
            layer = TransposedConvolution(self.width * 2**level, 4, 2, bias, INIT, self.spectral)
            x = hidden(layer(x, train))
        return Convolution(self.image_shape[-1], 3, 1, True, INIT, self.spectral)(x, train)


class Body(nn.Module):
    """A discriminator up to its last dense layer: images -> (n, h w c of the last map). ValueError as for a DCGAN's."""

    width: int = 64
    """Channels of the largest maps."""
    norm: Kind = "none"
    """After every convolution but the first."""
    spectral: bool = True
    attention: int = 0
    """Height of the map that self-attention follows, at the end of its size; 0 is none."""
    slope: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n f"]:
        path = _sides(x.shape[1:])
        check_attention(self.attention, [side for side, _ in path[1:]])

        def layer(x, features, kernel, stride, norm):
            x = Convolution(features, kernel, stride, not has_shift(norm), INIT, self.spectral)(x, train)
            return activate(normalize(norm, x, train), self.slope)

        for level, (height, _) in enumerate(path[1:]):
            x = layer(x, self.width * 2**level, 3, 1, self.norm if level else "none")
            x = layer(x, self.width * 2**level, 4, 2, self.norm)
            if height == self.attention:
                x = SelfAttention(spectral=self.spectral)(x, train)
        return layer(x, self.width * 2 ** (len(path) - 1), 3, 1, self.norm).reshape((len(x), -1))


def _sides(image_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    return sides(image_shape)[:4]
