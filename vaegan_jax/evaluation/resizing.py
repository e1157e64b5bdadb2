"""Resizing as the protocols of the scores do it, in pure JAX: the filter is a part of a score's name.

Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation" (arXiv 2104.11222): the same
images score up to 7 apart in FID by the filter alone. Images are float32 (n, h, w, c) in 0 .. 255, sizes (height,
width). What depends on the sizes alone, taps and weights, is computed on the host, in the precision of the protocol.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

Images = Array | np.ndarray
Size = tuple[int, int]
WHITE = 255.0


def clean(images: Float32[Images, "n h w c"], size: Size) -> Float32[Array, "n h2 w2 c"]:
    """Pillow's bicubic filter (a = -0.5) on floating numbers, channel by channel, clipped and not rounded: clean-fid.

    Antialiasing: on the way down the filter is as much wider as the image gets smaller.
    """
    return _filtered(images, size, _cubic, 2)


def lanczos(images: Float32[Images, "n h w c"], size: Size) -> Float32[Array, "n h2 w2 c"]:
    """Pillow's Lanczos filter (three lobes) on floating numbers, with antialiasing; clipped and not rounded."""
    return _filtered(images, size, _sinc, 3)


def bilinear(images: Float32[Images, "n h w c"], size: Size) -> Float32[Array, "n h2 w2 c"]:
    """Of the four nearest pixels, pixel centers at halves, no antialiasing: PyTorch's `interpolate`, pytorch-fid."""

    return _interpolated(images, size, lambda target, scale: np.maximum((target + 0.5) * scale - 0.5, 0))


def tf1(images: Float32[Images, "n h w c"], size: Size) -> Float32[Array, "n h2 w2 c"]:
    """TensorFlow 1's bilinear: pixel i is taken from i h / h2, half a pixel off; the first FID code, torch-fidelity."""
    return _interpolated(images, size, lambda target, scale: target * scale)


RESIZERS: dict[str, Callable[[Array, Size], Array]] = {
    "clean": clean,
    "bilinear": bilinear,
    "tf1": tf1,
    "lanczos": lanczos,
}
"""By name: (images float32 (n, h, w, c) in 0 .. 255, (height, width)) -> float32 of that size."""


def rounded(images: Float[Images, "*shape"]) -> Float[Array, "*shape"]:
    """The values that images (0 .. 255) have as bytes, still floating: clipped, rounded to the nearest, halves up.

    Halves up is what the evaluated programs do: Pillow after filtering bytes, torchvision's `save_image` (255 x + 0.5,
    cut off) and StyleGAN2-ADA's evaluation (127.5 x + 128, cut off). No resizer here rounds: their protocols do not.
    """
    return jnp.floor(jnp.clip(images, 0, WHITE) + 0.5)


def _filtered(images: Array, size: Size, kernel: Callable[[np.ndarray], np.ndarray], support: int) -> Array:
    """Separable filters as one matrix a side, the width first, as Pillow does."""
    for axis in (2, 1):
        if images.shape[axis] != size[axis - 1]:
            images = _along(images, axis, _weights(images.shape[axis], size[axis - 1], kernel, support))
    return jnp.clip(images, 0, WHITE)


def _along(images: Array, axis: int, weights: np.ndarray) -> Array:
    rule = {1: "nhwc,Hh->nHwc", 2: "nhwc,Ww->nhWc"}[axis]
    return jnp.einsum(rule, images, weights, precision=jax.lax.Precision.HIGHEST)


def _weights(source: int, target: int, kernel: Callable[[np.ndarray], np.ndarray], support: int) -> np.ndarray:
    """(target, source): row i weighs the source pixels around the center of target pixel i; each sums to 1.

    Sums in float64 on the host: in float32 the coordinates alone cost three digits.
    """
    scale = source / target
    stretch = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    distance = (np.arange(source)[None, :] + 0.5 - centers[:, None]) / stretch
    weights = np.where(np.abs(distance) < support, kernel(distance), 0.0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys 1981, "Cubic convolution interpolation for digital image processing", equation 15: a = -1/2."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))


def _sinc(x: np.ndarray) -> np.ndarray:
    """Lanczos: sinc(x) sinc(x / 3), for |x| < 3."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def _interpolated(images: Array, size: Size, coordinates: Callable[[np.ndarray, np.float64], np.ndarray]) -> Array:
    """Linear between the two pixels beside each coordinate, along both sides.

    Scales and coordinates are float32, as in the protocols' programs: their rounding moves pixels by up to 1e-3.
    """
    for axis in (2, 1):
        source, target = images.shape[axis], size[axis - 1]
        # The product with the float32 scale is rounded once, at the end, as one fused instruction does it.
        scale = np.float64(np.float32(source) / np.float32(target))
        at = coordinates(np.arange(target, dtype=np.float64), scale).astype(np.float32)
        lower = np.minimum(np.floor(at).astype(np.int32), source - 1)
        upper = np.minimum(lower + 1, source - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = target
        share = (at - lower.astype(np.float32)).reshape(shape)
        first, second = (jnp.take(images, index, axis=axis, mode="clip") for index in (lower, upper))
        images = first + (second - first) * jnp.asarray(share)
    return images
