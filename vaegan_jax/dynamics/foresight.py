"""Games in which a player sees what its move makes of the others': a function from a game to a game."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from vaegan_jax.games import Auxiliary, Batch, Game, Loss, Params, Player, Stats, device_mean

SHARE = "share of shaping"
"""An entry of a point, beside the networks, that lookers read: {"share": p}, or {} for the game as it was."""


def looking_ahead(game: Game, lookers: Sequence[str], movers: Sequence[str], step: float, inner_steps: int) -> Game:
    """The game whose `lookers` minimize their losses where the other `movers` are after `inner_steps` gradient steps.

    The others step all at once, by `step`, and the looker's gradient goes through their steps: the unrolled GAN of
    Metz et al. 2017, and, for one step and all players, LOLA in its exact form (Foerster et al. 2018): x descends
    L_x(x, y - a v_y(x, y)), where a share p of the gradient through v_y is taken if the point says so (`SHARE`).
    A looker does this on each micro-batch by itself, so that micro-batches are not one batch.
    """
    seeing = {}
    for name in lookers:
        others = [game[other] for other in movers if other != name]
        seeing[name] = game[name]._replace(loss=_foreseeing(game[name], others, step, inner_steps))
    return {**game, **seeing}


def _foreseeing(looker: Player, others: Sequence[Player], rate: float, inner_steps: int) -> Loss:
    def loss(
        params: Params, stats: Stats, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, Auxiliary]:
        shaping = params.get(SHARE, {"share": 1.0})
        if not shaping:
            return looker.loss(params, stats, batch, key, step)
        own = {network: params[network] for network in looker.owns}
        shown = jax.tree.map(lambda leaf: _share(shaping["share"], leaf), own)
        moved = dict(params) | shown
        for _ in range(inner_steps):
            slopes = {}
            for other in others:

                def slope(block, other=other, moved=moved):
                    return other.loss(moved | block, stats, batch, jax.random.clone(key), step)[0]

                slopes |= jax.grad(slope)({network: moved[network] for network in other.owns})
            # Each device sees the move that all of them make; the gradient through the mean is right, too.
            moved |= {
                network: jax.tree.map(lambda w, g: w - rate * g, moved[network], device_mean(slopes[network]))
                for network in slopes
            }
        return looker.loss(moved | own, stats, batch, key, step)

    return loss


def _share(share: ArrayLike, leaf: jax.Array) -> jax.Array:
    """The leaf, of whose gradient a share passes."""
    fixed = jax.lax.stop_gradient(leaf)
    return fixed + jnp.asarray(share, leaf.dtype) * (leaf - fixed)
