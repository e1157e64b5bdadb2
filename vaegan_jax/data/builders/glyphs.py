"""Letters and digits of many fonts: two independent factors, character and font."""

import hashlib
import string
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from PIL import Image, ImageFont

from vaegan_jax.data.builders import KNOWN
from vaegan_jax.data.images import png_file
from vaegan_jax.errors import UserError

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SIZE, BOX, POINTS = 28, 24, 96
"""Sides of an image and of the box that a glyph fills, in pixels; and the size it is drawn at before it is shrunk."""
NO_CHARACTER = "\uffff"
"""What no font has, so that it draws its sign for missing ones."""


class Glyphs(tfds.core.GeneratorBasedBuilder):
    """Glyphs, 28x28, white on black: character as label, font as attribute, split by font."""

    name = "glyphs"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = KNOWN["glyphs"].how_to_get()

    @classmethod
    def plan(cls, name: str, source: Path, size: int) -> None:
        """Raises UserError, one line, where the folder has no fonts."""
        if not _files(source):
            raise UserError(f"{source}: there are no .ttf or .otf files in it; see `vaegan data show glyphs`")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(SIZE, SIZE, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(CHARACTERS)),
            "attributes": {"font": tfds.features.ClassLabel()},
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), description=__doc__)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        folder = Path(dl_manager.manual_dir)
        fonts = {path.stem: path for path in _files(folder) if _complete(path)}
        if {held_out(title) for title in fonts} != {False, True}:
            raise UserError(
                f"{folder}: {len(fonts)} fonts have all digits and letters, too few to train and test on; "
                "see `vaegan data show glyphs`"
            )
        self.info.features["attributes"]["font"].names = sorted(fonts)
        return {
            split: self._generate_examples({t: path for t, path in fonts.items() if held_out(t) == (split == "test")})
            for split in ("train", "test")
        }

    def _generate_examples(self, fonts: dict[str, Path]) -> Iterator[tuple[str, dict]]:
        for title, path in fonts.items():
            font = ImageFont.truetype(path, POINTS)
            for character in CHARACTERS:
                image = png_file(drawn(font, character))
                yield f"{title}/{character}", {"image": image, "label": character, "attributes": {"font": title}}


def held_out(font: str) -> bool:
    """Whether all glyphs of a font are test images: about a tenth of the fonts."""
    return int(hashlib.sha256(font.encode()).hexdigest(), 16) % 10 == 0


def drawn(font: ImageFont.FreeTypeFont, character: str) -> Image.Image:
    """The glyph in the middle, its longer side as long as the box: so sizes tell nothing, and shapes all."""
    mask = font.getmask(character, "L")
    glyph = Image.frombytes("L", mask.size, bytes(mask))
    glyph = glyph.crop(glyph.getbbox())
    factor = BOX / max(glyph.size)
    glyph = glyph.resize([max(1, round(side * factor)) for side in glyph.size], Image.Resampling.LANCZOS)
    image = Image.new("L", (SIZE, SIZE))
    image.paste(glyph, tuple((SIZE - side) // 2 for side in glyph.size))
    return image


def _complete(path: Path) -> bool:
    """Whether a font draws something of its own for every character."""
    try:
        font = ImageFont.truetype(path, POINTS)
        missing, masks = font.getmask(NO_CHARACTER, "L"), [font.getmask(character, "L") for character in CHARACTERS]
    except (OSError, ValueError):
        return False
    none = missing.size, bytes(missing)
    return all(mask.getbbox() and (mask.size, bytes(mask)) != none for mask in masks)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".otf"))
