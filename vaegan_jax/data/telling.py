"""What people are told of data sets: the list, and the facts of one."""

from dataclasses import asdict
from itertools import islice
from typing import Any

from vaegan_jax.data import DATASETS, cards, load
from vaegan_jax.data.builders import KNOWN, OWN
from vaegan_jax.data.locating import INFO, data_dir, ours, prepared_folder
from vaegan_jax.data.sources import Source
from vaegan_jax.errors import UserError, check

SHEET_SIZE = 64
"""Side of the images of a contact sheet where they are of several."""
LOOKED_AT = 10_000
"""Examples that are measured of a set that has no card."""


def listing() -> list[str]:
    """The data sets there are, and how others are named, a line each."""
    rows = []
    for card in DATASETS.values():
        shape = "x".join(map(str, card.image_shape))
        rows.append(
            (
                card.name,
                "ready",
                f"{card.train:,} + {card.test:,} images {shape}, {len(card.class_names)} classes; {card.title}",
            )
        )
    for known in KNOWN.values():
        shape = "x".join(map(str, known.image_shape))
        stands = "ready" if (ours(known.name).folder / INFO).is_file() else "to prepare"
        rows.append((known.name, stands, f"{known.train:,} + {known.test:,} images {shape}; {known.title}"))
    for builder, takes in OWN.items():
        rows.append((f"{builder}/NAME", "your own", takes))
        made = sorted(path.parents[1].name for path in (data_dir() / builder).glob(f"*/*/{INFO}"))
        rows += [(f"{builder}/{name}", "ready", "") for name in made if name not in KNOWN]
    rows.append(("FILE.npz", "your own", "arrays as they are, without preparing: see the README"))
    rows.append(("NAME[/CONFIG]", "to prepare", "the TFDS catalog, by TFDS's own names"))
    rows.append(("PATH", "ready", "a folder that TFDS has prepared, with array_record files"))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{widths[0]}}  {stands:{widths[1]}}  {what}".rstrip() for name, stands, what in rows]
    return [*lines, f"Prepared sets are in {data_dir()} (TFDS_DATA_DIR). vaegan data show NAME tells of one."]


def how_to_get(name: str) -> str | None:
    """The commands for a set that is known and not prepared; None for any other."""
    target = ours(name)
    if target is None or target.known is None:
        return None
    try:
        prepared_folder(name)
    except UserError:
        known = target.known
        return f"{known.name} is not prepared. {known.title}. License: {known.license}.\n{known.how_to_get()}"
    return None


def at_one_size(name: str, split: str) -> Source:
    """A split as it is, or, where its images differ in size, resized so that they go on one sheet."""
    try:
        return load(name, split)
    except UserError as error:
        if "--image-size" not in str(error):
            raise
        return load(name, split, SHEET_SIZE)


def facts(name: str) -> dict[str, Any]:
    """What there is to tell of a set, measured; the checksum of a prepared one is verified."""
    if name in DATASETS:
        return asdict(DATASETS[name])
    sources = {split: at_one_size(name, split) for split in ("train", "test")}
    card = getattr(sources["train"], "card", None)
    spec = sources["train"].spec
    told: dict[str, Any] = {split: len(source) for split, source in sources.items()}
    told |= {key: value for key, value in asdict(spec).items() if key != "batch_size"}
    if card is None:
        return told | _measured(sources)
    _verify(name, card)
    told |= {key: card[key] for key in ("title", "version", "license", "source", "mean", "deviation", "sizes")}
    told["attributes"] = {title: _some(values) for title, values in card["attributes"].items()}
    for split, measured in card["splits"].items():
        told[f"{split} classes"] = _some(measured["classes"])
        told[f"{split} sha256"] = f"{measured['sha256']} (verified)"
    return told | {"folder": str(prepared_folder(name))}


def _measured(sources: dict[str, Source]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for split, source in sources.items():
        measured = cards.measure(islice((source.example(index) for index in range(len(source))), LOOKED_AT))
        part = "" if len(source) <= LOOKED_AT else f" (of the first {LOOKED_AT:,})"
        told[f"{split} classes{part}"] = _some(measured["classes"])
        told[f"{split} sha256{part}"] = measured["sha256"]
        if split == "train":
            told |= {f"{key}{part}": measured[key] for key in ("mean", "deviation")}
    return told


def _verify(name: str, card: dict[str, Any]) -> None:
    """Decodes everything once more; raises UserError where it is not what the card says."""
    from vaegan_jax.data.prepared import Records

    folder = prepared_folder(name)
    for split, measured in card["splits"].items():
        found = cards.measure(Records(folder, name, split).each())["sha256"]
        check(
            found == measured["sha256"],
            f"{name}: the {split} split is not what was prepared, its sha256 differs; delete {folder} and prepare it "
            "again",
        )


def _some(values: list) -> str:
    told = ", ".join(map(str, values[:20]))
    return told + (f", ... ({len(values)})" if len(values) > 20 else "")
