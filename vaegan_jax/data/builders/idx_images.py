"""Any pairs of IDX files: MNIST and all that were made in its image."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from vaegan_jax.data.builders import KNOWN
from vaegan_jax.data.images import png_file
from vaegan_jax.data.sources import ArraySource
from vaegan_jax.errors import UserError

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
SPLITS = {"train": ("train",), "test": ("t10k", "test")}
"""By which words in the names of its files a split is known."""


@dataclass(eq=False)
class IdxConfig(tfds.core.BuilderConfig):
    """A pair of splits, read and found to be right."""

    splits: dict[str, ArraySource] = field(default_factory=dict)


class IdxImages(tfds.core.GeneratorBasedBuilder):
    """Images and labels of IDX files, in their order."""

    name = "idx_images"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "\n".join(
        known.how_to_get() for known in KNOWN.values() if known.builder == "idx_images"
    )

    @classmethod
    def plan(cls, name: str, source: Path, size: int) -> IdxConfig:
        """Reads the files in or below `source`; raises UserError, one line, where they are not such."""
        known = KNOWN.get(name)
        files = {split: _files(source, words) for split, words in SPLITS.items()}
        missing = [split for split, (images, _) in files.items() if images is None]
        if missing:
            raise UserError(
                f"{source}: there is no IDX file of {missing[0]} images; its name must hold "
                f"'{' or '.join(SPLITS[missing[0]])}' and 'images', as in {SPLITS[missing[0]][0]}-images-idx3-ubyte.gz"
            )
        sums = dict(known.sha256) if known else {}
        arrays = {}
        for split, (images, labels) in files.items():
            arrays[split] = {"image": read_idx(images, sums)}
            if labels is not None:
                arrays[split]["label"] = read_idx(labels, sums)
        return IdxConfig(name=name, description=str(source), splits=_checked(arrays, source, known))

    def _info(self) -> tfds.core.DatasetInfo:
        spec = self.builder_config.splits["train"].spec
        features = {"image": tfds.features.Image(shape=spec.image_shape, encoding_format="png")}
        if spec.classes:
            names = list(spec.class_names) or None
            features["label"] = tfds.features.ClassLabel(num_classes=None if names else spec.classes, names=names)
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True, description=__doc__
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(source) for split, source in self.builder_config.splits.items()}

    def _generate_examples(self, source: ArraySource) -> Iterator[tuple[int, dict]]:
        for index in range(len(source)):
            example = source.example(index)
            yield index, example | {"image": png_file(example["image"])}


def read_idx(path: Path, sums: dict[str, str]) -> np.ndarray:
    """The array of an IDX file, plain or gzipped; `sums` has the sha256 of contents by how the names begin."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error):
        raise UserError(f"{path}: it cannot be read, or is damaged; fetch it again") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or len(content) < 4 + 4 * content[3]:
        raise UserError(f"{path}: this is not an IDX file; it must begin with two zeros, a type and a rank")
    kind, rank = np.dtype(TYPES[content[2]]), content[3]
    sizes = np.frombuffer(content, ">u4", rank, offset=4).astype(np.int64)
    found, stated = len(content) - 4 - 4 * rank, int(np.prod(sizes)) * kind.itemsize
    if found != stated:
        raise UserError(f"{path}: it states {stated:,} bytes of data and holds {found:,}; fetch it again")
    for beginning, sha256 in sums.items():
        if path.name.startswith(beginning) and hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"{path}: its contents are not those of the original, the sha256 differs; fetch it again")
    return np.frombuffer(content, kind, offset=4 + 4 * rank).reshape(sizes).astype(kind.newbyteorder("="))


def _files(folder: Path, words: tuple[str, ...]) -> tuple[Path | None, Path | None]:
    """The files of images and labels of a split."""
    found = []
    for what in ("images", "labels"):
        files = [path for path in sorted(folder.rglob(f"*{what}*")) if path.is_file()]
        files = [path for path in files if any(word in path.name.lower() for word in words)]
        if len(files) > 1:
            raise UserError(
                f"{folder}: there are {len(files)} files of {words[0]} {what}, {files[0].name} and {files[1].name}; "
                "leave one"
            )
        found.append(files[0] if files else None)
    return found[0], found[1]


def _checked(arrays: dict[str, dict[str, np.ndarray]], folder: Path, known) -> dict[str, ArraySource]:
    """The splits as sources with one spec between them; raises UserError where they do not go together."""
    labeled = [split for split, leaves in arrays.items() if "label" in leaves]
    if len(labeled) == 1:
        raise UserError(f"{folder}: of the two splits only {labeled[0]} has labels; add the others, or take them away")
    for split, leaves in arrays.items():
        images, labels = leaves["image"], leaves.get("label")
        if images.ndim < 3 or images.dtype != np.uint8:
            raise UserError(
                f"{folder}: the {split} images are {images.dtype} of shape {images.shape}, not bytes of rank 3 or 4"
            )
        if labels is not None and len(labels) != len(images):
            raise UserError(
                f"{folder}: there are {len(images):,} {split} images and {len(labels):,} {split} labels; "
                "these files do not belong together"
            )
    shapes = {split: leaves["image"].shape[1:] for split, leaves in arrays.items()}
    if shapes["train"] != shapes["test"]:
        raise UserError(f"{folder}: training images are of {shapes['train']}, test images of {shapes['test']}")
    names = known.class_names if known else ()
    labels = [leaves["label"] for leaves in arrays.values() if "label" in leaves and leaves["label"].size]
    classes = max((int(label.max()) + 1 for label in labels), default=0)
    return {
        split: ArraySource(leaves, f"{folder} ({split})", 0 if names else classes, names)
        for split, leaves in arrays.items()
    }
