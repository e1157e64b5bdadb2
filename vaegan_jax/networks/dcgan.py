"""Strided convolutions down, transposed ones up (Radford et al. 2015), for images of any size that halves to 4 to 8.

28 pixels go 28-14-7, 32 pixels 32-16-8-4, 64 pixels 64-32-16-8-4. Kernels are 4 x 4, which stride 2 covers evenly; the
paper's are 5 x 5.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from vaegan_jax.networks.layers import BatchNorm, Convolution, Initializer, TransposedConvolution
from vaegan_jax.networks.mlp import Dense

PAPER_INIT = {"kernel": nn.initializers.normal(0.02), "scale": lambda *args: 1 + nn.initializers.normal(0.02)(*args)}
"""The paper's section 4: weights from N(0, 0.02); batch norm scales, where its authors' code has N(1, 0.02)."""


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


class ImageToVector(nn.Module):
    """Convolutions of stride 2 with leaky ReLUs, doubling the width each time, then one dense map: -> (n, features)."""

    features: int
    width: int
    normalize: bool = True
    """Batch norm after every convolution but the first, as in the paper's discriminator."""
    slope: float = 0.2

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n f"]:
        for level in range(len(sides(x.shape[1:])) - 1):
            norm = self.normalize and level > 0
            x = Convolution(self.width * 2**level, use_bias=not norm, **_kernel(self))(x)
            x = BatchNorm(scale_init=PAPER_INIT["scale"])(x, train) if norm else x
            x = nn.leaky_relu(x, self.slope)
        return Dense(self.features, **_kernel(self))(x.reshape((len(x), -1)))


class VectorToImage(nn.Module):
    """The mirror image: a dense map to the smallest square, then transposed convolutions: -> images, unbounded."""

    image_shape: tuple[int, int, int]
    width: int
    normalize: bool = True

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool = False) -> Float[Array, "n h w c"]:
        *larger, (height, width) = sides(self.image_shape)
        features = self.width * 2 ** (len(larger) - 1)
        x = Dense(height * width * features, **_kernel(self))(z).reshape((len(z), height, width, features))
        x = self._norm(x, train)
        for level in reversed(range(len(larger) - 1)):
            layer = TransposedConvolution(
                self.width * 2**level, use_bias=not self.normalize, **_kernel(self, transposed=True)
            )
            x = self._norm(layer(x), train)
        return TransposedConvolution(self.image_shape[-1], **_kernel(self, transposed=True))(x)

    def _norm(self, x, train: bool):
        return nn.relu(BatchNorm(scale_init=PAPER_INIT["scale"])(x, train) if self.normalize else x)


def _kernel(module: nn.Module, transposed: bool = False) -> dict[str, Initializer]:
    """The paper's small weights need its batch norms; without them, weights that keep the mean square.

    He et al. 2015; of the k x k taps of a transposed convolution of stride 2 only a quarter meet at a pixel.
    """
    if module.normalize:
        return {"kernel_init": PAPER_INIT["kernel"]}
    axes = {"in_axis": -1, "out_axis": -2} if transposed else {}
    scale = 8.0 if transposed else 2.0
    return {"kernel_init": nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal", **axes)}
