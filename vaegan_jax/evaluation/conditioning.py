"""Conditioning of a generator: how unevenly it stretches the directions of its latent space.

Odena et al. 2018, "Is Generator Conditioning Causally Related to GAN Performance?" (arXiv 1802.08768): the logarithm of
the condition number of the metric tensor M_z = J^T J, with J the Jacobian of g at z, averaged over z.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaegan_jax.errors import Caution, check

Generator = Callable[[Array], Array]
"""Latents (n, d) -> images (n, ...), pure; no example may depend on the others (batch norms run on their averages)."""


class Conditioning(NamedTuple):
    """Natural logarithms of condition numbers of J^T J, which are those of J squared: 0 is an isometry up to scale."""

    mean: float
    """Over the latents."""
    deviation: float
    """Between the latents."""
    logs: Float[np.ndarray, " n"]
    """Of each latent; infinite where J has no full rank."""
    unresolved: int
    """Latents at which the least singular value is below the rounding of the greatest: there it is but a bound."""


def conditioning(generator: Generator, z: Float[Array, "n d"], columns: int = 32) -> Conditioning:
    """The mean log condition number of J^T J over n latents.

    `columns` is the number of directions that are pushed through the generator at once. Singular values are J's own, in
    float64 on the host: those of the product J^T J would have half of the digits. Warns (`Caution`) where some are not
    resolved by the precision of the generator. Raises UserError without latents, where images have fewer numbers than
    latents, so that J^T J has no full rank at any z, and where a Jacobian is not finite.
    """
    check(len(z) > 0, "conditioning needs latents, and there are none")
    size = int(np.prod(jax.eval_shape(generator, z[:1]).shape))
    check(size >= z.shape[1], f"images of {size} numbers cannot be conditioned on {z.shape[1]} latent dimensions")
    compute, logs, unresolved = jax.jit(lambda point: jacobian(generator, point, columns)), [], 0
    for point in z:
        matrix = np.asarray(compute(point))
        check(bool(np.isfinite(matrix).all()), "the generator's Jacobian holds NaN or Inf")
        values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
        unresolved += bool(values[-1] <= values[0] * max(matrix.shape) * np.finfo(matrix.dtype).eps)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs.append(2 * (np.log(values[0]) - np.log(values[-1])) if values[0] > 0 else np.inf)
    if unresolved:
        told = f"at {unresolved} of {len(z)} latents the generator's Jacobian has no full rank, as far as"
        warnings.warn(f"{told} {matrix.dtype} can tell: the condition number is a bound there", Caution, stacklevel=2)
    logs = np.asarray(logs, np.float64)
    deviation = float(logs.std()) if np.isfinite(logs).all() else float("nan")
    return Conditioning(float(logs.mean()), deviation, logs, unresolved)


def jacobian(generator: Generator, z: Float[Array, " d"], columns: int = 32) -> Float[Array, "p d"]:
    """dg/dz at one latent: a row for each number of the image, a column for each dimension of z.

    A column is J v as the vjp of a vjp, because custom derivatives (our convolutions) refuse forward mode: of columns
    there are tens, of rows, one vjp each, thousands.
    """
    image, pull = jax.vjp(lambda point: generator(point[None])[0].ravel(), z)
    _, push = jax.vjp(lambda u: pull(u)[0], jnp.zeros_like(image))
    return jax.lax.map(lambda v: push(v)[0], jnp.eye(len(z), dtype=z.dtype), batch_size=min(columns, len(z))).T
