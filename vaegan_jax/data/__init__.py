"""Data: the embedded set, the user's own .npz files, what TFDS has prepared, and the batches of a training run.

`load(name, split)` is the only way in; what it gives is a `Source`. See `batches` for the order in
which a run reads it. Nothing here needs TensorFlow or a network; TFDS is imported for prepared sets alone.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vaegan_jax.data.images import check_size, fit_all
from vaegan_jax.data.locating import prepared_folder
from vaegan_jax.data.npz import read_npz
from vaegan_jax.data.sources import ArraySource, DataSpec, Source, gather, require
from vaegan_jax.errors import UserError

__all__ = [
    "DATASETS",
    "SPLITS",
    "ArraySource",
    "Card",
    "DataSpec",
    "Source",
    "gather",
    "load",
    "located",
    "require",
    "resized",
]

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


UNKNOWN = "unknown"
"""What stands for the data that imported weights were trained on."""


def load(name: str, split: str, size: int = 0) -> Source:
    """Returns one split, "train" or "test", of a data set.

    `name` is a name in `DATASETS`; the path of an .npz file; or what is prepared (`vaegan data prepare`): a name in
    `builders.KNOWN`, BUILDER/NAME of the user's own, a name of the TFDS catalog, or the path of a prepared folder.

    The user's .npz holds plain arrays as `ArraySource` takes them. Either its splits are named:
    "train_image" and "test_image", with or without "train_label" and "test_label", and in the same way "attributes"
    and "caption". Or it holds "image", with or without the others: then the last tenth of it (rounded up) is the test
    set, in the order of the file, and the rest is the training set; so shuffle a file that is sorted by class.

    `size` > 0 resizes every image, with an antialiasing filter, and cuts out its middle: size x size pixels.

    Raises UserError, one line, for an unknown name or split, what cannot be read or is damaged, arrays that
    `ArraySource` refuses, a set that is not prepared or in another version, and images of several sizes without `size`.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}; splits are {' and '.join(SPLITS)}")
    check_size(size)
    if name in DATASETS or name.endswith(".npz"):
        source = _embedded(name, split) if name in DATASETS else read_npz(Path(name).expanduser(), split)
        return resized(source, size) if size else source
    folder = prepared_folder(name)
    from vaegan_jax.data.prepared import PreparedSource  # TFDS is needed for these alone

    return PreparedSource(folder, name, split, size)


def located(name: str) -> str:
    """The name of a data set, or the absolute path where it is one of a file or folder, good from any folder.

    UserError for the data of imported weights.
    """
    if name == UNKNOWN:
        raise UserError("the data that imported weights were trained on are not known here: name data with --data NAME")
    path = Path(name).expanduser()
    return str(path.absolute()) if name.endswith(".npz") or name.startswith(("/", ".", "~")) else name


def resized(source: ArraySource, size: int) -> ArraySource:
    """Returns the source with its images resized and cropped to size x size."""
    arrays = source.arrays | {"image": fit_all(source.arrays["image"], size)}
    spec = source.spec
    return ArraySource(arrays, spec.name, spec.classes, spec.class_names, spec.attributes, spec.caption_length)


def _embedded(name: str, split: str) -> ArraySource:
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
