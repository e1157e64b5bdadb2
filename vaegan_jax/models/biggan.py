"""BigGAN: class-conditional, large and in large batches.

Brock et al. 2018 (arXiv 1809.11096), sections 3 and 4; `networks.biggan` has the networks of its appendix B. All else,
hinge loss, projection, spectral norm in both networks, two time scales, is a choice among the fields of `gan.Config`.
"""

from dataclasses import dataclass
from typing import Literal

from vaegan_jax.models import gan
from vaegan_jax.optimizers import Optimizer

AVERAGED = gan.AVERAGED


@dataclass(frozen=True)
class Config(gan.Config):
    """BigGAN (Brock et al. 2018)."""

    network: Literal["biggan"] = "biggan"
    """Both networks."""
    width: int = 96
    """Channels that the paper calls ch, of which all others are multiples; 64 at 32 pixels in the authors' program."""
    latent_size: int = 120
    """Dimensions of z, which is cut into a piece for each block and one before: the paper has 20 in each."""
    shared_size: int = 128
    """Dimensions of the embedding of the class that all norms of the generator share."""
    generator_norm: Literal["batch"] = "batch"
    """Norms in the generator."""
    discriminator_norm: Literal["none"] = "none"
    """Norms in the discriminator."""
    spectral: Literal["both"] = "both"
    """Where weights are divided by their largest singular value."""
    attention: int = -1
    """Height in pixels of the map that self-attention follows; 0: none; -1: the paper's 64, 32 for images of 64."""
    value: gan.Value = "hinge"
    """max(0, 1 - D(x)) + max(0, 1 + D(G)), and -D(G)."""
    condition: Literal["projection"] = "projection"
    """The class is an inner product with the discriminator's features."""
    condition_place: Literal["norm"] = "norm"
    """The generator's batch norms have gains and shifts for each class and piece of z."""
    discriminator_moves: int = 2
    """Moves of the discriminator in a round, each on fresh images."""
    discriminator_optimizer: Optimizer = Optimizer(learning_rate=2e-4, b1=0.0, epsilon=1e-6)
    """How the discriminator steps: four times as fast as the generator. Epsilon is the authors' program's."""
    generator_optimizer: Optimizer = Optimizer(learning_rate=5e-5, b1=0.0, epsilon=1e-6)
    """How the generator steps."""


networks, game, schedule, prior = gan.networks, gan.game, gan.schedule, gan.prior
sample, generate, told = gan.sample, gan.generate, gan.told
