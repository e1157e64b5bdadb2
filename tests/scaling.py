"""A BigGAN that is small enough to be compiled often, and what a program does."""

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.data import ArraySource
from vaegan_jax.data.batches import batch, resident
from vaegan_jax.models import CONFIGS
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import assemble

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 1), dtype=np.uint8)
SOURCE = ArraySource({"image": PIXELS, "label": np.arange(24) % 3})
SIZES = {"width": 2, "latent_size": 6, "shared_size": 3, "attention": 8, "discriminator_moves": 1}


def biggan(**fields):
    """16 x 16 pixels by two blocks, with attention and all."""
    return CONFIGS["biggan"](**SIZES | fields)


def experiment_of(model, micro_batches=1, **fields):
    training = TrainingConfig(micro_batches=micro_batches, ema_halflife_kimg=0.1, rounds_per_dispatch=1)
    return assemble(RunConfig(model, **{"batch_size": 8} | fields, training=training), SOURCE.spec)


def batch_of(experiment, step=0):
    """Indices of a round, and what they are of."""
    return batch(experiment.config.seed, step, experiment.batch_shape, len(SOURCE)), resident(SOURCE)


def widened(tree):
    """The tree in the widest floating type that is enabled."""
    wide = jnp.result_type(float)
    return jax.tree.map(lambda leaf: leaf.astype(wide) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def equations(jaxpr):
    """Those of a program and of all programs within it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def filled(shapes, seed=0):
    """Small normal numbers in place of float shapes, zeros of others: made by NumPy, which compiles nothing."""
    draw = np.random.default_rng(seed).normal

    def fill(leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return np.asarray(0.1 * draw(size=leaf.shape) if floating else np.zeros(leaf.shape), leaf.dtype)

    return jax.tree.map(fill, shapes)
