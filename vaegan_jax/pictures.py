"""Images as pictures: grids, pairs of grids and animations, as the bytes of PNG and GIF files."""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

GAP = 2
"""Pixels between the images of a grid."""
SMALLEST = 56
"""Images are enlarged by whole factors to sides of about this many pixels."""
PAPER = 255


def to_uint8(images: np.ndarray) -> np.ndarray:
    """[-1, 1] -> 0 .. 255, clipped and rounded to the nearest."""
    return np.clip(np.rint((np.asarray(images, np.float64) + 1) * 127.5), 0, 255).astype(np.uint8)


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """(n, height, width, channels) in [-1, 1] -> one RGB picture, uint8; row by row, about square by default."""
    pixels = to_uint8(images)
    pixels = np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
    factor = max(1, round(SMALLEST / max(pixels.shape[1:3])))
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), PAPER, np.uint8)
    for place, image in enumerate(pixels):
        top, left = (GAP + at * (size + GAP) for at, size in zip(divmod(place, columns), (height, width), strict=True))
        sheet[top : top + height, left : left + width] = image
    return sheet


def side_by_side(sheets: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures beside each other, each under its title."""
    head, space = 24, 24
    height = head + max(len(sheet) for sheet in sheets.values())
    width = sum(sheet.shape[1] for sheet in sheets.values()) + space * (len(sheets) - 1)
    whole = Image.new("RGB", (width, height), "white")
    left = 0
    for title, sheet in sheets.items():
        ImageDraw.Draw(whole).text((left + GAP, 4), title, fill="black", font_size=14)
        whole.paste(Image.fromarray(sheet), (left, head))
        left += sheet.shape[1] + space
    return np.asarray(whole)


def pairs(images: np.ndarray, others: np.ndarray, columns: int = 8) -> np.ndarray:
    """A grid in which each row of `images` stands above the row of `others` that belongs to it."""
    rows = []
    for start in range(0, len(images), columns):
        rows += [images[start : start + columns], others[start : start + columns]]
    blank = np.ones((columns, *images.shape[1:]), images.dtype)
    return grid(np.concatenate([np.concatenate([row, blank[len(row) :]]) for row in rows]), columns)


def png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", optimize=True)
    return file.getvalue()


def gif(pictures: Sequence[np.ndarray], milliseconds: int = 300) -> bytes:
    """The bytes of an animated GIF, the last picture held longer."""
    file = io.BytesIO()
    frames = [Image.fromarray(picture) for picture in pictures]
    times = [milliseconds] * (len(frames) - 1) + [4 * milliseconds]
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return file.getvalue()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of a compressed .npz file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()
