"""Augmentation: random changes of the training images, drawn by position, on the device."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key, Shaped

from vaegan_jax.errors import check, check_fields


@dataclass(frozen=True)
class Augmentation:
    """What is done to every training image, in this order: pad, crop, flip. Sample grids and test images are whole."""

    pad: int = 0
    """Pixels of black added on every side; without a crop, images are then cut back to their size (translation)."""
    crop: int = 0
    """Side of the square cut out at a random place, in pixels, which is what the model learns to draw; 0: none."""
    flip: bool = False
    """Mirrors half of the images, left to right."""

    def __post_init__(self):
        check_fields(self)
        check(self.pad >= 0, f"augmentation.pad must be 0 or more, not {self.pad}")
        check(self.crop >= 0, f"augmentation.crop must be 0 (none) or more, not {self.crop}")


def augmented_shape(config: Augmentation, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape that an image of `shape` has afterwards. UserError for a crop that is larger than the image."""
    small = min(shape[:2])
    check(config.crop <= small, f"augmentation.crop {config.crop} is larger than the images: {small} pixels")
    return (config.crop, config.crop, shape[2]) if config.crop else shape


def augment(
    config: Augmentation, images: Float[ArrayLike, "n h w c"], keys: Key[Array, " n"]
) -> Float[Array, "n a b c"]:
    """Images in [-1, 1], each changed by its own key."""
    height, width, channels = augmented_shape(config, images.shape[1:])
    margin = ((0, 0), (config.pad, config.pad), (config.pad, config.pad), (0, 0))
    padded = jnp.pad(jnp.asarray(images), margin, constant_values=-1)
    room = jnp.array([padded.shape[1] - height + 1, padded.shape[2] - width + 1])

    def one(image, key):
        place, mirror = jax.random.split(key)
        top, left = jax.random.randint(place, (2,), 0, room)
        image = jax.lax.dynamic_slice(image, (top, left, 0), (height, width, channels))
        flipped = jax.random.bernoulli(mirror) & config.flip
        return jnp.where(flipped, image[:, ::-1], image)

    return jax.vmap(one)(padded, keys)


def middle(images: Shaped[ArrayLike, "n h w c"], shape: tuple[int, int, int]) -> Shaped[ArrayLike, "n a b c"]:
    """The middle of each image, of the shape that a model has learned: what its own images are compared with."""
    top, left = ((size - side) // 2 for size, side in zip(images.shape[1:3], shape[:2], strict=True))
    return images[:, top : top + shape[0], left : left + shape[1]]
