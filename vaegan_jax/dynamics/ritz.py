"""Eigenvalues at a price that is known before: so many products with a matrix, whatever it is.

ARPACK, as `spectra` asks it, restarts until its eigenvalues have converged, which may be after 20 products or after
2,000. While training, an estimate with its residual is worth more than an answer at any time.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vaegan_jax.errors import check


class Ritz(NamedTuple):
    """What a Krylov space knows of a matrix' spectrum; the outermost eigenvalues are known best."""

    values: np.ndarray
    """(m,) complex128, or float64 of a symmetric matrix: approximate eigenvalues, the largest in magnitude first."""
    residuals: np.ndarray
    """(m,): |M u - value u| of each, for its approximate eigenvector u of length 1."""


def arnoldi(
    matrix: Callable[[np.ndarray], np.ndarray],
    size: int,
    products: int,
    symmetric: bool = False,
    dtype: np.dtype | type = np.float64,
    seed: int = 0,
) -> Ritz:
    """Arnoldi's method (1951), Lanczos' where the matrix is symmetric, without restarts: `products` products at most.

    From a random vector; exact once the space is complete, at `size` products at the latest. Holds one vector of
    `dtype` more than it makes products. Raises UserError where a product is not finite.
    """
    count = min(products, size)
    basis, h = np.zeros((count + 1, size), dtype), np.zeros((count + 1, count))
    start = np.random.default_rng(seed).normal(size=size)
    basis[0] = start / np.linalg.norm(start)
    for k in range(count):
        image = np.asarray(matrix(basis[k]), dtype)
        length = np.linalg.norm(image)
        check(bool(np.isfinite(length)), "the Jacobian is not finite at this point")
        for _ in range(2):  # Gram-Schmidt; twice is enough
            overlap = basis[: k + 1] @ image
            image, h[: k + 1, k] = image - overlap @ basis[: k + 1], h[: k + 1, k] + overlap
        left = np.linalg.norm(image)
        if left <= 10 * np.finfo(dtype).eps * length:  # the space is complete
            count = k + 1
            break
        h[k + 1, k], basis[k + 1] = left, image / left
    square = h[:count, :count]
    values, vectors = np.linalg.eigh((square + square.T) / 2) if symmetric else np.linalg.eig(square)
    order, beyond = np.argsort(-np.abs(values), kind="stable"), h[count, count - 1]
    return Ritz(values[order] if symmetric else values[order].astype(complex), beyond * np.abs(vectors[-1, order]))
