"""Structural similarity of pairs of images, at one scale and at several, and the diversity of a set measured by it.

SSIM: Wang et al. 2004; MS-SSIM: Wang, Simoncelli & Bovik 2003, equation 7. As a measure of diversity: Odena et al. 2017
(AC-GAN), section 4.2. In float64 on the host; images are in 0 .. 255.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8

from vaegan_jax.errors import UserError, check

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from fine to coarse (Wang et al. 2003)."""
WINDOW = 11
"""Pixels of the Gaussian window's side."""
DEVIATION = 1.5
"""Of the Gaussian window, in pixels."""
LUMINANCE, CONTRAST = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""C1 and C2."""
SMALLEST = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1
"""Sides of the smallest image in whose coarsest scale the window fits: 161 pixels."""
CHUNK = 16
"""Pairs compared at once."""

Channels = Literal["together", "apart"]
"""Whether MS-SSIM averages each scale over the channels, or is taken of each channel and averaged at the end."""
Small = Literal["refuse", "progan"]
"""What becomes of images below 161 pixels."""


class Diversity(NamedTuple):
    """The lower, the more diverse: 1 is a set of equal images."""

    score: float
    """Mean MS-SSIM over all pairs."""
    error: float
    """Standard error of the score, from the number of pairs."""
    by_class: dict[int, float]
    """Mean MS-SSIM within each class; empty without labels."""
    pairs: int


def ssim(x: Shaped[np.ndarray, "n h w c"], y: Shaped[np.ndarray, "n2 h2 w2 c2"]) -> Float[np.ndarray, " n"]:
    """SSIM of n pairs of images in 0 .. 255, each (height, width, channels): the mean over pixels and channels.

    Windows that leave the image are not taken. Raises ValueError for shapes that differ or images below 11 pixels.
    """
    if x.shape != y.shape or min(x.shape[1:3]) < WINDOW:
        raise ValueError(f"SSIM compares images of one size, {WINDOW} pixels at least, not {x.shape} with {y.shape}")
    return _in_chunks(lambda a, b: _similarity(a, b)[0].mean(1), x, y)


def ms_ssim(
    x: Shaped[np.ndarray, "n h w c"],
    y: Shaped[np.ndarray, "n2 h2 w2 c2"],
    small: Small = "refuse",
    channels: Channels = "together",
) -> Float[np.ndarray, " n"]:
    """MS-SSIM of n pairs of images in 0 .. 255: the product over five scales of cs^w, at the coarsest of ssim^w.

    Scales are means of 2 x 2 pixels; negative similarities count as 0. An odd side repeats its last row, as
    TensorFlow's and Progressive GAN's do. With "together", as theirs and torchmetrics', each scale is averaged over
    channels before the product; with "apart", as pytorch-msssim's, after it: for color these differ. (torchmetrics also
    counts windows of mirrored pixels at the coarsest scale, and comes out up to 1e-4 elsewhere.)

    Images below 161 pixels do not hold five scales of an 11 x 11 window: UserError, unless `small` is "progan", which
    shrinks window and deviation to the scale, as Progressive GAN's code. That is another number, and goes by that name.
    """
    if x.shape != y.shape:
        raise ValueError(f"MS-SSIM compares images of one size, not {x.shape} with {y.shape}")
    check_size(x.shape[1:3], small)

    def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = 1.0
        for scale, weight in enumerate(WEIGHTS):
            whole, contrast = _similarity(a, b)
            value = whole if scale == len(WEIGHTS) - 1 else contrast
            value = value.mean(1, keepdims=True) if channels == "together" else value
            total = total * np.maximum(value, 0) ** weight
            a, b = _halved(a), _halved(b)
        return total.mean(1)

    return _in_chunks(similarity, x, y)


def check_size(size: tuple[int, int], small: Small = "refuse") -> None:
    """Raises UserError for images that MS-SSIM refuses."""
    if min(size) < SMALLEST and small == "refuse":
        raise UserError(
            f"MS-SSIM needs images of {SMALLEST} pixels at least, these are {size[0]}x{size[1]}: small='progan' "
            "shrinks the window as Progressive GAN does: then compare with numbers of that kind only"
        )


def diversity(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Integer[np.ndarray, " m"] | None = None,
    pairs: int | None = None,
    seed: int = 0,
    small: Small = "refuse",
    channels: Channels = "together",
) -> Diversity:
    """The mean MS-SSIM of random pairs of different images; with labels, of pairs within a class.

    `pairs` is their number, with labels of each class: 100 in AC-GAN's paper. By default every image is in one pair, as
    in Progressive GAN. A class with a single image has no pairs. UserError for images that are too few or too small.
    """
    check_size(images.shape[1:3], small)
    check(pairs is None or pairs > 0, f"pairs must be at least 1, not {pairs}")
    check(labels is None or len(labels) == len(images), f"{len(images)} images need as many labels")
    stream = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    sets = [np.arange(len(images))] if labels is None else [np.flatnonzero(labels == k) for k in np.unique(labels)]
    drawn = [draw_pairs(members, pairs, stream) for members in sets if len(members) > 1]
    check(bool(drawn), f"MS-SSIM compares pairs of images{' of one class' * (labels is not None)}, and there are none")
    values = [ms_ssim(images[chosen[:, 0]], images[chosen[:, 1]], small, channels) for chosen in drawn]
    by_class = {}
    if labels is not None:
        by_class = {int(labels[chosen[0, 0]]): float(v.mean()) for chosen, v in zip(drawn, values, strict=True)}
    whole = np.concatenate(values)
    error = float(whole.std(ddof=1) / np.sqrt(len(whole))) if len(whole) > 1 else float("nan")
    return Diversity(float(whole.mean()), error, by_class, len(whole))


def draw_pairs(
    members: Integer[np.ndarray, " n"], pairs: int | None, stream: np.random.RandomState
) -> Integer[np.ndarray, "m 2"]:
    """Pairs of different members: `pairs` independent ones, or floor(n / 2) without a member in common."""
    if pairs is None:
        shuffled = stream.permutation(members)
        return shuffled[: len(members) // 2 * 2].reshape(-1, 2)
    first = stream.randint(0, len(members), pairs)
    other = (first + stream.randint(1, len(members), pairs)) % len(members)  # any but itself, all alike
    return np.stack([members[first], members[other]], 1)


def _similarity(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SSIM and its contrast-structure part, both (n, channels): means over the pixels that a whole window has."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    variances = _windowed(a * a) - mean_a**2 + _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    contrast = (2 * covariance + CONTRAST) / (variances + CONTRAST)
    luminance = (2 * mean_a * mean_b + LUMINANCE) / (mean_a**2 + mean_b**2 + LUMINANCE)
    return (luminance * contrast).mean((1, 2)), contrast.mean((1, 2))


def _windowed(images: np.ndarray) -> np.ndarray:
    """Means under the Gaussian window, where it lies within the image; it is no larger than the image."""
    from scipy.ndimage import correlate1d

    size = min(WINDOW, *images.shape[1:3])
    places = np.arange(size) - (size - 1) / 2
    window = np.exp(-0.5 * (places / (DEVIATION * size / WINDOW)) ** 2)
    window /= window.sum()
    for axis in (1, 2):
        # SciPy keeps the size: the outputs of whole windows begin at size // 2, where the window's middle is.
        kept = images.shape[axis] - size + 1
        images = correlate1d(images, window, axis, mode="constant")
        images = np.take(images, range(size // 2, size // 2 + kept), axis)
    return images


def _halved(images: np.ndarray) -> np.ndarray:
    height, width = images.shape[1:3]
    even = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def _in_chunks(similarity, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    parts = [np.zeros(0)]
    for first in range(0, len(x), CHUNK):
        parts.append(similarity(*(images[first : first + CHUNK].astype(np.float64) for images in (x, y))))
    return np.concatenate(parts)
