"""Layers with a kernel, which the backbones share. Images are (n, height, width, channels).

Parameters keep their own type, float32 as a rule; products are taken in the type of the input, bfloat16 for instance.
`spectral` divides any of their kernels by its largest singular value; `train` matters to nothing else here.
"""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.networks import spectral
from vaegan_jax.networks.convolution import convolve, convolve_transposed, same_padding
from vaegan_jax.networks.resampling import average_pool, nearest

Initializer = Callable[..., jax.Array]


class Dense(nn.Module):
    """x W + b: (n, c) -> (n, features). Without bias, on one-hot vectors, an embedding of what they name."""

    features: int
    kernel_init: Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True
    spectral: bool = False
    precise: bool = False
    """Whether all digits of float32 count, of which TPUs drop two thirds by default."""

    @nn.compact
    def __call__(self, x: Float[Array, "n c"], train: bool = False) -> Float[Array, "n f"]:
        kernel = _kernel(self, (x.shape[-1], self.features), train)
        precision = jax.lax.Precision.HIGHEST if self.precise else None
        return _shifted(self, jnp.matmul(x, kernel.astype(x.dtype), precision=precision))


class Convolution(nn.Module):
    """Strided convolution with SAME padding: (n, h, w, c) -> (n, ceil(h / stride), ceil(w / stride), features).

    `resample` doubles the sides before it (each pixel four times), or halves them after it (the mean of four), for odd
    kernels of stride 1; ValueError for others. Both are one convolution of stride 2 with a kernel one wider, the sum of
    its four shifted copies, which for 3 x 3 kernels takes 4/9 of the operations.
    """

    features: int
    kernel_size: int = 4
    stride: int = 2
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    spectral: bool = False
    resample: Literal["none", "up", "down"] = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n h2 w2 f"]:
        kernel = _kernel(self, (self.kernel_size, self.kernel_size, x.shape[-1], self.features), train)
        if self.resample != "none":
            return _shifted(self, _resampled(x, kernel, self.stride, self.resample))
        if self.kernel_size == self.stride == 1:
            return _shifted(self, _pointwise(x, kernel))
        padding = same_padding(x.shape[1:3], self.kernel_size, self.stride)
        return _shifted(self, convolve(x, kernel.astype(x.dtype), self.stride, padding))


class TransposedConvolution(nn.Module):
    """Transpose of `Convolution`: (n, h, w, c) -> (n, h stride, w stride, features); kernels are [k, k, out, in]."""

    features: int
    kernel_size: int = 4
    stride: int = 2
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    spectral: bool = False

    @nn.compact
    def __call__(self, y: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n h2 w2 f"]:
        shape = (self.kernel_size, self.kernel_size, self.features, y.shape[-1])
        kernel = _kernel(self, shape, train, transposed=True)
        size = tuple(self.stride * side for side in y.shape[1:3])
        padding = same_padding(size, self.kernel_size, self.stride)
        return _shifted(self, convolve_transposed(y, kernel.astype(y.dtype), self.stride, padding, size))


def lift(vector: jax.Array, rank: int) -> jax.Array:
    """(c,) -> (1, ..., 1, c), and (n, c) -> (n, 1, ..., 1, c), of this rank: rank promotion is an error here."""
    return vector.reshape(vector.shape[:-1] + (1,) * (rank - vector.ndim) + vector.shape[-1:])


def activate(x: jax.Array, slope: float) -> jax.Array:
    """max(x, slope x): ReLU for a slope of 0, else leaky."""
    return nn.leaky_relu(x, slope) if slope else nn.relu(x)


def _kernel(module: nn.Module, shape: tuple[int, ...], train: bool, transposed: bool = False) -> jax.typing.ArrayLike:
    kernel = module.param("kernel", module.kernel_init, shape)
    return spectral.normalize(module, kernel, train, transposed) if module.spectral else kernel


def _shifted(module: nn.Module, y: jax.Array) -> jax.Array:
    if not module.use_bias:
        return y
    bias = lift(module.param("bias", nn.initializers.zeros, (module.features,)), y.ndim)
    return (y + bias).astype(y.dtype)  # a sum over all pixels is its gradient: not in bfloat16


def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 1 x 1 convolution as the matrix product that it is."""
    return jnp.tensordot(x, kernel[0, 0].astype(x.dtype), 1)


def _resampled(x: jax.Array, kernel: jax.Array, stride: int, resample: str) -> jax.Array:
    k = kernel.shape[0]
    if k % 2 == 0 or stride != 1:
        raise ValueError(f"resampling needs an odd kernel of stride 1, not {k} x {k} of stride {stride}")
    if k == 1:  # commutes with either
        return nearest(_pointwise(x, kernel)) if resample == "up" else _pointwise(average_pool(x), kernel)
    fill = ((0, 1), (0, 1), (0, 0), (0, 0))
    wide = jnp.pad(kernel, fill)
    wide = wide + jnp.roll(wide, 1, 0)  # what comes round is zero
    wide = wide + jnp.roll(wide, 1, 1)
    padding = (((k - 1) // 2,) * 2,) * 2
    if resample == "down":
        if x.shape[1] % 2 or x.shape[2] % 2:
            raise ValueError(f"{x.shape[1]}x{x.shape[2]} pixels cannot be halved")
        return convolve(x, (wide / 4).astype(x.dtype), 2, padding)
    size = tuple(2 * side for side in x.shape[1:3])
    return convolve_transposed(x, wide[::-1, ::-1].swapaxes(2, 3).astype(x.dtype), 2, padding, size)
