"""Nearest neighbors: precision, recall, density, coverage and realism, in float64 and in blocks of bounded memory.

Balls around every image reach its k-th nearest neighbor in its own set, itself not counted (which is the k+1-th if it
is). Fake images inside balls of real ones are precise; real images inside balls of fake ones are recalled. Always
the real images come first: the other way round precision and recall change places.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from vaegan_jax.errors import check
from vaegan_jax.evaluation.moments import check_features, check_pair

BLOCK = 2048
"""Distances are held between so many images and so many others: 34 MB."""
EPSILON = 1e-5
"""Added to the distance that the realism divides by."""


@runtime_checkable
class Rows(Protocol):
    """Images too many to be held, as rows (n, d) that are read when they are sliced or indexed."""

    shape: tuple[int, int]

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray: ...


class Scores(NamedTuple):
    """All four of a real and a fake set."""

    precision: float
    recall: float
    density: float
    coverage: float


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: of fake images in the balls of real ones, and of real images in those of fake ones."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How many balls of real images a fake one lies in, over k; and the share of those balls that hold a fake one."""

    density: float
    coverage: float


def scores(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], k: int = 3, density_k: int = 5, strict: bool = False
) -> Scores:
    """`precision_recall` with k and `density_coverage` with density_k, of one pass over the distances.

    Raises UserError for sets of no more images than k or density_k, and for features that are not finite.
    """
    real, fake = _check_k(real, fake, max(k, density_k))
    squared = _nearest_squared(real, max(k, density_k))
    balls, wide = squared[:, k - 1], squared[:, density_k - 1]
    fake_balls = _nearest_squared(fake, k)[:, k - 1]
    inside = np.less if strict else np.less_equal
    precise, recalled, covered = np.zeros(len(fake), bool), np.zeros(len(real), bool), np.zeros(len(real), bool)
    density = 0
    for rows, columns, block in blocks(real, fake):
        precise[columns] |= inside(block, balls[rows, None]).any(axis=0)
        recalled[rows] |= inside(block, fake_balls[columns]).any(axis=1)
        within = (block < wide[rows, None]).sum(axis=1)
        density += int(within.sum())
        covered[rows] |= within > 0
    return Scores(*map(float, (precise.mean(), recalled.mean(), density / (density_k * len(fake)), covered.mean())))


def precision_recall(
    real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], k: int = 3, strict: bool = False
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019, equation 1): balls hold their surface.

    `strict` leaves the surface out, as the package prdc does. Raises UserError as `scores` does.
    """
    return PrecisionRecall(*scores(real, fake, k, k, strict)[:2])


def density_coverage(real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], k: int = 5) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020, equations 5 and 6): balls without their surface.

    Of the same distribution the density is expected to be 1 and the coverage `expected_coverage`; the density can
    exceed 1. Raises UserError as `scores` does.
    """
    return DensityCoverage(*scores(real, fake, k, k)[2:])


def expected_coverage(real: int, fake: int, k: int = 5) -> float:
    """The coverage of so many real images by so many fake ones of the same distribution, whatever it is.

    1 - prod_{i=1..k} (N - i) / (M + N - i): not all k nearest others of a real image are real.
    """
    steps = np.arange(1, k + 1)
    return float(1 - np.prod((real - steps) / (fake + real - steps)))


def realism(real: Float[np.ndarray, "n d"], fake: Float[np.ndarray, "m d"], k: int = 3) -> Float[np.ndarray, " m"]:
    """The realism of each fake image, max_i r_i / |y - x_i| (Kynkaanniemi et al. 2019, equation 2): >= 1 in a ball.

    Balls of radii above the median are left out. Raises UserError as `scores` does.
    """
    real, fake = check_pair(real, fake, f"the realism with k = {k}", 1)
    balls = radii(real, k)
    small = balls <= np.median(balls)
    real, balls, best = real[small], balls[small], np.zeros(len(fake))
    for rows, columns, block in blocks(real, fake):
        ratios = balls[rows, None] / (np.sqrt(block) + EPSILON)
        best[columns] = np.maximum(best[columns], ratios.max(axis=0))
    return best


def radii(features: Float[np.ndarray, "n d"], k: int) -> Float[np.ndarray, " n"]:
    """The distance of each image to its k-th nearest neighbor, itself not counted.

    Raises UserError for no more images than k.
    """
    check(k > 0, f"k must be 1 or more, not {k}")
    features = check_features(features, "given", f"the {k}-th nearest neighbor", k + 1)
    return np.sqrt(_nearest_squared(features, k)[:, k - 1])


def blocks(
    x: np.ndarray, y: np.ndarray | Rows | None = None, size: int | None = None
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Squared Euclidean distances in float64 of x (n, d) to y (m, d): rows, columns, and the block between them.

    Without y those of x to itself: infinite from each to itself, and only blocks on and above the diagonal. Each is
    one product, of x and y shifted by the first row of x: |x - y|^2 = (-2 x, |x|^2, 1) . (y, 1, |y|^2). What is
    below the rounding of that is 0, so that images that are equal have no distance.
    """
    origin, size = np.asarray(x[0], np.float64), size or BLOCK
    slices = [[slice(a, a + size) for a in range(0, len(side), size)] for side in (x, x if y is None else y)]
    for number, rows in enumerate(slices[0]):
        left = x[rows] - origin
        squares = np.einsum("nd,nd->n", left, left)[:, None]
        left = np.concatenate([left * -2, squares, np.ones_like(squares)], axis=1)
        for columns in slices[1][number:] if y is None else slices[1]:
            right = (x if y is None else y)[columns] - origin
            others = np.einsum("nd,nd->n", right, right)[:, None]
            block = left @ np.concatenate([right, np.ones_like(others), others], axis=1).T
            block[block < np.finfo(float).eps * x.shape[1] * squares] = 0
            if y is None and rows == columns:
                np.fill_diagonal(block, np.inf)
            yield rows, columns, block


def _nearest_squared(features: np.ndarray, k: int) -> np.ndarray:
    """(n, k) squared distances of each image to its k nearest others, ascending."""
    best = np.full((len(features), k), np.inf)

    def keep(rows: slice, block: np.ndarray) -> None:
        nearest = np.partition(block, k - 1, axis=1)[:, :k] if block.shape[1] > k else block
        best[rows] = np.partition(np.concatenate([best[rows], nearest], axis=1), k - 1, axis=1)[:, :k]

    for rows, columns, block in blocks(features):
        keep(rows, block)
        if rows != columns:
            keep(columns, np.ascontiguousarray(block.T))
    return np.sort(best, axis=1)


def _check_k(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    check(k > 0, f"k must be 1 or more, not {k}")
    return check_pair(real, fake, f"a nearest-neighbor score with k = {k}", k + 1)
