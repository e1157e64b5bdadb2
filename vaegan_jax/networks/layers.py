"""Blocks that the backbones share. Images are (n, height, width, channels)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.games import device_mean
from vaegan_jax.networks.convolution import convolve, convolve_transposed, same_padding

MOMENTUM = 0.9
"""Share of the old running statistics that a batch norm keeps at each update."""

Initializer = Callable[..., jax.Array]


class Convolution(nn.Module):
    """Strided convolution with SAME padding: (n, h, w, c) -> (n, ceil(h / stride), ceil(w / stride), features)."""

    features: int
    kernel_size: int = 4
    stride: int = 2
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        padding = same_padding(x.shape[1:3], self.kernel_size, self.stride)
        y = convolve(x, kernel, self.stride, padding)
        return y + _bias(self) if self.use_bias else y


class TransposedConvolution(nn.Module):
    """Transpose of `Convolution`: (n, h, w, c) -> (n, h stride, w stride, features); kernels are [k, k, out, in]."""

    features: int
    kernel_size: int = 4
    stride: int = 2
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)

    @nn.compact
    def __call__(self, y: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        shape = (self.kernel_size, self.kernel_size, self.features, y.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        size = tuple(self.stride * side for side in y.shape[1:3])
        padding = same_padding(size, self.kernel_size, self.stride)
        x = convolve_transposed(y, kernel, self.stride, padding, size)
        return x + _bias(self) if self.use_bias else x


class BatchNorm(nn.Module):
    """Batch normalization over the global batch (Ioffe & Szegedy 2015), in at least float32.

    In training, with the mean and (biased) variance of the batch, over all devices; else with the running ones.
    """

    epsilon: float = 1e-5
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], train: bool) -> Float[Array, "*b c"]:
        shape, axes = x.shape[-1:], tuple(range(x.ndim - 1))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        scale, bias = self.param("scale", self.scale_init, shape), self.param("bias", nn.initializers.zeros, shape)
        mean, variance = running_mean.value, running_variance.value
        if train:
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            mean = device_mean(wide.mean(axes))
            variance = device_mean(jnp.square(wide - _lift(mean, x)).mean(axes))
            if not self.is_initializing():
                for running, batch in ((running_mean, mean), (running_variance, variance)):
                    running.value = (MOMENTUM * running.value + (1 - MOMENTUM) * batch).astype(running.value.dtype)
        gain = scale * jax.lax.rsqrt(variance + self.epsilon)
        return ((x - _lift(mean, x)) * _lift(gain, x) + _lift(bias, x)).astype(x.dtype)


def _bias(module: nn.Module) -> jax.Array:
    return _lift(module.param("bias", nn.initializers.zeros, (module.features,)), 4)


def _lift(vector: jax.Array, like: jax.Array | int) -> jax.Array:
    """(c,) -> (1, ..., 1, c): rank promotion is an error here."""
    rank = like if isinstance(like, int) else like.ndim
    return vector.reshape((1,) * (rank - 1) + vector.shape)
