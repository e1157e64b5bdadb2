"""BigGAN: class-conditional, large and in large batches.

Brock et al. 2018 (arXiv 1809.11096), sections 3 and 4; `networks.biggan` has the networks of its appendix B. All else,
hinge loss, projection, spectral norm in both networks, two time scales, is a choice among the fields of `gan.Config`.
"""

from dataclasses import dataclass
from typing import Literal

from vaegan_jax.errors import check
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
    norm_epsilon: float = 1e-5
    """What the generator's norms add to variances; published BigGAN-deep has 1e-4."""
    image_filters: int = 0
    """Filters of the generator's last convolution, of which the image's channels are the first; 0: no others. Published
    BigGAN-deep has 128: the others count in the kernel's singular value."""
    statistics_bins: int = 0
    """Truncations, evenly from 0 to 1, for each of which the generator's norms have statistics of their own, as
    imported weights do; training does not move them, and nothing but an import fills them. 0: none."""
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

    def __post_init__(self):
        super().__post_init__()
        check(0 < self.norm_epsilon < 1, f"norm-epsilon must be above 0 and below 1, not {self.norm_epsilon}")
        for name in ("shared_size", "image_filters", "statistics_bins"):
            least = int(name == "shared_size")
            value, told = getattr(self, name), name.replace("_", "-")
            check(value >= least, f"{told} must be {least} or more, not {value}")
        check(self.statistics_bins != 1, "statistics-bins must be 0, or 2 and more: truncations from 0 to 1")


networks, game, schedule, prior = gan.networks, gan.game, gan.schedule, gan.prior
sample, generate, told = gan.sample, gan.generate, gan.told
