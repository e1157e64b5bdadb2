"""Exponential moving averages of networks, outside the game, and what is needed to sample from them."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from vaegan_jax.games import Batch, Metrics, Params, State, Stats
from vaegan_jax.networks import spectral
from vaegan_jax.networks.norms import MOMENTUM

Round = Callable[..., tuple[State, Metrics]]


def start(state: State, networks: Sequence[str]) -> State:
    """The averages begin as copies of the networks (copies, because a step gives its state's buffers away)."""
    return state._replace(averages={name: jax.tree.map(jnp.array, state.params[name]) for name in networks})


def averaged(round: Round, images_per_round: int, halflife_kimg: float, start_kimg: float = 0.0) -> Round:
    """A round that then moves each average towards its network; after `halflife_kimg` half of the old is left.

    Karras et al. 2018, section 3 of Progressive GAN; the half-life in images, as in EDM, holds for any batch size. Up
    to `start_kimg` the averages are the networks themselves (Brock et al. 2018 begin late, in their appendix C).
    """
    keep = 0.5 ** (images_per_round / (1000 * halflife_kimg))

    def step(state: State, batch: Batch, key: jax.Array, told: bool | jax.Array = True) -> tuple[State, Metrics]:
        state, metrics = round(state, batch, key, told)
        toward = {name: state.params[name] for name in state.averages}
        late = state.step > 1000 * start_kimg / images_per_round

        def move(average: jax.Array, network: jax.Array) -> jax.Array:
            moved = network + keep * (average - network)
            return jnp.where(late, moved, network) if start_kimg else moved

        return state._replace(averages=jax.tree.map(move, state.averages, toward)), metrics

    return step


def standing_statistics(
    sample: Callable[..., tuple[jax.Array, Stats]],
    networks: Sequence[str],
    params: Params,
    stats: Stats,
    keys: jax.Array,
) -> Stats:
    """Stats in which the batch norms and spectral vectors of `networks` fit `params`: averages need their own.

    Brock et al. 2018, section 4.2: the means of the batch means and variances over the batches of `keys`, (batches,
    examples). `sample(params, stats, keys, train) -> (images, stats)` is a model's.
    """

    def of(collection: str) -> Callable[[tuple], bool]:
        return lambda path: path[0].key in networks and any(getattr(part, "key", None) == collection for part in path)

    norm, vector = of("batch_stats"), of(spectral.COLLECTION)

    def settle(path: tuple, old: ArrayLike, *new: ArrayLike) -> ArrayLike:
        if vector(path):  # the averaged weights' own, by a power iteration a batch
            return new[-1]
        # From zero, one update leaves (1 - MOMENTUM) of the batch's statistics.
        return sum(new[1:], new[0]) / (len(new) * (1 - MOMENTUM)) if norm(path) else old

    given, batches = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * 0 if norm(path) else leaf, stats), []
    for row in keys:
        batches.append(sample(params, given, row, train=True)[1])
        given = jax.tree_util.tree_map_with_path(
            lambda path, leaf, new: new if vector(path) else leaf, given, batches[-1]
        )
    return jax.tree_util.tree_map_with_path(settle, stats, *batches)
