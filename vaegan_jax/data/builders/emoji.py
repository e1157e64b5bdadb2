"""Emoji: 3,786 pictures in each of two flat styles, 3,372 of them shaded too; what they mean, and in words."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds
from PIL import Image

from vaegan_jax.data.builders import KNOWN
from vaegan_jax.data.images import fitted, flat, png_file
from vaegan_jax.errors import UserError

SIZE = 64
STYLES = {
    "noto": "google/img/google/64/{}.png",
    "twemoji": "twitter/img/twitter/64/{}.png",
    "fluent": "fluent/assets/{}.webp",
}
CATEGORIES = [
    *("Activities", "Animals & Nature", "Component", "Flags", "Food & Drink"),
    *("Objects", "People & Body", "Smileys & Emotion", "Symbols", "Travel & Places"),
]
SKINS = {
    "": "none",
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
    "several": "several",
}
"""Skin tones by their code point."""


class Row(NamedTuple):
    """One emoji in one style."""

    path: Path
    key: str
    base: str
    """Its code points without skin tones: what the sets are split by."""
    category: str
    subcategory: str
    style: str
    skin: str
    caption: str


class Emoji(tfds.core.GeneratorBasedBuilder):
    """Emoji, 64x64 on white: category as label, style, skin tone and subcategory as attributes, name as caption."""

    name = "emoji"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = KNOWN["emoji"].how_to_get()

    @classmethod
    def plan(cls, name: str, source: Path, size: int) -> None:
        """Raises UserError, one line, where the folder lacks something."""
        lacking = [row.path for row in _rows(source) if row.style != "fluent" and not row.path.is_file()]
        if not (source / "fluent/assets").is_dir():
            lacking.append(source / "fluent/assets")
        if lacking:
            raise UserError(f"{source}: {lacking[0].relative_to(source)} is missing; see `vaegan data show emoji`")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=CATEGORIES),
            "attributes": {
                "style": tfds.features.ClassLabel(names=list(STYLES)),
                "skin": tfds.features.ClassLabel(names=list(SKINS.values())),
                "subcategory": tfds.features.ClassLabel(),
            },
            "caption": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), description=__doc__)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        rows = [row for row in _rows(Path(dl_manager.manual_dir)) if row.path.is_file()]
        self.info.features["attributes"]["subcategory"].names = sorted({row.subcategory for row in rows})
        return {
            split: self._generate_examples([row for row in rows if held_out(row.base) == (split == "test")])
            for split in ("train", "test")
        }

    def _generate_examples(self, rows: list[Row]) -> Iterator[tuple[str, dict]]:
        for row in rows:
            try:
                with Image.open(row.path) as opened:
                    image = fitted(flat(opened, 3), SIZE)
            except (OSError, ValueError, SyntaxError):
                raise UserError(f"{row.path}: this picture is damaged; unpack the package again") from None
            yield (
                f"{row.style}/{row.key}",
                {
                    "image": png_file(image),
                    "label": row.category,
                    "attributes": {"style": row.style, "skin": row.skin, "subcategory": row.subcategory},
                    "caption": row.caption,
                },
            )


def held_out(base: str) -> bool:
    """Whether the emoji of a code point, in every style and skin tone, are test images: about a tenth of all."""
    return int(hashlib.sha256(base.encode()).hexdigest(), 16) % 10 == 0


def _rows(folder: Path) -> list[Row]:
    """All emoji of the index in all styles, whether their pictures are there or not."""
    try:
        index = json.loads((folder / "google/emoji.json").read_text())
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: there is no google/emoji.json that can be read; see `vaegan data show emoji`"
        ) from None
    rows = []
    for entry in index:
        variants = {"": entry} | entry.get("skin_variations", {})
        for tones, variant in variants.items():
            key = variant["image"].removesuffix(".png")
            skin = SKINS[tones if tones in SKINS else "several"]
            tone = {"none": "", "several": ", several skin tones"}.get(skin, f", {skin} skin tone")
            for style, where in STYLES.items():
                path = folder / where.format(key)
                caption = entry["name"].lower() + tone
                place = entry["category"], entry["subcategory"]
                rows.append(Row(path, key, entry["unified"], *place, style, skin, caption))
    return rows
