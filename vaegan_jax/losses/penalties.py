"""Penalties on the slope of a critic at single images, one value per example. Nothing is reduced here.

A constructor takes a weight and gives a `Penalty`; the discriminator adds its mean over the batch to its loss. Slopes
are by the image, over all of its dimensions, in scores per unit of a pixel. Noise is drawn by example, one interpolate
each. A slope of exactly 0 has a norm of 0, without NaN in any derivative.

All need a critic that judges each image by itself: `refuse_batch_norm`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vaegan_jax.games import device_mean
from vaegan_jax.gathering import everyone
from vaegan_jax.losses.reductions import sum_events

Score = Callable[[Float[Array, "n *event"]], Float[Array, " n"]]
"""A critic that moves no statistics: images -> scores. A class condition is closed over."""
Keys = Key[Array, " n"]
Penalty = Callable[[Score, Float[Array, "n *event"], Float[Array, "n *event"], Keys], Float[Array, " n"]]
"""(score, real, fake, keys) -> (n,), its weight included; `keys` are one for each example, by position."""


def gradient_penalty(weight: float = 10.0, target: float = 1.0) -> Penalty:
    """weight (|grad D(x^)| - target)^2 at x^ = alpha x + (1 - alpha) G, alpha ~ U(0, 1), one for each pair.

    Gulrajani et al. 2017 (arXiv 1704.00028), equation 3. The square is inside of the mean, and x^ lies between the two
    images: the lecture notes' square around the mean, and their minus sign within x^, are slips.
    """

    def penalty(score, real, fake, keys):
        return weight * jnp.square(slopes(score, interpolates(real, fake, keys)) - target)

    return penalty


def one_sided_gradient_penalty(weight: float = 10.0, target: float = 1.0) -> Penalty:
    """weight max(0, |grad D(x^)| - target)^2, with the interpolates of `gradient_penalty`: slopes below are free.

    Petzka et al. 2017 (arXiv 1709.08894); tried by Gulrajani et al. 2017, section 4.
    """

    def penalty(score, real, fake, keys):
        return weight * jnp.square(jax.nn.relu(slopes(score, interpolates(real, fake, keys)) - target))

    return penalty


def dragan(weight: float = 10.0, target: float = 1.0, spread: float = 0.5) -> Penalty:
    """weight (|grad D(x^)| - target)^2 near real images, x^ = x + alpha spread std u (Kodali et al. 2017).

    arXiv 1705.07215, with the noise of the authors' code: u ~ U(0, 1) for each pixel, alpha ~ U(0, 1) for
    each example, and std one number, the (biased) standard deviation of all pixels of the global batch. As in
    `gradient_penalty` the lecture notes' minus sign within x^ and their square around the mean are slips.
    """

    def penalty(score, real, fake, keys):
        return weight * jnp.square(slopes(score, perturbed(real, keys, spread)) - target)

    return penalty


def r1(weight: float = 10.0) -> Penalty:
    """weight / 2 |grad D(x)|^2 at real images, weight = gamma: Mescheder et al. 2018, arXiv 1801.04406, section 4.1."""
    return lambda score, real, fake, keys: weight / 2 * squared_slopes(score, real)


def r2(weight: float = 10.0) -> Penalty:
    """weight / 2 |grad D(G)|^2 at generated images, weight = gamma: Mescheder et al. 2018, section 4.1."""
    return lambda score, real, fake, keys: weight / 2 * squared_slopes(score, fake)


def jensen_shannon(weight: float = 2.0) -> Penalty:
    """The noise-convolved Jensen-Shannon divergence to first order: Roth et al. 2017 (arXiv 1705.09367).

        weight / 2 [(1 - s(l(x)))^2 |grad l(x)|^2 + s(l(G))^2 |grad l(G)|^2],    weight = gamma,

    with l the logit (the score) and s the sigmoid, at each real image and the generated one in its place.
    """

    def penalty(score, real, fake, keys):
        real_scores, at_real = _score_and_squared_slope(score, real)
        fake_scores, at_fake = _score_and_squared_slope(score, fake)
        unsure = jnp.square(jax.nn.sigmoid(-real_scores)) * at_real + jnp.square(jax.nn.sigmoid(fake_scores)) * at_fake
        return weight / 2 * unsure

    return penalty


def max_gradient(weight: float = 1.0) -> Penalty:
    """weight max |grad D(x^)|^2 over the interpolates of the global batch, the same value (n,) for each example.

    Zhou et al. 2019 (Lipschitz GAN, arXiv 1902.05687): it lowers the Lipschitz constant, to no set target.
    """

    def penalty(score, real, fake, keys):
        steepest = everyone(squared_slopes(score, interpolates(real, fake, keys))).max()
        return jnp.full(len(real), weight * steepest)

    return penalty


def lazily(penalty: Penalty, every: int, step: jax.Array | int) -> Penalty:
    """The penalty at every `every`-th step, that many times as strong, and 0, at no cost, at the steps between.

    Karras et al. 2019 (StyleGAN 2, arXiv 1912.04958), section 3.1 and appendix B. There the penalty is a step of its
    own, for which Adam's constants are adjusted, with c = every / (every + 1), to c times the learning rate, b1^c and
    b2^c; as a term of a loss it adds no step, and there is nothing to adjust. `step` may be traced. Raises ValueError
    unless every >= 1.
    """
    if every < 1:
        raise ValueError(f"a lazy penalty is applied every 1 or more steps, got {every}")
    if every == 1:
        return penalty

    def lazy(score, real, fake, keys):
        now = lambda: every * penalty(score, real, fake, keys)  # noqa: E731
        shape = jax.eval_shape(now)
        return jax.lax.cond(step % every == 0, now, lambda: jnp.zeros(shape.shape, shape.dtype))

    return lazy


def refuse_batch_norm(stats: Mapping[str, Any], penalty: str) -> None:
    """Raises ValueError where a network has batch statistics, given its stats; `penalty` is what it goes by.

    With batch norm a score depends on the whole batch, and there is no slope by a single image (Gulrajani et al. 2017,
    section 4): layer or instance norm will do.
    """
    if stats.get("batch_stats"):
        raise ValueError(
            f"{penalty} penalizes the discriminator's slope at single images, but with batch norm a score depends on "
            "the whole batch: use a discriminator without batch norm"
        )


def interpolates(
    real: Float[Array, "n *event"], fake: Float[Array, "n *event"], keys: Keys
) -> Float[Array, "n *event"]:
    """alpha x + (1 - alpha) G with alpha ~ U(0, 1), one for each pair: Gulrajani et al. 2017, algorithm 1."""
    alpha = _per_example(jax.vmap(lambda key: jax.random.uniform(key, dtype=real.dtype))(keys), real)
    return alpha * real + (1 - alpha) * fake


def perturbed(real: Float[Array, "n *event"], keys: Keys, spread: float = 0.5) -> Float[Array, "n *event"]:
    """x + alpha spread std u, as `dragan` says."""

    def draw(key):
        for_alpha, for_noise = jax.random.split(key)
        return jax.random.uniform(for_alpha, dtype=real.dtype), jax.random.uniform(
            for_noise, real.shape[1:], real.dtype
        )

    alpha, noise = jax.vmap(draw)(keys)
    deviation = jnp.sqrt(device_mean(jnp.square(real - device_mean(real.mean())).mean()))
    return real + _per_example(alpha, real) * spread * deviation * noise


def slopes(score: Score, images: Float[Array, "n *event"]) -> Float[Array, " n"]:
    """|grad score| at each image, the norm over all of its dimensions; its own derivative at a slope of 0 is 0."""
    squares = squared_slopes(score, images)
    steep = squares > 0
    # The inner `where` keeps the root's derivative finite on the branch that the outer one drops.
    return jnp.where(steep, jnp.sqrt(jnp.where(steep, squares, 1)), 0)


def squared_slopes(score: Score, images: Float[Array, "n *event"]) -> Float[Array, " n"]:
    """|grad score|^2 at each image, in at least float32."""
    return _score_and_squared_slope(score, images)[1]


def _score_and_squared_slope(score: Score, images) -> tuple[jax.Array, jax.Array]:
    scores, pull = jax.vjp(score, images)
    (slope,) = pull(jnp.ones_like(scores))
    return scores, sum_events(jnp.square(slope.astype(jnp.promote_types(slope.dtype, jnp.float32))))


def _per_example(values: jax.Array, images: jax.Array) -> jax.Array:
    return values.reshape((-1,) + (1,) * (images.ndim - 1))
