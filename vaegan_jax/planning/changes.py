"""What another configuration would take: memory and time with each of the ways to save memory, and what would fit."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from typing import Any, NamedTuple

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.planning.chips import Chip
from vaegan_jax.planning.plan import Plan, plan, state_memory
from vaegan_jax.planning.tracing import PRIME, Traced, trace
from vaegan_jax.training.config import RunConfig, Shard

MOST_PARTS = 16
"""Micro-batches up to which something that fits is looked for."""
WORTH = 0.05
"""Share of a split state that has to be saved by having it several times, over fewer devices each."""
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
        return plan(config, self._spec, self.on, self._utilization, self._traced(config))

    def split(self, config: RunConfig, shard: Shard) -> RunConfig:
        """A configuration with a split state: over all devices, or over as many as leave least of it on each.

        More devices have fewer leaves that they divide. Over fewer only where that saves `WORTH` of what all would
        hold. Raises UserError as `plan.plan`.
        """
        devices, state = max(config.devices, 1), self._traced(config).state
        rows = [0, *(2**power for power in range(devices.bit_length() - 2, 0, -1) if devices % 2**power == 0)]
        ways = [replace(config, shard=shard, shard_over=over) for over in rows if shard != "none" or not over]
        experiment = self._traced(config).experiment
        held = [state_memory(experiment._replace(config=way), state, devices).state for way in ways]
        best = min(range(len(ways)), key=held.__getitem__)
        return ways[best] if held[best] < (1 - WORTH) * held[0] else ways[0]

    def _traced(self, config: RunConfig) -> Traced:
        devices = max(config.devices, 1)
        key = (config.model, config.training, config.solver, devices > 1)
        if key not in self._traces or not self._serves(self._traces[key], config):
            platform = "tpu" if self.on.name.startswith("tpu") else "gpu"
            self._traces[key] = trace(config, self._spec, platform, devices)
        return self._traces[key]

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
        ways = [planner.split(config, kind) for kind in ("none", "optimizer", "all")]
        made += [(_told(way), way) for way in ways if way != config]
    return list(_possible(planner, made))


def fitting(planner: Planner, config: RunConfig) -> list[Change]:
    """The smallest of each kind of change that makes it fit; else the first several together; and more devices.

    More devices have the same global batch. Nothing is found where the state alone, split, is more than there is.
    """
    smallest = planner.split(config, "optimizer") if config.parallel == "sharded" else config
    if planner(smallest).memory.state > planner.on.memory:  # which no change of activations mends
        return []
    found: dict[str, Change] = {}
    for change in _possible(planner, _single(planner, config), lambda told: told.split()[0] not in found):
        if change.plan.fits:
            found[change.told.split()[0]] = change
    ways = [] if found else [_together(planner, config)]
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


def _single(planner: Planner, config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    model = config.model
    if not getattr(model, "rematerialize", True):
        yield "rematerialize", _rematerialized(config, True)
    if getattr(model, "precision", "") == "float32":
        yield "precision bfloat16", replace(config, model=replace(model, precision="bfloat16"))
    if config.devices > 1 and config.parallel == "sharded":
        way = planner.split(config, "optimizer" if config.shard == "none" else config.shard)
        if way != config:
            yield _told(way), way
    parts = 2 * config.training.micro_batches
    while parts <= MOST_PARTS and (change := _more_parts(config, parts)):
        yield change
        parts *= 2


def _together(planner: Planner, config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """All that costs time only, together, in as few micro-batches as will do."""
    saving, told = config, []
    for name, changed in _single(planner, config):
        if name.startswith("micro"):
            continue
        saving, told = _both(config, saving, changed), [*told, name]
        if len(told) > 1:
            yield " + ".join(told), saving
    parts = 2 * config.training.micro_batches
    while parts <= MOST_PARTS and (change := _more_parts(saving, parts)):
        yield " + ".join([*told, change[0]]), change[1]
        parts *= 2


def _both(base: RunConfig, first: RunConfig, second: RunConfig) -> RunConfig:
    """The first, with what the second changes of the base too."""
    changed = _differing(base, second)
    model = replace(first.model, **_differing(base.model, changed.pop("model", base.model)))
    return replace(first, **changed, model=model)


def _differing(base: Any, other: Any) -> dict[str, Any]:
    pairs = ((each.name, getattr(other, each.name)) for each in fields(base))
    return {name: value for name, value in pairs if value != getattr(base, name)}


def _told(way: RunConfig) -> str:
    return f"shard {way.shard}" + f" over {way.shard_over}" * bool(way.shard_over)


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
