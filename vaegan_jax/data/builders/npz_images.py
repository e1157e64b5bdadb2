"""An .npz file of images, prepared, so that it need not fit memory."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from vaegan_jax.data.images import png_file
from vaegan_jax.data.npz import read_npz
from vaegan_jax.data.sources import ArraySource
from vaegan_jax.errors import Caution, UserError
from vaegan_jax.pictures import to_uint8


@dataclass(eq=False)
class NpzConfig(tfds.core.BuilderConfig):
    """Both splits of a file, found to be right."""

    splits: dict[str, ArraySource] = field(default_factory=dict)


class NpzImages(tfds.core.GeneratorBasedBuilder):
    """Images, labels, attributes and captions of an .npz file, in their order."""

    name = "npz_images"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'FILE.npz with "image" and maybe "label", "attributes", "caption": see the README'

    @classmethod
    def plan(cls, name: str, source: Path, size: int) -> NpzConfig:
        """Reads the file, or the only one in the folder; raises UserError, one line, where it is not such."""
        files = [source] if source.is_file() else sorted(source.glob("*.npz"))
        if len(files) != 1:
            raise UserError(f"{source}: there are {len(files)} .npz files in it; give the path of one")
        splits = {split: read_npz(files[0], split) for split in ("train", "test")}
        if splits["train"].spec.image_shape != splits["test"].spec.image_shape:
            shapes = " and ".join(str(splits[split].spec.image_shape) for split in splits)
            raise UserError(f"{files[0]}: training and test images differ in shape, {shapes}")
        if splits["train"].arrays["image"].dtype != np.uint8:
            warnings.warn(f"{files[0]}: its floats are stored in 256 steps, as uint8", Caution, stacklevel=2)
        return NpzConfig(name=name, description=str(source), splits=splits)

    def _info(self) -> tfds.core.DatasetInfo:
        spec = self.builder_config.splits["train"].spec
        features = {"image": tfds.features.Image(shape=spec.image_shape, encoding_format="png")}
        if spec.classes:
            features["label"] = tfds.features.ClassLabel(num_classes=spec.classes)
        if spec.attributes:
            features["attributes"] = {
                title: tfds.features.ClassLabel(num_classes=count) for title, count in spec.attributes
            }
        if spec.caption_length:
            features["caption"] = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True, description=__doc__
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(source) for split, source in self.builder_config.splits.items()}

    def _generate_examples(self, source: ArraySource) -> Iterator[tuple[int, dict]]:
        titles = [title for title, _ in source.spec.attributes]
        for index in range(len(source)):
            example = source.example(index)
            image = example["image"]
            example["image"] = png_file(image if image.dtype == np.uint8 else to_uint8(image))
            if titles:
                example["attributes"] = dict(zip(titles, example["attributes"].tolist(), strict=True))
            if "caption" in example:
                example["caption"] = example["caption"].tobytes().rstrip(b"\0")
            yield index, example
