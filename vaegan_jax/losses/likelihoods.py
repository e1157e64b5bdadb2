"""Negative log-likelihoods of a decoder, in nats, one value per element of the data.

Nothing is reduced here: sum over the event's dimensions and average over the batch once, at the end of the loss.
"""

import math

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LOG_TWO_PI = math.log(2 * math.pi)


def bounded_exp(x: Float[Array, "*shape"], bound: float = 30.0) -> Float[Array, "*shape"]:
    """exp(x) up to `bound`, its tangent above, so that an extreme log-variance does not overflow.

    `x`: any shape, in nats where it is a log-variance; the result has the shape of `x`. Value and gradient are
    continuous; above `bound` the value is e^bound (1 + x - bound), the slope e^bound and the curvature zero. The
    default is far outside what a trained model uses (e^30 is about 1e13), and finite in float32 at x = 1e4.
    """
    inside = x <= bound
    # The inner `where` keeps exp finite on the branch that the outer one drops: 0 * inf would be NaN in the gradient.
    exponential = jnp.exp(jnp.where(inside, x, bound))
    return jnp.where(inside, exponential, math.exp(bound) * (1 + (x - bound)))


def bernoulli(logits: Float[Array, "*shape"], x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """-log p(x | logits) of independent Bernoulli variables, in nats per element.

    `logits` and `x`, of one shape, give that shape. With p = sigmoid(logits):

        -log p(x) = -x log p - (1 - x) log(1 - p) = x softplus(-logits) + (1 - x) softplus(logits)

    (Kingma & Welling 2013, appendix C.1, with the sign turned.) For grey x, strictly between 0 and 1,
    this is the cross-entropy and NOT a normalized density on [0, 1]: such values cannot be compared with the
    likelihoods of another family, nor turned into bits per dimension.
    """
    chex.assert_equal_shape([logits, x])
    return _binary_cross_entropy(logits, x)


@jax.custom_jvp
def _binary_cross_entropy(logits: jax.Array, x: jax.Array) -> jax.Array:
    # For binary x the first two terms are |logits| or exactly 0: a tail as small as exp(-80) keeps its relative
    # precision. Two softplus, as in the equation, cost three times as much.
    return 0.5 * jnp.abs(logits) + (0.5 - x) * logits + jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_binary_cross_entropy.defjvp
def _binary_cross_entropy_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (logits, x), (logits_dot, x_dot) = primals, tangents
    slope = (1 - x) * jax.nn.sigmoid(logits) - x * jax.nn.sigmoid(-logits)  # smooth at 0, precise in the tails
    return _binary_cross_entropy(logits, x), slope * logits_dot - logits * x_dot


def gaussian(
    mean: Float[Array, "*shape"],
    x: Float[Array, "*shape"],
    log_variance: Float[Array, "*#shape"] | Float[Array, ""] | float,
) -> Float[Array, "*shape"]:
    """-log N(x; mean, exp(log_variance)) of independent normal variables, in nats per element.

    `mean` and `x`, of one shape, give that shape. `log_variance` is a scalar (one fixed or learned variance), or an
    array of the same rank whose axes have the length of `x` or 1 (a variance per element, or shared along an axis).

        -log N = 1/2 (log 2 pi + log_variance + (x - mean)^2 exp(-log_variance))

    (Kingma & Welling 2013, appendix C.2, with the sign turned.) exp is `bounded_exp`: exact while log_variance >= -30.
    This is a density: for a small variance it is negative.
    """
    chex.assert_equal_shape([mean, x])
    log_variance = jnp.asarray(log_variance)
    if log_variance.ndim:
        chex.assert_rank(log_variance, x.ndim)
        chex.assert_is_broadcastable(log_variance.shape, x.shape)
    return 0.5 * (_LOG_TWO_PI + log_variance + jnp.square(x - mean) * bounded_exp(-log_variance))
