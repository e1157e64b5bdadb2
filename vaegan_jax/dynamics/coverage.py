"""Modes over the time of a training: which were found, which were forgotten, and whether they come round again."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaegan_jax.evaluation.modes import mixture_modes


class Coverage(NamedTuple):
    """Samples of t times of a training against a mixture of k Gaussians; see `evaluation.modes.MixtureModes`."""

    found: np.ndarray
    """(t,): components with a sample of high quality, int."""
    high_quality: np.ndarray
    """(t,): share of such samples, float64."""
    reverse_kl: np.ndarray
    """(t,): KL(components of those samples, uniform), nats; infinite where there is none."""
    mass: np.ndarray
    """(t, k): share of all samples that are of high quality and of this component, float64."""
    ceiling: float
    """What a perfect sampler's `high_quality` is on average."""


def coverage(
    samples: Float[np.ndarray, "t n d"], means: Float[np.ndarray, "k d"], deviation: float, radius: float = 3.0
) -> Coverage:
    """Modes at each of the times; raises UserError as `mixture_modes` does."""
    told = [mixture_modes(now, means, deviation, radius) for now in samples]
    mass = np.stack([_mass(now, means, radius * deviation) for now in samples.astype(np.float64)])
    found, high_quality, reverse_kl = (
        np.array([getattr(modes, name) for modes in told]) for name in ("found", "high_quality", "reverse_kl")
    )
    return Coverage(found, high_quality, reverse_kl, mass, told[0].ceiling)


def forgetting(mass: Float[np.ndarray, "t k"]) -> Float[np.ndarray, "t t"]:
    """Entry (i, j): the share of the modes that time i has which time j has not; a row of NaN where i has none.

    Above the diagonal is what was forgotten, below it what was new. Stripes along the diagonal are a cycle.
    """
    has = mass > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return (has[:, None] & ~has[None]).sum(2) / has.sum(1)[:, None]


def period(mass: Float[np.ndarray, "t k"]) -> float:
    """After how many rows the modes come round again: the first high peak of the autocorrelation after its first zero.

    NaN where it has none up to half of the rows, or where it is below 1/2: such modes do not cycle.
    """
    moving = mass - mass.mean(0, keepdims=True)
    if not (moving**2).sum() > 1e-24 * (mass**2).sum():
        return float("nan")
    lags = range(len(mass) // 2 + 1)
    pairs = [(moving[: len(mass) - lag], moving[lag:]) for lag in lags]
    correlation = np.array([(a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-300) for a, b in pairs])
    below = np.flatnonzero(correlation < 0)
    if not len(below):
        return float("nan")
    after = correlation[below[0] :]
    high = after >= max(0.5, 0.9 * after.max())  # later rounds are as high as the first
    peaks = np.flatnonzero(high[:-1] & (after[:-1] >= after[1:]))
    return float(below[0] + peaks[0]) if len(peaks) else float("nan")


def _mass(samples: Float[np.ndarray, "n d"], means: Float[np.ndarray, "k d"], within: float) -> np.ndarray:
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(means).query(samples)
    return np.bincount(nearest[distance <= within], minlength=len(means)) / len(samples)
