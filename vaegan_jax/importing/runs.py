"""An imported checkpoint as a run folder, at round 0: what else there is to do with a run can be done with it."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from vaegan_jax.games import State
from vaegan_jax.importing import checkpoints
from vaegan_jax.importing.found import Found
from vaegan_jax.training import run as runs
from vaegan_jax.training.beginning import begun
from vaegan_jax.training.checkpoint import Checkpoints
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import INIT, Experiment, assemble

BATCH = 2048
"""Of the papers; nothing is trained in the folder itself."""


def import_run(path: Path | str, run: Path | str | None = None, tell: Callable[[str], None] = print) -> Path:
    """Makes a run of a checkpoint, a file or a folder, and returns its folder: `run`, or the next under runs/.

    Its config.json tells under "imported" what it was made of. Where there is no discriminator, a new one is made, and
    `tell` hears of it. Raises UserError for a run that exists, and what is raised by `checkpoints.found`.
    """
    folder = None if run is None else Path(run)
    if folder is not None:
        runs.check_free(folder)
    found, paths = checkpoints.found(Path(path))
    experiment = assemble(_config(found), found.spec)
    fresh = "discriminator" not in found.params
    facts = {
        "spec": asdict(found.spec),
        "card": None,
        "examples": 0,
        "data_sha256": "",
        "imported": _facts(found, paths, fresh),
    }
    state = _state(experiment, found)
    folder = runs.create(folder, experiment.config, facts)
    try:
        with runs.locked(folder), Checkpoints(folder / "checkpoints", write=True) as kept:
            kept.save(0, state)
            kept.wait()
    except BaseException:  # half a run is none
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for line in found.notes:
        tell(f"note: {line}")
    if fresh:
        tell("the checkpoint has no discriminator: that of the run is new and has learned nothing")
    return folder


def _config(found: Found) -> RunConfig:
    training = TrainingConfig(ema_halflife_kimg=found.halflife_kimg)
    spec = found.spec
    return RunConfig(
        found.model, data=spec.name, image_size=spec.image_shape[0], steps=1, batch_size=BATCH, training=training
    )


def _state(experiment: Experiment, found: Found) -> State:
    """Before round 0, with what was found in place of what a run begins with."""
    networks = experiment.model.networks(experiment.config.model, experiment.spec)
    params, stats, key = dict(found.params), dict(found.stats), experiment.key(INIT)
    for place, name in enumerate(sorted(networks)):  # as `init_networks` does
        if name not in params:
            params[name], stats[name] = jax.jit(networks[name].init)(jax.random.fold_in(key, place))
    start = jax.jit(lambda params, stats: begun(experiment, params, stats))
    return start(params, stats)._replace(averages=found.averages)


def _facts(found: Found, paths: dict[str, Path], fresh: bool) -> dict[str, Any]:
    return {
        "layout": found.layout,
        "files": {role: {"name": path.name, "sha256": _sha256(path)} for role, path in paths.items()},
        "iterations": found.iterations,
        "averages": bool(found.averages),
        "discriminator": "new: the checkpoint has none" if fresh else "imported",
        "notes": list(found.notes),
    }


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
