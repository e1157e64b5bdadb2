"""Batch statistics for each of many truncations, as published generators carry them (Brock et al. 2018, section 3.1).

Images of truncated latents have other statistics than those that training sees, so the authors ship, for each batch
norm, means and variances at truncations evenly from 0 to 1. They are a collection of the generator's stats beside its
running ones, of the same names, (bins, channels) each: what no training moves.
"""

import math

import jax
import jax.numpy as jnp

from vaegan_jax.games import Stats
from vaegan_jax.networks.network import Network

COLLECTION = "binned_stats"


def binned(network: Network, bins: int) -> Network:
    """The network with its running statistics at `bins` truncations among its stats, to be filled by an import."""

    def init(key: jax.Array) -> tuple:
        params, stats = network.init(key)
        return params, stats | {COLLECTION: jax.tree.map(lambda x: jnp.tile(x, (bins, 1)), stats["batch_stats"])}

    return Network(init, network.apply)


def at(stats: Stats, truncation: float) -> Stats:
    """A generator's stats with the running statistics of a truncation in (0, 1]: between two bins, of both.

    With t = truncation (bins - 1) = i + f it is f s_i + (1 - f) s_{i+1}, in Python's floats: so do the published
    networks' programs weigh the two, although 1 - f and f would be the nearer reading of it.
    """
    bins = len(jax.tree.leaves(stats[COLLECTION])[0])
    share, first = math.modf(truncation / (1.0 / (bins - 1)))
    first = int(first)

    def pick(rows: jax.Array) -> jax.Array:
        return rows[first] * share + rows[first + 1] * (1 - share) if share else rows[first]

    return stats | {"batch_stats": jax.tree.map(pick, stats[COLLECTION])}
