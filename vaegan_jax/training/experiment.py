"""A run's pure parts, put together from its configuration: the game, its step and its samples. No files, no loop."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.data.augmentation import Augmentation, augment, augmented_shape
from vaegan_jax.data.batches import fetch
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.dynamics.solvers import Solved, solve
from vaegan_jax.dynamics.wrappers import averaged_state
from vaegan_jax.errors import UserError, check, unknown
from vaegan_jax.games import POOL, Batch, Game, Metrics, Params, Schedule, State, Stats, example_keys
from vaegan_jax.models import MODELS, name_of, truncating
from vaegan_jax.models.adversarial_game import drawn_classes
from vaegan_jax.networks import binned
from vaegan_jax.networks.network import init_networks
from vaegan_jax.training.accumulating import ghost, refuse_mixing
from vaegan_jax.training.averaging import averaged, standing_statistics
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
    """The model's own, whose field is measured whatever the solver makes of it."""
    solved: Solved
    """What is played: the solver's game, schedule, start and round."""

    @property
    def schedule(self) -> Schedule:
        """As it is really played."""
        return self.solved.schedule

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
        key = jax.random.fold_in(jax.random.key(self.config.seed), meaning)
        again = self.config.rolled_back if meaning == PLAY else 0  # the same noise would lead to the same collapse
        return jax.random.fold_in(key, again) if again else key

    @property
    def averages(self) -> tuple[str, ...]:
        """Networks that are also kept as moving averages; none where the solver itself keeps the mean of all."""
        kept = self.config.training.ema_halflife_kimg and self.config.solver.name != "averaging"
        return getattr(self.model, "AVERAGED", ()) if kept else ()


def assemble(config: RunConfig, spec: DataSpec) -> Experiment:
    """Raises UserError where the model does not fit the data, or the solver the model."""
    model = MODELS[name_of(config.model)]
    shape = augmented_shape(config.augmentation, spec.image_shape)
    spec = dataclasses.replace(spec, image_shape=shape, batch_size=config.batch_size)
    if config.labels and getattr(config.model, "condition", "none") != "auxiliary":
        raise UserError(f"labels {config.labels}: {name_of(config.model)} cannot learn from few labels (acgan can)")
    try:
        game = model.game(config.model, spec)
        _check_pools(config, model, spec)
        refuse_mixing(config)
        made = Experiment(config, spec, model, game, solve(config.solver, game, model.schedule(config.model)))
        _check_clock(made)
        if config.training.sample_classes:
            class_numbers(made, config.training.sample_classes)
        return made
    except ValueError as error:
        raise UserError(str(error)) from error


def _check_clock(experiment: Experiment) -> None:
    """ValueError where a noise decays by images that the solver does not show."""
    config = experiment.config
    tricks, moves = getattr(config.model, "techniques", None), getattr(config.model, "discriminator_moves", 1)
    if tricks and tricks.instance_noise_kimg and experiment.images_per_round != config.batch_size * moves:
        raise ValueError(
            f"instance-noise-kimg counts {moves} moves of the discriminator a round, and solver {config.solver.name} "
            "makes 1: set --model.discriminator-moves 1"
        )


def check_of_use(experiment: Experiment) -> None:
    """UserError for what a new run would never come to use. Runs that are there may be read whatever they ask for."""
    config, training = experiment.config, experiment.config.training
    shown = config.steps * experiment.images_per_round
    check(
        1000 * training.ema_start_kimg < shown,
        f"training.ema-start-kimg {training.ema_start_kimg:g} is after the end: {config.steps:,} rounds show "
        f"{shown:,} images; set more --steps, or an earlier start",
    )
    check(
        not getattr(config.model, "statistics_bins", 0) or bool(config.initial),
        "statistics-bins are filled by an import alone: leave them 0, or begin with an imported run by --initial",
    )


