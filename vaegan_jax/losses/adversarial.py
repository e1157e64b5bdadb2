"""Losses of the adversarial game, on a critic's scores, one value per score. Nothing is reduced here.

What a score means depends on the game. To `minimax` and `non_saturating` it is a logit l, D = sigmoid(l) being the
probability that the discriminator gives to "real", and losses are in nats; to `least_squares`, `wasserstein` and
`hinge` it is the critic's raw output, larger for "real"; to `margin` and `boundary_equilibrium` it is an energy, such
as the reconstruction error of an autoencoder, smaller for "real". Games that compare scores are in `relativistic`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.games import device_mean


class Value(NamedTuple):
    """What the two players minimize, as functions of (real_scores, fake_scores), each of any shape."""

    discriminator: Callable[
        [Float[Array, "*real"], Float[Array, "*fake"]], tuple[Float[Array, "*real"], Float[Array, "*fake"]]
    ]
    """Losses on the real and on the fake scores, in their shapes; the player minimizes the sum of the two means."""

    generator: Callable[[Float[Array, "*real"], Float[Array, "*fake"]], Float[Array, "*fake"]]
    """Loss in the shape of the fake scores; most games ignore the real ones."""


def minimax(smoothing: float = 0.0) -> Value:
    """The zero-sum game of Goodfellow et al. 2014, equation 1: min_G max_D E log D(real) + E log(1 - D(fake)).

    Losses in nats, in the shapes of the logits: the discriminator's are -log D = softplus(-real) and -log(1 - D) =
    softplus(fake), the generator's is log(1 - D) = -softplus(fake), whose gradient vanishes where the discriminator is
    sure. The best discriminator, D* = p_data / (p_data + p_G), is so for any fixed generator, not for the best one
    alone. `smoothing` in [0, 1) is the one-sided label smoothing of Salimans et al. 2016, section 3.4: the target on
    real data is 1 - smoothing, on fake data it stays 0.
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


def least_squares(fake_target: float = 0.0, real_target: float = 1.0, generator_target: float = 1.0) -> Value:
    """Squared errors of the critic's raw output: Mao et al. 2017, equation 2, with a, b, c = the three targets.

    In the shapes of the scores, without the paper's factor 1/2, which plain steps see as half the learning rate:

        discriminator: (D(x) - b)^2 + (D(G) - a)^2,    generator: (D(G) - c)^2

    With b - c = 1 and b - a = 2 the generator descends Pearson's chi^2 of p_data + p_G and 2 p_G (section 3).
    """

    def discriminator(
        real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        return jnp.square(real_scores - real_target), jnp.square(fake_scores - fake_target)

    def generator(real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
        return jnp.square(fake_scores - generator_target)

    return Value(discriminator, generator)


def wasserstein() -> Value:
    """The Kantorovich-Rubinstein dual: Arjovsky et al. 2017 (arXiv 1701.07875), equations 2 and 3.

    In the shapes of the scores, in units of the images' distance: the critic's losses are -D(x) and D(G), the
    generator's is -D(G). Over 1-Lipschitz critics the critic's least loss is minus the earth mover's distance; what
    keeps it Lipschitz is not in here (`optimizers.bounded`, `penalties`, spectral norm).
    """

    def discriminator(
        real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        return -real_scores, fake_scores

    return Value(discriminator, _raise_score)


def hinge() -> Value:
    """The margin of a support vector machine: Lim & Ye 2017 (arXiv 1705.02894).

    In the shapes of the scores: the critic's losses are max(0, 1 - D(x)) and max(0, 1 + D(G)), the generator's -D(G).
    At the best critic, sign(p_data - p_G), the critic's loss is 2 - 2 TV and the generator descends the total
    variation TV.
    """

    def discriminator(
        real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        return jax.nn.relu(1 - real_scores), jax.nn.relu(1 + fake_scores)

    return Value(discriminator, _raise_score)


def margin(energy: float) -> Value:
    """The energy-based game: Zhao et al. 2016 (arXiv 1609.03126), equations 1 and 2, with m = `energy`.

    Scores are energies E >= 0; losses in their shapes and unit: the discriminator's are E(x) and max(0, m - E(G)), the
    generator's is E(G). At the equilibrium the discriminator's loss is m (theorem 1). The paper adds a
    pulling-away term to the generator's loss (`auxiliary.pulling_away`). Raises ValueError unless m > 0.
    """
    if not energy > 0:
        raise ValueError(f"the margin must be above 0, got {energy}")

    def discriminator(
        real_energies: Float[Array, "*real"], fake_energies: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        return real_energies, jax.nn.relu(energy - fake_energies)

    return Value(discriminator, _lower_energy)


def boundary_equilibrium(k: Float[Array, ""]) -> Value:
    """The boundary equilibrium game: Berthelot et al. 2017 (arXiv 1703.10717), section 3.4.

    Scores are energies L, an autoencoder's errors; losses in their shapes and unit: the discriminator's are L(x) and
    -k L(G), the generator's is L(G). k is the state of a third player, who ascends k `balance` within [0, 1]: plain
    ascent with the paper's lambda_k = 0.001 for a rate, and `optimizers.bounded` by 0 and 1, is its last equation. The
    bounds are part of it: without them k can leave [0, 1].
    """

    def discriminator(
        real_energies: Float[Array, "*real"], fake_energies: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        return real_energies, -k * fake_energies

    return Value(discriminator, _lower_energy)


def balance(
    real_energies: Float[Array, "*shape"], fake_energies: Float[Array, "*shape"], gamma: float
) -> Float[Array, "*shape"]:
    """gamma L(x) - L(G), energy by energy: 0 in the mean where generated images have the share gamma of the real ones'
    energy, the equilibrium of Berthelot et al. 2017, section 3.3. A player of k minimizes -k times this mean.
    """
    return gamma * real_energies - fake_energies


def convergence(real_energies: Float[Array, "*real"], fake_energies: Float[Array, "*fake"], gamma: float) -> jax.Array:
    """M = L(x) + |gamma L(x) - L(G)| of the means over the global batch, a scalar in the energies' unit.

    Berthelot et al. 2017, section 3.4.1: the global measure that falls while both quality and balance improve.
    """
    real, fake = device_mean((real_energies.mean(), fake_energies.mean()))
    return real + jnp.abs(gamma * real - fake)


def flipped(value: Value) -> Value:
    """The same discriminator against a generator that has the labels flipped.

    Its loss, in the shape of the fake scores, is what the discriminator would pay for them, were they real: for
    `minimax` without smoothing this is `non_saturating`, for `least_squares` it aims at the real target.
    """

    def generator(real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
        return value.discriminator(fake_scores, real_scores)[0]

    return Value(value.discriminator, generator)


def _raise_score(real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
    return -fake_scores


def _lower_energy(real_energies: Float[Array, "*real"], fake_energies: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
    return fake_energies


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
