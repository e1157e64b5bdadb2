"""What can be had from a run, finished or running, without disturbing it: state, samples, reconstructions, facts."""

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaegan_jax.data import Source, load, located
from vaegan_jax.data.augmentation import augmented_shape, middle
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import Caution, UserError, check
from vaegan_jax.games import State
from vaegan_jax.training.checkpoint import Arrays, Checkpoints, digest, unflatten
from vaegan_jax.training.config import build, to_json
from vaegan_jax.training.experiment import (
    Experiment,
    assemble,
    first_state,
    generate,
    reconstruct,
    weights_for_sampling,
)
from vaegan_jax.training.logging import read_metrics
from vaegan_jax.training.run import read_config
from vaegan_jax.training.showing import images


def read(run: Path | str) -> tuple[Experiment, State, int]:
    """The experiment and the newest good state of a run, with its round. Needs the run folder alone.

    Warns (`Caution`) of a newer state that is damaged.
    """
    folder = Path(run)
    experiment = _experiment(folder)
    step, arrays, damage = _restore(folder)
    for told in damage:
        warnings.warn(f"{folder}: {told}; falling back to that of round {step:,}", Caution, stacklevel=2)
    return experiment, unflatten(jax.eval_shape(lambda: first_state(experiment)), arrays), step


def sample(run: Path | str, count: int, seed: int | None = None) -> tuple[np.ndarray, str]:
    """`count` images in [-1, 1], (count, height, width, channels), and with which weights they were made.

    Raises UserError for a count below 1 or a seed out of range.
    """
    check(count > 0, f"count must be at least 1, not {count}")
    check(seed is None or 0 <= seed < 2**32, f"seed must be in 0 .. 2^32 - 1, not {seed}")
    experiment, state, _ = read(run)
    params, stats, sampled_with = weights_for_sampling(experiment, state)
    return generate(experiment, params, stats, count, experiment.config.seed if seed is None else seed), sampled_with


def reconstructions(
    run: Path | str, count: int = 64, data: str | None = None, source: Source | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` images of the run's test split and their reconstructions, both in [-1, 1].

    `data` says where the data are now, if they have moved; `source` stands in for their test split.
    """
    check(count > 0, f"count must be at least 1, not {count}")
    experiment, state, _ = read(run)
    name = located(data or experiment.config.data)
    source = source or load(name, "test", experiment.config.image_size)
    shape = augmented_shape(experiment.config.augmentation, source.spec.image_shape)
    trained = experiment.spec.image_shape
    check(shape == trained, f"{source.spec.name} has images of {shape}, but {run} was trained on {trained}")
    real = middle(images(source, np.arange(min(count, len(source)))), trained)
    return real, reconstruct(experiment, state, real)


def inspect(run: Path | str) -> dict[str, Any]:
    """What there is to know: step, parameters by network, sha256 of parameters and state, config, latest metrics."""
    folder = Path(run)
    config, record = read_config(folder)
    step, arrays, damage = _restore(folder)
    params = {name: array for name, array in arrays.items() if name.startswith("params.")}
    counts: dict[str, int] = {}
    for name, array in params.items():
        network = name.split(".")[1]
        counts[network] = counts.get(network, 0) + array.size
    metrics = [row for row in read_metrics(folder) if row["step"] <= step]
    return {
        "run": str(folder),
        "step": step,
        "steps": config.steps,
        "parameters": counts,
        "sha256": {"parameters": digest(params), "state": digest(arrays)},
        "damage": damage,
        "metrics": metrics[-1] if metrics else {},
        "config": to_json(config),
        "spec": asdict(_experiment(folder).spec),
        "versions": record["versions"],
        "git": record["git"],
    }


def _experiment(folder: Path) -> Experiment:
    config, record = read_config(folder)
    try:
        spec = build(DataSpec, record["spec"])
        shape = spec.image_shape
        check(min(shape) > 0, f"{folder / 'config.json'}: images cannot have the shape {shape}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'} does not tell what the data were: {error!r:.120}") from error
    return assemble(config, spec)


def _restore(folder: Path) -> tuple[int, Arrays, list[str]]:
    """The newest good checkpoint. A trainer may delete what is being read here, but only after it saved a newer one."""
    while True:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            try:
                restored = checkpoints.restore()
                if restored is None:
                    raise UserError(f"{folder} has no checkpoint yet: let it train, or `vaegan resume {folder}`")
                if not restored[2] or not checkpoints.outdated():
                    return restored
            except UserError:
                if not checkpoints.outdated():
                    raise
