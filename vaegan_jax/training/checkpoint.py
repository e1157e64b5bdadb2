"""Checkpoints by Orbax: asynchronous, atomic, the last few kept, and each with the sha256 of what it holds."""

import contextlib
import errno
import hashlib
import itertools
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from vaegan_jax.errors import UserError
from vaegan_jax.games import State

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax tells of its own workings, and of damage before it raises


def _without_echoes(unraisable: Any, hook: Any = sys.unraisablehook) -> None:
    """When an array cannot be read or written, TensorStore's other threads echo what Orbax has raised already."""
    if str(unraisable.exc_value) != "Event loop is closed":
        hook(unraisable)


sys.unraisablehook = _without_echoes

Arrays = dict[str, np.ndarray]
BYTES_PER_ARRAY = 8192
"""What an array takes on disk besides its own bytes, at most."""


def flatten(state: Any) -> Arrays:
    """A host copy of every leaf, by its path, such as "params.encoder.Dense_0.kernel"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {_name(path): np.array(leaf) for path, leaf in leaves}


def unflatten(template: State, arrays: Arrays) -> State:
    """The arrays in the structure of a template (of arrays or shapes); UserError if they do not fit it."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    expected = {_name(path): (tuple(leaf.shape), np.dtype(leaf.dtype)) for path, leaf in leaves}
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        raise UserError(
            f"the checkpoint is of another model than config.json says: {wrong[0]} should be "
            f"{_shape(expected.get(wrong[0]))} and is {_shape(found.get(wrong[0]))} ({len(wrong)} such)"
        )
    return jax.tree.unflatten(structure, [arrays[name] for name in expected])


def digest(arrays: Arrays) -> str:
    """sha256 over names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


class Checkpoints:
    """The checkpoints of one run, under `folder/<step>`; only the trainer, which holds the run's lock, may write."""

    def __init__(self, folder: Path, keep: int = 3, write: bool = False):
        self.folder = folder
        if not write and not folder.is_dir():
            raise UserError(f"{folder.parent} has no checkpoint yet: let it train, or `vaegan resume {folder.parent}`")
        kind = {"max_to_keep": keep, "enable_async_checkpointing": True} if write else {"read_only": True}
        if write:
            folder.mkdir(exist_ok=True)
        if jax.distributed.is_initialized():  # of several processes this one alone has to do with checkpoints
            mine = jax.process_index()
            kind["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
                primary_host=mine, active_processes={mine}, barrier_sync_key_prefix=f"process-{mine}"
            )
        # Lightweight: what is damaged in one checkpoint must not keep us from opening the others.
        self._options = ocp.CheckpointManagerOptions(lightweight_initialize=True, create=False, **kind)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=self._options)
        self.last_good: int | None = None
        self._pending: int | None = None

    def save(self, step: int, state: State) -> None:
        """Starts to write a host copy of the state and returns; raises UserError if this or the last write failed."""
        arrays = flatten(state)
        items = {"state": ocp.args.StandardSave(arrays), "digest": ocp.args.JsonSave({"sha256": digest(arrays)})}
        self.wait()
        self._writing(lambda: self._check_space(arrays))
        self._writing(lambda: self._manager.save(step, args=ocp.args.Composite(**items), force=True))
        self._pending = step

    @property
    def newest(self) -> int:
        """Round of the newest checkpoint that was saved or restored here; -1 if none."""
        return next((step for step in (self._pending, self.last_good) if step is not None), -1)

    def wait(self) -> None:
        """Until what was started is on disk."""
        if self._pending is not None:
            self._writing(self._manager.wait_until_finished)
            self.last_good, self._pending = self._pending, None

    def outdated(self) -> bool:
        """Whether the disk holds a newer checkpoint than when this was opened: a trainer goes on meanwhile."""
        on_disk = (int(path.name) for path in self.folder.iterdir() if path.name.isdigit())
        return max(on_disk, default=-1) > max(self._manager.all_steps(), default=-1)

    @property
    def steps(self) -> list[int]:
        """Rounds of the checkpoints that there are."""
        return sorted(self._manager.all_steps())

    def restore(self, at: int | None = None) -> tuple[int, Arrays, list[str]] | None:
        """The newest checkpoint whose sha256 is right: (step, arrays, what was wrong with newer ones); or that of `at`.

        None if there are no checkpoints; raises UserError if there are some and all are damaged.
        """
        damage = []
        for step in self.steps[::-1] if at is None else [at]:
            try:
                items = {"state": ocp.args.StandardRestore(), "digest": ocp.args.JsonRestore()}
                restored = self._manager.restore(step, args=ocp.args.Composite(**items))
                arrays = {name: np.asarray(array) for name, array in restored.state.items()}
                if digest(arrays) == restored.digest["sha256"]:
                    self.last_good = step
                    return step, arrays, damage
                damage.append(f"checkpoint {step} is damaged: its sha256 is not the stored one")
            except (ValueError, OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
                damage.append(f"checkpoint {step} is damaged: {str(error).strip().splitlines()[0][:120]}")
        if damage:
            raise UserError(f"no checkpoint in {self.folder} can be read: {'; '.join(damage)}")
        return None

    def set_aside(self, after: int, where: str = "damaged") -> None:
        """Moves checkpoints newer than `after`, the newest first, to a folder `where` beside: their steps are free."""
        newer = [step for step in self.steps[::-1] if step > after]
        for step in newer:
            target = self.folder.parent / where
            target.mkdir(exist_ok=True)
            number = next(n for n in itertools.count() if not (target / f"{step}-{n}").exists())
            (self.folder / str(step)).rename(target / f"{step}-{number}")
        if newer:  # a new manager, because an old one's `reload` stumbles over damage
            self._manager.close()
            self._manager = ocp.CheckpointManager(self.folder.absolute(), options=self._options)
        if self.last_good is not None and self.last_good > after:
            self.last_good = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, *error) -> None:
        # After an error, one more about what was being written would only hide it.
        with contextlib.suppress(Exception) if kind else contextlib.nullcontext():
            self._manager.close()

    def _check_space(self, arrays: Arrays) -> None:
        """Raises OSError on a disk that is too full, before anything is written and in words that people understand."""
        needed = sum(array.nbytes + BYTES_PER_ARRAY for array in arrays.values())
        if shutil.disk_usage(self.folder).free < needed:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({needed:,} bytes needed)")

    def _writing(self, action) -> None:
        try:
            action()
        except Exception as error:  # Orbax and TensorStore raise many kinds for a full or vanished disk
            good = "none" if self.last_good is None else f"step {self.last_good}"
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:160]
            raise UserError(
                f"cannot write a checkpoint to {self.folder}: {reason}. Last good checkpoint: {good}"
            ) from error


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _shape(found: tuple | None) -> str:
    return "absent" if found is None else f"{found[1]}{list(found[0])}"
