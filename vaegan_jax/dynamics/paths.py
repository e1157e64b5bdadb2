"""The path-angle between two points: what the field does along the straight line from one to the other.

Berard et al. 2020, "A Closer Look at the Optimization Landscapes of Generative Adversarial Networks" (arXiv
1906.04848), section 4: with d = w' - w and w_a = w + a d, c(a) = <d, v(w_a)> / (|d| |v(w_a)|). Here v is the gradient,
which training steps against: before an attracting end c is negative, behind it positive, and it flips at a = 1; around
a rotating one it is a bump of one sign.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import ArrayLike, Float

from vaegan_jax.dynamics.instruments import JointField
from vaegan_jax.errors import check
from vaegan_jax.games import Params

ALPHAS = np.linspace(0, 1.2, 121)
"""From the first point past the second, which is at 1."""


class Path(NamedTuple):
    """Along the line, all (m,) and float64."""

    alphas: np.ndarray
    cosines: np.ndarray
    """Path-angle: cosine of the angle between direction and field, in [-1, 1]; NaN where the field is 0."""
    norms: np.ndarray
    """|v|."""


def path(field: JointField, start: Params, end: Params, alphas: Float[np.ndarray, " m"] = ALPHAS) -> Path:
    """Path-angle and norm of the field at start + alpha (end - start). UserError where the two are one point.

    A field of a trained run is that of one batch: the same all along.
    """
    traceable = field if isinstance(field, Partial) else Partial(field)
    told = [_at(traceable, start, end, float(alpha)) for alpha in alphas]
    inner, norms, lengths = np.array([np.asarray(x, np.float64) for x in told]).reshape(-1, 3).T
    check(bool((lengths > 0).all()), "there is no path between two points that are the same")
    cosines = np.divide(inner, norms * lengths, out=np.full_like(norms, np.nan), where=norms != 0)
    return Path(np.asarray(alphas, np.float64), np.clip(cosines, -1, 1), norms)


@jax.jit
def _at(field: Partial, start: Params, end: Params, alpha: ArrayLike) -> jax.Array:
    """<d, v>, |v| and |d| at one place. Not a loop over places: convolutions within one are slow on CPUs."""
    (first, unravel), (last, _) = ravel_pytree(start), ravel_pytree(end)
    direction = last - first
    vector, _ = ravel_pytree(field(unravel(first + jnp.asarray(alpha, first.dtype) * direction)))
    return jnp.stack([direction @ vector, jnp.linalg.norm(vector), jnp.linalg.norm(direction)])
