"""From a source to the batches of a lifted step: what lives on the device, and what travels each time."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from vaegan_jax.data.batches import batch, read, resident
from vaegan_jax.data.few_labels import FewLabels
from vaegan_jax.data.sources import Source
from vaegan_jax.training.checkpoint import Arrays, digest
from vaegan_jax.training.experiment import Experiment

RESIDENT_BYTES = 2**30
"""Data sets up to this size live on the device, unless the configuration says otherwise."""
PIECE = 256
"""Examples that a thread reads at once, so that a large batch is read by several, and little of it is held ahead."""
AHEAD = 4
"""Pieces that are held for each thread, at least."""


class Feeding(NamedTuple):
    """What a run's data are to its devices."""

    store: Arrays
    """All examples, to be put on the device once; empty if the data are streamed."""
    feed: Callable[[int], Arrays]
    """`feed(count)`: the next `count` rounds, leaves (limit, moves, micro-batches, examples, ...).

    Rows from `count` on repeat the last and are not played. Examples are this process's part of the batch."""


def on_device(experiment: Experiment, source: Source) -> bool:
    """Whether the data live on the device: as the configuration says, or whether they fit."""
    feeding = experiment.config.training.feeding
    return feeding == "resident" or feeding == "auto" and fits(source)


def fits(source: Source) -> bool:
    """Whether all of the data can live on the device."""
    return bytes_of(source) <= RESIDENT_BYTES


def bytes_of(source: Source) -> int:
    """Bytes of all examples."""
    return len(source) * sum(leaf.nbytes for leaf in source.example(0).values())


def feeder(experiment: Experiment, source: Source, first: int = 0, part: int = 0, parts: int = 1) -> Feeding:
    """What feeds the rounds from `first` on to process `part` of `parts`: a contiguous share of each batch.

    The batches are the same however they travel. Streams are read ahead by Grain where it is installed.
    """
    if experiment.config.labels:
        source = FewLabels(source, experiment.config.labels)
    local, limit = on_device(experiment, source), experiment.config.training.rounds_per_dispatch

    def indices(round: int) -> Arrays:
        whole = batch(experiment.config.seed, round, experiment.batch_shape, len(source))
        share = experiment.batch_shape[-1] // parts
        return {name: leaf[..., part * share : (part + 1) * share] for name, leaf in whole.items()}

    rounds = range(first, experiment.config.steps)
    rows = map(indices, rounds) if local else _streamed(source, indices, rounds, experiment.config.training.readers)

    def feed(count: int) -> Arrays:
        taken = list(itertools.islice(rows, count))
        taken += [taken[-1]] * (limit - count)
        return {name: np.stack([row[name] for row in taken]) for name in taken[0]}

    return Feeding(resident(source) if local else {}, feed)


def fingerprint(source: Source) -> str:
    """sha256 of the data: as their card has it, or of all of them, or of the first example where they are large."""
    known = getattr(source, "sha256", None)
    return known or digest(resident(source) if fits(source) else source.example(0))


def _streamed(source: Source, indices: Callable[[int], Arrays], rounds: range, readers: int) -> Iterator[Arrays]:
    """The batches of these rounds, read in pieces, a round or more ahead, by threads of Grain; without it, in turn."""
    if not rounds:
        return
    shape = indices(rounds[0])["index"].shape
    count = -(-math.prod(shape) // PIECE)

    @functools.lru_cache(maxsize=2)
    def flat(round: int) -> Arrays:
        return {name: leaf.reshape(-1) for name, leaf in indices(round).items()}

    def piece(number: int) -> Arrays:
        round, place = divmod(number, count)
        return read(source, {name: leaf[place * PIECE : (place + 1) * PIECE] for name, leaf in flat(round).items()})

    pieces = _ahead(piece, rounds.start * count, rounds.stop * count, readers, max(AHEAD * readers, 2 * count))
    for _ in rounds:
        parts = list(itertools.islice(pieces, count))
        yield {
            name: np.concatenate([part[name] for part in parts]).reshape(*shape, *parts[0][name].shape[1:])
            for name in parts[0]
        }


def _ahead(read: Callable[[int], Arrays], first: int, last: int, readers: int, ahead: int) -> Iterator[Arrays]:
    """`read(first)`, ..., `read(last - 1)`, in order, up to so many ahead by threads of Grain, if that is installed.

    Decoding images leaves Python's lock to other threads.
    """
    try:
        import grain
    except ImportError:
        return map(read, range(first, last))
    numbers = grain.MapDataset.range(first, last).map(read)
    return iter(numbers.to_iter_dataset(grain.ReadOptions(num_threads=readers, prefetch_buffer_size=ahead)))
