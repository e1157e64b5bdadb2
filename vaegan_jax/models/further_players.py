"""Players that techniques add: LeCam's averages, ADA's probability. An encoder is `autoencoding`'s."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaegan_jax.games import device_mean
from vaegan_jax.models.adversarial_game import Table, Term, numbers
from vaegan_jax.networks.network import Network
from vaegan_jax.optimizers import bounded, kept

if TYPE_CHECKING:
    from vaegan_jax.models.techniques import Techniques

ADA_KIMG = 500.0
"""Thousand images in which p could go from 0 to 1 (Karras et al. 2020, arXiv 2006.06676, section 3.1)."""
BESIDE = {"anchors": "discriminator", "augmentation": "discriminator", "encoder": "generator"}
"""Further players, and whom they move beside."""


class Part(NamedTuple):
    """A further player: the network that it owns, what it pays, how it steps."""

    network: Network
    terms: dict[str, Term]
    tx: optax.GradientTransformation


def added(techniques: "Techniques") -> dict[str, str]:
    """The further players that the tricks need, and whom each moves beside."""
    needed = {
        "anchors": techniques.lecam,
        "augmentation": techniques.adaptive,
        "encoder": techniques.autoencoding,
    }
    return {name: BESIDE[name] for name, wanted in needed.items() if wanted}


def anchors(techniques: "Techniques") -> Part:
    """LeCam's moving averages of scores."""
    return Part(numbers(real=0.0, fake=0.0), {"value": _anchors}, kept(optax.sgd(1 - techniques.lecam_decay)))


def augmentation(techniques: "Techniques", batch_size: int) -> Part:
    """ADA's probability."""
    step = optax.chain(optax.scale_by_sign(), optax.sgd(batch_size / (1000 * ADA_KIMG)))
    return Part(numbers(p=0.0), {"value": _overfitting(techniques.adaptive)}, kept(bounded(step, 0, 1)))


def _anchors(table: Table) -> jax.Array:
    """(a - mean D)^2 / 2: a step of 1 - decay on it is the moving average of the paper's equation 3."""
    means = {"real": device_mean(table.real.score.mean()), "fake": device_mean(table.fake.score.mean())}
    return sum(jnp.square(table.params["anchors"][name] - mean) / 2 for name, mean in means.items())


def _overfitting(target: float) -> Term:
    """-p (r - target), with r the mean sign of D(real): p rises while D is surer of real images than that.

    Of the slope the step takes the sign, once it is the mean over the whole batch, devices and micro-batches.
    """

    def term(table: Table) -> jax.Array:
        return -table.params["augmentation"]["p"] * (jnp.sign(table.real.score).mean() - target)

    return term
