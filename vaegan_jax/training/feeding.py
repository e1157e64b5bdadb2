"""From a source to the batches of a lifted step: what lives on the device, and what travels each time."""

from collections.abc import Callable

import numpy as np

from vaegan_jax.data.batches import batch, read, resident
from vaegan_jax.data.sources import Source
from vaegan_jax.training.checkpoint import Arrays, digest
from vaegan_jax.training.experiment import Experiment

RESIDENT_BYTES = 2**30
"""Data sets up to this size live on the device; larger ones are read batch by batch."""


def fits(source: Source) -> bool:
    """Whether all of the data can live on the device."""
    return len(source) * sum(leaf.nbytes for leaf in source.example(0).values()) <= RESIDENT_BYTES


def feeder(experiment: Experiment, source: Source, limit: int) -> tuple[Arrays, Callable[[int, int], Arrays]]:
    """The store for the device, empty if the data do not fit, and `feed(round, count) -> batch`.

    Leaves are (limit, moves, micro-batches, examples, ...); rows from `count` on repeat the last and are not played.
    """
    on_device = fits(source)

    def feed(first: int, count: int) -> Arrays:
        steps = [first + min(row, count - 1) for row in range(limit)]
        rows = [batch(experiment.config.seed, step, experiment.batch_shape, len(source)) for step in steps]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return stacked if on_device else read(source, stacked)

    return resident(source) if on_device else {}, feed


def fingerprint(source: Source) -> str:
    """sha256 of the data; of its first example alone where it is large."""
    return digest(resident(source) if fits(source) else source.example(0))
