"""optax transformations put around a player's own: momentum, optimism, another time scale, Adam."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from vaegan_jax.games import Game, State
from vaegan_jax.optimizers import Bounded, Kept, bounded

Around = Callable[[optax.GradientTransformation], optax.GradientTransformation]


def momentum(decay: float, nesterov: bool = False) -> Around:
    """The sum of past gradients, each weighted `decay` times less than the next (Polyak 1964; Nesterov 1983)."""
    return lambda tx: optax.chain(optax.trace(decay, nesterov), tx)


def optimism(alpha: float, beta: float) -> Around:
    """(alpha + beta) g - beta g_ of this gradient and the one before, in the first round alpha g.

    With sgd: optimistic gradient descent, and so past extragradient (Popov 1980; Mokhtari et al. 2019).
    """
    return lambda tx: optax.chain(optax.scale_by_optimistic_gradient(alpha, beta), tx)


def optimistic_adam(alpha: float, beta: float, b1: float, b2: float) -> Around:
    """Optimism with the steps of Adam in place of gradients (Daskalakis et al. 2018, Algorithm 1)."""
    return lambda tx: optax.chain(adam(b1, b2)(tx), optax.scale_by_optimistic_gradient(alpha, beta))


def scale(factor: float) -> Around:
    """All updates times a factor: two time scales (Heusel et al. 2017)."""
    return lambda tx: optax.chain(tx, optax.scale(factor))


def adam(b1: float, b2: float) -> Around:
    """A player's own transformation if that is an Adam already; else Adam's direction before it: sgd(a) is adam(a)."""

    def around(tx: optax.GradientTransformation) -> optax.GradientTransformation:
        return tx if _is_adam(tx) else optax.chain(optax.scale_by_adam(b1, b2), tx)

    return around


def surround(game: Game, players: Sequence[str], around: Around) -> Game:
    """The game with the transformation of these players surrounded: within their bounds, and but for fixed rules."""
    return {
        name: player._replace(tx=_surrounded(player.tx, around)) if name in players else player
        for name, player in game.items()
    }


def beginning(game: Game, players: Sequence[str]) -> Callable[[State], State]:
    """What begins the optimizers of these players."""

    def start(state: State) -> State:
        new = {name: game[name].tx.init({n: state.params[n] for n in game[name].owns}) for name in players}
        return state._replace(opt=state.opt | new)

    return start


def _surrounded(tx: optax.GradientTransformation, around: Around) -> optax.GradientTransformation:
    if isinstance(tx, Kept):
        return tx
    return bounded(around(tx.inner), *tx.bounds) if isinstance(tx, Bounded) else around(tx)


def _is_adam(tx: optax.GradientTransformation) -> bool:
    state = jax.eval_shape(tx.init, {"any": jax.ShapeDtypeStruct((), jnp.result_type(float))})
    leaves = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, optax.ScaleByAdamState))
    return any(isinstance(leaf, optax.ScaleByAdamState) for leaf in leaves)
