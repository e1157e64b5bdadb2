"""One pure step, lifted to several devices in two ways that follow the same trajectory.

A step is `(state, batch, count, key, store) -> (state, metrics)`. Batch leaves are (rounds, moves, micro-batches,
examples, ...); the examples are split over the devices, all else is the same on each. Where several processes train
together, each gives a lifted step its own part of the examples.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vaegan_jax.errors import UserError, check
from vaegan_jax.games import AXIS
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.hosts import process_count

MOST_CPU_DEVICES = 16
"""How many virtual devices `--devices` makes of one CPU."""
EXAMPLES = 3
"""Which axis of a batch leaf counts the examples."""


class Lift(NamedTuple):
    """A step on several devices, with the way there for state, key and store, and the way back for the state."""

    step: Callable[..., tuple[Any, dict[str, jax.Array]]]
    place: Callable[[Any], Any]
    collect: Callable[[Any], Any]
    """One device's copy, as arrays of that device. The next step takes the buffers: use the copy before it."""


def rounds(step: Callable[..., tuple[Any, Any]], limit: int) -> Callable[..., tuple[Any, Any]]:
    """From a step of one round to one of `count` <= `limit` rounds a dispatch, metrics stacked to (limit,).

    The count is dynamic, so that however a run is cut into dispatches the same program computes the same bits. Only
    the last round measures norms (`games.play`): it is the one that is shown.
    """

    def one(state, batch, count, key, store):
        state, metrics = step(state, jax.tree.map(lambda leaf: leaf[0], batch), key, store)
        return state, jax.tree.map(lambda leaf: leaf[None], metrics)

    def many(state, batch, count, key, store):
        def body(index, carry):
            state, stacked = carry
            batch_now, last = jax.tree.map(lambda leaf: leaf[index], batch), index == count - 1
            state, metrics = step(state, batch_now, key, store, last)
            return state, jax.tree.map(lambda rows, value: rows.at[index].set(value), stacked, metrics)

        _, shapes = jax.eval_shape(one, state, batch, count, key, store)
        empty = jax.tree.map(lambda leaf: jnp.zeros((limit,), leaf.dtype), shapes)
        return jax.lax.fori_loop(0, count, body, (state, empty))

    return one if limit == 1 else many


def sharded(step: Callable[..., tuple[Any, Any]], devices: Sequence[jax.Device]) -> Lift:
    """`jax.jit` over a mesh: arrays are global, so that batch statistics are, too, for free."""
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
    same = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec(*(None,) * EXAMPLES, AXIS))
    jitted = jax.jit(step, in_shardings=(same, split, same, same, same), out_shardings=(same, same), donate_argnums=0)

    def lifted(state, batch, count, key, store):
        if process_count() > 1:
            batch = jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(split, leaf), batch)
        return jitted(state, batch, count, key, store)

    return Lift(
        _in_turn(lifted, devices),
        lambda tree: jax.tree.map(lambda leaf: _put(leaf, same), tree),
        lambda tree: jax.tree.map(lambda leaf: leaf.addressable_data(0), tree),
    )


def pmapped(step: Callable[..., tuple[Any, Any]], devices: Sequence[jax.Device]) -> Lift:
    """`jax.pmap`: each device has its own arrays, with a leading axis; the engine takes the means (`device_mean`)."""
    here = sum(device.process_index == jax.process_index() for device in devices)
    mapped = jax.pmap(
        step, AXIS, in_axes=(0, 0, None, None, 0), out_axes=(0, None), donate_argnums=0, devices=list(devices)
    )
    along = NamedSharding(jax.sharding.Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))

    def lifted(state, batch, count, key, store):
        return mapped(state, jax.tree.map(lambda leaf: _deal(leaf, here), batch), count, key, store)

    def place(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf  # of the key every device gets a copy
        return _put(np.broadcast_to(np.asarray(leaf), (len(devices), *np.shape(leaf))), along)

    return Lift(
        _in_turn(lifted, devices),
        lambda tree: jax.tree.map(place, tree),
        lambda tree: jax.tree.map(lambda leaf: leaf.addressable_data(0)[0], tree),
    )


LIFTS: dict[str, Callable[..., Lift]] = {"sharded": sharded, "pmapped": pmapped}


def choose_devices(config: RunConfig) -> list[jax.Device]:
    """The first `config.devices` devices, all for 0; on a CPU they are made, if JAX has not started yet.

    Of several processes each gives as many. Raises UserError where there are not as many, or the batch cannot be split
    over them.
    """
    wanted, parts = config.devices, config.training.micro_batches
    if wanted:
        # Once JAX has started this cannot be set any more: then what there is counts.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", min(max(wanted // process_count(), 1), MOST_CPU_DEVICES))
    devices = jax.devices()
    if wanted > len(devices):
        limit = f", and {MOST_CPU_DEVICES} is the most that a CPU makes" if wanted > MOST_CPU_DEVICES else ""
        if devices[0].platform == "cpu" and not limit:
            limit = ": JAX has started with these; more can only be made in a new process"
        raise UserError(f"{wanted} devices asked for, but there are {len(devices)} ({devices[0].platform}){limit}")
    chosen = _evenly(devices, wanted or len(devices))
    divisible = config.batch_size % (len(chosen) * parts) == 0
    told = f"batch-size {config.batch_size} is not divisible by {len(chosen)} devices x {parts} micro-batches"
    check(divisible, told)
    return chosen


def _evenly(devices: list[jax.Device], wanted: int) -> list[jax.Device]:
    """`wanted` devices, as many of each process, in the order of the processes."""
    own: dict[int, list[jax.Device]] = {}
    for device in devices:
        own.setdefault(device.process_index, []).append(device)
    share, left = divmod(wanted, len(own))
    even = not left and all(len(devices) >= share for devices in own.values())
    told = f"{wanted} devices cannot be shared evenly: processes 0 .. {len(own) - 1} have {[*map(len, own.values())]}"
    check(even, told)
    return [device for devices in own.values() for device in devices[:share]]


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """A leaf that every process has, on the devices of all of them; never an alias of what is given away."""
    if process_count() == 1:
        return jax.device_put(leaf, sharding, may_alias=False)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    leaf = np.array(leaf)
    return jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__)


def _deal(leaf: np.ndarray, devices: int) -> np.ndarray:
    """(..., examples, ...) -> (devices, ..., examples / devices, ...), consecutive examples to one device."""
    shape = (*leaf.shape[:EXAMPLES], devices, -1, *leaf.shape[EXAMPLES + 1 :])
    return np.moveaxis(leaf.reshape(shape), EXAMPLES, 0)


def _in_turn(step: Callable[..., Any], devices: Sequence[jax.Device]) -> Callable[..., Any]:
    """On several virtual CPU devices, waits for each step: JAX 0.10's collectives deadlock when two overlap."""
    if len(devices) == 1 or devices[0].platform != "cpu":
        return step
    return lambda *args: jax.block_until_ready(step(*args))
