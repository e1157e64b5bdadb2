"""Losses of the adversarial game, on logits, in nats, one value per logit.

A logit l stands for D = sigmoid(l), the probability that the discriminator gives to "real". Nothing is reduced here.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float


class Value(NamedTuple):
    """What the two players minimize, as functions of (real_logits, fake_logits), each of any shape, in nats."""

    discriminator: Callable[
        [Float[Array, "*real"], Float[Array, "*fake"]], tuple[Float[Array, "*real"], Float[Array, "*fake"]]
    ]
    """Losses on the real and on the fake logits, in their shapes; the player minimizes the sum of the two means."""

    generator: Callable[[Float[Array, "*real"], Float[Array, "*fake"]], Float[Array, "*fake"]]
    """Loss in the shape of the fake logits; most games ignore the real ones."""


def minimax(smoothing: float = 0.0) -> Value:
    """The zero-sum game of Goodfellow et al. 2014, equation 1: min_G max_D E log D(real) + E log(1 - D(fake)).

    Losses in nats, in the shapes of the logits: the discriminator's are -log D = softplus(-real) and
    -log(1 - D) = softplus(fake), the generator's is log(1 - D) = -softplus(fake), whose gradient vanishes where the
    discriminator is sure. `smoothing` in [0, 1) is the one-sided label smoothing of Salimans et al. 2016, section
    3.4: the target on real data is 1 - smoothing, on fake data it stays 0.
    """

    def generator(real_logits: Float[Array, "*real"], fake_logits: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
        return -jax.nn.softplus(fake_logits)

    return Value(_cross_entropy(smoothing), generator)


def non_saturating(smoothing: float = 0.0) -> Value:
    """The game of Goodfellow et al. 2014, section 3: the generator maximizes E log D(fake) instead.

    Losses in nats, in the shapes of the logits: the discriminator's are those of `minimax`, with the same one-sided
    `smoothing`; the generator's is -log D = softplus(-fake), whose gradient is largest where the discriminator is sure.
    """

    def generator(real_logits: Float[Array, "*real"], fake_logits: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
        return jax.nn.softplus(-fake_logits)

    return Value(_cross_entropy(smoothing), generator)


def _cross_entropy(smoothing: float) -> Callable:
    """The discriminator's loss of `minimax`: cross-entropies in nats with targets 1 - smoothing (real) and 0 (fake)."""
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")

    def discriminator(
        real_logits: Float[Array, "*real"], fake_logits: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        real = (1 - smoothing) * jax.nn.softplus(-real_logits) + smoothing * jax.nn.softplus(real_logits)
        return real, jax.nn.softplus(fake_logits)

    return discriminator
