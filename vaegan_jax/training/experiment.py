"""A run's pure parts, put together from its configuration: the game, its step and its samples. No files, no loop."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.data.augmentation import Augmentation, augment, augmented_shape
from vaegan_jax.data.batches import fetch
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.games import Batch, Game, Metrics, Params, Schedule, State, Stats, example_keys, init, play
from vaegan_jax.models import MODELS, name_of
from vaegan_jax.networks.network import init_networks
from vaegan_jax.training.averaging import averaged, standing_statistics, start
from vaegan_jax.training.config import RunConfig

INIT, PLAY, SAMPLES, STANDING, AUGMENT = range(5)
"""What the root key is for: folded in by meaning."""
CHUNK = 256
"""Images generated at once."""


class Experiment(NamedTuple):
    """What a configuration means. `config.model` is the model's own `Config`, `model` its module."""

    config: RunConfig
    spec: DataSpec
    model: ModuleType
    game: Game
    schedule: Schedule

    @property
    def batch_shape(self) -> tuple[int, int, int]:
        """(moves, micro-batches, examples) of one round."""
        parts = self.config.training.micro_batches
        return len(self.schedule), parts, self.config.batch_size // parts

    @property
    def images_per_round(self) -> int:
        """Real images that the first player sees in a round: the time in which training is counted."""
        first = self.schedule[0][0]
        return self.config.batch_size * sum(first in movers for movers in self.schedule)

    def key(self, meaning: int) -> jax.Array:
        """The root key of the run with one of the meanings above folded in."""
        return jax.random.fold_in(jax.random.key(self.config.seed), meaning)

    @property
    def averages(self) -> tuple[str, ...]:
        """Networks that are also kept as moving averages."""
        return getattr(self.model, "AVERAGED", ()) if self.config.training.ema_halflife_kimg else ()


def assemble(config: RunConfig, spec: DataSpec) -> Experiment:
    """Raises UserError where the model does not fit the data."""
    model = MODELS[name_of(config.model)]
    shape = augmented_shape(config.augmentation, spec.image_shape)
    spec = dataclasses.replace(spec, image_shape=shape, batch_size=config.batch_size)
    try:
        return Experiment(config, spec, model, model.game(config.model, spec), model.schedule(config.model))
    except ValueError as error:
        raise UserError(str(error)) from error


def first_state(experiment: Experiment) -> State:
    """The state before round 0, a pure function of the seed."""

    def make(key: jax.Array) -> State:
        networks = experiment.model.networks(experiment.config.model, experiment.spec)
        return start(init(experiment.game, *init_networks(networks, key)), experiment.averages)

    return jax.jit(make)(experiment.key(INIT))


def step_of(experiment: Experiment):
    """One round, `(state, batch, key, store, told=True) -> (state, metrics)`: reads and augments, plays, averages."""
    round = play(experiment.game, experiment.schedule)
    if experiment.averages:
        round = averaged(round, experiment.images_per_round, experiment.config.training.ema_halflife_kimg)

    def step(state: State, batch: Batch, key: jax.Array, store: Batch, told=True) -> tuple[State, Metrics]:
        return round(state, augmented(experiment, fetch(store, batch), state.step), key, told)

    return step


def augmented(experiment: Experiment, batch: Batch, step: jax.Array) -> Batch:
    """A round's batch with its images changed as the configuration asks for, on the device."""
    config = experiment.config.augmentation
    if config == Augmentation():
        return batch
    key = jax.random.fold_in(experiment.key(AUGMENT), step)

    def move(index, images, position):
        keys = example_keys(jax.random.fold_in(key, index), {"position": position.ravel()})
        changed = augment(config, images.reshape(-1, *images.shape[2:]), keys)
        return changed.reshape(*position.shape, *changed.shape[1:])

    moves = jnp.arange(len(experiment.schedule))
    return batch | {"image": jax.vmap(move)(moves, batch["image"], batch["position"])}


def weights_for_sampling(experiment: Experiment, state: State) -> tuple[Params, Stats, str]:
    """The params and stats to sample with, and what they are, in words: part of every number made from the samples."""
    if not experiment.averages:
        normed = any(isinstance(tree, dict) and "batch_stats" in tree for tree in state.stats.values())
        return state.params, state.stats, "last weights" + ", running statistics" * normed
    params = state.params | state.averages
    key = experiment.key(STANDING)
    keys = jax.vmap(lambda batch: example_range(jax.random.fold_in(key, batch), 0, 128))(jnp.arange(8))
    stats = standing_statistics(
        _sampler(experiment.config.model, experiment.spec), experiment.averages, params, state.stats, keys
    )
    halflife = experiment.config.training.ema_halflife_kimg
    return params, stats, f"averaged weights (half-life {halflife:g} kimg), standing statistics of 8 x 128 latents"


def example_range(key: jax.Array, first: int, count: int) -> jax.Array:
    """Keys of samples first .. first + count - 1: sample i is the same in any grid that it is part of."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(first, first + count))


def generate(experiment: Experiment, params: Params, stats: Stats, count: int, seed: int) -> np.ndarray:
    """`count` images in [-1, 1] from the latents of `seed`, (count, height, width, channels)."""
    return np.concatenate(list(generated(experiment, params, stats, count, seed)))


def generated(experiment: Experiment, params: Params, stats: Stats, count: int, seed: int) -> Iterator[np.ndarray]:
    """The images of `generate` in chunks, for those who need not hold them all."""
    key = jax.random.fold_in(jax.random.key(seed), SAMPLES)
    sample, size = _sampler(experiment.config.model, experiment.spec), min(count, CHUNK)
    for at in range(0, count, size):
        images, _ = sample(params, stats, example_range(key, at, size), train=False)
        yield np.asarray(images)[: count - at]


def reconstruct(experiment: Experiment, state: State, images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] through encoder and decoder. UserError for a model that has no encoder."""
    if not hasattr(experiment.model, "reconstruct"):
        raise UserError(f"{name_of(experiment.config.model)} cannot reconstruct: it has no encoder (vae has)")
    rebuild = _rebuilder(experiment.config.model, experiment.spec)
    return np.asarray(rebuild(state.params, state.stats, images))


@functools.lru_cache(maxsize=8)
def _sampler(config: Any, spec: DataSpec) -> Callable[..., tuple[jax.Array, Stats]]:
    """A model's `sample`, compiled once for all the pictures of a run."""
    return jax.jit(functools.partial(MODELS[name_of(config)].sample, config, spec), static_argnames="train")


@functools.lru_cache(maxsize=8)
def _rebuilder(config: Any, spec: DataSpec) -> Callable[..., jax.Array]:
    return jax.jit(functools.partial(MODELS[name_of(config)].reconstruct, config, spec))
