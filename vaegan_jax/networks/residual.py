"""Residual blocks of generators and discriminators (Gulrajani et al. 2017, appendix; Miyato et al. 2018, figure 8).

Images are (n, height, width, channels). Kernels are 3 x 3 on the long way and 1 x 1 on the shortcut, where there is one
to learn: where the block changes channels or pixels.
"""

import inspect

import flax.linen as nn
from jaxtyping import Array, Float

from vaegan_jax.networks.layers import Convolution, Initializer, activate
from vaegan_jax.networks.norms import Kind, has_shift, normalize

GLOROT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
GLOROT_RELU = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
"""Miyato et al.'s: weights between rectifiers have twice the variance of those that end at a sum."""


def block(kind: type[nn.Module], rematerialize: bool) -> type[nn.Module]:
    """A kind of block; with `rematerialize` one whose inner activations are not kept for the backward pass.

    There they are computed again from the block's input (Chen et al. 2016, arXiv 1604.06174), collectives of batch
    norms included; statistics and spectral vectors move once. Blocks then need a `name`, or parameters have others.
    """
    train = list(inspect.signature(kind.__call__).parameters).index("train")
    return nn.remat(kind, static_argnums=(train,)) if rematerialize else kind


class UpBlock(nn.Module):
    """norm, ReLU, doubling, convolution, norm, ReLU, convolution; plus doubling, 1 x 1 convolution.

    (n, h, w, c) -> (n, 2h, 2w, features). A condition sets the gains and shifts of both norms.
    """

    features: int
    up: bool = True
    norm: Kind = "batch"
    spectral: bool = False
    slope: float = 0.0
    idle_biases: bool = False
    """A bias too where the next norm takes it out again, as published weights and parameter counts have it."""
    epsilon: float = 1e-5
    """Of the norms."""
    kernel_init: Initializer = GLOROT_RELU
    shortcut_init: Initializer = GLOROT

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], train: bool = False, condition: Float[Array, "n e"] | None = None
    ) -> Float[Array, "n h2 w2 f"]:
        resample = "up" if self.up else "none"
        norm = {"spectral": self.spectral, "epsilon": self.epsilon}
        y = activate(normalize(self.norm, x, train, condition, **norm), self.slope)
        bias = self.idle_biases or not has_shift(self.norm)
        y = _convolution(self, self.features, resample, bias)(y, train)
        y = activate(normalize(self.norm, y, train, condition, **norm), self.slope)
        y = _convolution(self, self.features)(y, train)
        return y + _shortcut(self, x, train, resample)


class DownBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution, halving; plus 1 x 1 convolution, halving.

    (n, h, w, c) -> (n, h / 2, w / 2, features). Norms, if any, precede the ReLUs. `first`: the input is an image, which
    neither norm nor ReLU should cut.
    """

    features: int
    down: bool = True
    norm: Kind = "none"
    spectral: bool = False
    slope: float = 0.0
    first: bool = False
    hidden: int = 0
    """Channels between the two convolutions; 0 gives those of the input, and of the output in the first block."""
    kernel_init: Initializer = GLOROT_RELU
    shortcut_init: Initializer = GLOROT

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n h2 w2 f"]:
        resample = "down" if self.down else "none"
        hidden = self.hidden or (self.features if self.first else x.shape[-1])
        y = x if self.first else activate(normalize(self.norm, x, train), self.slope)
        y = _convolution(self, hidden, bias=not has_shift(self.norm))(y, train)
        y = activate(normalize(self.norm, y, train), self.slope)
        y = _convolution(self, self.features, resample)(y, train)
        return y + _shortcut(self, x, train, resample)


def _convolution(block: nn.Module, features: int, resample: str = "none", bias: bool = True) -> Convolution:
    return Convolution(features, 3, 1, bias, block.kernel_init, block.spectral, resample)


def _shortcut(block: nn.Module, x, train: bool, resample: str):
    if resample == "none" and block.features == x.shape[-1]:
        return x
    return Convolution(block.features, 1, 1, True, block.shortcut_init, block.spectral, resample)(x, train)
