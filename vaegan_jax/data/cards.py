"""What is told of a prepared set, all of it measured: card.json in its folder."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vaegan_jax.errors import UserError

CARD = "card.json"
SIZES_TOLD = 100
"""Different sizes of images that a card lists, the most frequent first."""


def measure(examples: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Count, sizes, examples of each class, mean and deviation of the pixels in [0, 1], and sha256 of decoded examples.

    The sum is over image (with its shape), label, attributes and caption of one example after the other, so that it
    stays the same however they are packed. Floating images are taken to lie in [-1, 1].
    """
    content, sizes, classes = hashlib.sha256(), {}, {}
    values = longest = 0
    total = squares = 0.0
    for example in examples:
        image = example["image"]
        content.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        for leaf in ("label", "attributes"):
            if leaf in example:
                content.update(np.asarray(example[leaf], "<i4").tobytes())
        if "caption" in example:
            caption = bytes(example["caption"]).rstrip(b"\0")
            content.update(caption + b"\0")
            longest = max(longest, len(caption))
        if "label" in example:
            classes[int(example["label"])] = classes.get(int(example["label"]), 0) + 1
        size = "x".join(map(str, image.shape[:2]))
        sizes[size] = sizes.get(size, 0) + 1
        scaled = image.ravel() if image.dtype == np.uint8 else (image.ravel().astype(np.float64) + 1) * 127.5
        scaled = scaled.astype(np.float64)
        values, total, squares = values + image.size, total + scaled.sum(), squares + scaled @ scaled
    mean = total / values if values else 0.0
    return {
        "count": sum(sizes.values()),
        "sha256": content.hexdigest(),
        "mean": round(mean / 255, 6),
        "deviation": round(float(np.sqrt(max(squares / max(values, 1) - mean**2, 0))) / 255, 6),
        "sizes": dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:SIZES_TOLD]),
        "classes": [classes.get(value, 0) for value in range(max(classes, default=-1) + 1)],
        "caption_length": longest,
    }


def write(folder: Path, card: dict[str, Any]) -> None:
    """Writes the card of a folder, with the sizes of the files that it is true of."""
    files = {
        path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file() and path.name != CARD
    }
    (folder / CARD).write_text(json.dumps(card | {"files": files}, indent=2, ensure_ascii=False) + "\n")


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """The card of a folder, None if it has none; raises UserError where it is not the card of these files."""
    path = folder / CARD
    if not path.exists():
        return None
    again = f"delete {folder} and prepare it again"
    try:
        card = json.loads(path.read_text())
        files = {title: (folder / title).stat().st_size for title in card["files"]}
        card["splits"], card["sizes"], card["caption_length"]  # noqa: B018
    except FileNotFoundError as error:
        raise UserError(f"{name}: {error.filename} is missing; {again}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name}: {path} is damaged ({error!r:.80}); {again}") from None
    changed = [title for title, size in card["files"].items() if files[title] != size]
    if changed:
        raise UserError(
            f"{name}: {folder / changed[0]} has {files[changed[0]]:,} bytes, not what was prepared; {again}"
        )
    return card
