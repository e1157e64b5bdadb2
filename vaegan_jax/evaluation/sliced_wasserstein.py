"""Sliced Wasserstein distance between patches of two sets of images, per level of a Laplacian pyramid.

Karras et al. 2018, "Progressive Growing of GANs" (arXiv 1710.10196), section 5: images are taken apart into bands of
spatial frequency (Burt & Adelson 1983); of each band, 128 patches of 7 x 7 pixels per image are whitened per channel,
each set by its own mean and deviation, and compared by the Wasserstein-1 distance of their projections on 4 x 128
random directions. Scores are multiplied by 1000. Everything is on the host.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from vaegan_jax.errors import check

SMALLEST = 16
"""Sides of the last level, in pixels, at least."""
KERNEL = np.array([1, 4, 6, 4, 1]) / 16
"""Binomial, along either axis."""
SIDE = 7
"""Of a patch, in pixels."""
PATCHES = 128
"""Patches per image."""
DIRECTIONS = 4 * 128
"""Directions of projection."""
SCALE = 1000
FLOOR = 1.78
"""A set against another one of the same distribution scores about SCALE * FLOOR / sqrt(n), of n patches; see `floor`.

Two samples of n from one distribution F are 2 / sqrt(pi n) times the integral of sqrt(F (1 - F)) apart: for a standard
normal F that is 1.82 / sqrt(n). Whitening takes away a part of it."""
CHUNK = 64
"""Images whose pyramids are held at once."""
BLOCK = 32
"""Directions whose projections are held at once."""


class SlicedWasserstein(NamedTuple):
    """All are multiplied by 1000, as usual."""

    levels: dict[int, float]
    """By the height of the level in pixels, from that of the images downwards."""
    mean: float
    """Over the levels."""
    floor: float
    """What two sets of the same distribution would score, if all patches were independent. Those of one image are not:
    compare two halves of the real images to see the floor of your data, which lies higher."""
    descriptors: int
    """Patches per set and level: the n of the floor."""


def sliced_wasserstein(
    real: UInt8[np.ndarray, "n h w c"], fake: UInt8[np.ndarray, "n2 h2 w2 c2"], seed: int = 0, patches: int = PATCHES
) -> SlicedWasserstein:
    """The distance of two equally large sets of images at every level, 0 at best; the paper takes 16,384 images.

    A pure function of its arguments; patches and directions come from the seed, and are others for each set. Raises
    UserError for images of another number or size, or smaller than a patch.
    """
    check(
        real.shape == fake.shape,
        f"sliced Wasserstein compares as many images of one size: real are {real.shape}, generated {fake.shape}",
    )
    check(len(real) > 0, "sliced Wasserstein needs images, and there are none")
    sizes = level_sizes(real.shape[1:3])
    check(min(sizes[-1]) >= SIDE, f"sliced Wasserstein takes {SIDE}x{SIDE} patches, images are {sizes[0]}")
    scores = {}
    for level, size in enumerate(sizes):
        sets = []
        for which, images in enumerate((real, fake)):
            found = descriptors(images, level, _stream(seed, level, which), patches)
            sets.append(whiten(found))
        lines = directions(sets[0].shape[1], DIRECTIONS, _stream(seed, level, 2))
        scores[size[0]] = SCALE * distance(*sets, lines)
    count = len(real) * patches
    return SlicedWasserstein(scores, float(np.mean(list(scores.values()))), floor(count), count)


def floor(descriptors: int) -> float:
    """What two sets of so many independent patches score though their distribution is the same, times 1000."""
    return SCALE * FLOOR / np.sqrt(descriptors)


def level_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths of the levels: halved while both are even and the half is at least 16 pixels.

    128 pixels give 128, 64, 32, 16; 28 pixels only 28, whose half would be 14.
    """
    sizes = [tuple(size)]
    while all(side % 2 == 0 and side // 2 >= SMALLEST for side in sizes[-1]):
        sizes.append(tuple(side // 2 for side in sizes[-1]))
    return sizes


def pyramid(images: Float[np.ndarray, "n h w c"], levels: int) -> list[Float[np.ndarray, "n _ _ c"]]:
    """The Laplacian pyramid: what each halving loses, from fine to coarse, and last what remains. Images stay as is."""
    bands = []
    for _ in range(levels - 1):
        smaller = down(images)
        bands.append(images - up(smaller))
        images = smaller
    return [*bands, images]


def reconstruct(bands: list[Float[np.ndarray, "n _ _ c"]]) -> Float[np.ndarray, "n h w c"]:
    """The images of a pyramid; exactly so in float64, where all of its numbers are multiples of a power of 2."""
    image = bands[-1]
    for band in reversed(bands[:-1]):
        image = band + up(image)
    return image


def down(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h2 w2 c"]:
    """Blurred, mirrored at the border, and every other row and column of it."""
    return _blurred(images)[:, ::2, ::2]


def up(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h2 w2 c"]:
    """Twice the size: zeros put in between, and blurred with 4 times the weights."""
    n, height, width, channels = images.shape
    larger = np.zeros((n, 2 * height, 2 * width, channels), images.dtype)
    larger[:, ::2, ::2] = images
    return 4 * _blurred(larger)


def descriptors(
    images: UInt8[np.ndarray, "n h w c"], level: int, stream: np.random.RandomState, patches: int
) -> Float[np.ndarray, "m p c"]:
    """Patches of one level of all images at places drawn from the stream: (n patches, 49, channels), float32."""
    size = level_sizes(images.shape[1:3])[level]
    levels = len(level_sizes(images.shape[1:3]))
    top, left = (stream.randint(0, side - SIDE + 1, (len(images), patches)) for side in size)
    found = np.empty((len(images), patches, SIDE, SIDE, images.shape[3]), np.float32)
    for first, band in _bands(images, level, levels):
        windows = np.lib.stride_tricks.sliding_window_view(band, (SIDE, SIDE), axis=(1, 2))  # (n, h, w, c, 7, 7)
        here = slice(first, first + len(band))
        taken = windows[np.arange(len(band))[:, None], top[here], left[here]]
        found[here] = np.moveaxis(taken, 2, -1)
    return found.reshape(-1, SIDE * SIDE, images.shape[3])


def whiten(patches: Float[np.ndarray, "m p c"]) -> Float[np.ndarray, "m d"]:
    """Patches of mean 0 and deviation 1 in each channel over the whole set, as vectors; a constant channel is 0."""
    mean = patches.mean((0, 1), dtype=np.float64)
    centered = patches - mean.astype(patches.dtype)
    deviation = np.sqrt(np.square(centered).mean((0, 1), dtype=np.float64))
    centered /= np.where(deviation > 0, deviation, 1).astype(patches.dtype)
    return centered.reshape(len(patches), -1)


def directions(size: int, count: int, stream: np.random.RandomState) -> Float[np.ndarray, "d k"]:
    """Unit vectors in all directions alike, as columns, float32."""
    drawn = stream.standard_normal((size, count))
    return (drawn / np.sqrt(np.square(drawn).sum(0))).astype(np.float32)


def distance(x: Float[np.ndarray, "m d"], y: Float[np.ndarray, "m d"], directions: Float[np.ndarray, "d k"]) -> float:
    """The mean over directions of the Wasserstein-1 distance of the projections: of the mean distance in their order.

    In the dtype of the points but for the mean, which is taken in float64.
    """
    total = 0.0
    for first in range(0, directions.shape[1], BLOCK):
        lines = directions[:, first : first + BLOCK].T
        ordered = [np.sort(lines @ points.T, axis=1) for points in (x, y)]
        total += np.abs(ordered[0] - ordered[1]).mean(1, dtype=np.float64).sum()
    return float(total / directions.shape[1])


def _bands(images: np.ndarray, level: int, levels: int) -> Iterator[tuple[int, np.ndarray]]:
    """One level of all pyramids, chunk by chunk, with the index of its first image."""
    for first in range(0, len(images), CHUNK):
        image = images[first : first + CHUNK].astype(np.float64)
        for _ in range(level):
            image = down(image)
        yield first, image if level == levels - 1 else image - up(down(image))


def _blurred(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        length, wide = images.shape[axis], [(0, 0)] * 4
        wide[axis] = (2, 2)
        padded = np.moveaxis(np.pad(images, wide, mode="reflect"), axis, 0)
        images = np.moveaxis(
            sum(w * padded[at : at + length] for at, w in enumerate(KERNEL.astype(images.dtype))), 0, axis
        )
    return images


def _stream(seed: int, *meaning: int) -> np.random.RandomState:
    """The legacy streams are frozen: the same places and directions with any NumPy."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence((seed, *meaning))))
