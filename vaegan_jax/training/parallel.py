"""One pure step, lifted to several devices in two ways that follow the same trajectory.

A step is `(state, batch, count, key, store) -> (state, metrics)`. Batch leaves are (rounds, moves, micro-batches,
examples, ...); the examples are split over the devices, all else is the same on each. Where several processes train
together, each gives a lifted step its own part of the examples.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from vaegan_jax.errors import UserError, check
from vaegan_jax.games import AXIS, State
from vaegan_jax.training.config import RunConfig, Shard
from vaegan_jax.training.hosts import process_count

MOST_CPU_DEVICES = 16
"""How many virtual devices `--devices` makes of one CPU."""
EXAMPLES = 3
"""Which axis of a batch leaf counts the examples."""
COPIES = "copies"
"""Name of the axis of a mesh along which a split state is repeated; the examples are split over both axes."""
SPLIT_FROM = 4096
"""Numbers from which on a leaf of the state is worth splitting: to gather a smaller one takes longer than it saves."""
SPLIT = {"none": (), "optimizer": ("opt", "solver", "averages"), "all": ("params", "opt", "solver", "averages")}
"""Parts of a state that are split over the devices, by `RunConfig.shard`."""


class Lift(NamedTuple):
    """A step on several devices, with the way there for state, key and store, and the way back for the state."""

    step: Callable[..., tuple[Any, dict[str, jax.Array]]]
    place: Callable[[Any], Any]
    collect: Callable[[Any], Any]
    """One device's copy, as arrays of that device, or of the host where they are split: a device may be too small for
    all of it. The next step takes the buffers: use the copy before it."""
    flops: Callable[[], int]
    """Floating point operations in products of a round, on all devices; 0 before the first (`planning.flops`)."""
    together: bool = False
    """Whether all processes have to take part in `collect`, as what it gathers is split over them."""


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


def layout(state: State, mesh: Mesh | AbstractMesh, shard: Shard) -> State:
    """Where each leaf of a state, of arrays or shapes, lies on a mesh: split along its axis `AXIS`, or whole.

    With "optimizer" what only updates need, optimizers' states, averages and solvers' memories, is split over the
    devices (Rajbhandari et al. 2020, arXiv 1910.02054: ZeRO-1), with "all" the parameters too (FSDP); statistics never
    are. A leaf is split along its largest axis that the devices divide, the last of equals; one without such an axis,
    or of fewer than `SPLIT_FROM` numbers, is whole on each device.
    """

    def where(leaf) -> NamedSharding:
        sides = [(side, axis) for axis, side in enumerate(leaf.shape) if side % mesh.shape[AXIS] == 0]
        if leaf.size < SPLIT_FROM or not sides:
            return NamedSharding(mesh, PartitionSpec())
        return NamedSharding(mesh, PartitionSpec(*(None,) * max(sides)[1], AXIS))

    def part(name, tree):
        if name in SPLIT[shard]:
            return jax.tree.map(where, tree)
        return jax.tree.map(lambda leaf: NamedSharding(mesh, PartitionSpec()), tree)

    return State(*map(part, State._fields, state))


def split_between(
    step: Callable[..., tuple[Any, Any]], mesh: Mesh | AbstractMesh, shard: Shard
) -> Callable[..., tuple[Any, Any]]:
    """A step of one round for `sharded` with the same split: what is split between rounds is whole within a field."""
    if shard == "none":
        return step

    def one(state, *rest):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # which `games.whole` asks for
            state, metrics = step(state, *rest)
        return jax.lax.with_sharding_constraint(state, layout(state, mesh, shard)), metrics

    return one


def mesh_of(devices: Sequence[jax.Device], over: int = 0) -> Mesh:
    """The devices in rows of `over`, in one row for 0. A split state is split over a row; the next has it again."""
    rows = np.array(devices).reshape(-1, over or len(devices))
    return Mesh(rows, (COPIES, AXIS), axis_types=(AxisType.Auto,) * 2)


def sharded(
    step: Callable[..., tuple[Any, Any]], devices: Sequence[jax.Device], shard: Shard = "none", over: int = 0
) -> Lift:
    """`jax.jit` over a mesh: arrays are global, so that batch statistics are, too, for free.

    With `shard` parts of a `State` are split, by the rule of `layout`, over each row of `mesh_of`.
    """
    mesh, made, traced = mesh_of(devices, over), [], []
    same = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec(*(None,) * EXAMPLES, mesh.axis_names))

    def lifted(state, batch, count, key, store):
        if process_count() > 1:
            batch = jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(split, leaf), batch)
        if not made:  # the first state tells what there is to split
            where = same if shard == "none" else layout(state, mesh, shard)
            ways = {"in_shardings": (where, split, same, same, same), "out_shardings": (where, same)}
            made.append(jax.jit(step, **ways, donate_argnums=0))
            traced.append(made[0].trace(state, batch, count, key, store).jaxpr)  # which the call finds again
        return made[0](state, batch, count, key, store)

    def place(tree):
        if shard == "none" or not isinstance(tree, State):
            return jax.tree.map(lambda leaf: _put(leaf, same), tree)
        return jax.tree.map(_put, tree, layout(tree, mesh, shard))

    @functools.cache
    def flops() -> int:
        return _flops(traced)

    together = shard != "none" and process_count() > 1
    collect = lambda tree: jax.tree.map(_whole, tree)  # noqa: E731
    return Lift(_in_turn(lifted, devices), place, collect, lambda: flops() if traced else 0, together)


def pmapped(step: Callable[..., tuple[Any, Any]], devices: Sequence[jax.Device]) -> Lift:
    """`jax.pmap`: each device has its own arrays, with a leading axis; the engine takes the means (`device_mean`)."""
    here = sum(device.process_index == jax.process_index() for device in devices)
    mapped = jax.pmap(
        step, AXIS, in_axes=(0, 0, None, None, 0), out_axes=(0, None), donate_argnums=0, devices=list(devices)
    )
    along, given = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS)), []

    def lifted(state, batch, count, key, store):
        batch = jax.tree.map(lambda leaf: _deal(leaf, here), batch)
        if not given:
            own = lambda tree: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)  # noqa: E731
            given.extend((own(state), own(batch), count, key, own(store)))
        return mapped(state, batch, count, key, store)

    @functools.cache
    def flops() -> int:  # pmap does not show its own trace
        return _flops([jax.make_jaxpr(step, axis_env=[(AXIS, len(devices))])(*given)])

    def place(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf  # of the key every device gets a copy
        return _put(np.broadcast_to(np.asarray(leaf), (len(devices), *np.shape(leaf))), along)

    return Lift(
        _in_turn(lifted, devices),
        lambda tree: jax.tree.map(place, tree),
        lambda tree: jax.tree.map(lambda leaf: leaf.addressable_data(0)[0], tree),
        lambda: len(devices) * flops() if given else 0,
    )


LIFTS: dict[str, Callable[..., Lift]] = {"sharded": sharded, "pmapped": pmapped}


def lifted(config: RunConfig, step: Callable[..., tuple[Any, Any]], devices: Sequence[jax.Device]) -> Lift:
    """A step of one round as the configuration has it: on these devices, as many rounds a dispatch."""
    limit = config.training.rounds_per_dispatch
    if config.parallel == "pmapped":
        return pmapped(rounds(step, limit), devices)
    step = split_between(step, mesh_of(devices, config.shard_over), config.shard)
    return sharded(rounds(step, limit), devices, config.shard, config.shard_over)


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
    told = f"shard-over {config.shard_over} does not divide the number of devices, {len(chosen)}"
    check(len(chosen) % (config.shard_over or 1) == 0, told)
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


def _whole(leaf: jax.Array) -> jax.Array | np.ndarray:
    """A leaf as one local device has it, or, where it is split, gathered on the host."""
    if leaf.is_fully_replicated:
        return leaf.addressable_data(0)
    if leaf.is_fully_addressable:
        return np.asarray(leaf)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(leaf, tiled=True)


def _flops(traced: list[Any]) -> int:
    """Of a round: of the loop over rounds a body counts once."""
    from vaegan_jax.planning import flops, program

    return flops.count(program.flat(traced[0])).products


def _deal(leaf: np.ndarray, devices: int) -> np.ndarray:
    """(..., examples, ...) -> (devices, ..., examples / devices, ...), consecutive examples to one device."""
    shape = (*leaf.shape[:EXAMPLES], devices, -1, *leaf.shape[EXAMPLES + 1 :])
    return np.moveaxis(leaf.reshape(shape), EXAMPLES, 0)


def _in_turn(step: Callable[..., Any], devices: Sequence[jax.Device]) -> Callable[..., Any]:
    """On several virtual CPU devices, waits for each step: JAX 0.10's collectives deadlock when two overlap."""
    if len(devices) == 1 or devices[0].platform != "cpu":
        return step
    return lambda *args: jax.block_until_ready(step(*args))
