"""Mode counts where the modes are known: stacked digits (1,000 modes) and mixtures of Gaussians.

Stacked MNIST: Metz et al. 2017, "Unrolled GANs" (arXiv 1611.02163), section 3.3; mixtures: Srivastava et al. 2017,
"VEEGAN" (arXiv 1705.07761), section 4.1, and Lin et al. 2018, "PacGAN" (arXiv 1712.04086), section 4.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8

from vaegan_jax.errors import check

STACKED = 26_000
"""Samples of stacked MNIST in the papers."""
CHUNK = 1024
"""Images classified at once."""


class Modes(NamedTuple):
    """How many of the modes the samples have, and how evenly."""

    found: int
    """Modes with at least one sample."""
    modes: int
    kl: float
    """KL(samples' modes, uniform), in nats, as the papers have it: `kl_floor` is its value for perfect samples."""
    kl_floor: float
    """(modes - 1) / (2 count): the expected KL of so many truly uniform samples (Miller 1955). Subtract it, or compare
    with it: for 26,000 samples and 1,000 modes it is 0.0192."""
    count: int


class MixtureModes(NamedTuple):
    """How many components of a mixture the samples have, and how many samples are of good quality."""

    found: int
    """Components with a sample within 3 standard deviations."""
    modes: int
    high_quality: float
    """Share of the samples within 3 standard deviations of a component."""
    ceiling: float
    """This share for the mixture itself: in the plane 98.9 %, not 100 %."""
    reverse_kl: float
    """KL(components of the good samples, uniform), in nats; infinite where there is no good one."""
    kl_floor: float
    """Its expectation for so many uniform samples."""
    count: int


def mode_counts(labels: Integer[np.ndarray, " n"], modes: int) -> Modes:
    """Modes found and KL to the uniform distribution, from the mode of each sample, 0 .. modes - 1. UserError else."""
    check(len(labels) > 0, "modes are counted of samples, and there are none")
    low, high = int(labels.min()), int(labels.max())
    check(low >= 0 and high < modes, f"modes must be in 0 .. {modes - 1}, these are in {low} .. {high}")
    counts = np.bincount(labels, minlength=modes)
    return Modes(int((counts > 0).sum()), modes, kl_to_uniform(counts), kl_floor(modes, len(labels)), len(labels))


def kl_to_uniform(counts: Integer[np.ndarray, " k"]) -> float:
    """KL of the empirical distribution of counts to the uniform one: sum p log(p k), in nats; infinite if all are 0."""
    if not counts.sum():
        return float("inf")
    share = counts[counts > 0] / counts.sum()
    return float((share * np.log(share * len(counts))).sum())


def kl_floor(modes: int, count: int) -> float:
    """The expected KL to uniform of `count` uniform samples, to first order in 1 / count."""
    return (modes - 1) / (2 * count)


def expected_missing(modes: int, count: int) -> float:
    """Modes that `count` uniform samples miss on average: 5e-9 of 1,000 with 26,000 samples."""
    return modes * (1 - 1 / modes) ** count


def stack(
    images: UInt8[np.ndarray, "n h w 1"],
    labels: Integer[np.ndarray, " n2"],
    count: int,
    seed: int = 0,
) -> tuple[UInt8[np.ndarray, "m h w 3"], Integer[np.ndarray, "m 3"]]:
    """`count` stacked images, three gray ones drawn at random as red, green and blue, and their three labels."""
    check(len(images) > 0 and len(images) == len(labels), "stacking needs images, and a label for each")
    check(count > 0, f"count must be at least 1, not {count}")
    stream = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    drawn = stream.randint(0, len(images), (count, 3))
    return np.moveaxis(images[drawn][..., 0], 1, 3), labels[drawn]


def stacked_labels(
    images: UInt8[np.ndarray, "n h w 3"],
    classify: Callable[[UInt8[np.ndarray, "m h w 1"]], Integer[np.ndarray, " m"]],
) -> Integer[np.ndarray, "n 3"]:
    """The class of each channel of stacked images, by a classifier of single gray ones.

    `classify` maps (m, height, width, 1) to (m,), as `features.classifier.classify` does.
    """
    check(len(images) > 0, "modes are counted of samples, and there are none")
    parts = []
    for first in range(0, len(images), CHUNK):
        part = images[first : first + CHUNK]
        single = np.moveaxis(part, 3, 1).reshape(-1, *part.shape[1:3], 1)
        parts.append(np.asarray(classify(single)).reshape(-1, 3))
    return np.concatenate(parts)


def stacked_modes(labels: Integer[np.ndarray, "n 3"], classes: int = 10) -> Modes:
    """Modes among classes^3, from the labels of the three channels, 0 .. classes - 1. UserError for others."""
    check(len(labels) > 0, "modes are counted of samples, and there are none")
    low, high = int(labels.min()), int(labels.max())
    check(low >= 0 and high < classes, f"labels must be in 0 .. {classes - 1}, these are in {low} .. {high}")
    return mode_counts(labels.astype(np.int64) @ np.array([classes**2, classes, 1]), classes**3)


def ring(modes: int = 8, radius: float = 1.0) -> Float[np.ndarray, "k 2"]:
    """Means evenly around a circle, the first one at (radius, 0); no mean is there twice.

    PacGAN's has radius 1 and deviation 0.01.
    """
    angles = 2 * np.pi * np.arange(modes) / modes
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def grid(side: int = 5, spacing: float = 2.0) -> Float[np.ndarray, "k 2"]:
    """side^2 means of a square grid around the origin. PacGAN's has side 5, spacing 2 and deviation 0.05."""
    places = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)


def mixture_modes(
    samples: Float[np.ndarray, "n d"], means: Float[np.ndarray, "k d"], deviation: float, radius: float = 3.0
) -> MixtureModes:
    """Counts the components, N(mean, deviation^2 I) and equally likely, that the samples have.

    A sample belongs to the nearest mean, and is of high quality within `radius` deviations of it; the ceiling holds
    where components do not overlap. Raises UserError without samples, for NaN or Inf, or a deviation not above 0.
    """
    from scipy.stats import chi2

    check(len(samples) > 0, "modes are counted of samples, and there are none")
    check(bool(np.isfinite(samples).all()), "samples hold NaN or Inf")
    check(0 < deviation < float("inf"), f"deviation must be above 0 and finite, not {deviation}")
    samples, means = samples.astype(np.float64), means.astype(np.float64)
    nearest, distance = np.empty(len(samples), np.int64), np.empty(len(samples))
    for first in range(0, len(samples), CHUNK):
        here = slice(first, first + CHUNK)
        apart = np.sqrt(np.square(samples[here, None] - means[None]).sum(2))
        nearest[here], distance[here] = apart.argmin(1), apart.min(1)
    good = distance <= radius * deviation
    counts = np.bincount(nearest[good], minlength=len(means))
    ceiling = float(chi2.cdf(radius**2, samples.shape[1]))
    floor = kl_floor(len(means), int(good.sum())) if good.any() else float("inf")
    found = int((counts > 0).sum())
    share = float(good.mean())
    return MixtureModes(found, len(means), share, ceiling, kl_to_uniform(counts), floor, len(samples))
