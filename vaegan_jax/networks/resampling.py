"""Fewer or more pixels without a kernel: images (n, height, width, channels), by reshapes, fast everywhere."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def average_pool(x: Float[Array, "n h w c"], factor: int = 2) -> Float[Array, "n h2 w2 c"]:
    """The mean of each factor x factor pixels, in at least float32. ValueError for sides that do not divide."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return _blocks(x, factor).mean((2, 4), dtype=wide).astype(x.dtype)


def max_pool(x: Float[Array, "n h w c"], factor: int = 2) -> Float[Array, "n h2 w2 c"]:
    """The largest of each factor x factor pixels, by channel. ValueError for sides that do not divide."""
    return _blocks(x, factor).max((2, 4))


def nearest(x: Float[Array, "n h w c"], factor: int = 2) -> Float[Array, "n h2 w2 c"]:
    """Each pixel factor x factor times."""
    n, h, w, c = x.shape
    blocks = jnp.broadcast_to(x[:, :, None, :, None], (n, h, factor, w, factor, c))
    return blocks.reshape(n, h * factor, w * factor, c)


def pixel_shuffle(x: Float[Array, "n h w rrc"], factor: int = 2) -> Float[Array, "n h2 w2 c"]:
    """Channels to pixels: channel (c, i, j) of pixel (y, x) is channel c of (factor y + i, factor x + j).

    Shi et al. 2016, eq. 4 (arXiv 1609.05158). ValueError for channels that factor^2 does not divide.
    """
    n, h, w, c = x.shape
    if c % factor**2:
        raise ValueError(f"{c} channels are no multiple of {factor} x {factor}")
    phases = x.reshape(n, h, w, -1, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return phases.reshape(n, h * factor, w * factor, -1)


def _blocks(x, factor: int):
    n, h, w, c = x.shape
    if h % factor or w % factor:
        raise ValueError(f"{h}x{w} pixels cannot be pooled by {factor}")
    return x.reshape(n, h // factor, factor, w // factor, factor, c)
