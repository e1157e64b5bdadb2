"""Preparing a data set: all or nothing, whatever goes wrong and whoever pulls the plug."""

import fcntl
import importlib
import io
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from vaegan_jax.data import cards
from vaegan_jax.data.builders import BUILDERS, KNOWN, Known
from vaegan_jax.data.images import check_size
from vaegan_jax.data.locating import INFO, Ours, data_dir, ours
from vaegan_jax.data.prepared import Records, class_names, layout, open_builder, tfds_module
from vaegan_jax.errors import UserError, check, unknown

SCRATCH = ".preparing"
"""Folder in the data folder in which a set is made, under the same names, before it is moved to its place."""


def prepare(name: str, source: Path | None = None, size: int = 0) -> tuple[Path, bool]:
    """Prepares a set from the files in `source`; returns its folder, and whether it was made now (or was there).

    `name` is one that is known, BUILDER/NAME for the user's own files, or one of the TFDS catalog. `size` resizes and
    crops the pictures of an image_folder. Raises UserError, one line; then nothing of the set is there.
    """
    target = ours(name)
    tfds_module()
    if target and (target.folder / INFO).is_file():
        open_builder(target.folder, name)  # says what to do where it cannot be read
        check(
            not target.own,
            f"{name} is prepared already, in {target.folder}: delete that folder, or take another name",
        )
        return target.folder, False
    _check_arguments(name, target, source, size)
    with _scratch(data_dir()) as scratch:
        with _quiet():
            builder = _ours_builder(target, source, size, scratch) if target else _catalog_builder(name, scratch)
        folder = data_dir() / Path(builder.data_dir).relative_to(scratch)
        if (folder / INFO).is_file():
            return folder, False
        _write(builder, name, source, catalog=target is None)
        made = Path(builder.data_dir)
        card = _card(made, name, target)
        if target and target.known:
            _check_known(card, target.known, source)
        cards.write(made, card)
        shutil.rmtree(folder, ignore_errors=True)  # what lies there has no dataset_info.json: it is no data set
        folder.parent.mkdir(parents=True, exist_ok=True)
        made.rename(folder)
    return folder, True


def _check_arguments(name: str, target: Ours | None, source: Path | None, size: int) -> None:
    check_size(size)
    check(
        size == 0 or target is not None and target.builder == "image_folder",
        f"--size is for an image_folder; {name} is resized when it is read: vaegan train --image-size N",
    )
    if target is None:
        check("/" not in name or name.count("/") == 1, f"{name!r} is no name of a data set")
        return
    more = f"; `vaegan data show {name}` tells how to get it" if target.known else ""
    check(source is not None, f"{name} needs the folder of its files: vaegan data prepare {name} --from DIR{more}")
    check(source.exists(), f"there is no folder {source}{more}")
    check(source.is_dir() or target.builder == "npz_images", f"{source} is a file; give the folder it is in")
    check(source.is_file() or any(source.iterdir()), f"the folder {source} is empty{more}")


def _ours_builder(target: Ours, source: Path, size: int, scratch: Path) -> Any:
    module = importlib.import_module(f"vaegan_jax.data.builders.{target.builder}")
    kind = getattr(module, BUILDERS[target.builder][0])
    config = kind.plan(target.config or target.name, source, size)
    return kind(data_dir=scratch, config=config, file_format="array_record")


