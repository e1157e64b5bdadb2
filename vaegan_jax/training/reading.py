"""What can be had from a run, finished or running, without disturbing it: state, samples, reconstructions, facts."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.data import Source, load, located
from vaegan_jax.data.augmentation import augmented_shape, middle
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import Caution, UserError, check
from vaegan_jax.games import State
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.checkpoint import Arrays, Checkpoints, digest, unflatten
from vaegan_jax.training.config import build, to_json
from vaegan_jax.training.experiment import (
    Experiment,
    assemble,
    class_numbers,
    generate,
    reconstruct,
    weights_for_sampling,
)
from vaegan_jax.training.logging import read_metrics
from vaegan_jax.training.run import read_config
from vaegan_jax.training.showing import images


def read(run: Path | str, at: int | None = None) -> tuple[Experiment, State, int]:
    """The experiment and the newest good state of a run, or that of round `at`, with its round. Needs the folder alone.

    Warns (`Caution`) of a newer state that is damaged. Raises UserError for a round without a checkpoint.
    """
    folder = Path(run)
    experiment = _experiment(folder)
    if at is not None and at not in (kept := rounds(folder)):
        told = ", ".join(f"{step:,}" for step in kept) or "none"
        raise UserError(f"{folder} has no checkpoint of round {at:,}; it has {told} (--training.keep-checkpoints)")
    step, arrays, damage = _restore(folder, at)
    for told in damage:
        warnings.warn(f"{folder}: {told}; falling back to that of round {step:,}", Caution, stacklevel=2)
    state = unflatten(state_shapes(experiment), arrays)
    return experiment, jax.tree.map(jnp.asarray, state), step


def rounds(run: Path | str) -> list[int]:
    """Of the checkpoints of a run. UserError where it is none, or has none yet."""
    read_config(Path(run))
    with Checkpoints(Path(run) / "checkpoints") as checkpoints:
        return checkpoints.steps


def sample(
    run: Path | str,
    count: int,
    seed: int | None = None,
    labels: Sequence[str] = (),
    truncation: float | None = None,
) -> tuple[np.ndarray, str]:
    """`count` images in [-1, 1], (count, height, width, channels), and with which weights they were made.

    `labels`: classes by name or number; image i is of class i modulo their number. By default each image draws its own.
    `truncation` cuts latents off there (`models.truncating`); batch statistics then are those of such latents. Raises
    UserError for a count below 1, a seed out of range, classes that the model does not have, and a truncation that is
    not above 0 or of a model whose prior is not normal.
    """
    check(count > 0, f"count must be at least 1, not {count}")
    check(seed is None or 0 <= seed < 2**32, f"seed must be in 0 .. 2^32 - 1, not {seed}")
    experiment, state, _ = read(run)
    numbers = np.resize(class_numbers(experiment, labels), count) if labels else None
    params, stats, sampled_with = weights_for_sampling(experiment, state, truncation)
    seed = experiment.config.seed if seed is None else seed
    return generate(experiment, params, stats, count, seed, numbers, truncation), sampled_with


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
    """What there is to know: step, parameters by network, sha256 of parameters and state, config, latest metrics.

    "schedule" holds the moves of a round as they are played, "field_evaluations" what a round costs; "batch_norm" tells
    of how many examples batch norms are, where that is not the whole batch, "imported" and "initial" what the networks
    began as, where not as new ones.
    """
    folder = Path(run)
    config, record = read_config(folder)
    step, arrays, damage = _restore(folder)
    params = {name: array for name, array in arrays.items() if name.startswith("params.")}
    counts: dict[str, int] = {}
    for name, array in params.items():
        network = name.split(".")[1]
        counts[network] = counts.get(network, 0) + array.size
    experiment = _experiment(folder)
    metrics = [row for row in read_metrics(folder) if row["step"] <= step]
    return {
        "run": str(folder),
        "step": step,
        "steps": config.steps,
        "parameters": counts,
        "sha256": {"parameters": digest(params), "state": digest(arrays)},
        "damage": damage,
        "metrics": metrics[-1] if metrics else {},
        "watched": next((row for row in reversed(metrics) if "samples/variance" in row), {}),
        "rollbacks": record.get("rollbacks", []),
        "config": to_json(config),
        "batch_norm": record.get("batch_norm", ""),
        "schedule": [list(movers) for movers in experiment.schedule],
        "field_evaluations": experiment.solved.evaluations,
        "spec": asdict(experiment.spec),
        "versions": record["versions"],
        "git": record["git"],
        "imported": record.get("imported"),
        "initial": record.get("initial"),
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


def _restore(folder: Path, at: int | None = None) -> tuple[int, Arrays, list[str]]:
    """The newest good checkpoint. A trainer may delete what is being read here, but only after it saved a newer one."""
    while True:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            try:
                restored = checkpoints.restore(at)
                if restored is None:
                    raise UserError(f"{folder} has no checkpoint yet: let it train, or `vaegan resume {folder}`")
                if not restored[2] or not checkpoints.outdated():
                    return restored
            except UserError:
                if not checkpoints.outdated():
                    raise
