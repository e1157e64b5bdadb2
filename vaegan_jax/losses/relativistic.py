"""Relativistic games: a critic says by how much a real image looks more real than a generated one.

Jolicoeur-Martineau 2018 (arXiv 1807.00734). Each takes a `Comparison` f, what a player pays for a difference d of
scores that it wants large; scores C are the critic's raw output, and only their differences matter. Nothing is reduced.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.games import device_mean
from vaegan_jax.losses.adversarial import Value

Comparison = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]


def logistic(difference: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """-log sigmoid(d) = softplus(-d), in nats: the standard GAN's comparison."""
    return jax.nn.softplus(-difference)


def squared(difference: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """(d - 1)^2: the least-squares comparison."""
    return jnp.square(difference - 1)


def hinged(difference: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(0, 1 - d): the hinge comparison."""
    return jax.nn.relu(1 - difference)


def relativistic(comparison: Comparison = logistic) -> Value:
    """Pairs: the critic pays f(C(x) - C(G)), the generator f(C(G) - C(x)) (RSGAN: f is logistic).

    Real and fake scores have one shape, and an example's place pairs it. The critic's loss is given on the real
    scores and is 0 on the fake ones, so that the sum of the means is the paper's. AssertionError for unequal shapes.
    """

    def discriminator(
        real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        chex.assert_equal_shape([real_scores, fake_scores])
        return comparison(real_scores - fake_scores), jnp.zeros_like(fake_scores)

    def generator(real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
        chex.assert_equal_shape([real_scores, fake_scores])
        return comparison(fake_scores - real_scores)

    return Value(discriminator, generator)


def relativistic_average(comparison: Comparison = logistic) -> Value:
    """Each score against the mean of the other kind, over the global batch (RaSGAN: f is logistic).

        critic:    f(C(x) - mean C(G)) + f(mean C(x) - C(G))
        generator: f(C(G) - mean C(x)) + f(mean C(G) - C(x))

    In the shapes of the scores; of the generator's loss the second summand, on real scores, is given as its mean.
    (For f logistic the second summand of the critic is -log(1 - sigmoid(C(G) - mean C(x))), as the paper writes it.)
    """

    def discriminator(
        real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        real_mean, fake_mean = device_mean((real_scores.mean(), fake_scores.mean()))
        return comparison(real_scores - fake_mean), comparison(real_mean - fake_scores)

    def generator(real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
        on_fake, on_real = discriminator(fake_scores, real_scores)
        return on_fake + device_mean(on_real.mean())

    return Value(discriminator, generator)