def _check_pools(config: RunConfig, model: ModuleType, spec: DataSpec) -> None:
    """ValueError, before anything is compiled, for what the engine would refuse at the first round."""
    if config.training.micro_batches > 1 or config.parallel == "pmapped":
        _, stats = jax.eval_shape(lambda key: init_networks(model.networks(config.model, spec), key), jax.random.key(0))
        if any(POOL in tree for tree in stats.values()):
            raise ValueError("replay's pool is one for all devices and moves: use --parallel sharded, micro-batches 1")


def again(experiment: Experiment) -> Experiment:
    """The same with other noise, for a run that is rolled back."""
    config = experiment.config
    return experiment._replace(config=dataclasses.replace(config, rolled_back=config.rolled_back + 1))


def step_of(experiment: Experiment):
    """One round, `(state, batch, key, store, told=True) -> (state, metrics)`: reads and augments, plays, averages."""
    round = experiment.solved.round
    if experiment.averages:
        training = experiment.config.training
        round = averaged(round, experiment.images_per_round, training.ema_halflife_kimg, training.ema_start_kimg)

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


def weights_for_sampling(
    experiment: Experiment, state: State, truncation: float | None = None
) -> tuple[Params, Stats, str]:
    """The params and stats to sample with, and what they are, in words: part of every number made from the samples.

    Statistics fit latents of that `truncation`: those that were imported with the weights, while nothing has trained
    them, or else standing ones. UserError where the model has no such latents.
    """
    config, (params, told) = experiment.config.model, means(experiment, state)
    if truncation is not None:
        truncating.truncated_prior(config, truncation)  # refuses
    if getattr(config, "statistics_bins", 0) and state.step == 0:
        cut = truncation or 1.0
        stats = state.stats | {"generator": binned.at(state.stats["generator"], cut)}
        return params, stats, f"{told or 'last weights'}, imported statistics of truncation {cut:g}"
    trained = f", trained with {named}" if (named := ghost(experiment.config, state.stats)) else ""
    networks = getattr(experiment.model, "AVERAGED", ())
    if not told and not (truncation and any("batch_stats" in state.stats[network] for network in networks)):
        networks = ()
    if not networks:
        normed = any(isinstance(tree, dict) and "batch_stats" in tree for tree in state.stats.values())
        return params, state.stats, (told or "last weights") + ", running statistics" * normed + trained
    key = experiment.key(STANDING)
    keys = jax.vmap(lambda batch: example_range(jax.random.fold_in(key, batch), 0, 128))(jnp.arange(8))
    sampler = _sampler(config, experiment.spec, truncation)
    stats = standing_statistics(sampler, networks, params, state.stats, keys)
    cut = f" truncated at {truncating.told(config, truncation)}" * bool(truncation)
    return params, stats, f"{told or 'last weights'}, standing statistics of 8 x 128 latents{cut}{trained}"


def has_means(experiment: Experiment) -> bool:
    """Whether samples are made with means of weights, not with the last ones."""
    return bool(experiment.averages) or experiment.config.solver.name == "averaging"


def means(experiment: Experiment, state: State) -> tuple[Params, str]:
    """The params with means in place of what there are means of, and of which kind they are; "" where of nothing."""
    solver = experiment.config.solver
    if solver.name == "averaging":
        kind = f"decay {solver.decay:g}" if solver.average == "ema" else "uniform"
        return averaged_state(state).params, f"mean of all weights ({kind})"
    halflife = experiment.config.training.ema_halflife_kimg
    told = f"averaged weights (half-life {halflife:g} kimg)" if experiment.averages else ""
    if told and (start := experiment.config.training.ema_start_kimg):
        begun = int(state.step) * experiment.images_per_round > 1000 * start
        told += f" from {start:g} kimg on" if begun else f", which are the last ones until {start:g} kimg"
    return state.params | dict(state.averages), told


