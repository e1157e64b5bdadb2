"""GANs small enough for NumPy, with the weights that it computes with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.models import adversarial_game, gan
from vaegan_jax.networks.network import init_networks

SPEC, N, PIXELS, LATENT = DataSpec("pixels", (2, 2, 1), batch_size=5), 5, 4, 3
DENSE = gan.Config(network="mlp", hidden_sizes=(6,), latent_size=LATENT)
CONVOLUTIONAL = gan.Config(width=2, latent_size=LATENT)
LARGE = DataSpec("pixels", (16, 16, 1), batch_size=4)  # enough for a batch norm in either network


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


X, Z = np.tanh(noise(N, PIXELS, seed=1)), noise(N, LATENT, seed=2)


def layers(*sizes, seed):
    return [(noise(a, b, seed=seed + at), noise(b, seed=seed + at + 5)) for at, (a, b) in enumerate(sizes)]


WEIGHTS = {
    "generator": layers((LATENT, 6), (6, PIXELS), seed=10),
    "discriminator": layers((PIXELS, 6), (6, 1), seed=20),
}
STATS = {"generator": {}, "discriminator": {}}


def params():
    first, last, body, head = (
        {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)} for blocks in WEIGHTS.values() for w, b in blocks
    )
    return {
        "generator": {"Dense_0": first, "Dense_1": last},
        "discriminator": {"body": {"Dense_0": body}, "head": {"score": head}},
    }


def forward(x, blocks, slope):
    (w, b), (v, c) = blocks
    hidden = x @ w + b
    return np.where(hidden > 0, hidden, slope * hidden) @ v + c


def fakes():
    return np.tanh(forward(Z, WEIGHTS["generator"], 0.0))


def logits(x):
    return forward(x, WEIGHTS["discriminator"], 0.2)[:, 0]


def log_d(x):
    """log D of the papers, D = 1 / (1 + exp(-logit)); log(1 - D) is log_d(-logit)."""
    return -np.logaddexp(0, -x)


def still(config, model=gan, spec=SPEC, **parts):
    """The model's game with the latents Z, and no step of its players; `parts` replace seams."""
    seams = model.seams(config, spec)._replace(**{"prior": lambda keys: jnp.asarray(Z)} | parts)
    return adversarial_game.game(model.networks(config, spec), seams, dict.fromkeys(seams.terms, optax.identity()))


def pay(config, model=gan, spec=SPEC, weights=None, stats=None, labels=None, step=0, key=0, **parts):
    """Player -> (loss, its new stats, its metrics), with the real images X and the weights above."""
    batch = {"image": jnp.asarray(X).reshape(N, *spec.image_shape), "position": jnp.arange(N)}
    batch |= {} if labels is None else {"label": jnp.asarray(labels, jnp.int32)}
    paid = {}
    for name, player in still(config, model, spec, **parts).items():
        value, (new, metrics) = player.loss(
            weights or params(), stats or STATS, batch, jax.random.key(key), jnp.int32(step)
        )
        paid[name] = value, new, metrics
    return paid


def filled(networks):
    """Parameters and stats of networks by NumPy, which needs no compiler."""
    shapes = jax.eval_shape(lambda key: init_networks(networks, key), jax.random.key(0))
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 + 0.3 * draw(size=leaf.shape), leaf.dtype), shapes)


def wide(networks):
    """Parameters in float64 and stats of networks, and the parameters for NumPy."""
    params, stats = filled(networks)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)
    return params, stats, jax.tree.map(np.asarray, params)


def dense(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def leaky(x, slope=0.2):
    return np.where(x > 0, x, slope * x)


def generated(network, z):
    """Images of a dense generator with one hidden layer."""
    return np.tanh(dense(leaky(dense(z, network["Dense_0"]), 0.0), network["Dense_1"]))


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]
