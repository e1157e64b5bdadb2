"""The engine: every model in this library is a differentiable game, and this file plays it.

A *network* is a named block of parameters, `params["generator"]`, with its own state that no gradient moves,
`stats["generator"]`. A *player* owns networks and minimizes a loss that may read every network. A *move* is a set of
players that step at once from the same point; a *schedule* is a tuple of moves, and one pass over it is a *round*.
The *field* of a move is each mover's gradient by its own networks; a *direction* turns the field into the vector
that is handed to optax. Nothing here knows of images, files or devices.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

PyTree = Any
Params = dict[str, PyTree]
Stats = dict[str, PyTree]
Metrics = dict[str, jax.Array]
Batch = dict[str, jax.Array]
Schedule = tuple[tuple[str, ...], ...]
Owners = dict[str, tuple[str, ...]]
Auxiliary = tuple[Stats, Metrics]
Loss = Callable[[Params, Stats, Batch, jax.Array, jax.Array], tuple[jax.Array, Auxiliary]]
Field = Callable[[Params], tuple[Params, Auxiliary]]
Direction = Callable[[Field, Params, Owners], tuple[Params, Auxiliary]]

AXIS = "devices"
"""Name of the mapped axis under `jax.pmap`; see `device_mean`."""
POOL = "pool"
"""Name of a stats collection that holds examples: averaging it, over devices or micro-batches, would make no sense."""
METRICS = ("loss", "gradient", "update", "parameters")
"""What is told of every player; a loss's own metrics have other names."""


class Player(NamedTuple):
    """Who steps: `loss(params, stats, batch, key, step) -> (scalar, (its networks' stats, metrics))`, minimized."""

    owns: tuple[str, ...]
    loss: Loss
    tx: optax.GradientTransformation


Game = Mapping[str, Player]


class State(NamedTuple):
    """All that a round changes: arrays only, neither keys nor functions. `opt` is by player, the rest by network."""

    step: jax.Array
    params: Params
    stats: Stats
    opt: dict[str, optax.OptState]
    solver: PyTree = ()
    averages: PyTree = ()


