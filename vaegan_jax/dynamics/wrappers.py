"""Solvers that remember: rounds of `games.play` around which a memory is kept in `State.solver`.

The memory is arrays by name, and so part of every checkpoint: a run goes on where it was, bit for bit. It begins with
the state that it is given to.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaegan_jax.dynamics.directions import each
from vaegan_jax.errors import check
from vaegan_jax.games import (
    Auxiliary,
    Batch,
    Direction,
    Field,
    Game,
    Metrics,
    Owners,
    Params,
    PyTree,
    Schedule,
    State,
    play,
)

Round = Callable[..., tuple[State, Metrics]]
Memory = dict[str, PyTree]


class Remembering(NamedTuple):
    """What a memory is at first, which direction it gives, and what it and the state are after a round."""

    start: Callable[[State], Memory]
    direction: Callable[[Memory], Direction]
    after: Callable[[State], State]


def remembering(game: Game, schedule: Schedule, how: Remembering) -> tuple[Callable[[State], State], Round]:
    """(what fills State.solver, the round)."""
    play(game, schedule)  # refuses at once what cannot be played

    def round(state: State, batch: Batch, key: jax.Array, told: bool | jax.Array = True) -> tuple[State, Metrics]:
        after, metrics = play(game, schedule, how.direction(state.solver))(state, batch, key, told)
        return how.after(after), metrics

    return lambda state: state._replace(solver=how.start(state)), round


def anchored(step: float) -> Remembering:
    """Extragradient that is drawn back to where it began, ever less (Yoon & Ryu 2021, EAG-C).

    w' = w + (w_0 - w) / (k + 2) - a v(w), then w+ = w + (w_0 - w) / (k + 2) - a v(w') in round k, for sgd(a) with the
    same a.
    """

    def direction(memory: Memory) -> Direction:
        def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
            home = {network: memory["anchor"][network] for network in point}
            back = jax.tree.map(lambda w, first: (first - w) / (memory["count"] + 2), point, home)
            ahead = optax.tree.add_scale(optax.tree.add(point, back), -step, field(point)[0])
            vector, auxiliary = field(ahead)
            return optax.tree.add_scale(vector, -1 / step, back), auxiliary

        return direction

    def after(state: State) -> State:
        return state._replace(solver=state.solver | {"count": state.solver["count"] + 1})

    zero = jnp.zeros((), jnp.int32)
    return Remembering(lambda state: {"anchor": _copy(state.params), "count": zero}, direction, after)


def lookahead_minmax(k: int, slow_step: float) -> Remembering:
    """Every k rounds the slow weights move that share of the way to the fast ones, which go on from there.

    Chavdarova et al. 2021 (Lookahead-Minmax, Algorithm 1). Rounds are counted by `State.step`.
    """

    def after(state: State) -> State:
        due, slow = state.step % k == 0, state.solver["slow"]
        pulled = jax.tree.map(lambda s, w: jnp.where(due, s + slow_step * (w - s), s), slow, state.params)
        fast = jax.tree.map(lambda w, s: jnp.where(due, s, w), state.params, pulled)
        return state._replace(params=fast, solver={"slow": pulled})

    return Remembering(lambda state: {"slow": _copy(state.params)}, _plain, after)


def averaging(decay: float | None) -> Remembering:
    """The mean of all points so far, the start among them: uniform, or exponential where there is a decay."""
    return Remembering(_first_mean, _plain, lambda state: _with_mean(state, decay))


def historical_averaging(strength: float) -> Remembering:
    """v + c (w - mean of all points so far), the start among them (Salimans et al. 2016, section 3.3)."""

    def direction(memory: Memory) -> Direction:
        def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
            vector, auxiliary = field(point)
            pull = {
                network: jax.tree.map(lambda w, m: strength * (w - m), point[network], memory["mean"][network])
                for network in point
            }
            return optax.tree.add(vector, pull), auxiliary

        return direction

    return Remembering(_first_mean, direction, lambda state: _with_mean(state, None))


def replay(tau: float) -> Remembering:
    """Everyone plays against the others' averages, which move by a share tau to them after each round."""

    def direction(memory: Memory) -> Direction:
        def direction(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
            def against(name: str) -> tuple[Params, Auxiliary]:
                return field(memory["opponent"] | {network: point[network] for network in owners[name]})

            return each(owners, against)

        return direction

    def after(state: State) -> State:
        moved = jax.tree.map(lambda m, w: m + tau * (w - m), state.solver["opponent"], state.params)
        return state._replace(solver={"opponent": moved})

    return Remembering(lambda state: {"opponent": _copy(state.params)}, direction, after)


def extrapolated(game: Game, schedule: Schedule) -> Round:
    """Extragradient with the players' own steps: one round ahead, whose gradients move the point that it began at.

    The players' transformations see both gradients, one after the other; with Adam this is ExtraAdam (Gidel et al.
    2019, Algorithm 4). Both evaluations are on the same batch. For joint schedules.
    """
    ahead = play(game, schedule)

    def round(state: State, batch: Batch, key: jax.Array, told: bool | jax.Array = True) -> tuple[State, Metrics]:
        half, _ = ahead(state, batch, key, False)

        def there(field: Field, point: Params, owners: Owners) -> tuple[Params, Auxiliary]:
            return field({network: half.params[network] for network in point})

        return play(game, schedule, there)(state._replace(opt=half.opt), batch, key, told)

    return round


def averaged_state(state: State) -> State:
    """The state with the average in place of the last point. UserError where the solver keeps none."""
    kept = isinstance(state.solver, dict) and "mean" in state.solver
    check(kept, "this state holds no average: only averaging and historical-averaging keep one")
    return state._replace(params=_copy(state.solver["mean"]))


def _plain(memory: Memory) -> Direction:
    return lambda field, point, owners: field(point)


def _first_mean(state: State) -> Memory:
    return {"mean": _copy(state.params), "count": jnp.ones((), jnp.int32)}


def _with_mean(state: State, decay: float | None) -> State:
    """The mean with the point of the state in it."""
    count = state.solver["count"] + 1

    def toward(mean: jax.Array, w: jax.Array) -> jax.Array:
        return mean + (w - mean) / count if decay is None else w + decay * (mean - w)

    return state._replace(solver={"mean": jax.tree.map(toward, state.solver["mean"], state.params), "count": count})


def _copy(params: Params) -> Params:
    """Copies, because a step gives its state's buffers away."""
    return jax.tree.map(jnp.array, params)
