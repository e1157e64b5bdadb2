"""A folder of pictures of any size and mode, in one subfolder for each class."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow_datasets as tfds
from PIL import Image

from vaegan_jax.data.images import GRAY, fitted, flat, png_file
from vaegan_jax.errors import Caution, UserError

TEST_FOLDERS = ("test", "val", "valid", "validation")
Rows = list[tuple[Path, str | None]]
"""Files, each with its class."""


@dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """What was found in a folder."""

    folder: Path = Path()
    size: int = 0
    channels: int = 3
    class_names: tuple[str, ...] = ()
    splits: dict[str, Rows] = field(default_factory=dict)


class ImageFolder(tfds.core.GeneratorBasedBuilder):
    """Pictures of the user's own, stored upright, on white where they are transparent, gray if all of them are."""

    name = "image_folder"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "FOLDER/CLASS/*.png (or .jpg, ...), or FOLDER/train/CLASS/* and FOLDER/test/CLASS/*"

    def __init__(self, **kwargs):
        self.damaged: list[str] = []
        """Files that turned out to be no pictures, as the splits were written."""
        super().__init__(**kwargs)

    @classmethod
    def plan(cls, name: str, source: Path, size: int) -> FolderConfig:
        """Lists the folder and reads the heads of its files; raises UserError, one line, where it is not such."""
        train = source / "train"
        tests = [source / title for title in TEST_FOLDERS if (source / title).is_dir()]
        if train.is_dir() and tests:
            splits = {"train": _rows(train), "test": _rows(tests[0])}
        else:
            splits = _held_out(_rows(train if train.is_dir() else source), source)
        names = {split: sorted({label for _, label in rows if label}) for split, rows in splits.items()}
        if bool(names["train"]) != bool(names["test"]) or set(names["test"]) - set(names["train"]):
            raise UserError(
                f"{source}: the classes of the test pictures, {_some(names['test'])}, are not all among those of the "
                f"training pictures, {_some(names['train'])}"
            )
        modes = {_mode(path) for rows in splits.values() for path, _ in rows} - {""}
        channels = 1 if modes and modes <= set(GRAY) else 3
        return FolderConfig(
            name=name,
            description=str(source),
            folder=source,
            size=size,
            channels=channels,
            class_names=tuple(names["train"]),
            splits=splits,
        )

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        side = config.size or None
        features = {"image": tfds.features.Image(shape=(side, side, config.channels), encoding_format="png")}
        if config.class_names:
            features["label"] = tfds.features.ClassLabel(names=list(config.class_names))
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), description=__doc__)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {split: self._generate_examples(rows) for split, rows in self.builder_config.splits.items()}

    def _generate_examples(self, rows: Rows) -> Iterator[tuple[str, dict]]:
        config = self.builder_config
        for path, label in rows:
            title = path.relative_to(config.folder).as_posix()
            try:
                with Image.open(path) as opened:
                    image = flat(opened, config.channels)
                image = png_file(fitted(image, config.size) if config.size else image)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # of a bad file
                self.damaged.append(f"{title} ({str(error).split(chr(10))[0][:60]})")
                continue
            yield title, {"image": image} | ({"label": label} if label else {})


def _rows(folder: Path) -> Rows:
    """All pictures in a folder: of its subfolders with their class, or its own without."""
    kinds = set(Image.registered_extensions())
    shown = [path for path in sorted(folder.rglob("*")) if not _hidden(path.relative_to(folder))]
    files = [path for path in shown if path.is_file()]
    pictures = [path for path in files if path.suffix.lower() in kinds]
    if not pictures:
        raise UserError(f"{folder}: there are no pictures in it, nor in its subfolders (of {len(files)} files)")
    if others := [path.name for path in files if path.suffix.lower() not in kinds]:
        warnings.warn(
            f"{folder}: what is no picture is left out, {len(others)}: {_some(others)}", Caution, stacklevel=2
        )
    loose = [path for path in pictures if path.parent == folder]
    if loose and len(loose) < len(pictures):
        raise UserError(
            f"{folder}: {len(loose)} pictures lie beside the folders of classes, such as {loose[0].name}; "
            "put them in a folder too, or take them away"
        )
    return [(path, None if loose else path.relative_to(folder).parts[0]) for path in pictures]


def _held_out(rows: Rows, folder: Path) -> dict[str, Rows]:
    """Every tenth picture of each class for the test; of few pictures the last."""
    if len(rows) < 2:
        raise UserError(f"{folder}: one picture cannot be split in train and test; two at least are needed")
    seen: dict[str | None, int] = {}
    splits: dict[str, Rows] = {"train": [], "test": []}
    for path, label in rows:
        seen[label] = seen.get(label, 0) + 1
        splits["test" if seen[label] % 10 == 0 else "train"].append((path, label))
    if not splits["test"]:
        # One of a class that keeps another.
        several = [row for row in rows if seen[row[1]] > 1] or rows
        splits["test"].append(several[-1])
        splits["train"].remove(several[-1])
    return splits


def _mode(path: Path) -> str:
    """The mode of a picture by its head alone; empty where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.mode if not image.mode.startswith("P") else "P"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
