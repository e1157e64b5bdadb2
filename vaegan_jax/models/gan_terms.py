"""What the players of the GAN family pay and what is told of them, as a configuration asks for it."""

import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import jax
import jax.numpy as jnp

from vaegan_jax.games import device_mean
from vaegan_jax.losses import adversarial, auxiliary, penalties, relativistic
from vaegan_jax.losses.reductions import sum_events
from vaegan_jax.models import adversarial_game
from vaegan_jax.models.adversarial_game import Seen, Table, Term, more

if TYPE_CHECKING:
    from vaegan_jax.models.gan import Config

Value = Literal[
    "non-saturating", "minimax", "least-squares", "wasserstein", "hinge", "relativistic", "relativistic-average"
]
Penalty = Literal["none", "gradient", "one-sided", "dragan", "r1", "r2", "jensen-shannon", "max-gradient"]
LOGISTIC = ("non-saturating", "minimax")
"""Values whose scores are logits."""
SIGNED = (*LOGISTIC, "hinge")
"""Values whose scores are above 0 where an image is taken for real."""
FLIPPED = ("non-saturating", "least-squares", "wasserstein", "relativistic", "margin", "boundary-equilibrium")
"""Values whose generator pays for its images what the discriminator would, were they real (without smoothing)."""
LEARNT = 0.01
"""A loss of the discriminator below which an image teaches it nothing: of a logit, it is surer than 99 %."""


def value(config: "Config") -> adversarial.Value:
    """The game on scores."""
    return {
        "non-saturating": lambda: adversarial.non_saturating(config.label_smoothing),
        "minimax": lambda: adversarial.minimax(config.label_smoothing),
        "least-squares": lambda: adversarial.least_squares(real_target=1 - config.label_smoothing),
        "wasserstein": adversarial.wasserstein,
        "hinge": adversarial.hinge,
        "relativistic": relativistic.relativistic,
        "relativistic-average": relativistic.relativistic_average,
    }[config.value]()


def terms(config: "Config", value: Callable[[Table], adversarial.Value]) -> dict[str, dict[str, Term]]:
    """What each player pays, by name: the value, a function of the table; maybe a penalty; maybe for classes."""
    made = adversarial_game.value_terms(value)
    if config.penalty != "none":
        made = more(made, "discriminator", penalty=_penalty(config))
    if config.condition == "auxiliary":
        weight = config.classification_weight
        both = lambda table: weight * (_misjudged(table.real) + _misjudged(table.fake))  # noqa: E731
        made = more(made, "discriminator", classes=both)
        made = more(made, "generator", classes=lambda table: weight * _misjudged(table.fake))
    return made


def told(config: "Config") -> dict[str, dict[str, Term]]:
    """Metrics of the discriminator: mean scores, of logits the probabilities D(x), and how far it has won.

    `settled` is the share of images, real or generated, whichever is less, on which its loss is below `LEARNT`; for the
    Wasserstein distance, whose losses have no end, `slope` is the mean of |D(x) - D(G(z))| / |x - G(z)| over pairs.
    """
    of_logit = jax.nn.sigmoid if config.value in LOGISTIC else lambda score: score
    shown = {
        "real": lambda table: of_logit(table.real.score),
        "fake": lambda table: of_logit(table.fake.score),
    }
    if config.value == "wasserstein":
        shown["slope"] = _slope
    elif config.value in typing.get_args(Value):
        shown["settled"] = lambda table: _settled(value(config), table)
    return {"discriminator": shown}


def _settled(game: adversarial.Value, table: Table) -> jax.Array:
    losses = game.discriminator(table.real.score, table.fake.score)
    return jnp.minimum(*device_mean(tuple((loss < LEARNT).mean(dtype=loss.dtype) for loss in losses)))


def _slope(table: Table) -> jax.Array:
    distance = jnp.sqrt(sum_events(jnp.square(table.real.images - table.fake.images)))
    return jnp.abs(table.real.score - table.fake.score) / jnp.maximum(distance, jnp.finfo(distance.dtype).tiny)


def _penalty(config: "Config") -> Term:
    weight = config.penalty_weight
    penalize = {
        "gradient": penalties.gradient_penalty,
        "one-sided": penalties.one_sided_gradient_penalty,
        "dragan": penalties.dragan,
        "r1": penalties.r1,
        "r2": penalties.r2,
        "jensen-shannon": penalties.jensen_shannon,
        "max-gradient": penalties.max_gradient,
    }[config.penalty](weight)

    def term(table: Table) -> jax.Array:
        score = lambda images: table.judge(images, table.real.labels).score  # noqa: E731
        now = penalties.lazily(penalize, config.penalty_interval, table.step)
        return now(score, table.real.images, table.fake.images, table.keys)

    return term


def _misjudged(seen: Seen) -> jax.Array:
    return auxiliary.auxiliary_classifier(seen.judgment.classes, seen.labels)
