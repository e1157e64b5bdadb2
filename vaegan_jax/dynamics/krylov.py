"""GMRES for pytrees. JAX's own also transposes its operator, which custom derivatives, as our convolutions', refuse."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import solve_triangular

from vaegan_jax.games import PyTree


def gmres(operator: Callable[[PyTree], PyTree], right: PyTree, iterations: int, tolerance: float) -> PyTree:
    """The solution u of operator(u) = right, for any linear operator (Saad & Schultz 1986); 0 where right is 0.

    One product an iteration, and no restarts: at most `iterations`, until the residual is `tolerance` times the norm
    of the right side. Holds so many vectors and one more.
    """
    flat, unravel = ravel_pytree(right)
    size, norm, dtype = min(iterations, flat.size), jnp.linalg.norm(flat), flat.dtype

    def unfinished(carry: tuple) -> jax.Array:
        k, _, turned, _ = carry
        return (k < size) & (jnp.abs(turned[k, 0]) > tolerance)

    def grow(carry: tuple) -> tuple:
        """One more vector of the Krylov space, and one more rotation, which keeps `turned` H = R triangular."""
        k, basis, turned, triangle = carry
        w, h = ravel_pytree(operator(unravel(basis[k])))[0], jnp.zeros(size + 1, dtype)
        before = jnp.linalg.norm(w)
        for _ in range(2):  # Gram-Schmidt; twice is enough
            overlap = basis @ w
            w, h = w - overlap @ basis, h + overlap
        length = jnp.linalg.norm(w)
        length = jnp.where(length > jnp.finfo(dtype).eps * before, length, 0)  # else the space is complete
        column = turned @ h.at[k + 1].set(length)
        diagonal = _or_one(jnp.hypot(column[k], column[k + 1]))
        c, s = column[k] / diagonal, column[k + 1] / diagonal
        upper, lower = c * turned[k] + s * turned[k + 1], c * turned[k + 1] - s * turned[k]
        return (
            k + 1,
            basis.at[k + 1].set(jnp.where(length > 0, w / _or_one(length), 0)),
            turned.at[k].set(upper).at[k + 1].set(lower),
            triangle.at[:, k].set(column.at[k].set(diagonal)[:size]),
        )

    basis = jnp.zeros((size + 1, flat.size), dtype).at[0].set(flat / _or_one(norm))
    first = (0, basis, jnp.eye(size + 1, dtype=dtype), jnp.eye(size, dtype=dtype))
    k, basis, turned, triangle = jax.lax.while_loop(unfinished, grow, first)
    weights = solve_triangular(triangle, jnp.where(jnp.arange(size) < k, turned[:size, 0], 0))
    return unravel(norm * (weights @ basis[:size]))


def _or_one(x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, x, 1)
