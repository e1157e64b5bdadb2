"""The Dirac-GAN (Mescheder, Geiger & Nowozin 2018, arXiv 1801.04406): the smallest GAN that shows what converges.

The data is a single point at 0, what the generator makes is a single point at theta, and the discriminator is the
line D(x) = psi x. As in the paper, D is positive on what it takes for generated: the logit of "real" is -D. Losses and
penalties are those of all GANs, `vaegan_jax.losses`.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vaegan_jax.dynamics.toy import Optimizers, Toy, answer, choose, point
from vaegan_jax.errors import check, check_fields
from vaegan_jax.games import Params, Player
from vaegan_jax.losses import adversarial, penalties, relativistic

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
"""The players; they own the networks "x", which is theta, and "y", which is psi."""
NODES = 80
"""Of the Gauss-Hermite rule for instance noise: exact for polynomials up to degree 159."""


class Loss(NamedTuple):
    """The losses of both players on logits, and how the paper's f, the discriminator's gain on D(fake), starts."""

    value: adversarial.Value
    slope: float
    """f'(0)."""
    curvature: float
    """f''(0)."""


def _halved(value: adversarial.Value) -> adversarial.Value:
    """With the factor 1/2 of Mao et al., which `adversarial.least_squares` leaves out."""
    return adversarial.Value(
        lambda real, fake: tuple(loss / 2 for loss in value.discriminator(real, fake)),
        lambda real, fake: value.generator(real, fake) / 2,
    )


LOSSES = {
    "minimax": Loss(adversarial.minimax(), 0.5, -0.25),
    "non-saturating": Loss(adversarial.non_saturating(), 0.5, -0.25),
    "wasserstein": Loss(adversarial.wasserstein(), 1.0, 0.0),
    "least-squares": Loss(_halved(adversarial.least_squares(fake_target=-1.0)), 1.0, -1.0),
    "hinge": Loss(adversarial.hinge(), 1.0, 0.0),
    "relativistic": Loss(relativistic.relativistic(), 0.5, -0.25),
}
"""From the public name: Goodfellow et al. 2014 (two), Arjovsky et al. 2017 (no clipping), Mao et al. 2017 with the
targets -1 and 1, Lim & Ye 2017, Jolicoeur-Martineau 2019 (pairs of one real and one generated point)."""


@dataclass(frozen=True)
class DiracGan:
    """A GAN of two points: data at 0, the generated one at theta, and the discriminator D(x) = psi x."""

    loss: Literal["minimax", "non-saturating", "wasserstein", "least-squares", "hinge", "relativistic"] = "minimax"
    """What the logits are worth to both."""
    regularizer: Literal["none", "instance-noise", "r1", "r2", "wgan-gp", "jensen-shannon"] = "none"
    """What holds the discriminator back: noise on both points, or a penalty on its slope."""
    gamma: float = 0.3
    """Weight of the penalty: gamma/2 psi^2 (r1 at the data and r2 at the generated point are one here), gamma/2
    (|psi| - target)^2 (wgan-gp; DRAGAN's is the same, because the slope is psi everywhere), or gamma/2 psi^2 times how
    unsure the discriminator is of both points (jensen-shannon; Roth et al. 2017)."""
    sigma: float = 0.7
    """Standard deviation of the instance noise."""
    target: float = 1.0
    """Slope that wgan-gp asks for."""

    def __post_init__(self):
        check_fields(self)
        for name in ("gamma", "sigma", "target"):
            value = getattr(self, name)
            check(0 <= value < float("inf"), f"{name} must be at least 0 and finite, not {value}")
        pairs = self.loss == "relativistic" and self.regularizer == "instance-noise"
        logits = self.loss in ("minimax", "non-saturating")
        check(
            logits or self.regularizer != "jensen-shannon",
            f"jensen-shannon is of logits, and the scores of {self.loss} are none",
        )
        check(not pairs, "the relativistic loss has no instance-noise here: it would need one for each point of a pair")

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game; its start is (theta, psi) = (1, 1)."""
        chosen = choose(optimizers, step, (GENERATOR, DISCRIMINATOR))
        value = LOSSES[self.loss].value
        nodes, weights = self._noise()

        def scores(params):
            noise = jnp.asarray(nodes, params["x"].dtype)
            return -params["y"] * noise, -params["y"] * (params["x"] + noise)

        def expected(losses):
            return jnp.dot(jnp.asarray(weights, losses.dtype), losses)

        def generator_loss(params, stats, batch, key, step):
            return expected(value.generator(*scores(params))), ({}, {})

        def discriminator_loss(params, stats, batch, key, step):
            real, fake = value.discriminator(*scores(params))
            return expected(real) + expected(fake) + self._penalty(params), ({}, {})

        game = {
            GENERATOR: Player(("x",), generator_loss, chosen[GENERATOR]),
            DISCRIMINATOR: Player(("y",), discriminator_loss, chosen[DISCRIMINATOR]),
        }
        schedule = ((GENERATOR, DISCRIMINATOR),)
        return Toy("dirac-gan", game, schedule, point(1, 1), point(0, 0), answer(self.jacobian))

    def jacobian(self) -> Float[np.ndarray, "2 2"] | None:
        """J at (0, 0), over (theta, psi): [[0, f'], [-f', damping]]; None for wgan-gp, which has a kink there.

        There both points are as likely real as not, so that jensen-shannon weighs psi^2 by gamma/4.
        """
        if self.regularizer == "wgan-gp":
            return None
        slope, curvature = LOSSES[self.loss].slope, LOSSES[self.loss].curvature
        damping = {"none": 0.0, "instance-noise": -2 * self.sigma**2 * curvature, "jensen-shannon": self.gamma / 2}
        return np.array([[0.0, slope], [-slope, damping.get(self.regularizer, self.gamma)]])

    def _noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Places and weights of the noise: a rule for the normal distribution, or 0."""
        if self.regularizer != "instance-noise":
            return np.zeros(1), np.ones(1)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        return self.sigma * nodes, weights / weights.sum()

    def _penalty(self, params: Params) -> jax.Array | float:
        """As of images of one pixel, a single real and a single generated one."""
        if self.regularizer in ("none", "instance-noise"):
            return 0.0
        penalize = {
            "r1": penalties.r1(self.gamma),
            "r2": penalties.r2(self.gamma),
            "wgan-gp": penalties.gradient_penalty(self.gamma / 2, self.target),
            "jensen-shannon": penalties.jensen_shannon(self.gamma),
        }[self.regularizer]
        theta, psi = params["x"], params["y"]
        keys = jax.random.split(jax.random.key(0), 1)  # of no effect: the slope is the same everywhere
        return penalize(lambda points: -psi * points[:, 0], jnp.zeros_like(theta)[None, None], theta[None, None], keys)[
            0
        ]
