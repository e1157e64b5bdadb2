"""Sets that TFDS has prepared, read by random access and without TensorFlow."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Integer
from PIL import Image

from vaegan_jax.data import cards
from vaegan_jax.data.images import fitted, flat, pixels
from vaegan_jax.data.locating import INFO
from vaegan_jax.data.sources import DataSpec, encode_caption
from vaegan_jax.errors import UserError

TEST_SPLITS = ("test", "validation", "valid", "val")
LOOKED_AT = 256
"""Images of a set without a card whose sizes are looked at before it is read; any other is refused when it comes."""
CAPTION_BYTES = 256
"""Caption length of a set without a card."""


def tfds_module() -> Any:
    """TFDS, imported when it is first needed; raises UserError where it is not installed."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(f"prepared data sets need TFDS: pip install tensorflow-datasets ({error})") from None
    return tfds


@dataclass(frozen=True)
class Layout:
    """Which features of a prepared set are what."""

    image: str
    channels: int
    shape: tuple[int | None, int | None]
    label: str
    class_names: tuple[str, ...]
    classes: int
    attributes: tuple[tuple[tuple[str, ...], str, int], ...]
    """(path of keys, name, number of values)"""
    caption: str


class Records:
    """One split of a prepared folder, as dictionaries of arrays of what sizes they may have."""

    def __init__(self, folder: Path, name: str, split: str):
        """Opens `folder`; `split` is TFDS's. Raises UserError, one line, where it cannot be read."""
        tfds = tfds_module()
        self.name, self.split, self.folder = name, split, folder
        builder = open_builder(folder, name)
        self.layout = layout(builder.info.features, name, tfds)
        lacking = [path for path in builder.info.splits[split].filepaths if not path.exists()]
        if lacking:
            raise UserError(f"{name}: {lacking[0]} is missing; delete {folder} and prepare it again")
        try:
            self._features = builder.info.features
            self._decoders = {self.layout.image: tfds.decode.SkipDecoding()}
            self._bytes = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        except NotImplementedError:
            raise UserError(
                f"{name}: {folder} holds {builder.info.file_format.value} files, which cannot be read at random; "
                f"delete it and prepare it again: vaegan data prepare {name}"
            ) from None

    def __len__(self) -> int:
        return len(self._bytes)

    def read(self, indices: Sequence[int], size: int = 0) -> list[dict[str, Any]]:
        """The examples at `indices`: "image" uint8, "label" and "attributes" int32, "caption" bytes."""
        try:
            records = self._bytes.__getitems__(list(indices)) if len(indices) else []
            return [self._decoded(record, size) for record in records]
        except (OSError, ValueError, RuntimeError, SyntaxError, IndexError) as error:
            raise UserError(
                f"{self.name}: the {self.split} split is damaged ({str(error).splitlines()[0][:100]}); "
                f"delete {self.folder} and prepare it again"
            ) from error

    def each(self) -> Iterator[dict[str, Any]]:
        """All examples in their order."""
        for first in range(0, len(self), 256):
            yield from self.read(range(first, min(first + 256, len(self))))

    def _decoded(self, record: bytes, size: int) -> dict[str, Any]:
        raw, at = self._features.deserialize_example_np(record, decoders=self._decoders), self.layout
        with Image.open(io.BytesIO(raw[at.image])) as opened:
            # What TFDS stored is upright, so the common case need not be looked at any further.
            plain = opened.mode == ("L" if at.channels == 1 else "RGB") and "transparency" not in opened.info
            image = opened.copy() if plain else flat(opened, at.channels)
        example = {"image": pixels(fitted(image, size) if size else image)}
        if at.classes:
            example["label"] = np.asarray(raw[at.label], np.int32)
        if at.attributes:
            example["attributes"] = np.array([_inside(raw, path) for path, _, _ in at.attributes], np.int32)
        if at.caption:
            example["caption"] = bytes(raw[at.caption])
        return example


