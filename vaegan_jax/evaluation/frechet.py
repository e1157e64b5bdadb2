"""The Frechet distance between Gaussians fitted to two sets of features, and what it would be of infinitely many.

    FD = |mu_1 - mu_2|^2 + Tr(Sigma_1 + Sigma_2 - 2 (Sigma_1 Sigma_2)^1/2)

(Heusel et al. 2017, equation 6; only on the features of the original Inception network is it called FID.) All of it
is float64 on the host. The trace of the square root is the sum of `roots`, the square roots of the eigenvalues of
Sigma_1 Sigma_2, which are real and not negative; nothing is ever added to a covariance.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaegan_jax.errors import Caution, check
from vaegan_jax.evaluation.moments import Moments, Normalizer, check_pair, covariance, of

INDEFINITE = 1e-5
"""Eigenvalues down to this share of the largest, below zero, are rounding (of float32 statistics) and taken for 0."""


class Frechet(NamedTuple):
    """A Frechet distance and what to think of it."""

    distance: float
    bias: float
    """How much larger it is to be expected than that of infinitely many images, for Gaussian features: see `bias`.

    An estimate from the samples themselves, too small where they are few: by 1 % at 15 images a feature, 5 % at 3,
    18 % at 1.25, and by nearly half below 1 (measured on Gaussians).
    """

    form: str
    """"eigh" or "nuclear": how the trace of the root was taken."""


class Extrapolation(NamedTuple):
    """A Frechet distance extrapolated to infinitely many fake images, and the line it was read off."""

    distance: float
    error: float
    """Standard error of the intercept. Subsets overlap, so that it tells of the line, not of another set of images."""

    slope: float
    """Of the distance over 1 / N."""

    counts: tuple[int, ...]
    distances: tuple[float, ...]


def distance(a: Moments, b: Moments, normalizer: Normalizer = "unbiased") -> float:
    """The Frechet distance, in squared units of the features; with a Caution if there are fewer images than features.

    Raises UserError for fewer than 2 images, different numbers of features and covariances that are none.
    """
    return estimate(a, b, normalizer).distance


def estimate(a: Moments, b: Moments, normalizer: Normalizer = "unbiased") -> Frechet:
    """`distance` with its bias, by eigh: the roots are those of the eigenvalues of H Sigma_2 H^T with H^T H = Sigma_1.

    H has as many rows as Sigma_1 has rank, and so no eigenvalue is one of rounding, of which the root would not be
    small; if one covariance is singular and the other is not, it is the singular one that is taken for Sigma_1.
    """
    _check_like(a, b)
    first, second = (b, a) if _triangle(b, normalizer) is None else (a, b)
    return _told(a, b, _roots(_half(first, normalizer), second, normalizer), normalizer, "eigh")


def distance_of_features(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], normalizer: Normalizer = "unbiased"
) -> Frechet:
    """The Frechet distance of features that are all here, by the better form, which it names.

    With fewer images than features on a side it is "nuclear": with centered features X, Y scaled so that X^T X is
    the covariance, the roots are the singular values of X Y^T, which lose no digits to the square. Else "eigh".
    Raises UserError as `distance` does, and for features that are not finite.
    """
    real, fake = check_pair(real, fake, "the Frechet distance", 2)
    a, b = of(real), of(fake)
    if min(len(real), len(fake)) > real.shape[1]:
        return estimate(a, b, normalizer)
    _check_like(a, b)
    product = _rows(real, a, normalizer) @ _rows(fake, b, normalizer).T
    roots = np.linalg.svd(product, compute_uv=False) if product.size else np.zeros(0)
    return _told(a, b, roots, normalizer, "nuclear")


def bias(moments: Moments, count_a: int | float, count_b: int | float = math.inf) -> float:
    """The distance to be expected between two sets of so many images, both from the Gaussian with these moments.

    To leading order in 1/N, with lambda the eigenvalues of the covariance:

        (1/N + 1/M) (Tr Sigma + 1/2 sum_ij lambda_i lambda_j / (lambda_i + lambda_j) + 1/4 Tr Sigma)

    which for N(0, I_d) is (1/N + 1/M) (d + d (d + 1) / 4). The first term is that of the means, the rest the variance
    of the sample covariances in the Bures metric. Features with heavier tails have more. With the true moments it is
    right to a few percent even for fewer images than features; with those of a sample it is too small, by 5 % at 3
    images a feature and by 10 % at one (measured on Gaussians). math.inf stands for a distribution known exactly.
    """
    check(min(count_a, count_b) > 1, f"a covariance needs at least 2 images, not {min(count_a, count_b)}")
    roots = np.clip(np.linalg.eigvalsh(covariance(moments)), 0, None)
    return float((1 / count_a + 1 / count_b) * (roots.sum() + _curvature(roots)))


def infinity(
    real: Moments | Float[np.ndarray, "n d"],
    fake: Float[np.ndarray, "m d"],
    points: int = 15,
    smallest: int = 5000,
    normalizer: Normalizer = "unbiased",
    seed: int = 0,
) -> Extrapolation:
    """The distance at 1/N = 0 of the least-squares line through those of `points` random subsets of the fake images.

    (Chong & Forsyth 2020: sizes evenly from `smallest` to all.) The real images are not subsampled: the bias of their
    number stays. Raises UserError for as few images as `smallest`, which must be above the number of features for the
    line to be straight: else a Caution says so.
    """
    real = real if isinstance(real, Moments) else of(real)
    told = f"the distance at infinity needs more than its smallest subset, {smallest:,} fake images"
    check(len(fake) > smallest, f"{told}, there are {len(fake):,}: generate more, or take a smaller subset")
    check(points > 2 and smallest > 1, f"a line needs 3 points or more, each of 2 images or more: {points}, {smallest}")
    _check_like(real, of(fake[:smallest]))
    half, rng = _half(real, normalizer), np.random.default_rng(seed)
    counts, distances = np.linspace(smallest, len(fake), points).astype(int), []
    for count in counts:
        subset = of(fake[rng.choice(len(fake), count, replace=False)])
        distances.append(_told(real, subset, _roots(half, subset, normalizer), normalizer, "eigh").distance)
    intercept, slope, error = _line(1 / counts, np.array(distances))
    return Extrapolation(intercept, error, slope, tuple(counts.tolist()), tuple(distances))


def _told(a: Moments, b: Moments, roots: np.ndarray, normalizer: Normalizer, form: str) -> Frechet:
    traces = [float(np.trace(m.scatter)) / (m.count - (normalizer == "unbiased")) for m in (a, b)]
    squared = float(np.sum((a.mean - b.mean) ** 2)) + sum(traces) - 2 * float(roots.sum())
    excess = _excess(traces, (a.count, b.count), roots)
    if normalizer == "biased":  # the covariances themselves are too small, by 1/N
        excess -= sum((trace - roots.sum()) / m.count for trace, m in zip(traces, (a, b), strict=True))
    return Frechet(max(squared, 0.0), float(excess), form)


def _excess(traces: list[float], counts: tuple[int, int], roots: np.ndarray) -> float:
    """The bias of the distance as it was measured: `bias`, but of two distributions, and from samples of them.

    To leading order the variance of a sample covariance adds `_curvature` / N on its side. That holds also where the
    two differ: with C = Sigma_2^1/2 Sigma_1 Sigma_2^1/2 only the eigenvalues of C are left in the second derivative.
    The sum of the sample's roots is too small by half of what is added, so they are scaled until the two agree.
    """
    inverse = 1 / counts[0] + 1 / counts[1]
    added = inverse * _curvature(roots)
    scale = roots.sum() / (roots.sum() - added / 2) if added else 1.0
    return float(traces[0] / counts[0] + traces[1] / counts[1] + scale * added)


def _curvature(roots: np.ndarray) -> float:
    """1/2 sum_ij r_i r_j / (r_i + r_j) + 1/4 sum_i r_i."""
    roots = roots[roots > 0]
    return float((roots[:, None] * roots / (roots[:, None] + roots)).sum() / 2 + roots.sum() / 4)


def _triangle(moments: Moments, normalizer: Normalizer) -> np.ndarray | None:
    """Cholesky's factor of the covariance, or None if that is singular but for rounding."""
    matrix = covariance(moments, normalizer)
    if moments.count <= len(matrix):
        return None
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    return factor if factor.diagonal().min() ** 2 > _rounding(moments) * matrix.diagonal().max() else None


