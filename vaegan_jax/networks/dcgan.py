"""Strided convolutions down, transposed ones up (Radford et al. 2015), for images of any size that halves to 4 to 8.

28 pixels go 28-14-7, 32 pixels 32-16-8-4, 64 pixels 64-32-16-8-4. Kernels are 4 x 4, which stride 2 covers evenly; the
paper's are 5 x 5. The alternatives to stride 2 have 3 x 3 kernels: convolution and average pooling, convolution and
pixel shuffle (Shi et al. 2016), nearest neighbors and convolution (Odena et al. 2016).
"""

from typing import Literal

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from vaegan_jax.networks.attention import SelfAttention
from vaegan_jax.networks.conditions import Place, beside
from vaegan_jax.networks.layers import Convolution, Dense, Initializer, TransposedConvolution, activate
from vaegan_jax.networks.norms import Kind, has_shift, normalize
from vaegan_jax.networks.resampling import pixel_shuffle

PAPER_INIT = {"kernel": nn.initializers.normal(0.02), "scale": lambda *args: 1 + nn.initializers.normal(0.02)(*args)}
"""The paper's section 4: weights from N(0, 0.02); batch norm scales, where its authors' code has N(1, 0.02)."""

Up = Literal["transposed", "shuffle", "nearest"]
Down = Literal["strided", "average"]


def sides(image_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Heights and widths from the image down to the smallest map, e.g. [(28, 28), (14, 14), (7, 7)].

    Raises ValueError when the sides do not halve to at most 8.
    """
    path = [tuple(image_shape[:2])]
    while min(path[-1]) >= 8 and all(side % 2 == 0 for side in path[-1]):
        path.append(tuple(side // 2 for side in path[-1]))
    if len(path) == 1 or max(path[-1]) > 8:
        raise ValueError(
            f"a DCGAN halves images, once at least, until sides are 4 to 8 pixels, which {path[0][0]}x{path[0][1]} do "
            "not: resize them (28, 32, 64 and 128 work), or choose the mlp network"
        )
    return path


def check_attention(side: int, sides: list[int]) -> None:
    """ValueError for self-attention at a height that no map has; 0 is none."""
    if side and side not in sides:
        raise ValueError(f"attention at {side} pixels, but the maps here have {', '.join(map(str, sides))}")


class Generator(nn.Module):
    """A dense map to the smallest map, then up, halving the width each time: z (and condition) -> images, unbounded.

    ValueError for a condition in norms that have no gain, for attention where there is no map, for odd image sizes.
    """

    image_shape: tuple[int, int, int]
    width: int = 64
    """Channels of the largest map but the image."""
    norm: Kind = "batch"
    spectral: bool = False
    attention: int = 0
    """Height of the map that self-attention follows; 0 is none."""
    up: Up = "transposed"
    slope: float = 0.0
    conditional: Place = "input"

    @nn.compact
    def __call__(
        self, z: Float[Array, "n d"], condition: Float[Array, "n e"] | None = None, train: bool = False
    ) -> Float[Array, "n h w c"]:
        return _up(self, z, condition, train)


class Body(nn.Module):
    """A discriminator up to its last dense layer: down, doubling the width each time: -> (n, h w c of the last map).

    ValueError for attention where there is no map, and for images that do not halve.
    """

    width: int = 64
    """Channels of the first map."""
    norm: Kind = "batch"
    """After every convolution but the first, as in the paper's discriminator."""
    spectral: bool = False
    attention: int = 0
    """Height of the map that self-attention follows; 0 is none."""
    down: Down = "strided"
    slope: float = 0.2

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n f"]:
        return _down(self, x, train)


class ImageToVector(nn.Module):
    """A body and one dense map: -> (n, features)."""

    features: int
    width: int
    normalize: bool = True
    """Batch norm after every convolution but the first."""
    slope: float = 0.2

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n f"]:
        norm = "batch" if self.normalize else "none"
        x = _down(Body(self.width, norm, slope=self.slope, parent=None), x, train)
        return Dense(self.features, _init(norm))(x)


class VectorToImage(nn.Module):
    """A generator without a condition."""

    image_shape: tuple[int, int, int]
    width: int
    normalize: bool = True

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool = False) -> Float[Array, "n h w c"]:
        norm = "batch" if self.normalize else "none"
        return _up(Generator(self.image_shape, self.width, norm, parent=None), z, None, train)


# Layers belong to the module whose __call__ runs; `config` is where its settings are read. So the networks with a last
# layer have the parameters of the others, and that layer's, side by side.


def _down(config: Body, x: jax.Array, train: bool) -> jax.Array:
    path = sides(x.shape[1:])
    check_attention(config.attention, [height for height, _ in path[1:]])
    for level, (height, _) in enumerate(path[1:]):
        norm = config.norm if level > 0 else "none"
        common = {"use_bias": not has_shift(norm), "kernel_init": _init(config.norm), "spectral": config.spectral}
        pooled = {"kernel_size": 3, "stride": 1, "resample": "down"} if config.down == "average" else {}
        x = Convolution(config.width * 2**level, **common, **pooled)(x, train)
        x = activate(normalize(norm, x, train, scale_init=PAPER_INIT["scale"]), config.slope)
        if height == config.attention:
            x = SelfAttention(spectral=config.spectral)(x, train)
    return x.reshape((len(x), -1))


def _up(config: Generator, z: jax.Array, condition: jax.Array | None, train: bool) -> jax.Array:
    *larger, (height, width) = sides(config.image_shape)
    check_attention(config.attention, [height, *(side for side, _ in larger[:0:-1])])
    if config.conditional == "input":
        z, condition = beside(z, condition), None

    def hidden(x):
        y = normalize(config.norm, x, train, condition, PAPER_INIT["scale"], config.spectral)
        y = activate(y, config.slope)
        return SelfAttention(spectral=config.spectral)(y, train) if y.shape[1] == config.attention else y

    features, bias = config.width * 2 ** (len(larger) - 1), not has_shift(config.norm)
    # This bias is one of each pixel: a batch norm, whose mean is over all of them, leaves most of it.
    x = Dense(height * width * features, _init(config.norm), spectral=config.spectral)(z, train)
    x = hidden(x.reshape((len(z), height, width, features)))
    for level in reversed(range(len(larger) - 1)):
        x = hidden(_doubled(config, config.width * 2**level, bias, x, train))
    return _doubled(config, config.image_shape[-1], True, x, train)


def _doubled(config: Generator, features: int, bias: bool, x: jax.Array, train: bool) -> jax.Array:
    init, common = _init(config.norm, config.up == "transposed"), {"use_bias": bias, "spectral": config.spectral}
    if config.up == "transposed":
        return TransposedConvolution(features, kernel_init=init, **common)(x, train)
    if config.up == "nearest":
        return Convolution(features, 3, 1, kernel_init=init, resample="up", **common)(x, train)
    return pixel_shuffle(Convolution(4 * features, 3, 1, kernel_init=init, **common)(x, train))


def _init(norm: Kind, transposed: bool = False) -> Initializer:
    """The paper's small weights need its batch norms; without them, weights that keep the mean square.

    He et al. 2015; of the k x k taps of a transposed convolution of stride 2 only a quarter meet at a pixel.
    """
    if norm != "none":
        return PAPER_INIT["kernel"]
    axes = {"in_axis": -1, "out_axis": -2} if transposed else {}
    scale = 8.0 if transposed else 2.0
    return nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal", **axes)
