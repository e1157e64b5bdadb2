"""Data: the embedded set, the user's own .npz files, and the batches of a training run.

`load(name, split)` is the only way in; what it gives is a `Source`. See `batches` for the order in
which a run reads it. Nothing here needs TensorFlow, Grain or a network.
"""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vaegan_jax.data.sources import ArraySource, DataSpec, Source, gather
from vaegan_jax.errors import UserError, unknown

__all__ = ["DATASETS", "SPLITS", "ArraySource", "Card", "DataSpec", "Source", "gather", "load"]

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Card:
    """What is to be told of a data set that the library carries."""

    name: str
    """The name by which `load` knows it, and the stem of its file beside this module."""

    title: str
    """One line for people."""

    train: int
    """Number of training examples."""

    test: int
    """Number of test examples."""

    image_shape: tuple[int, int, int]
    """(height, width, channels) of one image, in pixels."""

    class_names: tuple[str, ...]
    """Names of the classes, in the order of their labels."""

    license: str
    """Name of its license, and the file beside this module that holds the notice."""

    source: str
    """Where it comes from, and what made it."""

    sha256: str
    """SHA-256 of its file, in hexadecimal digits; verified whenever it is loaded."""

    mean: float
    """Mean of all training pixels, scaled to [0, 1]."""

    deviation: float
    """Standard deviation of all training pixels, scaled to [0, 1]."""


DATASETS: dict[str, Card] = {
    "fashion_mnist_small": Card(
        name="fashion_mnist_small",
        title="Fashion-MNIST, the first 1,000 training and 200 test examples of each class",
        train=10_000,
        test=2_000,
        image_shape=(28, 28, 1),
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        license="MIT, (c) 2017 Zalando SE; see FASHION_MNIST_LICENSE.txt",
        source="Debian package dataset-fashion-mnist 0.0~git20200523.55506a9-1, by experiments/embed_fashion_mnist.py",
        sha256="f2e294ade7a4f382a0403ae07dbca01d4d0670b45f6f011e84fdd3ab68d6dcfe",
        mean=0.286682,
        deviation=0.354013,
    ),
}


def load(name: str, split: str) -> Source:
    """Returns one split, "train" or "test", of a data set: a name in `DATASETS`, or the path of an .npz file.

    The user's file holds plain arrays as `ArraySource` takes them. Either its splits are named:
    "train_image" and "test_image", with or without "train_label" and "test_label". Or it holds
    "image", with or without "label": then the last tenth of it (rounded up) is the test set, in the
    order of the file, and the rest is the training set; so shuffle a file that is sorted by class.

    Raises UserError, one line, for an unknown name or split, a file that cannot be read, arrays that
    `ArraySource` refuses, and an embedded set that is not as it was shipped.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}; splits are {' and '.join(SPLITS)}")
    if name.endswith(".npz"):
        return _user_file(Path(name).expanduser(), split)
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS, "or the path of a file that ends in .npz")
    card = DATASETS[name]
    content = _verified(Path(__file__).with_name(f"{name}.npz"), card.sha256)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {key: file[f"{split}_{key}"] for key in ("image", "label")}
    return ArraySource(arrays, name, class_names=card.class_names)


def _verified(path: Path, sha256: str) -> bytes:
    """Returns the bytes of a file of ours; raises UserError where they are not those that were shipped."""
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(f"damaged installation: {path} cannot be read; reinstall vaegan_jax") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"damaged installation: {path} is not as it was shipped; reinstall vaegan_jax")
    return content


def _user_file(path: Path, split: str) -> ArraySource:
    """Returns one split of a user's .npz: see `load`."""
    keys = _keys(path)
    if "train_image" in keys or "test_image" in keys:
        return _named_split(path, keys, split)
    if "image" in keys:
        return _held_out_split(path, keys, split)
    raise UserError(
        f'{path}: it has no array "image" and no "train_image" (it has: '
        f"{', '.join(keys) or 'nothing'}); name your images so"
    )


def _named_split(path: Path, keys: list[str], split: str) -> ArraySource:
    """Returns the split that the file names, with as many classes as both splits have together."""
    if f"{split}_image" not in keys:
        raise UserError(
            f'{path}: it has no array "{split}_image" (it has: {", ".join(keys)}); add it, or give '
            'one array "image", of which the last tenth becomes the test set'
        )
    labels = {key: _array(path, key) for key in ("train_label", "test_label") if key in keys}
    if len(labels) == 1 and {"train_image", "test_image"} <= set(keys):
        raise UserError(f'{path}: of the two splits only one has labels, "{next(iter(labels))}"; label both or neither')
    arrays = {"image": _array(path, f"{split}_image")}
    if f"{split}_label" in labels:
        arrays["label"] = labels[f"{split}_label"]
    # Labels that are no integers are for ArraySource to refuse.
    numbers = [label for label in labels.values() if label.size and np.issubdtype(label.dtype, np.integer)]
    classes = max((int(label.max()) + 1 for label in numbers), default=0) if "label" in arrays else 0
    return ArraySource(arrays, str(path), max(classes, 0))


def _held_out_split(path: Path, keys: list[str], split: str) -> ArraySource:
    """Returns all but the last tenth of the examples, or the last tenth."""
    # Checked as a whole: what is wrong with a test image is told before the training, not after it.
    whole = ArraySource({key: _array(path, key) for key in ("image", "label") if key in keys}, str(path))
    kept = len(whole) * 9 // 10
    if kept == 0:
        raise UserError(f"{path}: one image cannot be split in train and test; two at least are needed")
    part = slice(kept) if split == "train" else slice(kept, None)
    return ArraySource({key: array[part] for key, array in whole.arrays.items()}, str(path), whole.spec.classes)


def _keys(path: Path) -> list[str]:
    """Returns the names of the arrays in an .npz file."""
    try:
        if not path.is_file():
            raise UserError(f"there is no file {path}; give the path of an .npz file")
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        raise UserError(f"{path}: this is not an .npz file, or cannot be read; write it with numpy.savez") from None


def _array(path: Path, key: str) -> np.ndarray:
    """Reads one array of an .npz file; never unpickles, so that opening a stranger's file runs no code."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file[key])
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise UserError(
            f'{path}: the array "{key}" cannot be read; it is damaged, or holds Python objects '
            "where plain numbers are needed"
        ) from None
