"""Perceptual path length: how much an image changes for a small step of its latent.

Karras et al. 2019, "A Style-Based Generator" (arXiv 1812.04948), section 4.1: E[d(g(z_t), g(z_{t + epsilon}))] /
epsilon^2, for d a squared perceptual distance, such as LPIPS. Steps are tiny, so images are compared as they leave the
generator, floats in [-1, 1]: rounded to 8 bits first, the same generator measures 37 times as much or more.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vaegan_jax.errors import UserError, check
from vaegan_jax.latents import Prior

Generator = Callable[[Array], Array]
"""Latents (n, d) -> images (n, height, width, channels), floats in [-1, 1], pure."""
Distance = Callable[[Array, Array], Array]
"""Two times n images, floats in [-1, 1] -> (n,), squared: of the second order where the images are alike."""
Path = Literal["great-circle", "unit-sphere", "line"]
"""Between two latents; "unit-sphere" first scales them to length 1, as StyleGAN's own measure in z does."""


class PathLength(NamedTuple):
    """The lower, the smoother."""

    mean: float
    """Over the paths that were kept."""
    error: float
    """Standard error of the mean."""
    kept: int
    """Paths between the two percentiles."""
    count: int


def path_length(
    generator: Generator,
    distance: Distance,
    prior: Prior,
    key: Key[Array, ""],
    count: int = 10_000,
    path: Path = "great-circle",
    mapping: Callable[[Array], Array] | None = None,
    ends: bool = False,
    epsilon: float = 1e-4,
    keep: tuple[float, float] = (1.0, 99.0),
    chunk: int = 32,
) -> PathLength:
    """The mean over `count` random paths (100,000 in the paper) of the squared distance over epsilon^2.

    Every path has a key of its own, so that nothing depends on `chunk`, the pairs of images made at once. Steps begin
    at t uniform in [0, 1], or with `ends` at t = 0. With `mapping`, z -> w, `generator` takes w: choose the line then.
    Paths outside of the percentiles `keep` are left out, as in the authors' code.

    Raises UserError for settings out of range or distances that are not finite, and ValueError for a generator that
    gives whole numbers.
    """
    check(count > 0 and chunk > 0, f"count and chunk must be at least 1, not {count} and {chunk}")
    check(0 < epsilon < 1, f"epsilon must be between 0 and 1, not {epsilon}")
    check(0 <= keep[0] < keep[1] <= 100, f"keep must be two percentiles in 0 .. 100, not {keep}")

    @jax.jit
    def draw(keys: Array) -> tuple[Array, Array, Array]:
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        first, last = (mapping(z) if mapping else z for z in (prior(keys[:, 0]), prior(keys[:, 1])))
        return first, last, jax.vmap(jax.random.uniform)(keys[:, 2])

    @jax.jit
    def apart(a: Array, b: Array) -> Array:
        return distance(*(_floating(generator(z)) for z in (a, b)))

    lengths = []
    for begin in range(0, count, chunk):  # the last chunk is a whole one, too: nothing is compiled twice
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(begin, begin + chunk))
        first, last, t = (np.asarray(drawn) for drawn in draw(keys))
        t = np.zeros_like(t) if ends else t
        pair = (interpolate(first, last, at, path).astype(first.dtype) for at in (t, t.astype(np.float64) + epsilon))
        lengths.append(np.asarray(apart(*pair), np.float64) / epsilon**2)
    return _summary(np.concatenate(lengths)[:count], keep)


def interpolate(
    first: Float[np.ndarray, "n d"], last: Float[np.ndarray, "n d"], t: Float[np.ndarray, " n"], path: Path
) -> Float[np.ndarray, "n d"]:
    """The points at t of n paths, in float64: t is 0 at the first and 1 at the last latent.

    On the great circle (Shoemake 1985) with angle omega between them: (sin((1 - t) omega) first + sin(t omega) last) /
    sin omega, which is the line where omega is 0. Between opposite latents there are many great circles: ValueError.
    """
    first, last, t = first.astype(np.float64), last.astype(np.float64), t.astype(np.float64)[:, None]
    if path == "line":
        return first + t * (last - first)
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (first, last))
    # Precise at all angles, where arccos of the product loses half of the digits near 0 and pi.
    omega = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))[:, None]
    if (omega > np.pi - 1e-9).any():
        raise ValueError("between opposite latents there is no one great circle")
    if path == "unit-sphere":
        first, last = a, b
    near = omega < 1e-9
    sine = np.sin(np.where(near, 1.0, omega))
    weights = (np.where(near, s, np.sin(s * omega) / sine) for s in (1 - t, t))
    return sum(weight * z for weight, z in zip(weights, (first, last), strict=True))


def squared_distance(a: Float[Array, "n h w c"], b: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """The squared Euclidean distance of images, summed over pixels and channels: a `Distance` without a network."""
    return jnp.square(a - b).sum((1, 2, 3))


def _floating(images: Array) -> Array:
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"path length needs images as the generator makes them, in [-1, 1], not as {images.dtype}")
    return images


def _summary(lengths: np.ndarray, keep: tuple[float, float]) -> PathLength:
    if not np.isfinite(lengths).all():
        raise UserError(f"{int((~np.isfinite(lengths)).sum())} of {len(lengths)} path lengths are NaN or Inf")
    low, high = (np.percentile(lengths, p, method=m) for p, m in zip(keep, ("lower", "higher"), strict=True))
    kept = lengths[(low <= lengths) & (lengths <= high)]
    error = kept.std(ddof=1) / np.sqrt(len(kept)) if len(kept) > 1 else np.nan
    return PathLength(float(kept.mean()), float(error), len(kept), len(lengths))
