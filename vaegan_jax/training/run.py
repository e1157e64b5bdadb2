"""A run folder: config.json, checkpoints/, metrics.jsonl, events/, samples/ and the pictures and summary of its end."""

import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from vaegan_jax import __version__
from vaegan_jax.errors import UserError
from vaegan_jax.training.config import RunConfig, from_json, to_json

FORMAT = 1
"""Version of the layout of a run folder."""
FACTS = {"spec", "data_sha256", "versions", "git"}
"""What a config.json holds besides the configuration, and others rely on."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def create(folder: Path | None, config: RunConfig, facts: dict[str, Any]) -> Path:
    """Makes a run folder with its config.json, all at once; without a name, the next free one under runs/.

    `facts` (the data's card, the spec) are stored beside the configuration. Raises UserError if the folder exists
    with something in it, or cannot be made.
    """
    record = {"format": FORMAT, "config": to_json(config), **facts, **provenance()}
    try:
        if folder is not None:
            check_free(folder)
            return _publish(folder, record)
        folder = Path("runs")
        folder.mkdir(exist_ok=True)
        stem = f"{record['config']['model']['name']}-{Path(config.data).stem}"
        for number in range(1, 100_000):
            folder = Path("runs") / f"{number:03d}-{stem}"
            if not list(Path("runs").glob(f"{number:03d}-*")):
                with contextlib.suppress(FileExistsError):
                    return _publish(folder, record)
        raise UserError("runs/ is full: name the run with --run")
    except OSError as error:
        raise UserError(f"cannot make the run folder {folder}: {error.strerror or error}") from error


def check_free(folder: Path) -> None:
    """UserError for a folder in which there is something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        resumed = (folder / "config.json").exists()
        hint = f"to go on with it: vaegan resume {folder}" if resumed else "choose another"
        raise UserError(f"{folder} exists already ({hint})")


def read_config(folder: Path) -> tuple[RunConfig, dict[str, Any]]:
    """The configuration of a run and its whole config.json. Raises UserError if the folder is no run."""
    path = folder / "config.json"
    try:
        if not folder.exists():
            raise UserError(f"there is no run {folder}: the folder does not exist")
        if not path.is_file():
            raise UserError(f"{folder} is not a run: it has no config.json")
        record = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise UserError(f"{path} is of format {record['format']}, this version reads format {FORMAT}")
        if missing := FACTS - record.keys():
            raise KeyError(min(missing))
        return from_json(record["config"]), record
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a run's configuration: {error!r:.120}") from error


def set_config(folder: Path, rollback: dict[str, Any] | None = None, **changed: Any) -> None:
    """Notes what has changed in config.json (a new total of rounds, say), so that whoever resumes next goes by it.

    `rollback`, what is to be known of going back to an earlier checkpoint, is added to those that were.
    """
    path = folder / "config.json"
    before = json.loads(path.read_text())
    record = before | {"config": before["config"] | changed}
    if rollback:
        record["rollbacks"] = [*before.get("rollbacks", []), rollback]
    if record != before:
        write(path, json.dumps(record, indent=2) + "\n")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the run's lock, which ends with the process however it dies. UserError if another process holds it."""
    try:
        file = open(folder / "lock", "a+")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise UserError(
                f"{folder} is being written by another process (pid {file.read().strip() or 'unknown'})"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write(path: Path, content: bytes | str) -> None:
    """Writes a whole file or nothing: to a neighbor first, which then takes the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def provenance() -> dict[str, Any]:
    """What the numbers depend on besides the configuration: versions, machine, and the state of the source."""
    versions = {"vaegan_jax": __version__} | {name: metadata.version(name) for name in PACKAGES}
    machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    return {"versions": {"python": platform.python_version(), **versions}, "machine": machine, "git": _git()}


def _publish(folder: Path, record: dict[str, Any]) -> Path:
    """The folder appears with its config.json in it, whole, or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        write(partial / "config.json", json.dumps(record, indent=2) + "\n")
        partial.rename(folder)  # takes the place of an empty folder too
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if folder.exists():
            raise FileExistsError(error.errno, f"{folder} exists already") from error
        raise
    return folder


def _git() -> dict[str, Any] | None:
    """Commit of the source tree that is running, and whether it was changed; None for an installed package.

    What experiments write beside themselves is no change of what runs.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    ask = lambda *words: subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True).stdout.strip()  # noqa: E731
    try:
        changed = ask("status", "--porcelain", "--", ".", ":!experiments/figures", ":!experiments/results")
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(changed)}
    except OSError:  # no git program
        return None
