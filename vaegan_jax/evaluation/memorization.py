"""Are samples copies of training images? Nearest neighbors, three tests that use them, and the birthday paradox.

Images, uint8 (n, height, width, channels), are compared pixel by pixel, features (n, d) as they are; distances are
Euclidean, in bytes or in units of the features. None of these numbers proves that nothing was memorized.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, UInt8

from vaegan_jax import pictures
from vaegan_jax.errors import check
from vaegan_jax.evaluation.moments import check_features
from vaegan_jax.evaluation.neighbors import BLOCK, Rows, blocks

COLUMNS = 8
"""Pairs in a row of the picture."""


class Nearest(NamedTuple):
    """The nearest training image of each sample."""

    indices: Int[np.ndarray, " n"]
    distances: Float[np.ndarray, " n"]


class Ratio(NamedTuple):
    """How much nearer samples are to training images than to test images."""

    median: float
    """Of d_train / d_test; it depends on the two numbers of images."""
    closer: float
    """The share of samples nearer to a training than to a test image."""
    expected: float
    """That share for new images of the same distribution: n_train / (n_train + n_test)."""


class Birthday(NamedTuple):
    """The smallest batch with a duplicate in at least half of the draws, and the support that it speaks for."""

    batch: int | float
    """math.inf if the samples were too few to tell."""
    probability: float
    """Of a duplicate in a batch of that size; if none is large enough, in all samples."""
    support: float
    """Of a uniform distribution with this batch size; of any other the support may be larger."""


def nearest(samples: Num[np.ndarray, "n ..."], training: Num[np.ndarray, "m ..."] | Rows) -> Nearest:
    """The nearest training image of each sample, by brute force in blocks of bounded memory, float64.

    Raises UserError for empty sets, different sizes of image, and features that are not finite.
    """
    samples, training = _flat(samples, "sample", 1), _flat(training, "training", 1)
    check(
        samples.shape[1] == training.shape[1], f"samples of {samples.shape[1]} values, training of {training.shape[1]}"
    )
    return _nearest(samples, training)


def ratio(
    samples: Num[np.ndarray, "n ..."], training: Num[np.ndarray, "m ..."], test: Num[np.ndarray, "l ..."]
) -> Ratio:
    """Distances to the nearest training over those to the nearest test image, against what new images would have.

    Equal distances count as half closer. Raises UserError as `nearest` does.
    """
    train, held_out = nearest(samples, training).distances, nearest(samples, test).distances
    return ratio_of_distances(train, held_out, len(training), len(test))


def ratio_of_distances(
    train: Float[np.ndarray, " n"], held_out: Float[np.ndarray, " n"], training: int, test: int
) -> Ratio:
    """`ratio` from the distances of each sample to the nearest of so many training, and of so many test images."""
    ratios = np.divide(train, held_out, out=np.where(train > 0, np.inf, 1.0), where=held_out > 0)
    closer = np.mean(train < held_out) + np.mean(train == held_out) / 2
    return Ratio(float(np.median(ratios)), float(closer), training / (training + test))


def authenticity(samples: Num[np.ndarray, "n ..."], training: Num[np.ndarray, "m ..."]) -> float:
    """AuthPct, in percent: samples farther from their nearest training image than that one is from its own nearest.

    (Alaa et al. 2022, section 4; the percentage is that of Stein et al. 2023.) Raises UserError as `nearest` does, and
    for fewer than 2 training images.
    """
    training = _flat(training, "training", 2)
    found = nearest(samples, training)
    used, place = np.unique(found.indices, return_inverse=True)
    return 100 * float(np.mean(found.distances > _nearest(training[used], training, used).distances[place]))


def copying(
    samples: Num[np.ndarray, "n ..."],
    training: Num[np.ndarray, "m ..."],
    test: Num[np.ndarray, "l ..."],
    components: int = 64,
    cells: int = 3,
    least: int = 20,
    seed: int = 0,
) -> float:
    """C_T, standard normal for new images of the same distribution: far below 0 copied, far above 0 underfitted.

    (Meehan, Chaudhuri & Dasgupta 2020, section 3.) The mean over the cells of `mann_whitney` of the distances to the
    nearest training image in the cell, samples against test images, weighed by the test images there. Cells are the
    clusters of k-means on the training images, after PCA to `components`; those with fewer than `least` samples or
    without the others are left out. (As a mean of independent cells its deviation is below 1 with more than one.)
    Raises UserError as `nearest` does, for fewer than `least` images on a side and if no cell is left.
    """
    sides = [_flat(s, kind, least) for s, kind in ((samples, "sample"), (training, "training"), (test, "test"))]
    samples, training, test = _principal(sides, components)
    label = _cells(training, cells, seed)
    scores, weights = [], []
    for cell in range(cells):
        fake, near, new = (side[label(side) == cell] for side in (samples, training, test))
        if len(fake) >= least and len(near) and len(new):
            scores.append(mann_whitney(_nearest(fake, near).distances, _nearest(new, near).distances))
            weights.append(len(new))
    check(bool(scores), f"C_T: none of {cells} cells has {least} samples and others: take fewer cells or more samples")
    return float(np.average(scores, weights=weights))


def mann_whitney(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " m"]) -> float:
    """(U - n m / 2) / sqrt(n m (n + m + 1) / 12), with U the pairs of x above y, equal ones by half."""
    ordered = np.sort(y)
    above = np.searchsorted(ordered, x, "left").sum() + np.searchsorted(ordered, x, "right").sum()
    n, m = len(x), len(y)
    return float((above / 2 - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12))


def duplicates(samples: Num[np.ndarray, "n ..."], threshold: int | float) -> Int[np.ndarray, "pairs 2"]:
    """The pairs of samples (i < j) not farther apart than the threshold, in order."""
    samples = _flat(samples, "sample", 2)
    found = [np.empty((0, 2), int)]
    for rows, columns, block in blocks(samples):
        pairs = np.argwhere(block <= threshold**2) + [rows.start, columns.start]
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    pairs = np.concatenate(found)
    return pairs[np.lexsort(pairs.T[::-1])]


def birthday(
    samples: Num[np.ndarray, "n ..."], threshold: int | float, draws: int = 1000, least: float = 0.5, seed: int = 0
) -> Birthday:
    """The birthday paradox test (Arora, Risteski & Zhang 2018): a batch of s with duplicates speaks for s^2 images.

    Batches are drawn from the samples without replacement: in a random order of all, a batch of s has a duplicate if
    both of some pair of `duplicates` are among the first s. Look at the pairs: the threshold decides.
    Raises UserError for fewer than 2 samples.
    """
    pairs, rng = duplicates(samples, threshold), np.random.default_rng(seed)
    if not len(pairs):
        return Birthday(math.inf, 0.0, math.inf)
    # From each order the size at which the first pair is complete.
    sizes = np.sort([1 + rng.permutation(len(samples))[pairs].max(axis=1).min() for _ in range(draws)])
    batch = int(sizes[math.ceil(least * draws) - 1])
    return Birthday(batch, float(np.mean(sizes <= batch)), uniform_support(batch))


def duplicate_probability(batch: int, support: int) -> float:
    """That `batch` draws from `support` equally likely images hold one twice: 1 - prod_i (1 - i / N)."""
    return float(1 - np.prod(1 - np.arange(batch) / support)) if batch <= support else 1.0


def birthday_batch(support: int | float) -> float:
    """1/2 + sqrt(1/4 + 2 N ln 2), about 1.1774 sqrt(N): a duplicate is as likely as not."""
    return 0.5 + math.sqrt(0.25 + 2 * support * math.log(2))


def uniform_support(batch: int | float) -> float:
    """The inverse of `birthday_batch`: s (s - 1) / (2 ln 2)."""
    return batch * (batch - 1) / (2 * math.log(2))


def picture(
    samples: UInt8[np.ndarray, "n h w c"],
    nearest: UInt8[np.ndarray, "n h w c"],
    distances: Float[np.ndarray, " n"],
    count: int = 24,
) -> UInt8[np.ndarray, "height width 3"]:
    """The `count` samples nearest to training images, the nearest first, each above that image, under its distance."""
    rows = []
    order = np.argsort(distances, kind="stable")[:count]
    for start in range(0, len(order), COLUMNS):
        columns = [
            _titled(f"{distances[i]:.3g}", *(side[i : i + 1] / 127.5 - 1 for side in (samples, nearest)))
            for i in order[start : start + COLUMNS]
        ]
        rows.append(np.concatenate(columns, axis=1))
    width = max(row.shape[1] for row in rows)
    white = [np.full((len(row), width - row.shape[1], 3), pictures.PAPER, np.uint8) for row in rows]
    return np.concatenate([np.concatenate(pair, axis=1) for pair in zip(rows, white, strict=True)])


def _titled(title: str, sample: np.ndarray, neighbor: np.ndarray) -> np.ndarray:
    return pictures.side_by_side({title: pictures.pairs(sample, neighbor, columns=1)})


def _flat(images: np.ndarray | Rows, kind: str, least: int) -> np.ndarray | Rows:
    if not isinstance(images, np.ndarray):  # of bytes, that are all finite
        return images
    flat = images.reshape(len(images), math.prod(images.shape[1:]))
    return check_features(flat, kind, "a search for copies", least)


def _nearest(samples: np.ndarray, training: np.ndarray | Rows, own: np.ndarray | None = None) -> Nearest:
    """own: for each sample the training image that does not count, itself."""
    indices, best = np.zeros(len(samples), int), np.full(len(samples), np.inf)
    for rows, columns, block in blocks(samples, training):
        if own is not None:
            mine = own[rows] - columns.start
            here = np.flatnonzero((mine >= 0) & (mine < block.shape[1]))
            block[here, mine[here]] = np.inf
        at = block.argmin(axis=1)
        values = np.take_along_axis(block, at[:, None], axis=1)[:, 0]
        nearer = values < best[rows]
        indices[rows] = np.where(nearer, at + columns.start, indices[rows])
        best[rows] = np.where(nearer, values, best[rows])
    # The distance itself from the difference: the block's digits are those of the norms.
    distances = [
        np.linalg.norm(samples[a : a + BLOCK].astype(np.float64) - training[indices[a : a + BLOCK]], axis=1)
        for a in range(0, len(samples), BLOCK)
    ]
    return Nearest(indices, np.concatenate(distances))


def _principal(sides: list[np.ndarray], components: int) -> list[np.ndarray]:
    """The sides in the space of the training images' (the second's) largest principal components, or as they are."""
    from vaegan_jax.evaluation import moments

    if sides[1].shape[1] <= components:
        return sides
    fitted = moments.of(sides[1])
    vectors = np.linalg.eigh(fitted.scatter)[1][:, -components:]
    projected = lambda side: [(side[at : at + BLOCK] - fitted.mean) @ vectors for at in range(0, len(side), BLOCK)]  # noqa: E731
    return [np.concatenate(projected(side)) for side in sides]


def _cells(training: np.ndarray, cells: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Which cell each row is in, as a function of rows."""
    from sklearn.cluster import KMeans

    if cells == 1:
        return lambda rows: np.zeros(len(rows), int)
    return KMeans(cells, n_init=10, random_state=seed).fit(training).predict
