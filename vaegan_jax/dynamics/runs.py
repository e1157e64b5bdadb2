"""The instruments on a trained run: the spectrum at a checkpoint, the way from one checkpoint to another."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vaegan_jax.data import Source, load, located
from vaegan_jax.data.augmentation import augmented_shape, middle
from vaegan_jax.data.batches import batch as batch_of
from vaegan_jax.data.batches import fetch, read
from vaegan_jax.dynamics import paths, spectra
from vaegan_jax.dynamics.instruments import (
    JointField,
    Share,
    field,
    gradient_norms,
    moving,
    point_of,
    rotation_share,
    singular_values,
)
from vaegan_jax.errors import check
from vaegan_jax.games import State
from vaegan_jax.training import reading
from vaegan_jax.training.experiment import PLAY, Experiment

Steps = Callable[[str, int, int], None]
"""(what, done, total): told while it takes its time."""


class Held(NamedTuple):
    """On which images the field is measured."""

    name: str
    count: int
    seed: int


class RunSpectrum(NamedTuple):
    """What the instruments see of a run at a checkpoint."""

    run: str
    step: int
    data: Held
    norms: dict[str, float]
    """Of the field, by player."""
    leading: spectra.Spectrum
    """Eigenvalues of the game's Jacobian of the greatest magnitude."""
    leftmost: spectra.Spectrum
    """Those of the least real part: what repels."""
    hessians: dict[str, spectra.Ends]
    """Both ends of each player's own."""
    share: Share
    singular_values: dict[str, np.ndarray]
    """Of every array of weights, the largest first."""
    point: spectra.Point
    """The verdict, and what it rests on."""


class RunPath(NamedTuple):
    """From one checkpoint of a run to another, in the field of the later one's stats."""

    run: str
    first: int
    last: int
    data: Held
    path: paths.Path


def held_field(experiment: Experiment, state: State, held: Held, source: Source) -> JointField:
    """The field of a run on the same images of its test split, whatever the state. UserError for too few of them."""
    check(held.count > 0, f"batch-size must be at least 1, not {held.count}")
    check(held.seed >= 0, f"seed must be at least 0, not {held.seed}")
    check(held.count <= len(source), f"{held.name} has {len(source):,} held images, not {held.count:,}")
    trained = experiment.spec.image_shape
    shape = augmented_shape(experiment.config.augmentation, source.spec.image_shape)
    check(shape == trained, f"{held.name} has images of {shape}, but the run was trained on {trained}")
    data = fetch({}, read(source, batch_of(held.seed, 0, (1, 1, held.count), len(source))))
    pixels = data["image"]
    image = middle(pixels.reshape(-1, *pixels.shape[3:]), trained).reshape(*pixels.shape[:3], *trained)
    return field(moving(experiment), state, data | {"image": image}, experiment.key(PLAY))


def spectrum(
    run: Path,
    at: int | None = None,
    count: int = 6,
    probes: int = 20,
    held: tuple[int, int] = (128, 0),
    data: str | None = None,
    steps: Steps = lambda what, done, total: None,
) -> RunSpectrum:
    """Of the newest checkpoint, or that of round `at`: `count` eigenvalues at each end.

    `held` is how many images of the test split the field is measured on, and the seed that they are drawn with; `data`
    says where the data are now. UserError for what `training.reading.read` and the instruments refuse.
    """
    experiment, state, step = reading.read(run, at)
    shown, source = _held(experiment, held, data)
    game = moving(experiment)
    joint, point = held_field(experiment, state, shown, source), point_of(game, state.params)
    total = 5 + len(game)

    def told(done: int, what: str) -> None:
        steps(f"spectrum: {what}", done, total)

    norms = gradient_norms(game, joint, point)
    for name, norm in norms.items():
        check(bool(np.isfinite(norm)), f"the gradient of {name} is not finite at round {step:,}")
    told(1, "leading eigenvalues of the game")
    leading = spectra.leading(joint, point, count)
    told(2, "its leftmost eigenvalues")
    leftmost = spectra.leading(joint, point, count, "smallest real")
    hessians = {}
    for place, (name, player) in enumerate(game.items()):
        told(3 + place, f"Hessian of {name}")
        hessians[name] = spectra.hessian(joint, point, player.owns, count)
    told(total - 2, "rotation")
    share = rotation_share(joint, point, jax.random.key(shown.seed), probes)
    told(total - 1, "verdict")
    verdict = spectra.classify(game, joint, point, ends=hessians)
    values = singular_values(point)
    return RunSpectrum(str(run), step, shown, norms, leading, leftmost, hessians, share, values, verdict)


def path(
    run: Path,
    first: int | None = None,
    last: int | None = None,
    points: int = 61,
    held: tuple[int, int] = (128, 0),
    data: str | None = None,
) -> RunPath:
    """From the oldest checkpoint kept to the newest, or between those of two rounds; arguments as `spectrum`'s.

    UserError where there is only one checkpoint, and for two that are the same or unlike each other.
    """
    check(points > 2, f"points must be at least 3, not {points}")
    kept = reading.rounds(run)
    hint = "train with --training.keep-checkpoints N to keep more, --training.checkpoint-interval-steps N for others"
    check(len(kept) > 1 or not kept, f"{run} keeps one checkpoint only, of round {(kept or [0])[0]:,}: {hint}")
    experiment, end, last = reading.read(run, last)
    _, start, first = reading.read(run, kept[0] if first is None else first)
    check(first != last, f"a path goes from one checkpoint to another, not from round {first:,} to itself: {hint}")
    shown, source = _held(experiment, held, data)
    game = moving(experiment)
    joint = held_field(experiment, end, shown, source)
    ends = (point_of(game, state.params) for state in (start, end))
    return RunPath(str(run), first, last, shown, paths.path(joint, *ends, np.linspace(0, 1.2, points)))


def _held(experiment: Experiment, held: tuple[int, int], data: str | None) -> tuple[Held, Source]:
    name = located(data or experiment.config.data)
    source = load(name, "test", experiment.config.image_size)
    return Held(source.spec.name, *held), source