def device_mean(tree: PyTree) -> PyTree:
    """Mean over the devices: of each float leaf under `pmap`, nothing to do under `jit`, where arrays are global.

    Whatever mixes examples (batch norm, relativistic means) goes through here. Integer leaves pass unchanged.
    """
    if not _mapped():
        return tree
    return jax.tree.map(lambda x: jax.lax.pmean(x, AXIS) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def whole(tree: PyTree) -> PyTree:
    """A tree that every device is to have whole, where a mesh is around (`parallel.split_between`), split as it may be.

    The field takes and gives its trees through here, so that nothing inside of it is split but the examples: left to
    itself, the compiler splits networks where an optimizer's state is, and sends ten times as much.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, PartitionSpec()), tree)


def example_keys(key: jax.Array, batch: Batch) -> jax.Array:
    """One key per example, from its place in the global batch: the same noise however the batch is split."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["position"])


def init(game: Game, params: Params, stats: Stats | None = None) -> State:
    """The state before round 0. Raises ValueError for networks without an owner, with two, or without parameters."""
    _check_owned(_owners(game), params)
    if unknown := sorted(set(stats or {}) - set(params)):
        raise ValueError(f"stats of {', '.join(unknown)}, but the networks are {', '.join(params)}")
    params, stats = _strong(params), {name: _strong((stats or {}).get(name, {})) for name in params}
    opt = {name: player.tx.init({n: params[n] for n in player.owns}) for name, player in game.items()}
    return State(jnp.zeros((), jnp.int32), params, stats, opt)


def gradient(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
    """The field itself: every mover descends its own loss."""
    return field(point)


def consensus(gamma: float) -> Direction:
    """xi + gamma J^T xi: also descends half the squared norm of the field (Mescheder et al. 2017, eq. 10)."""

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        xi, auxiliary, _, transposed = products(field, point)
        return _axpy(gamma, transposed(xi), xi), auxiliary

    return direction


def symplectic(lam: float, align: bool = False) -> Direction:
    """xi + lam A^T xi, with A the antisymmetric part of J (Balduzzi et al. 2018).

    `align` gives lam the sign of <xi, J^T xi> <A^T xi, J^T xi> / d + 1/10, with d the number of parameters
    (Algorithm 1): towards stable fixed points, away from unstable ones.
    """

    def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
        xi, auxiliary, forward, transposed = products(field, point)
        jt_xi = transposed(xi)
        at_xi = jax.tree.map(lambda t, f: (t - f) / 2, jt_xi, forward(xi))
        size = sum(leaf.size for leaf in jax.tree.leaves(xi))
        sign = jnp.sign(_dot(xi, jt_xi) * _dot(at_xi, jt_xi) / size + 0.1) if align else 1
        return _axpy(lam * sign, at_xi, xi), auxiliary

    return direction


def products(field: Field, point: Params) -> tuple[Params, Auxiliary, Callable, Callable]:
    """The field with its Jacobian J, matrix-free: (xi, auxiliary, v -> J v, v -> J^T v), all means over devices.

    J v is the vjp of a vjp, because custom derivatives (our convolutions) refuse forward mode.
    """
    xi, pull, auxiliary = jax.vjp(field, point, has_aux=True)
    _, push = jax.vjp(lambda v: pull(v)[0], xi)
    return xi, auxiliary, lambda v: push(v)[0], lambda v: device_mean(pull(v)[0])


def play(
    game: Game, schedule: Schedule, direction: Direction = gradient, extrapolate: float | None = None
) -> Callable[[State, Batch, jax.Array], tuple[State, Metrics]]:
    """A pure function that plays one round: (state, batch, root key, told=True) -> (state, metrics). Jit it, outermost.

    Batch leaves are (moves, micro-batches, examples, ...): fresh data for each move; micro-batches are accumulated.
    The key is the run's root key: step and move are folded in here. `extrapolate` evaluates the direction a second
    time, at point - extrapolate * direction, and steps from the point by that (Korpelevich's extragradient).
    Metrics are by player, of its last move: loss, gradient, update and parameters (norms), and the loss's own. Norms
    take time: where `told`, a bool that may be traced, is false they are 0 and cost nothing.
    Raises ValueError where the schedule and the game do not fit, here or, for shapes and stats, when traced.
    """
    owners = _owners(game)
    _check_schedule(game, schedule)

    def move(movers, state: State, batch: Batch, key: jax.Array, told) -> tuple[State, Metrics]:
        field = _field(game, movers, state, batch, key)
        mine = {name: game[name].owns for name in movers}
        point = {network: state.params[network] for owned in mine.values() for network in owned}
        vector, (stats, metrics) = direction(field, point, mine)
        if extrapolate is not None:
            vector, (stats, metrics) = direction(field, _axpy(-extrapolate, vector, point), mine)
        params, opt = dict(state.params), dict(state.opt)
        for name, owned in mine.items():
            block, slope = ({network: tree[network] for network in owned} for tree in (point, vector))
            update, opt[name] = game[name].tx.update(slope, opt[name], block)
            params |= (block := optax.apply_updates(block, update))
            measured = _norms({"gradient": slope, "update": update, "parameters": block}, told)
            metrics |= {f"{name}/{title}": norm for title, norm in measured.items()}
        return state._replace(params=params, stats=state.stats | stats, opt=opt), metrics

    def round(state: State, batch: Batch, key: jax.Array, told: bool | jax.Array = True) -> tuple[State, Metrics]:
        _check_trace(owners, schedule, state, batch, key)
        key, metrics = jax.random.fold_in(key, state.step), {}
        for movers, run in itertools.groupby(range(len(schedule)), schedule.__getitem__):
            indices = list(run)

            def body(state, index, movers=movers):
                here = jax.tree.map(lambda leaf: leaf[index], batch)
                return move(movers, state, here, jax.random.fold_in(key, index), told)

            if len(indices) > 10:  # a loop compiles its body once, but XLA sees less of it at once
                state, stacked = jax.lax.scan(body, state, jnp.array(indices))
                metrics |= jax.tree.map(lambda leaf: leaf[-1], stacked)
            else:
                for index in indices:
                    state, new = body(state, index)
                    metrics |= new
        return state._replace(step=state.step + 1), metrics

    return round


def joint(game: Game, state: State, batch: Batch, key: jax.Array) -> Field:
    """The field of a move of all players at once, on the first move's data and key of `play`'s round."""
    here, key = jax.tree.map(lambda leaf: leaf[0], batch), jax.random.fold_in(key, state.step)
    return _field(game, tuple(game), state, here, jax.random.fold_in(key, 0))


def describe(game: Game, schedule: Schedule, state: State) -> str:
    """A table of the game: player, networks, parameters, optimizer (optax's states), moves a round."""
    rows = [("player", "networks", "parameters", "optimizer", "moves a round")]
    for name, player in game.items():
        count = sum(leaf.size for network in player.owns for leaf in jax.tree.leaves(state.params[network]))
        moves = sum(name in movers for movers in schedule)
        rows.append((name, " ".join(player.owns), f"{count:,}", _optimizer(state.opt[name]), str(moves)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _field(game: Game, movers: tuple[str, ...], state: State, batch: Batch, key: jax.Array) -> Field:
    """Each mover's gradient by its own networks, every loss on the same batch and key; the mean over micro-batches."""

    params = whole(state.params)

    def once(point: Params, batch: Batch) -> tuple[Params, Auxiliary]:
        vector, stats, metrics = {}, {}, {}
        for name in movers:

            def loss(block, name=name):
                return game[name].loss(params | point | block, state.stats, batch, jax.random.clone(key), state.step)

            block = {network: point[network] for network in game[name].owns}
            (value, (new, extra)), slope = jax.value_and_grad(loss, has_aux=True)(block)
            _check_loss(name, game[name].owns, state.stats, new, extra)
            vector, stats = vector | slope, stats | _strong(new)
            metrics |= {f"{name}/loss": value} | {f"{name}/{title}": extra[title] for title in extra}
        return vector, (stats, metrics)

    def field(point: Params) -> tuple[Params, Auxiliary]:
        return whole(mean(whole(point)))

    def mean(point: Params) -> tuple[Params, Auxiliary]:
        count = len(jax.tree.leaves(batch)[0]) if batch else 1
        first = once(point, jax.tree.map(lambda leaf: leaf[0], batch))
        if (count > 1 or _mapped()) and any(POOL in tree for tree in first[1][0].values()):
            raise ValueError(
                f"a {POOL} of examples can be neither accumulated nor mapped: use one micro-batch and `sharded`"
            )
        if count == 1:
            return device_mean(first)

        def add(total, micro):
            return jax.tree.map(
                lambda a, b: a + b if jnp.issubdtype(a.dtype, jnp.floating) else b, total, once(point, micro)
            ), None

        total, _ = jax.lax.scan(add, first, jax.tree.map(lambda leaf: leaf[1:], batch))
        return device_mean(jax.tree.map(lambda x: x / count if jnp.issubdtype(x.dtype, jnp.floating) else x, total))

    return field


def _owners(game: Game) -> dict[str, str]:
    owners = {}
    for name, player in game.items():
        for network in player.owns:
            if network in owners:
                raise ValueError(
                    f"{network} is owned twice, by {owners[network]} and by {name}: one owner moves a network"
                )
            owners[network] = name
    return owners


def _check_schedule(game: Game, schedule: Schedule) -> None:
    for movers in schedule:
        if isinstance(movers, str):
            raise ValueError(f"a move is a tuple of players: write ({movers!r},) for {movers!r}")
        if unknown := [name for name in movers if name not in game]:
            raise ValueError(f"the schedule moves {', '.join(unknown)}, but the players are {', '.join(game)}")
        if clash := sorted({name for name in movers if movers.count(name) > 1}):
            raise ValueError(f"{', '.join(clash)} would step twice within one move {movers}: make that two moves")
        if not movers:
            raise ValueError("the schedule has a move without players")
    if not schedule:
        raise ValueError("the schedule has no moves")


def _check_owned(owners: dict[str, str], params: Params) -> None:
    if unowned := sorted(set(params) - set(owners)):
        raise ValueError(f"nobody owns {', '.join(unowned)}: give a frozen network to a player that never moves")
    if missing := sorted(set(owners) - set(params)):
        raise ValueError(f"no parameters for {', '.join(f'{name} (of {owners[name]})' for name in missing)}")


def _check_trace(owners: dict[str, str], schedule: Schedule, state: State, batch: Batch, key: jax.Array) -> None:
    _check_owned(owners, state.params)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or "rbg" in str(jax.random.key_impl(key)):
        raise ValueError(
            "the root key must be a jax.random.key(seed) of threefry: rbg's noise depends on the batch's split"
        )
    for name, leaf in batch.items():
        if leaf.ndim < 3 or len(leaf) != len(schedule):
            raise ValueError(
                f"batch leaf {name} is {leaf.shape}: need ({len(schedule)} moves, micro-batches, examples, ...)"
            )
    sizes = {name: leaf.shape[1:3] for name, leaf in batch.items()}
    if len(set(sizes.values())) > 1 or any(0 in size for size in sizes.values()):
        told = ", ".join(f"{name} {count} x {examples}" for name, (count, examples) in sizes.items())
        raise ValueError(f"batch leaves must agree in micro-batches x examples, none of them 0: {told}")


def _check_loss(name: str, owns: tuple[str, ...], before: Stats, after: Stats, metrics: Metrics) -> None:
    for network, tree in after.items():
        if network not in owns:
            raise ValueError(f"the loss of {name} returns stats of {network}, which it does not own: drop them")
        old, new = (jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x).name), t) for t in (before[network], tree))
        if old != new:
            raise ValueError(f"the loss of {name} must return the whole stats of {network}: {old} became {new}")
    if taken := sorted(set(metrics) & set(METRICS)):
        raise ValueError(f"the loss of {name} names a metric {', '.join(taken)}, as the engine does: rename it")


def _strong(tree: PyTree) -> PyTree:
    """Arrays of a definite type: a weakly typed leaf (from a Python number) would be traced again once it is one."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), tree)


def _mapped() -> bool:
    try:
        jax.lax.axis_size(AXIS)
    except NameError:
        return False
    return True


def _norms(trees: dict[str, PyTree], told: bool | jax.Array) -> Metrics:
    def measure(trees):
        return {title: optax.tree.norm(tree) for title, tree in trees.items()}

    if told is True:
        return measure(trees)
    untold = jax.tree.map(lambda norm: jnp.zeros(norm.shape, norm.dtype), jax.eval_shape(measure, trees))
    return jax.lax.cond(told, measure, lambda trees: untold, trees)


def _axpy(a, x: PyTree, y: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: a * x + y, x, y)


def _dot(x: PyTree, y: PyTree) -> jax.Array:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, x, y)))


def _optimizer(opt: PyTree) -> str:
    names, stack = [], [opt]
    while stack:
        node = stack.pop(0)
        if hasattr(node, "_fields"):
            names.append(type(node).__name__.removesuffix("State").removeprefix("ScaleBy"))
        if isinstance(node, tuple):
            stack = list(node) + stack
    return " ".join(dict.fromkeys(n for n in names if n != "Empty")).lower() or "gradient descent"
