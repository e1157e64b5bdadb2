"""The Inception score, of any classifier's logits: only on the original Inception network's is it called so."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaegan_jax.errors import Caution, check
from vaegan_jax.evaluation.moments import check_features


class InceptionScore(NamedTuple):
    """Mean and standard deviation (of the population, ddof 0) over the splits."""

    mean: float
    deviation: float


def score(logits: Float[np.ndarray, "n c"], splits: int = 10, seed: int | None = 2020) -> InceptionScore:
    """exp(E_x KL(p(y|x) || p(y))) of each of `splits` parts of the images (Salimans et al. 2016, section 4).

    Between 1 and the number of classes. p(y) is the mean over the same part: fewer splits give a larger score. The
    images are permuted by RandomState(seed), as torch-fidelity does, or stay in their order with None: samples in the
    order of their classes need the permutation. The original takes Inception's logits without the bias of its last
    layer. Raises UserError for fewer than 2 images a split; a Caution where a split has fewer images than classes,
    above which number its score cannot rise.
    """
    check(splits > 0, f"the Inception score needs 1 split or more, not {splits}")
    logits = check_features(logits, "fake", f"the Inception score in {splits} splits", 2 * splits)
    count, classes = logits.shape
    if count // splits < classes:
        told = f"the Inception score of {classes:,} classes on splits of {count // splits:,} images is bounded by those"
        warnings.warn(f"{told}: give more images, or compare it only at this number", Caution, stacklevel=2)
    order = np.arange(count) if seed is None else np.random.RandomState(seed).permutation(count)
    bounds = [part * count // splits for part in range(splits + 1)]
    scores = [_score(logits[order[a:b]]) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(logits: np.ndarray) -> float:
    """exp of the mean divergence of p(y|x) from its own mean over x."""
    log_p = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    marginal = p.mean(axis=0)
    seen = marginal > 0  # a class of probability 0 throughout adds 0
    return float(np.exp((p[:, seen] * (log_p[:, seen] - np.log(marginal[seen]))).sum(axis=1).mean()))
