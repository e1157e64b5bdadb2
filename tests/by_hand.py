"""GANs small enough for NumPy, with the weights that it computes with."""

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.models import gan
from vaegan_jax.networks.network import init_networks

SPEC, N, PIXELS, LATENT = DataSpec("pixels", (2, 2, 1), batch_size=5), 5, 4, 3
DENSE = gan.Config(network="mlp", hidden_sizes=(6,), latent_size=LATENT)
CONVOLUTIONAL = gan.Config(width=2, latent_size=LATENT)
LARGE = DataSpec("pixels", (16, 16, 1), batch_size=4)  # enough for a batch norm in either network


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


Z = noise(N, LATENT, seed=2)


def layers(*sizes, seed):
    return [(noise(a, b, seed=seed + at), noise(b, seed=seed + at + 5)) for at, (a, b) in enumerate(sizes)]


WEIGHTS = {
    "generator": layers((LATENT, 6), (6, PIXELS), seed=10),
    "discriminator": layers((PIXELS, 6), (6, 1), seed=20),
}
STATS = {"generator": {}, "discriminator": {}}


def params():
    return {
        name: {f"Dense_{at}": {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)} for at, (w, b) in enumerate(blocks)}
        for name, blocks in WEIGHTS.items()
    }


def forward(x, blocks, slope):
    (w, b), (v, c) = blocks
    hidden = x @ w + b
    return np.where(hidden > 0, hidden, slope * hidden) @ v + c


def filled(networks):
    """Parameters and stats of networks by NumPy, which needs no compiler."""
    shapes = jax.eval_shape(lambda key: init_networks(networks, key), jax.random.key(0))
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 + 0.3 * draw(size=leaf.shape), leaf.dtype), shapes)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]
