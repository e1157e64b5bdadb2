"""Precision and recall of distributions (Sajjadi et al. 2018), over clusters of features."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaegan_jax.errors import check
from vaegan_jax.evaluation.moments import check_pair


class PRD(NamedTuple):
    """The two numbers of a curve, in [0, 1]."""

    recall: float
    """F_8, which weighs recall 8 times precision."""
    precision: float
    """F_1/8, the other way round."""


def score(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], clusters: int = 20, runs: int = 10, seed: int = 0
) -> PRD:
    """F_8 and F_1/8 of histograms over k-means clusters of both sets together, the mean over `runs` clusterings.

    Of the larger set as many images are drawn as the smaller has: clusters are to see both alike. F is the exact
    maximum over the curve, which the original takes on a grid of 1001 angles. Raises UserError for fewer images than
    clusters.
    """
    check(clusters > 0 and runs > 0, f"PRD needs a cluster and a run, not {clusters} and {runs}")
    real, fake = check_pair(real, fake, f"PRD over {clusters} clusters", clusters)
    results = []
    for run in range(runs):
        p, q = histograms(real, fake, clusters, seed + run)
        results.append((f_score(p, q, 8), f_score(p, q, 1 / 8)))
    return PRD(*(float(value) for value in np.mean(results, axis=0)))


def histograms(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], clusters: int, seed: int
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """The shares of real and of fake images in each of k-means' clusters of both."""
    from sklearn.cluster import MiniBatchKMeans

    rng, count = np.random.default_rng(seed), min(len(real), len(fake))
    even = [side if len(side) == count else side[rng.choice(len(side), count, replace=False)] for side in (real, fake)]
    labels = MiniBatchKMeans(clusters, n_init=10, random_state=seed).fit_predict(np.concatenate(even))
    return tuple(np.bincount(part, minlength=clusters) / count for part in (labels[:count], labels[count:]))


def curve(
    real: Float[np.ndarray, " k"], fake: Float[np.ndarray, " k"], angles: int = 1001
) -> tuple[Float[np.ndarray, " angles"], Float[np.ndarray, " angles"]]:
    """Precision alpha and recall beta of two histograms, at lambda = tan(theta), theta evenly inside (0, pi/2).

    alpha = sum min(lambda p, q), beta = alpha / lambda (equations 6 and 7, with p the real one).
    """
    real, fake = _check_histograms(real, fake)
    slopes = np.tan(np.linspace(0, math.pi / 2, angles + 2)[1:-1])
    alpha = np.minimum(slopes[:, None] * real[None], fake[None]).sum(axis=1)
    beta = np.minimum(real[None], fake[None] / slopes[:, None]).sum(axis=1)
    return alpha, beta


def f_score(real: Float[np.ndarray, " k"], fake: Float[np.ndarray, " k"], weight: int | float) -> float:
    """max over lambda of F = (1 + w^2) alpha beta / (w^2 alpha + beta), which weighs recall w times precision.

    With beta = alpha / lambda that is (1 + w^2) alpha / (1 + w^2 lambda), and alpha is linear between the ratios
    lambda = q_i / p_i: the maximum is at one of those. Raises UserError for what is no pair of histograms.
    """
    real, fake = _check_histograms(real, fake)
    shared = (real > 0) & (fake > 0)
    if not shared.any():
        return 0.0
    slopes = fake[shared] / real[shared]
    alpha = np.minimum(slopes[:, None] * real[None], fake[None]).sum(axis=1)
    return float(((1 + weight**2) * alpha / (1 + weight**2 * slopes)).max())


def _check_histograms(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for histogram in (real, fake):
        whole = (histogram >= 0).all() and abs(histogram.sum() - 1) < 1e-6
        check(
            bool(whole), f"a histogram must be shares, not below 0, that add up to 1: they add up to {histogram.sum()}"
        )
    return real, fake
