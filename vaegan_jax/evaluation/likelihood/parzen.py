"""Log-likelihood by a Parzen window over samples: offered to compare with published numbers, not to judge by.

    log p(x) = log 1/m sum_i N(x; s_i, h^2 I)

(Breuleux et al. 2011; used by Goodfellow et al. 2014, section 5), with the bandwidth h chosen on held-out data.
In float64, by blocks of bounded memory. The numbers depend on the unit of a pixel: published ones take [0, 1].
"""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaegan_jax.errors import Caution, check
from vaegan_jax.evaluation.likelihood.bounds import Estimate, over_images

WARNING = (
    "a Parzen window misleads in many dimensions: with 10,000 samples it misses log p(x) by many nats even for the "
    "true model, and ranks models otherwise than their likelihood does (Theis et al. 2016, arXiv 1511.01844; Wu et al. "
    "2017, arXiv 1611.04273); use annealed importance sampling"
)
"""Goes with every number."""
BANDWIDTHS = tuple(float(h) for h in np.geomspace(0.05, 1, 20))
"""Tried by default, for pixels in [0, 1]."""
BLOCK = 64 << 20
"""Bytes of distances at once."""


class Parzen(NamedTuple):
    """A Parzen window's verdict on test data."""

    nats: Estimate
    """Mean log-likelihood of the test data in nats, and its standard error."""
    bandwidth: float
    """Chosen on the validation data, in the unit of a pixel."""
    validation_nats: Float[np.ndarray, " bandwidths"]
    """Mean log-likelihood of the validation data by bandwidth."""


def log_likelihood(
    x: Float[np.ndarray, "n d"], samples: Float[np.ndarray, "m d"], bandwidths: Sequence[float]
) -> Float[np.ndarray, "n bandwidths"]:
    """log p(x) in nats under each bandwidth. Raises ValueError for a bandwidth that is not above 0 and finite."""
    h = np.asarray(bandwidths, np.float64)
    if not ((h > 0) & (h < np.inf)).all():
        raise ValueError(f"bandwidths must be above 0 and finite, not {bandwidths}")
    # Distances do not change by a shift, and about the samples' mean the squares lose fewest digits.
    center = samples.mean(0, dtype=np.float64)
    samples = samples.astype(np.float64) - center
    squares = (samples**2).sum(1)
    rows = max(1, BLOCK // (8 * len(samples)))
    blocks = []
    for at in range(0, len(x), rows):
        block = x[at : at + rows].astype(np.float64) - center
        distances = (block**2).sum(1)[:, None] + squares[None] - 2 * block @ samples.T
        nearest = np.maximum(distances.min(1), 0)  # which rounding may take below
        excess = distances - nearest[:, None]
        sums = [np.log(np.exp(excess * (-0.5 / width**2)).mean(1)) - nearest / (2 * width**2) for width in h]
        blocks.append(np.stack(sums, axis=1))
    constant = samples.shape[1] * (np.log(h) + 0.5 * math.log(2 * math.pi))
    return np.concatenate(blocks) - constant[None]


def parzen(
    test: Float[np.ndarray, "n d"],
    validation: Float[np.ndarray, "v d2"],
    samples: Float[np.ndarray, "m d3"],
    bandwidths: Sequence[float] = BANDWIDTHS,
) -> Parzen:
    """Chooses the bandwidth on the validation data and judges the test data by it; warns (`Caution`), always.

    Raises UserError for data of unlike sizes, or that are not finite.
    """
    sizes = [data.shape[1] for data in (test, validation, samples)]
    check(len(set(sizes)) == 1, f"test, validation and samples must have as many pixels: {sizes}; resize the samples")
    for name, data in (("test data", test), ("validation data", validation), ("samples", samples)):
        check(len(data) > 0, f"the {name} are empty: a Parzen window needs at least one of each")
        check(bool(np.isfinite(data).all()), f"the {name} hold NaN or Inf: leave those out")
    warnings.warn(WARNING, Caution, stacklevel=2)
    scores = log_likelihood(validation, samples, bandwidths).mean(0)
    best = int(scores.argmax())
    if best in (0, len(scores) - 1) and len(scores) > 1:
        warnings.warn(
            f"the best bandwidth, {bandwidths[best]:g}, is the end of those tried: try others beyond it",
            Caution,
            stacklevel=2,
        )
    nats = over_images(log_likelihood(test, samples, [bandwidths[best]])[:, 0])
    return Parzen(nats, float(bandwidths[best]), scores)
