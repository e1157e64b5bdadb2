"""Augmentation of what a discriminator sees, with gradients through to the generator: DiffAugment.

Zhao et al. 2020 (arXiv 2006.10738), section 4.1. Each image is changed by its own key; images are in [-1, 1], and what
comes from outside of an image is 0, its middle gray. No two-dimensional convolution or gather: shifts are products with
one-hot matrices, whose derivatives are fast on every device.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Change = Callable[[Float[Array, "h w c"], Key[Array, ""]], Float[Array, "h w c"]]


def brightness(image: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Adds one number from U(-1/2, 1/2): the paper's, for images in [-1, 1]."""
    return image + jax.random.uniform(key, (), image.dtype, -0.5, 0.5)


def saturation(image: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Scales by U(0, 2) what sets each channel apart from the pixel's mean; nothing for a gray image."""
    gray = image.mean(-1, keepdims=True)
    return gray + (image - gray) * jax.random.uniform(key, (), image.dtype, 0.0, 2.0)


def contrast(image: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Scales by U(1/2, 3/2) what sets the pixels apart from the image's mean."""
    mean = image.mean(keepdims=True)
    return mean + (image - mean) * jax.random.uniform(key, (), image.dtype, 0.5, 1.5)


def flip(image: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Mirrors left and right, every second time."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def translation(image: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Shifts by up to an eighth of either side."""
    keys = jax.random.split(key)
    rows, columns = (
        _shift(side, jax.random.randint(k, (), -_part(side, 8), _part(side, 8) + 1), image.dtype)
        for k, side in zip(keys, image.shape[:2], strict=True)
    )
    return jnp.einsum("ah,bw,hwc->abc", rows, columns, image)


def cutout(image: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Blanks a rectangle of half of either side, whose center is anywhere in the image."""
    rows, columns = (_covered(side, k) for k, side in zip(jax.random.split(key), image.shape[:2], strict=True))
    return image * ~(rows[:, None] & columns[None, :])[:, :, None]


POLICIES: dict[str, tuple[Change, ...]] = {
    "none": (),
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
    "color-translation": (brightness, saturation, contrast, translation),
    "flip-translation": (flip, translation),
    "all": (brightness, saturation, contrast, translation, cutout),
}
"""What is done to an image, in this order."""


def augment(
    policy: str,
    images: Float[Array, "n h w c"],
    keys: Key[Array, " n"],
    probability: float | Float[Array, ""] = 1.0,
) -> Float[Array, "n h w c"]:
    """Images changed by the policy, each change with this probability for each image (1: always, as in the paper)."""

    def one(image, key):
        for place, change in enumerate(POLICIES[policy]):
            whether, how = jax.random.split(jax.random.fold_in(key, place))
            image = jnp.where(jax.random.uniform(whether) < probability, change(image, how), image)
        return image

    return jax.vmap(one)(images, keys)


def _part(side: int, of: int) -> int:
    return int(side / of + 0.5)


def _shift(side: int, by: jax.Array, dtype) -> jax.Array:
    """(side, side): row i is 1 at i + by, and 0 all over where that is outside."""
    places = jnp.arange(side)
    return (places[:, None] + by == places[None, :]).astype(dtype)


def _covered(side: int, key: jax.Array) -> jax.Array:
    """(side,): where a stretch of half the side lies; of an even one the center is between pixels, or at a border."""
    length = _part(side, 2)
    first = jax.random.randint(key, (), 0, side + 1 - length % 2) - length // 2
    places = jnp.arange(side)
    return (places >= first) & (places < first + length)