class PreparedSource:
    """A split of a prepared set as a `Source`; reading is safe from several threads, and it can be pickled."""

    def __init__(self, folder: Path, name: str, split: str, size: int = 0):
        """`split` is "train" or "test": what the set calls test or validation, or else the last tenth of "train"."""
        self._made_of = folder, name, split, size
        self.card = cards.read(folder, name)
        """What is to be told of the set, measured when it was prepared; None if others prepared it."""
        title, part = _part(list(open_builder(folder, name).info.splits), split, name)
        self._records, self._size = Records(folder, name, title), size
        whole = len(self._records)
        self._range = {"all": range(whole), "most": range(whole * 9 // 10), "rest": range(whole * 9 // 10, whole)}[part]
        if not self._range:
            raise UserError(f"{name}: {whole} examples are too few to be split in train and test")
        at = self._records.layout
        height, width = (size, size) if size else self._sides()
        self.spec = DataSpec(
            name,
            (height, width, at.channels),
            at.classes,
            at.class_names,
            tuple((title, count) for _, title, count in at.attributes),
            (self.card["caption_length"] if self.card else CAPTION_BYTES) if at.caption else 0,
        )
        whole_sum = self.card["splits"][title]["sha256"] if self.card else _listing(folder)
        told = f"{whole_sum} {title} {self._range} {size}"
        self.sha256 = (
            whole_sum if part == "all" and not size and self.card else hashlib.sha256(told.encode()).hexdigest()
        )
        """Tells these data from others: of the decoded examples, or of the list of files where there is no card."""

    def __len__(self) -> int:
        return len(self._range)

    def __reduce__(self):
        return PreparedSource, self._made_of

    def example(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Returns example `index`: see `Source.example`."""
        return {key: leaf[0] for key, leaf in self.examples(np.array([int(index)])).items()}

    def examples(self, indices: Integer[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Returns the examples at `indices`, stacked."""
        found = self._records.read([self._range[int(index)] for index in indices], self._size)
        for example in found:
            if example["image"].shape != self.spec.image_shape:
                raise _mixed(self.spec.name, [self.spec.image_shape[:2], example["image"].shape[:2]])
            if "caption" in example:
                example["caption"] = encode_caption(example["caption"], self.spec.caption_length)
        return {key: np.stack([example[key] for example in found]) for key in found[0]}

    def _sides(self) -> tuple[int, int]:
        """(height, width) of all images; raises UserError where they differ."""
        if self.card:
            sizes = [tuple(map(int, size.split("x"))) for size in self.card["sizes"]]
        elif None not in self._records.layout.shape:
            return self._records.layout.shape
        else:
            looked_at = np.linspace(0, len(self._records) - 1, min(LOOKED_AT, len(self._records))).astype(int)
            sizes = sorted({example["image"].shape[:2] for example in self._records.read(looked_at.tolist())})
        if len(sizes) > 1:
            raise _mixed(self.spec.name if hasattr(self, "spec") else self._made_of[1], sizes)
        return sizes[0]


def open_builder(folder: Path, name: str) -> Any:
    """TFDS's builder of a prepared folder; raises UserError where TFDS cannot read it."""
    tfds = tfds_module()
    try:
        builder = tfds.builder_from_directory(folder)
        files = [path for split in builder.info.splits.values() for path in split.filepaths]
    except Exception as error:  # whatever TFDS, protobuf or JSON say of a damaged or foreign file
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise UserError(f"{name}: {folder} cannot be read by TFDS: {reason}") from error
    version = str(builder.version)
    if folder.name.count(".") == 2 and folder.name != version:
        raise UserError(f"{name}: {folder} holds version {version}: delete it and prepare it again")
    if not files:
        raise UserError(f"{name}: {folder} holds no examples: delete it and prepare it again")
    return builder


def layout(features: Any, name: str, tfds: Any) -> Layout:
    """Finds image, label, attributes and caption among the features of a set."""
    # By name: TFDS reads them in another order in every process.
    kinds, features = tfds.features, dict(sorted(features.items()))
    images = [key for key, feature in features.items() if isinstance(feature, kinds.Image)]
    image = "image" if "image" in images else next(iter(images), None)
    if image is None or features[image].np_dtype != np.uint8:
        raise UserError(f"{name}: it has no image of 8 bits among its features: {', '.join(features)}")
    labels = [key for key, feature in features.items() if isinstance(feature, kinds.ClassLabel)]
    label = "label" if "label" in labels else next(iter(labels), "")
    paths = {(key,): features[key] for key in labels if key != label}
    if isinstance(features.get("attributes"), kinds.FeaturesDict):
        paths |= {("attributes", key): feature for key, feature in sorted(features["attributes"].items())}
    counts = {path: _values(feature, kinds) for path, feature in paths.items()}
    texts = [key for key in ("caption", "text") if isinstance(features.get(key), kinds.Text)]
    height, width, channels = features[image].shape
    return Layout(
        image=image,
        channels=1 if channels == 1 else 3,
        shape=(height, width),
        label=label,
        class_names=tuple(class_names(features[label])) if label else (),
        classes=features[label].num_classes if label else 0,
        attributes=tuple((path, path[-1], count) for path, count in counts.items() if count),
        caption=next(iter(texts), ""),
    )


def class_names(feature: Any) -> list[str]:
    """Names of the values of a ClassLabel; none where they are but numbers."""
    names = [feature.int2str(value) for value in range(feature.num_classes or 0)]
    return [] if names == [str(value) for value in range(len(names))] else names


def _values(feature: Any, kinds: Any) -> int:
    """How many values an attribute has; 0 for what is none."""
    if isinstance(feature, kinds.ClassLabel):
        return feature.num_classes or 0
    return 2 if getattr(feature, "np_dtype", None) == np.bool_ and feature.shape == () else 0


def _inside(example: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        example = example[key]
    return example


def _part(splits: list[str], split: str, name: str) -> tuple[str, str]:
    """Which split of TFDS's, and "all", "most" or the "rest" of it, is our `split`."""
    train = "train" if "train" in splits else splits[0] if len(splits) == 1 else ""
    if not train:
        raise UserError(f'{name}: it has no split "train"; its splits are {", ".join(splits)}')
    test = next((title for title in TEST_SPLITS if title in splits and title != train), "")
    if split == "train":
        return train, "all" if test else "most"
    return (test, "all") if test else (train, "rest")


def _mixed(name: str, sizes: list[tuple[int, int]]) -> UserError:
    told = ", ".join(f"{height}x{width}" for height, width in sizes[:3]) + (", ..." if len(sizes) > 3 else "")
    return UserError(f"{name}: its images differ in size ({told}); have them resized and cropped by --image-size N")


def _listing(folder: Path) -> str:
    """sha256 of the names and sizes of all files, and of what TFDS says of them: cheap for a set of any size."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    told = "\n".join(f"{path.name} {path.stat().st_size}" for path in files)
    return hashlib.sha256((folder / INFO).read_bytes() + told.encode()).hexdigest()
