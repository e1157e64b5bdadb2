"""What a training would take: memory, operations, messages and days, from shapes alone."""

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import Caution, check
from vaegan_jax.games import AXIS, State
from vaegan_jax.networks.network import init_networks
from vaegan_jax.planning import flops, memory, roofline
from vaegan_jax.planning.chips import GIB, Chip, chip, known
from vaegan_jax.planning.communication import Sent, sent
from vaegan_jax.planning.flops import Flops
from vaegan_jax.planning.tracing import Traced, batch_of, trace
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import Experiment
from vaegan_jax.training.parallel import layout

UNCERTAINTY = 0.3
"""How far off the bytes of activations may be, as a share of them."""


class Memory(NamedTuple):
    """Bytes of one device. All but activations are exact."""

    parameters: int
    optimizers: int
    averages: int
    statistics: int
    """And what solvers keep."""
    batch: int
    """The uint8 images, labels and positions of two dispatches: one is sent while the other is played. Data that live
    on the device are not counted."""
    whole: int
    """Parameters that are split between rounds, whole within one."""
    activations: int
    """All that lives at once besides: activations, gradients, buffers."""

    @property
    def state(self) -> int:
        """All that is exact."""
        return sum(self) - self.activations

    @property
    def total(self) -> int:
        """All together."""
        return sum(self)


class Plan(NamedTuple):
    """What a round takes of each of so many devices."""

    config: RunConfig
    chip: Chip
    devices: int
    parameters: dict[str, int]
    """Numbers, by network."""
    flops: Flops
    """Of a round, on all devices."""
    memory: Memory
    sent: Sent
    seconds: roofline.Seconds
    images: int
    """Real images that the first player sees in a round."""

    @property
    def fits(self) -> bool:
        """Whether the chip has the memory."""
        return self.memory.total <= self.chip.memory

    @property
    def limit(self) -> str:
        """What binds: memory that is not there, or what takes longest."""
        return self.seconds.limit if self.fits else "memory"


def plan(config: RunConfig, spec: DataSpec, on: Chip, utilization: float = 0.4, traced: Traced | None = None) -> Plan:
    """The plan of a configuration for `config.devices` devices of a chip.

    `traced` is of the same configuration, on as many devices or others, with any batch. UserError for a model, data and
    batch that do not fit together.
    """
    devices = max(config.devices, 1)
    traced = traced or trace(config, spec, _platform(on), devices)
    examples = config.batch_size // devices // config.training.micro_batches
    program = traced.at(examples)
    experiment = traced.experiment._replace(config=config)
    held = state_memory(experiment, traced.state, devices)._replace(activations=memory.peak(program))
    counted = flops.count(program)
    names = {name: size(tree, bits=False) for name, tree in traced.state.params.items()}
    over = config.shard_over or devices
    split = split_sizes(traced.state, over)
    moves = [[network for each in movers for network in experiment.game[each].owns] for movers in experiment.schedule]
    gradients = sum(size(traced.state.params[network]) for networks in moves for network in networks)
    moved = [sum(split[network] for network in networks) for networks in moves]
    messages = sent(program, gradients, moved, sum(split.values()), devices, config.shard, over)
    return Plan(
        config,
        on,
        devices,
        names,
        Flops(devices * counted.products, devices * counted.all),
        held,
        messages,
        roofline.seconds(program, on, utilization, messages.total, devices),
        experiment.images_per_round,
    )


def state_memory(experiment: Experiment, state: State, devices: int) -> Memory:
    """What the state and the batches of two dispatches take on each of so many devices, exactly; no activations."""
    over = experiment.config.shard_over or devices
    where = layout(state, AbstractMesh((over,), (AXIS,)), experiment.config.shard)
    own = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(place.shard_shape(leaf.shape), leaf.dtype), state, where
    )
    batch = 2 * size(batch_of(experiment)) * experiment.config.training.rounds_per_dispatch // devices
    pairs = zip(jax.tree.leaves(state.params), jax.tree.leaves(own.params), strict=True)
    return Memory(
        size(own.params),
        size(own.opt),
        size(own.averages),
        size((own.stats, own.solver, own.step)),
        batch,
        sum(size(leaf) for leaf, part in pairs if leaf.shape != part.shape),
        0,
    )


