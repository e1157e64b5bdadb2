"""Somebody else's samples: an .npz file, or a folder of pictures."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from vaegan_jax.data.images import flat, pixels
from vaegan_jax.data.sources import ArraySource
from vaegan_jax.errors import UserError, check

IMAGES = ("image", "sample", "samples", "images", "arr_0")
"""What the array of images may be called; the last is that of `numpy.savez` without names, as many samplers write."""
LABELS = ("label", "labels", "arr_1")
BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What NumPy lets through of a damaged archive."""


def read_samples(path: Path, shape: tuple[int, int, int], classes: int) -> ArraySource:
    """Samples as a source, in the order of the file, or of the names of the pictures.

    `shape` is that of the data's images and `classes` the number of their labels. Raises UserError, one line, for a
    path that is neither, a file that cannot be read or has no images, images of another shape, type or range, NaNs.
    """
    if path.is_dir():
        return ArraySource({"image": _pictures(path, shape)}, str(path))
    check(path.is_file(), f"there is no file or folder {path}: give an .npz file or a folder of pictures")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = list(file.files)
            image, label = (next((name for name in group if name in names), None) for group in (IMAGES, LABELS))
            told = f'{path} has no array "image" (it has: {", ".join(names) or "nothing"}); name your samples so'
            check(image is not None, told)
            arrays = {"image": file[image]} | ({"label": file[label]} if label and classes else {})
    except (*BROKEN, OSError, ValueError, TypeError, AttributeError, EOFError, RuntimeError) as error:
        raise UserError(f"{path} is no .npz file that can be read: write it with numpy.savez") from error
    lowest = float(arrays["image"].min()) if arrays["image"].size and arrays["image"].dtype.kind == "f" else -1.0
    told = "floating samples must lie in [-1, 1], and none of these is below 0: scale them from [0, 1] by 2 x - 1"
    check(not lowest >= 0, f"{path}: {told}, or give them as uint8")
    source = ArraySource(arrays, str(path), classes=classes if "label" in arrays else 0)
    _check_shape(path, source.spec.image_shape, shape)
    return source


def _pictures(folder: Path, shape: tuple[int, int, int]) -> np.ndarray:
    kinds = set(Image.registered_extensions())
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in kinds and file.is_file())
    check(bool(files), f"{folder}: there are no pictures in it, nor in its subfolders")
    images = []
    for file in files:
        try:
            with Image.open(file) as opened:
                image = pixels(flat(opened, shape[2]))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{file} is no picture that can be read: take it away, or write it again") from error
        _check_shape(file, image.shape, shape)
        images.append(image)
    return np.stack(images)


def _check_shape(path: Path, found: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    told = f"{path}: samples are {found}, and the images they are compared with {shape}: resize them first"
    check(tuple(found) == tuple(shape), told)
