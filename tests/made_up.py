"""Raw files for the tests of builders, and what was made of them."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from vaegan_jax.data import gather, load


def pixels(count=20, height=7, width=5, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def idx(array):
    """The bytes of an IDX file."""
    kind = {"|u1": 8, "<i4": 12, "<f4": 13}[array.dtype.str]
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, kind, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def idx_folder(folder: Path, train=None, test=None, **files):
    """A folder of four IDX files, the test files gzipped; `files` replaces some, None leaves them out."""
    train = pixels(20)[..., 0] if train is None else train
    test = pixels(6, seed=1)[..., 0] if test is None else test
    contents = {
        "train_images": idx(train),
        "train_labels": idx((np.arange(len(train)) % 3).astype(np.uint8)),
        "t10k_images": gzip.compress(idx(test)),
        "t10k_labels": gzip.compress(idx((np.arange(len(test)) % 3).astype(np.uint8))),
    } | files
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if content is not None:
            (folder / f"{name.replace('_', '-')}-idx{3 if 'images' in name else 1}-ubyte").write_bytes(content)
    return folder


def picture(path: Path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(np.squeeze(image)) if isinstance(image, np.ndarray) else image).save(path)
    return path


def picture_folder(folder: Path, classes=("cat", "dog"), count=12, **sizes):
    for place, name in enumerate(classes):
        for number, image in enumerate(pixels(count, channels=3, seed=place, **sizes)):
            picture(folder / name / f"{number:02d}.png", image)
    return folder


def left(folder: Path):
    """All files in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def everything(name, split, size=0):
    """All leaves of a split."""
    source = load(name, split, size)
    return gather(source, np.arange(len(source)))
