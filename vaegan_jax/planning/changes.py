"""What another configuration would take: memory and time with each of the ways to save memory, and what would fit."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.planning.chips import Chip
from vaegan_jax.planning.plan import Plan, plan
from vaegan_jax.planning.tracing import PRIME, Traced, trace
from vaegan_jax.training.config import RunConfig

MOST_PARTS = 16
"""Micro-batches up to which something that fits is looked for."""
MOST_TIMES = 64
"""Times as many devices up to which something that fits is looked for."""


class Change(NamedTuple):
    """Another configuration, by what is changed, and its plan."""

    told: str
    plan: Plan


class Planner:
    """Plans of variants of a configuration; those that differ in batch, devices and split only share a trace."""

    def __init__(self, spec: DataSpec, on: Chip, utilization: float, traces: dict[Any, Traced] | None = None):
        """`traces` are shared with planners for other chips of the same kind."""
        self.on, self._spec, self._utilization = on, spec, utilization
        self._traces = {} if traces is None else traces

    def __call__(self, config: RunConfig) -> Plan:
        """Raises UserError as `plan.plan`."""
        devices = max(config.devices, 1)
        key = (config.model, config.training, config.solver, devices > 1)
        if key not in self._traces or not self._serves(self._traces[key], config):
            platform = "tpu" if self.on.name.startswith("tpu") else "gpu"
            self._traces[key] = trace(config, self._spec, platform, devices)
        return plan(config, self._spec, self.on, self._utilization, self._traces[key])

    def _serves(self, traced: Traced, config: RunConfig) -> bool:
        """Whether a trace is good for another batch, and for as many devices."""
        gathers = any("gather" in operation.name and "all" in operation.name for operation in traced.program.operations)
        same = traced.experiment.config.devices == config.devices
        return (same or not gathers) and traced.examples % PRIME == 0


def alternatives(planner: Planner, config: RunConfig) -> list[Change]:
    """What one change at a time would make of it: rematerialization, more micro-batches, split states.

    Those that the model cannot have are left out.
    """
    made = [("as asked", config)]
    if hasattr(config.model, "rematerialize"):
        other = not config.model.rematerialize
        made.append((f"rematerialize {other}", _rematerialized(config, other)))
    if parts := _more_parts(config, 2 * config.training.micro_batches):
        made.append(parts)
    if config.devices > 1 and config.parallel == "sharded":
        kinds = [kind for kind in ("none", "optimizer", "all") if kind != config.shard]
        made += [(f"shard {kind}", replace(config, shard=kind)) for kind in kinds]
    return list(_possible(planner, made))


def fitting(planner: Planner, config: RunConfig) -> list[Change]:
    """The smallest of each kind of change that makes it fit; else the first several together; and more devices.

    More devices have the same global batch. Nothing is found where the state alone, split, is more than there is.
    """
    smallest = replace(config, shard="optimizer" if config.parallel == "sharded" else "none")
    if planner(smallest).memory.state > planner.on.memory:  # which no change of activations mends
        return []
    found: dict[str, Change] = {}
    for change in _possible(planner, _single(config), lambda told: told.split()[0] not in found):
        if change.plan.fits:
            found[change.told.split()[0]] = change
    ways = [] if found else [_together(config)]
    chosen = [next(filter(lambda change: change.plan.fits, _possible(planner, way)), None) for way in ways]
    more = next(filter(lambda change: change.plan.fits, _possible(planner, _more_devices(config))), None)
    return [*found.values(), *(change for change in (*chosen, more) if change)]


def _possible(
    planner: Planner, changes: Iterable[tuple[str, RunConfig]], wanted: Callable[[str], bool] = lambda told: True
) -> Iterator[Change]:
    """The plans of those that the model and the batch can have."""
    for told, changed in changes:
        if wanted(told):
            with contextlib.suppress(UserError):
                yield Change(told, planner(changed))


def _single(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    model = config.model
    if not getattr(model, "rematerialize", True):
        yield "rematerialize", _rematerialized(config, True)
    if getattr(model, "precision", "") == "float32":
        yield "precision bfloat16", replace(config, model=replace(model, precision="bfloat16"))
    if config.devices > 1 and config.shard == "none" and config.parallel == "sharded":
        yield "shard optimizer", replace(config, shard="optimizer")
    parts = 2 * config.training.micro_batches
    while parts <= MOST_PARTS and (change := _more_parts(config, parts)):
        yield change
        parts *= 2


def _together(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """All that costs time only, together, in as few micro-batches as will do."""
    saving, told = config, []
    for name, changed in _single(config):
        if name.startswith("micro"):
            continue
        saving, told = _both(saving, changed), [*told, name]
        if len(told) > 1:
            yield " + ".join(told), saving
    parts = 2 * config.training.micro_batches
    while parts <= MOST_PARTS and (change := _more_parts(saving, parts)):
        yield " + ".join([*told, change[0]]), change[1]
        parts *= 2


def _both(first: RunConfig, second: RunConfig) -> RunConfig:
    """One change upon another; each is of one field of the run or of its model."""
    if second.shard != first.shard and first.shard == "none":
        return replace(first, shard=second.shard)
    names = [name for name in ("rematerialize", "precision") if hasattr(first.model, name)]
    changed = {
        name: getattr(second.model, name)
        for name in names
        if getattr(second.model, name) not in (False, "float32", getattr(first.model, name))
    }
    return replace(first, model=replace(first.model, **changed))


def _more_devices(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    times = 2
    devices, parts = max(config.devices, 1), config.training.micro_batches
    while times <= MOST_TIMES and config.batch_size % (devices * times * parts) == 0:
        yield f"devices {devices * times}", replace(config, devices=devices * times)
        times *= 2


def _rematerialized(config: RunConfig, on: bool) -> RunConfig:
    return replace(config, model=replace(config.model, rematerialize=on))


def _more_parts(config: RunConfig, parts: int) -> tuple[str, RunConfig] | None:
    if config.batch_size % (parts * max(config.devices, 1)):
        return None
    return f"micro-batches {parts}", replace(config, training=replace(config.training, micro_batches=parts))
