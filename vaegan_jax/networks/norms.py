"""Normalizations of activations, all in at least float32, with gains and shifts of their own or of a condition."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.games import device_mean
from vaegan_jax.networks.layers import Dense, Initializer, lift

MOMENTUM = 0.9
"""Share of the old running statistics that a batch norm keeps at each update."""

Kind = Literal["none", "batch", "instance", "layer", "pixel"]


class BatchNorm(nn.Module):
    """Batch normalization over the global batch (Ioffe & Szegedy 2015), in at least float32.

    In training, with the mean and (biased) variance of the batch, over all devices; else with the running ones. With a
    condition, gain and shift are linear in that: gain 1 + y S, shift y B (de Vries et al. 2017; centered on 1 as in
    Brock et al. 2018). S and B begin with zeros, so with a plain batch norm, unless `condition_init` says otherwise.
    """

    epsilon: float = 1e-5
    scale_init: Initializer = nn.initializers.ones
    """Of the gain, where there is no condition."""
    spectral: bool = False
    """Normalizes S and B, which then begin orthogonal (BigGAN)."""
    condition_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*b c"], train: bool, condition: Float[Array, "n e"] | None = None
    ) -> Float[Array, "*b c"]:
        shape, axes = x.shape[-1:], tuple(range(x.ndim - 1))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        scale, bias = _affine(self, x, train, condition)
        mean, variance = running_mean.value, running_variance.value
        if train:
            wide = _wide(x)
            mean = device_mean(wide.mean(axes))
            variance = device_mean(jnp.square(wide - lift(mean, x.ndim)).mean(axes))
            if not self.is_initializing():
                for running, batch in ((running_mean, mean), (running_variance, variance)):
                    running.value = (MOMENTUM * running.value + (1 - MOMENTUM) * batch).astype(running.value.dtype)
        gain = scale * lift(jax.lax.rsqrt(variance + self.epsilon), x.ndim)
        return ((x - lift(mean, x.ndim)) * gain + bias).astype(x.dtype)


class InstanceNorm(nn.Module):
    """Each channel of each image by its own mean and variance over the pixels (Ulyanov et al. 2016).

    With a condition it is what AdaIN makes of a style: gain 1 + y S, shift y B. ValueError for less than two pixels.
    """

    epsilon: float = 1e-5
    scale_init: Initializer = nn.initializers.ones
    spectral: bool = False
    condition_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], train: bool = False, condition: Float[Array, "n e"] | None = None
    ) -> Float[Array, "n h w c"]:
        if x.shape[1] * x.shape[2] < 2:
            raise ValueError("an instance norm of a single pixel is zero: use another norm here")
        return _standardized(self, x, (1, 2), train, condition)


class LayerNorm(nn.Module):
    """Each example by its mean and variance over all channels and pixels, a gain per channel (Ba et al. 2016).

    Mixes no examples: the norm for a critic under a gradient penalty (Gulrajani et al. 2017, section 4).
    """

    epsilon: float = 1e-5
    scale_init: Initializer = nn.initializers.ones
    spectral: bool = False
    condition_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n *b c"], train: bool = False, condition: Float[Array, "n e"] | None = None
    ) -> Float[Array, "n *b c"]:
        return _standardized(self, x, tuple(range(1, x.ndim)), train, condition)


class PixelNorm(nn.Module):
    """x / sqrt(mean of x^2 over the channels + 1e-8), for each pixel (Karras et al. 2017, section 4.2)."""

    epsilon: float = 1e-8

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        wide = _wide(x)
        return (wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + self.epsilon)).astype(x.dtype)


def normalize(
    kind: Kind,
    x: Float[Array, "n *b c"],
    train: bool,
    condition: Float[Array, "n e"] | None = None,
    scale_init: Initializer = nn.initializers.ones,
    spectral: bool = False,
    epsilon: float = 1e-5,
) -> Float[Array, "n *b c"]:
    """x through a new norm, of the module that calls. ValueError for a condition of a kind that has no gain to set."""
    if condition is not None and not has_shift(kind):
        raise ValueError(f"a condition needs a norm whose gain it sets, batch, instance or layer, not {kind}")
    if kind == "none":
        return x
    if kind == "pixel":
        return PixelNorm()(x)
    layer = {"batch": BatchNorm, "instance": InstanceNorm, "layer": LayerNorm}[kind]
    return layer(epsilon, scale_init, spectral and condition is not None)(x, train, condition)


def has_shift(kind: Kind) -> bool:
    """Whether the norm has gains and shifts: layers in front of it need no bias.

    A batch or instance norm takes that out again; what is left of its gradient is rounding, which Adam would blow up.
    """
    return kind in ("batch", "instance", "layer")


def _standardized(module, x, axes, train, condition):
    wide = _wide(x)
    mean = wide.mean(axes, keepdims=True)
    variance = jnp.square(wide - mean).mean(axes, keepdims=True)
    scale, bias = _affine(module, x, train, condition)
    return ((wide - mean) * (scale * jax.lax.rsqrt(variance + module.epsilon)) + bias).astype(x.dtype)


def _affine(module, x, train, condition) -> tuple[jax.Array, jax.Array]:
    """Gain and shift, of the rank of x, in at least float32."""
    channels = x.shape[-1]
    if condition is None:
        scale = module.param("scale", module.scale_init, (channels,))
        return lift(scale, x.ndim), lift(module.param("bias", nn.initializers.zeros, (channels,)), x.ndim)
    init = module.condition_init or (nn.initializers.orthogonal() if module.spectral else nn.initializers.zeros)
    scale, bias = (
        Dense(channels, init, use_bias=False, spectral=module.spectral, name=name)(_wide(condition), train)
        for name in ("scale", "bias")
    )
    return 1 + lift(scale, x.ndim), lift(bias, x.ndim)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