def _rounding(moments: Moments) -> float:
    """The share of the largest eigenvalue below which one is 0: that of d sums of N terms, and some room."""
    return 8 * (len(moments.mean) + math.sqrt(moments.count)) * float(np.finfo(float).eps)


def _half(moments: Moments, normalizer: Normalizer) -> np.ndarray:
    """H, with as many rows as the covariance has rank, and H^T H the covariance."""
    if (factor := _triangle(moments, normalizer)) is not None:
        return factor.T
    values, vectors = np.linalg.eigh(covariance(moments, normalizer))
    kept = _kept(values, min(len(values), moments.count - 1))
    kept = kept[kept > _rounding(moments) * kept[-1]]
    return np.sqrt(kept)[:, None] * vectors[:, len(values) - len(kept) :].T


def _roots(half: np.ndarray, other: Moments, normalizer: Normalizer) -> np.ndarray:
    if not len(half):  # all images alike
        return np.zeros(0)
    values = np.linalg.eigvalsh(half @ covariance(other, normalizer) @ half.T)
    return np.sqrt(_kept(values, min(len(values), other.count - 1)))


def _rows(features: np.ndarray, moments: Moments, normalizer: Normalizer) -> np.ndarray:
    """X with X^T X the covariance: the centered features, or fewer rows where there are more images than features."""
    if len(features) > features.shape[1]:
        return _half(moments, normalizer)
    return (features - moments.mean) / math.sqrt(moments.count - (normalizer == "unbiased"))


def _kept(values: np.ndarray, rank: int) -> np.ndarray:
    """The `rank` largest of ascending eigenvalues, those below 0 by rounding as 0."""
    least, largest = float(values[0]), float(max(values[-1], 0))
    check(
        least >= -INDEFINITE * largest, f"this is no covariance: it has the eigenvalue {least:.3g} (of {largest:.3g})"
    )
    return np.clip(values[-rank:], 0, None)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Ordinary least squares: intercept, slope and the standard error of the intercept."""
    spread = np.sum((x - x.mean()) ** 2)
    slope = np.sum((x - x.mean()) * y) / spread
    intercept = y.mean() - slope * x.mean()
    variance = np.sum((y - intercept - slope * x) ** 2) / (len(x) - 2)
    return float(intercept), float(slope), float(np.sqrt(variance * (1 / len(x) + x.mean() ** 2 / spread)))


def _check_like(a: Moments, b: Moments) -> None:
    widths, few = (len(a.mean), len(b.mean)), min(a.count, b.count)
    check(widths[0] == widths[1], f"moments of {widths[0]} and of {widths[1]} features: use one extractor for both")
    check(few > 1, f"a covariance needs at least 2 images, there is {few}")
    if few <= widths[0]:
        told = f"{few:,} images for {widths[0]:,} features: the covariance is singular and the Frechet distance biased"
        warnings.warn(f"{told} upwards; compare it only at this number of images, or give more", Caution, stacklevel=3)
