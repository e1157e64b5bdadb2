"""Kullback-Leibler divergences between diagonal Gaussians, in nats, one value per dimension.

Nothing is reduced here: the divergence of the whole distribution is the sum over its dimensions.
"""

import chex
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.losses.likelihoods import bounded_exp


def _exp_excess(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """exp(x) - 1 - x >= 0 for any shape: the part of a divergence that the ratio exp(x) of the variances causes."""
    # Near zero, where posteriors collapse, exp(x) - 1 would lose all digits in float32 and fall below zero.
    small = jnp.abs(x) < 1
    near_zero = jnp.where(small, x, 0)
    return jnp.where(small, jnp.expm1(near_zero) - near_zero, bounded_exp(x) - 1 - x)


def kl_standard_normal(mean: Float[Array, "*shape"], log_variance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """KL(N(mean, exp(log_variance)) || N(0, 1)), in nats per dimension.

    Both arguments have one shape, which is the result's:

        KL = 1/2 (mean^2 + exp(log_variance) - 1 - log_variance)

    (Kingma & Welling 2013, appendix B, with the sign turned.) exp is `bounded_exp`: exact while
    log_variance <= 30.
    """
    chex.assert_equal_shape([mean, log_variance])
    return 0.5 * (jnp.square(mean) + _exp_excess(log_variance))


def kl_normal(
    mean: Float[Array, "*shape"],
    log_variance: Float[Array, "*shape"],
    prior_mean: Float[Array, "*shape"],
    prior_log_variance: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """KL(N(mean, exp(log_variance)) || N(prior_mean, exp(prior_log_variance))), in nats per dimension.

    All arguments have one shape, which is the result's. With r = log_variance - prior_log_variance:

        KL = 1/2 ((mean - prior_mean)^2 exp(-prior_log_variance) + exp(r) - 1 - r)

    (The integrals of Kingma & Welling 2013, appendix B, for a general prior.) exp is `bounded_exp`: exact while
    prior_log_variance >= -30 and r <= 30.
    """
    chex.assert_equal_shape([mean, log_variance, prior_mean, prior_log_variance])
    distance = jnp.square(mean - prior_mean) * bounded_exp(-prior_log_variance)
    return 0.5 * (distance + _exp_excess(log_variance - prior_log_variance))
