"""Regularizers of scores alone: the same for an image and its changed copy, not far from what they were before.

One value per example, weights included. A changed copy T(x) keeps what matters: flipped, shifted, cut.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.losses.reductions import sum_events


def consistency(
    scores: Float[Array, " n"], changed_scores: Float[Array, " n"], weight: float = 10.0
) -> Float[Array, " n"]:
    """weight (D(x) - D(T(x)))^2, for the discriminator: Zhang et al. 2019 (CR, arXiv 1910.12027).

    On real images it is CR; on real and on generated ones, with a weight each, balanced CR (Zhao et al. 2020, bCR,
    arXiv 2002.04724: 10 and 10); on D(G(z)) and D(G(T(z))) the discriminator's part of latent CR (the same, zCR: 5),
    where T adds noise of standard deviation 0.03 to 0.07.
    """
    return weight * jnp.square(scores - changed_scores)


def latent_diversity(
    images: Float[Array, "n *event"], changed_images: Float[Array, "n *event"], weight: float = 0.5
) -> Float[Array, " n"]:
    """-weight |G(z) - G(T(z))|^2, for the generator, in the mean over the image's dimensions.

    The generator's part of latent CR: Zhao et al. 2020, where it is a norm; public code takes the mean,
    for which the weight of 0.5 is meant.
    """
    differences = sum_events(jnp.square(images - changed_images))
    return -weight * differences / (images.size // len(images))


def lecam(
    real_scores: Float[Array, "*real"],
    fake_scores: Float[Array, "*fake"],
    real_anchor: Float[Array, ""],
    fake_anchor: Float[Array, ""],
    weight: float = 0.3,
    one_sided: bool = False,
) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
    """weight (D(x) - a_fake)^2 and weight (D(G) - a_real)^2, for the discriminator, with anchors that a player moves.

    Tseng et al. 2021 (arXiv 2104.03310), which bounds the LeCam divergence. `one_sided` is the authors'
    code: max(0, D(x) - a_fake)^2 and max(0, a_real - D(G))^2, nothing for a score on the wrong side of its anchor.
    """
    above, below = real_scores - fake_anchor, real_anchor - fake_scores
    if one_sided:
        above, below = jax.nn.relu(above), jax.nn.relu(below)
    return weight * jnp.square(above), weight * jnp.square(below)
