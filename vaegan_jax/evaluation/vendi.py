"""The Vendi score: the effective number of different images in a set, without any other set to compare with."""

import numpy as np
from jaxtyping import Float

from vaegan_jax.errors import check
from vaegan_jax.evaluation.moments import check_features


def score(features: Float[np.ndarray, "n d"]) -> float:
    """exp(-sum lambda log lambda) of the eigenvalues of K / n, with K the cosines between features, in float64.

    (Friedman & Dieng 2023, definition 3.1.) Between 1, all alike, and min(n, d), all orthogonal. It grows with n:
    compare sets of one size. Raises UserError for no images, for features that are not finite and for one of length 0.
    """
    features = check_features(features, "given", "the Vendi score", 1).astype(np.float64)
    lengths = np.linalg.norm(features, axis=1)
    check(bool(lengths.all()), f"image {int(lengths.argmin())} has features of length 0, which have no direction")
    unit = features / lengths[:, None]
    # X X^T and X^T X have the same eigenvalues but for zeros, which add nothing.
    return of_kernel(unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit, len(unit))


def of_kernel(kernel: Float[np.ndarray, "n n"], count: int | None = None) -> float:
    """The score of a positive semidefinite kernel with ones on its diagonal; count is n where K is not n by n."""
    values = np.linalg.eigvalsh(kernel) / (len(kernel) if count is None else count)
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))