def _catalog_builder(name: str, scratch: Path) -> Any:
    tfds = tfds_module()
    try:
        return tfds.builder(name, try_gcs=False, data_dir=scratch, file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        names = tfds.list_builders(with_community_datasets=False)
        known = {*KNOWN, *names}
        near = unknown("data set", name, known, cutoff=0.75).args[0].split(" There are")[0]
        raise UserError(f"{near} `vaegan data list` names those of ours, the TFDS catalog has {len(names)}") from None
    except ImportError as error:
        raise _needs_tensorflow(name, error) from None
    except Exception as error:  # catalog code may say anything of a wrong config or version
        raise UserError(f"{name} cannot be prepared: {_line(error)}") from error


def _write(builder: Any, name: str, source: Path | None, catalog: bool) -> None:
    """Has TFDS write the records, without its cloud and without noise."""
    tfds = tfds_module()
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    folder = source if source is None or source.is_dir() else source.parent
    config = tfds.download.DownloadConfig(manual_dir=folder, try_download_gcs=False)
    # Downloads are TFDS's to keep and to verify: a failed preparation goes on with those it has.
    downloads = data_dir() / "downloads" if catalog else Path(builder.data_dir).parent / "downloads"
    try:
        with _quiet(), _swept(downloads):
            builder.download_and_prepare(download_dir=downloads, download_config=config)
    except UserError:
        raise
    except ImportError as error:
        raise _needs_tensorflow(name, error) from None
    except OSError as error:
        raise UserError(f"cannot prepare {name} in {data_dir()}: {error.strerror or _line(error)}") from error
    except Exception as error:
        _check_damaged(builder, name)
        if catalog or isinstance(error, AssertionError):  # code of others; or a split without a single example
            raise UserError(f"{name} cannot be prepared: {_line(error)}") from error
        raise
    _check_damaged(builder, name)


def _check_damaged(builder: Any, name: str) -> None:
    damaged = getattr(builder, "damaged", [])
    if damaged:
        some = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
        raise UserError(f"{name}: pictures that cannot be read, {len(damaged)}: {some}; mend them or take them away")


def _card(folder: Path, name: str, target: Ours | None) -> dict[str, Any]:
    """Reads all that was written, and measures it."""
    builder = open_builder(folder, name)
    features = builder.info.features
    at = layout(features, name, tfds_module())
    splits = {split: cards.measure(Records(folder, name, split).each()) for split in builder.info.splits}
    sizes: dict[str, int] = {}
    for facts in splits.values():
        for size, count in facts.pop("sizes").items():
            sizes[size] = sizes.get(size, 0) + count
    train = splits.get("train") or next(iter(splits.values()))
    known = target.known if target else None
    values = {
        title: class_names(features[path[0]][path[1]] if len(path) > 1 else features[path[0]])
        if path[0] != "attributes" or hasattr(features["attributes"][path[-1]], "num_classes")
        else ["no", "yes"]
        for path, title, _ in at.attributes
    }
    return {
        "name": name,
        "title": known.title if known else f"{builder.info.full_name}",
        "version": str(builder.version),
        "license": known.license if known else "not stated",
        "source": known.source if known else "your own files" if target else builder.info.homepage or "not stated",
        "channels": at.channels,
        "sizes": sizes,
        "class_names": list(at.class_names),
        "attributes": values,
        "caption_length": max(facts.pop("caption_length") for facts in splits.values()),
        "mean": train["mean"],
        "deviation": train["deviation"],
        "splits": splits,
    }


def _check_known(card: dict[str, Any], known: Known, source: Path | None) -> None:
    """Fails loudly where a set that is known is not what it has to be."""
    facts = {split: card["splits"][split]["count"] for split in ("train", "test")}
    size = "x".join(map(str, known.image_shape[:2]))
    right = {
        f"{known.train:,} + {known.test:,} images": facts == {"train": known.train, "test": known.test},
        f"images of {size}": list(card["sizes"]) == [size] and card["channels"] == known.image_shape[2],
    }
    for what, stated in (("mean", known.mean), ("deviation", known.deviation)):
        if stated is not None:
            right[f"a {what} of {stated:.4f}"] = abs(card[what] - stated) <= known.tolerance
    for what, holds in right.items():
        check(
            holds,
            f"{source}: this is not {known.name}, which has {what}; found {facts} of {list(card['sizes'])[:3]}, "
            f"mean {card['mean']:.4f}, deviation {card['deviation']:.4f}",
        )


@contextmanager
def _scratch(data: Path) -> Iterator[Path]:
    """A folder to work in, gone afterwards; whoever was killed here left one that is swept away first."""
    existed, scratch = data.exists(), data / SCRATCH
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = os.open(data, os.O_RDONLY)
    except OSError as error:
        raise UserError(
            f"cannot prepare data in {data}: {error.strerror}; set TFDS_DATA_DIR to another folder"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # on the folder itself: there is no file to leave behind
        except BlockingIOError:
            raise UserError(f"another `vaegan data prepare` is at work in {data}; let it finish first") from None
        except OSError:
            pass  # a file system without locks
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            yield scratch
        except OSError as error:
            raise UserError(f"cannot write in {data}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if not existed:
                with suppress(OSError):
                    data.rmdir()
    finally:
        os.close(lock)


@contextmanager
def _swept(downloads: Path) -> Iterator[None]:
    """Takes away the halves of downloads that TFDS leaves behind; whole ones stay."""
    try:
        yield
    finally:
        for path in downloads.rglob("*.tmp.*"):
            shutil.rmtree(path, ignore_errors=True)
        for folder in sorted((path for path in downloads.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            downloads.rmdir()


@contextmanager
def _quiet() -> Iterator[None]:
    """TFDS announces what it does, and warns of configurations that are not its own; its progress bars go on."""
    tfds_module()
    loggers = [logging.getLogger(name) for name in ("absl", "urllib3")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _needs_tensorflow(name: str, error: ImportError) -> UserError:
    missing = (error.name or str(error)).split(".")[0]
    if missing in ("tensorflow", "tensorflow_io"):
        return UserError(f"preparing {name} needs TensorFlow, reading it does not: pip install 'vaegan_jax[prepare]'")
    return UserError(f"preparing {name} needs {missing}: pip install {missing}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
