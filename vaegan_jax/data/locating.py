"""What the name of a data set means, and where prepared sets lie. Needs no TFDS."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from vaegan_jax.data.builders import BUILDERS, KNOWN, OWN, Known
from vaegan_jax.errors import UserError, unknown

INFO = "dataset_info.json"
"""The file by which TFDS knows a prepared folder."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class Ours:
    """A set that a builder of ours prepares."""

    name: str
    builder: str
    config: str
    """Folder below the builder's; empty where the builder makes but one set."""
    known: Known | None

    @property
    def folder(self) -> Path:
        """Where it lies when it is prepared."""
        return data_dir() / self.builder / self.config / BUILDERS[self.builder][1]

    @property
    def own(self) -> bool:
        """Whether its files are the user's own."""
        return self.known is None


def data_dir() -> Path:
    """Where prepared sets are, by the convention of TFDS."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def ours(name: str) -> Ours | None:
    """The set of ours of that name, prepared or not; None if the name is none of ours.

    Raises UserError for BUILDER/NAME with a name that cannot be one of a folder.
    """
    builder, _, config = name.partition("/")
    if builder == "idx_images" and config in KNOWN:
        builder, config = config, ""
    if builder in KNOWN and not config:
        known = KNOWN[builder]
        return Ours(builder, known.builder, "" if known.builder == builder else builder, known)
    if builder not in OWN:
        return None
    if not NAME.fullmatch(config) or re.fullmatch(r"\d+\.\d+\.\d+", config):
        raise UserError(f"a data set of your own needs a name, such as {builder}/flowers, not {name!r}")
    return Ours(name, builder, config, None)


def prepared_folder(name: str) -> Path:
    """The folder of a prepared set: one of ours, the path of one, or one of the TFDS catalog.

    Raises UserError, one line, that says what to do, where it is not prepared.
    """
    own = ours(name)
    if own and (own.folder / INFO).is_file():
        return own.folder
    # The catalog has a mnist too, which may have been prepared with TFDS alone.
    if (own is None or own.builder != name.split("/")[0]) and (folder := _catalog_folder(name)):
        return folder
    if own:
        raise _not_prepared(own)
    path = Path(name).expanduser()
    if path.is_dir() or name.startswith(("/", ".", "~")):
        return _by_path(path)
    raise _unknown(name)


def _not_prepared(own: Ours) -> UserError:
    versions = sorted(path.parent.name for path in own.folder.parent.glob(f"*/{INFO}"))
    if versions:
        return UserError(
            f"{own.name} is prepared in version {versions[-1]}, and this is read in version {own.folder.name}: "
            f"vaegan data prepare {own.name} --from {'...' if own.own else 'DIR'}"
        )
    how = f"vaegan data prepare {own.name} --from DIR"
    more = "" if own.own else f"; `vaegan data show {own.name}` tells more"
    return UserError(f"{own.name} is not prepared in {data_dir()}: {how}{more}")


def _by_path(path: Path) -> Path:
    if not path.is_dir():
        raise UserError(f"there is no folder {path}")
    if (path / INFO).is_file():
        return path
    if inside := sorted(path.rglob(INFO)):
        raise UserError(f"{path} is not a prepared data set, but one lies in it: {inside[-1].parent}")
    raise UserError(
        f"{path} is not a prepared data set (it has no {INFO}); a folder of pictures becomes one by "
        f"vaegan data prepare image_folder/NAME --from {path}"
    )


def _catalog_folder(name: str) -> Path | None:
    """The newest version of NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION in the data folder."""
    title, _, version = name.partition(":")
    if not all(NAME.fullmatch(part) for part in title.split("/")) or title.count("/") > 1:
        return None
    for folder in (data_dir() / title, *(data_dir() / title).glob("[!.]*/")):
        found = [path.parent for path in folder.glob(f"{version or '*'}/{INFO}")]
        if found:
            return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
    return None


def _unknown(name: str) -> UserError:
    """The error for a name that nothing has; names in the catalog of TFDS only have to be prepared."""
    from vaegan_jax.data import DATASETS

    try:
        import tensorflow_datasets as tfds

        catalog = tfds.list_builders(with_community_datasets=False)
    except ImportError:
        catalog = []
    if name.split("/")[0].split(":")[0] in catalog:
        return UserError(f"{name} is not prepared in {data_dir()}: vaegan data prepare {name}")
    others = "BUILDER/NAME of your own, a name of the TFDS catalog, or the path of a prepared folder or of a FILE.npz"
    return unknown("data set", name, {*DATASETS, *KNOWN}, others)
