"""Poolings of the pretrained networks, rows first: slices are 2 to 5 times as fast on a CPU as XLA's windows are."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "n h w c"], window: int, stride: int, padding: int = 0) -> Float[Array, "n h2 w2 c"]:
    """Largest of each window x window pixels that fit; the padding, in pixels, is never the largest."""
    return _of_windows(_padded(x, padding, -jnp.inf), window, stride, jnp.maximum)


def average_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Mean of the 3 x 3 pixels around each, of those there are: at an edge 6, in a corner 4."""
    there = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    total, count = (_of_windows(_padded(y, 1, 0.0), 3, 1, jnp.add) for y in (x, there))
    return total / count


def _padded(x: Array, pixels: int, value: float) -> Array:
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), constant_values=value)


def _of_windows(x: Array, window: int, stride: int, combine: Callable[[Array, Array], Array]) -> Array:
    for axis in (1, 2):
        end = (x.shape[axis] - window) // stride * stride + 1
        parts = [jax.lax.slice_in_dim(x, first, first + end, stride, axis) for first in range(window)]
        x = functools.reduce(combine, parts)
    return x
