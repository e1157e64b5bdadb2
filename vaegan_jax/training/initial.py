"""A run that begins with the networks of another one (`RunConfig.initial`): to tune weights further, on other data.

Optimizers, the step and the data begin anew. The other run is read at the first start alone: what was taken of it is
saved at once as the checkpoint of round 0, and config.json keeps its sha256.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from vaegan_jax.errors import UserError, check
from vaegan_jax.games import POOL, Params, State, Stats
from vaegan_jax.networks.binned import COLLECTION as BINS
from vaegan_jax.training.beginning import begun, state_shapes
from vaegan_jax.training.checkpoint import digest, flatten
from vaegan_jax.training.experiment import Experiment, means
from vaegan_jax.training.reading import read

SHOWN = 4
"""Settings that differ and are told, at most."""
Leaves = dict[str, Any]
"""By names such as params.generator.Dense_0.kernel and stats.generator.spectral.Dense_0.u."""


def facts(experiment: Experiment) -> dict[str, Any]:
    """What config.json keeps of the run that `experiment` begins with: its folder, round and the sha256 of its state.

    UserError where there is no such run, or its networks do not fit.
    """
    folder = Path(experiment.config.initial)
    source, state, step = read(folder)
    template = state_shapes(experiment)
    _fresh(experiment, source, _leaves(template.params, template.stats), _leaves(state.params, state.stats))
    return {"run": str(folder), "round": step, "sha256": digest(flatten(state))}


def beginning(experiment: Experiment, state: State, taken: dict[str, Any]) -> tuple[State, list[str]]:
    """The state before round 0 with the other run's networks in place of those of `state`, and in words what is new.

    The averaged weights where there are such, else the last, and their stats. What depends on the number of classes
    stays as in `state` where that number is another. UserError where the run is not what it was (`facts`).
    """
    folder = Path(taken["run"])
    source, given, _ = read(folder, taken["round"])
    told = f"{folder} is no longer what this run was to begin with (its sha256 differs): train a new one"
    check(digest(flatten(given)) == taken["sha256"], told)
    params, kind = means(source, given)
    here, there = _leaves(state.params, state.stats), _leaves(params, given.stats)
    fresh, lines = _fresh(experiment, source, here, there)
    chosen = [leaf if name in fresh else jnp.asarray(there[name], leaf.dtype) for name, leaf in here.items()]
    structure = jax.tree.structure({"params": state.params, "stats": state.stats})
    start = jax.jit(lambda params, stats: begun(experiment, params, stats))
    made = start(**jax.tree.unflatten(structure, chosen))
    lines = [f"begins with {folder}, round {taken['round']:,}: {kind or 'last weights'}", *lines]
    differ = _differing(experiment, source)
    return made, lines + [f"settings differ: {differ}"] * bool(differ)


def _fresh(experiment: Experiment, source: Experiment, here: Leaves, there: Leaves) -> tuple[set[str], list[str]]:
    """Names of leaves that the other run does not give, and in words which; UserError for those that do not fit."""
    new = [network for network in _networks(here) if network not in _networks(there)]
    told = f"{experiment.config.initial} is of another model: its networks are {', '.join(_networks(there))}"
    check(set(new) < set(_networks(here)), told)
    fresh = {name for name in here if name.split(".")[1] in new or _collection(name) == POOL}
    counts, classed = (source.spec.classes, experiment.spec.classes), set()
    for name in dict.fromkeys([*here, *there]):
        shapes = [leaves[name].shape if name in leaves else None for leaves in (there, here)]
        dropped = name.split(".")[1] not in _networks(here) or _collection(name) in (POOL, BINS) and shapes[1] is None
        if shapes[0] == shapes[1] or name in fresh or dropped:
            continue
        if not _by_class(*shapes, *counts):
            raise _unfit(experiment, source, name, *shapes)
        classed.add(_layer(name))
    lines = [f"{network} is new" for network in new]
    if classed:
        lines.append(f"new for {counts[1]} classes instead of {counts[0]}: {', '.join(sorted(classed))}")
    return fresh | {name for name in here if _layer(name) in classed}, lines


def _leaves(params: Params, stats: Stats) -> Leaves:
    leaves = jax.tree_util.tree_leaves_with_path({"params": params, "stats": stats})
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _networks(leaves: Leaves) -> list[str]:
    return list(dict.fromkeys(name.split(".")[1] for name in leaves))


def _collection(name: str) -> str:
    kind, _, collection = name.split(".")[:3]
    return collection if kind == "stats" else ""


def _layer(name: str) -> str:
    """Network and path of the layer that has a leaf, the same for its parameters and its stats."""
    kind, network, *path = name.split(".")
    return ".".join([network, *(path[1:-1] if kind == "stats" else path[:-1])])


def _by_class(there: tuple[int, ...] | None, here: tuple[int, ...] | None, before: int, now: int) -> bool:
    """Whether two shapes differ by the number of classes alone."""
    if there is None or here is None or len(there) != len(here) or before == now:
        return False
    return all(pair in ((before, now), (pair[0], pair[0])) for pair in zip(there, here, strict=True))


def _unfit(experiment: Experiment, source: Experiment, name: str, there: Any, here: Any) -> UserError:
    kind, *path = name.split(".")
    shapes = " and ".join(
        f"{'absent' if shape is None else shape} {place}" for shape, place in ((there, "there"), (here, "here"))
    )
    differ = _differing(experiment, source)
    hint = f"; settings differ: {differ}" if differ else f"; its images are {source.spec.image_shape}"
    return UserError(f"{experiment.config.initial} does not fit: {'.'.join(path)} is {shapes}{hint}")


def _differing(experiment: Experiment, source: Experiment) -> str:
    """Settings of the model, optimizers and techniques aside, that are not those of the other run."""
    mine, theirs = experiment.config.model, source.config.model
    differ = []
    for name in (each.name for each in dataclasses.fields(mine)):
        here, there = getattr(mine, name), getattr(theirs, name, None)
        if here != there and not dataclasses.is_dataclass(here):
            differ.append(f"--model.{name.replace('_', '-')} {here} (there {there})")
    return ", ".join(differ[:SHOWN] + ["..."] * (len(differ) > SHOWN))