def split_sizes(state: State, over: int) -> dict[str, int]:
    """Bytes of each network's leaves that are split over so many devices, where leaves of their kind are."""
    where = layout(state, AbstractMesh((over,), (AXIS,)), "all")
    return {
        name: sum(
            size(leaf)
            for leaf, place in zip(jax.tree.leaves(tree), jax.tree.leaves(where.params[name]), strict=True)
            if not place.is_fully_replicated
        )
        for name, tree in state.params.items()
    }


def size(tree: Any, bits: bool = True) -> int:
    """Bytes of the leaves of a tree, arrays or shapes; their numbers without `bits`."""
    return sum(math.prod(leaf.shape) * (leaf.dtype.itemsize if bits else 1) for leaf in jax.tree.leaves(tree))


def _check_parameters(experiment: Experiment) -> None:
    networks = experiment.model.networks(experiment.config.model, experiment.spec)
    params, _ = jax.eval_shape(lambda key: init_networks(networks, key), jax.random.key(0))
    taken = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = (
        f"too little memory: parameters alone are {taken / GIB:,.1f} GiB, and this machine has {there / GIB:,.1f} GiB"
    )
    check(taken <= there, told)


def check_fits(experiment: Experiment, devices: Sequence[Any], data: int = 0) -> None:
    """Looks ahead, on devices that tell their memory, whether a run will have enough of it; on CPUs, which do not,
    whether its parameters are more than the machine has, for which XLA would wait forever.

    UserError, with the numbers, where the state alone, which is exact, is more than a device has, or is with the least
    that activations may add; a Caution where it is with what they are predicted to add. `data` are bytes of examples
    that live on each device; batches then are indices.
    """
    own = (device for device in devices if device.process_index == jax.process_index())  # the only ones that tell
    limit = min(((device.memory_stats() or {}).get("bytes_limit", 0) for device in own), default=0)
    if not limit or devices[0].platform == "cpu":
        _check_parameters(experiment)
        return
    config, count = replace(experiment.config, devices=len(devices)), len(devices)
    state = state_shapes(experiment)
    held = state_memory(experiment, state, count)
    held = held._replace(batch=data) if data else held
    has = f"each of {count} devices ({devices[0].device_kind}) has {limit / GIB:.1f} GiB"
    ways = (
        "--training.feeding stream keeps the data away, and " * bool(data) + "vaegan plan tells what would make it fit"
    )
    parts = {"parameters": held.parameters, "optimizers": held.optimizers, "averages": held.averages}
    parts |= {"data that live there": data} if data else {}
    told = ", ".join(f"{name} {taken / GIB:.1f}" for name, taken in parts.items())
    check(
        held.state <= limit,
        f"too little memory: before a round begins {held.state / GIB:.1f} GiB are taken ({told}), and {has}; {ways}",
    )
    on = known(devices[0].device_kind) or chip("h100")
    made = plan(config, experiment.spec, on, traced=trace(config, experiment.spec, devices[0].platform, count))
    activations = made.memory.activations
    least, total = held.state + (1 - UNCERTAINTY) * activations, held.state + activations
    check(
        least <= limit,
        f"too little memory: {total / GIB:.1f} GiB predicted, {activations / GIB:.1f} of them "
        f"activations, {least / GIB:.1f} at least ({told}), and {has}; {ways}",
    )
    if total > limit:
        found = f"{total / GIB:.1f} GiB predicted, {activations / GIB:.1f} of them activations"
        message = f"this may need too much memory: {found} within {UNCERTAINTY:.0%} ({told}), and {has}; {ways}"
        warnings.warn(message, Caution, stacklevel=2)


def _platform(on: Chip) -> str:
    return "tpu" if on.name.startswith("tpu") else "gpu"
