"""One image of any kind as one of ours: gray or RGB, flattened on white, resized and cropped to a square."""

import io

import numpy as np
from PIL import Image, ImageOps

from vaegan_jax.errors import UserError

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
GRAY = ("1", "L", "LA", "La", *SIXTEEN_BITS)
"""Modes of Pillow that hold no color."""


def flat(image: Image.Image, channels: int) -> Image.Image:
    """An image of any mode as "L" (1 channel) or "RGB" (3): upright, on white where it is transparent.

    Raises ValueError for modes that mean no picture, as 32-bit floats do.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN_BITS:
        image = _eight_bits(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating numbers")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def fitted(image: Image.Image, size: int) -> Image.Image:
    """The middle square of an image, resized to size x size with an antialiasing filter; itself if so already."""
    return image if image.size == (size, size) else ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def pixels(image: Image.Image) -> np.ndarray:
    """(height, width, channels) uint8 of an "L" or "RGB" image."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def png_file(image: np.ndarray | Image.Image) -> io.BytesIO:
    """(height, width, channels) uint8, or an image of Pillow's, as a PNG file: TFDS stores it without TensorFlow."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    file = io.BytesIO()
    image.save(file, "png")
    file.seek(0)
    return file


def fit_all(images: np.ndarray, size: int) -> np.ndarray:
    """(n, height, width, channels) -> (n, size, size, channels), uint8 or float32 in [-1, 1], as `fitted` does it."""
    if images.shape[1:3] == (size, size):
        return images
    fitted_images = np.empty((len(images), size, size, images.shape[3]), images.dtype)
    for source, target in zip(images, fitted_images, strict=True):
        for channel in range(images.shape[3]):  # Pillow has no mode for three floats
            target[..., channel] = np.asarray(fitted(Image.fromarray(source[..., channel]), size))
    # The filter overshoots beside edges; for bytes Pillow clips by itself.
    return fitted_images if images.dtype == np.uint8 else fitted_images.clip(-1, 1)


def check_size(size: int) -> None:
    """Raises UserError for a side that no image can have."""
    if not 0 <= size <= 4096:
        raise UserError(f"image-size must be in 1 .. 4096 pixels, or 0 for the images as they are, not {size}")


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels are beyond 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
