"""Squared maximum mean discrepancies of two sets of features: KID and CMMD, in float64 on the host."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaegan_jax.errors import check
from vaegan_jax.evaluation.moments import check_pair
from vaegan_jax.evaluation.neighbors import blocks


class KernelDistance(NamedTuple):
    """Mean and standard deviation (of the population, ddof 0) over subsets."""

    mean: float
    deviation: float


def distance(
    real: Float[np.ndarray, "n d"],
    fake: Float[np.ndarray, "m d"],
    subsets: int = 100,
    size: int = 1000,
    seed: int = 2020,
) -> KernelDistance:
    """The kernel distance (KID on Inception's features; Binkowski et al. 2018, section 4): `squared_mmd` of subsets.

    It is unbiased, and so below zero about as often as above where the distributions are the same. Each subset is
    drawn without replacement, the real images first, by RandomState(seed): in the order of torch-fidelity.
    Raises UserError for fewer than `size` images on a side.
    """
    check(subsets > 0 and size > 1, f"KID needs a subset of 2 images or more, not {subsets} of {size}")
    real, fake = check_pair(real, fake, f"KID in subsets of {size:,}", size)
    rng, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        x, y = (features[rng.choice(len(features), size, replace=False)] for features in (real, fake))
        values.append(squared_mmd(x, y))
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def squared_mmd(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """The unbiased estimate of MMD^2 with k(x, y) = (x . y / d + 1)^3 (Gretton et al. 2012, equation 3).

    Holds the (n, m) kernel: meant for subsets. Raises UserError for fewer than 2 images on a side.
    """
    x, y = (np.asarray(side, np.float64) for side in check_pair(x, y, "an unbiased MMD", 2))
    within = [_off_diagonal(_cubic(side, side)) for side in (x, y)]
    return float(sum(within) - 2 * _cubic(x, y).mean())


def cmmd(real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], sigma: int | float = 10.0) -> float:
    """1000 times the biased (V-statistic) MMD^2 with k(x, y) = exp(-|x - y|^2 / (2 sigma^2)); 0 for a set and itself.

    (Jayasumana et al. 2024; CMMD on CLIP's embeddings of unit norm, which are taken as they come.) On those every
    kernel value is nearly 1, and a difference of such means has no digits left in float32: what is summed here is
    k - 1, in blocks of bounded memory. Raises UserError for an empty side.
    """
    real, fake = check_pair(real, fake, "CMMD", 1)

    def mean(x: np.ndarray, y: np.ndarray) -> float:
        sums = [np.expm1(block / (-2 * sigma**2)).sum() for _, _, block in blocks(x, y)]
        return float(np.sum(sums)) / (len(x) * len(y))

    return 1000 * (mean(real, real) + mean(fake, fake) - 2 * mean(real, fake))


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    kernel = x @ y.T  # of x with itself, half the work: NumPy sees the transpose
    kernel /= x.shape[1]
    kernel += 1
    return kernel * kernel * kernel  # many times as fast as a power


def _off_diagonal(kernel: np.ndarray) -> float:
    """The mean over pairs of two different images."""
    np.fill_diagonal(kernel, 0)
    return float(kernel.sum() / (len(kernel) * (len(kernel) - 1)))
