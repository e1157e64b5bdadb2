"""Coulomb GAN: generated images are charges that real ones attract and others repel, moved along a learned field.

Unterthiner et al. 2017 (arXiv 1708.08819). `losses.coulomb` has the field.
"""

from dataclasses import dataclass
from typing import Literal

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import check
from vaegan_jax.games import Game
from vaegan_jax.losses import coulomb
from vaegan_jax.models import gan
from vaegan_jax.models.adversarial_game import Seams, Table
from vaegan_jax.optimizers import Optimizer

AVERAGED = gan.AVERAGED
AUTHORS_ADAM = Optimizer(learning_rate=1e-4)
"""The defaults of the authors' program, as are the size of z, the dimension and epsilon."""


@dataclass(frozen=True)
class Config(gan.Config):
    """Coulomb GAN (Unterthiner et al. 2017)."""

    value: Literal["coulomb"] = "coulomb"
    """D learns the potential of the batch, G climbs it."""
    condition: Literal["none"] = "none"
    """The field is told no classes."""
    discriminator_norm: gan.Norm = "none"
    """Norms in the discriminator."""
    latent_size: int = 32
    """Dimensions of z."""
    dimension: float = 3.0
    """Of the Plummer kernel (|a - b|^2 + epsilon^2)^(-(dimension - 2) / 2), above 2."""
    epsilon: float = 1.0
    """Distance within which two charges hardly feel each other, in pixel values over all pixels."""

    discriminator_optimizer: Optimizer = AUTHORS_ADAM
    """How the discriminator steps."""
    generator_optimizer: Optimizer = AUTHORS_ADAM
    """How the generator steps."""

    def __post_init__(self):
        super().__post_init__()
        check(2 < self.dimension < float("inf"), f"dimension must be above 2 and finite, not {self.dimension}")
        check(0 < self.epsilon < float("inf"), f"epsilon must be above 0 and finite, not {self.epsilon}")
        labeled = self.techniques.flip_labels or self.techniques.noisy_labels
        check(not labeled, "flip-labels and noisy-labels are for a game of labels; each image here has its potential")


def seams(config: Config, spec: DataSpec) -> Seams:
    """The discriminator's regression on the potential of the global batch, and the generator's climb."""

    def value(table: Table):
        potentials = coulomb.potentials(table.real.images, table.fake.images, config.dimension, config.epsilon)
        return coulomb.coulomb(*potentials)

    return gan.seams(config, spec, value)


def game(config: Config, spec: DataSpec) -> Game:
    """Two players, a network each."""
    return gan.assembled(config, spec, networks(config, spec), seams(config, spec))


networks, schedule, sample, generate, prior = gan.networks, gan.schedule, gan.sample, gan.generate, gan.prior
encodes, reconstruct = gan.encodes, gan.reconstruct