def example_range(key: jax.Array, first: int, count: int) -> jax.Array:
    """Keys of samples first .. first + count - 1: sample i is the same in any grid that it is part of."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(first, first + count))


def generate(
    experiment: Experiment,
    params: Params,
    stats: Stats,
    count: int,
    seed: int,
    labels: np.ndarray | None = None,
    truncation: float | None = None,
) -> np.ndarray:
    """`count` images in [-1, 1] from the latents of `seed`, (count, height, width, channels).

    `labels` (count,) are their classes, for a model that is told classes; by default each latent draws its own. With
    `truncation`, params and stats should be those for it (`weights_for_sampling`).
    """
    return np.concatenate(list(generated(experiment, params, stats, count, seed, labels, truncation)))


def generated(
    experiment: Experiment,
    params: Params,
    stats: Stats,
    count: int,
    seed: int,
    labels: np.ndarray | None = None,
    truncation: float | None = None,
) -> Iterator[np.ndarray]:
    """The images of `generate` in chunks, for those who need not hold them all."""
    key = jax.random.fold_in(jax.random.key(seed), SAMPLES)
    sample, size = _sampler(experiment.config.model, experiment.spec, truncation), min(count, CHUNK)
    for at in range(0, count, size):
        told = {} if labels is None else {"labels": np.resize(labels[at : at + size], size).astype(np.int32)}
        images, _ = sample(params, stats, example_range(key, at, size), train=False, **told)
        yield np.asarray(images)[: count - at]


def drawn_labels(experiment: Experiment, count: int, seed: int) -> np.ndarray | None:
    """(count,): the classes that `generate`'s images draw for themselves; None where the model is told none."""
    classes = classes_told(experiment)
    keys = example_range(jax.random.fold_in(jax.random.key(seed), SAMPLES), 0, count)
    return np.asarray(drawn_classes(keys, classes)) if classes else None


def classes_told(experiment: Experiment) -> int:
    """Classes that the model's images can be asked for; 0: none."""
    told = getattr(experiment.model, "told", None)
    return told(experiment.config.model, experiment.spec) if told else 0


def class_numbers(experiment: Experiment, labels: Sequence[str]) -> np.ndarray:
    """Classes, by name or number, as integers. UserError for those that the model does not have."""
    classes, names = classes_told(experiment), experiment.spec.class_names
    name = name_of(experiment.config.model)
    check(classes > 0, f"{name} was not told classes, so there is no label to choose (cgan, acgan and sagan have)")
    known = {label: number for number, label in enumerate(names)} | {str(number): number for number in range(classes)}
    for label in labels:
        if label not in known:
            raise unknown("label", label, names or known, f"or a number in 0 .. {classes - 1}")
    return np.array([known[label] for label in labels], np.int32)


def reconstructs(experiment: Experiment) -> bool:
    """Whether the model has an encoder."""
    model = experiment.model
    return hasattr(model, "reconstruct") and (not hasattr(model, "encodes") or model.encodes(experiment.config.model))


def reconstruct(experiment: Experiment, state: State, images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] through encoder and decoder. UserError for a model that has no encoder."""
    told = "has no encoder of images alone (vae has, and a GAN that is told no class, by techniques.autoencoding)"
    check(reconstructs(experiment), f"{name_of(experiment.config.model)} cannot reconstruct: it {told}")
    rebuild = _rebuilder(experiment.config.model, experiment.spec)
    return np.asarray(rebuild(means(experiment, state)[0], state.stats, images))


@functools.lru_cache(maxsize=8)
def _sampler(config: Any, spec: DataSpec, truncation: float | None) -> Callable[..., tuple[jax.Array, Stats]]:
    """A model's `sample`, compiled once for all the pictures of a run. UserError where it cannot be truncated so."""
    prior = {} if truncation is None else {"prior": truncating.truncated_prior(config, truncation)}
    return jax.jit(functools.partial(MODELS[name_of(config)].sample, config, spec, **prior), static_argnames="train")


@functools.lru_cache(maxsize=8)
def _rebuilder(config: Any, spec: DataSpec) -> Callable[..., jax.Array]:
    return jax.jit(functools.partial(MODELS[name_of(config)].reconstruct, config, spec))
