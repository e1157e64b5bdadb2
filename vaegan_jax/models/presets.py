"""Papers that are a choice among the fields of `gan.Config`, with the hyperparameters that they report.

Where a paper's were for other data or left open, it says so. All networks take their sizes from the images.
"""

from dataclasses import dataclass
from typing import Literal

from vaegan_jax.models import gan
from vaegan_jax.optimizers import Optimizer

Value = gan.Value
Penalty = gan.Penalty
Norm = gan.Norm


@dataclass(frozen=True)
class Dcgan(gan.Config):
    """Deep convolutional GAN (Radford et al. 2015, section 4)."""

    prior: gan.PriorName = "uniform"
    """p(z): uniform on [-1, 1]."""


@dataclass(frozen=True)
class LeastSquares(gan.Config):
    """Least squares GAN (Mao et al. 2017): raw scores, with targets 0, 1 and, for the generator, 1."""

    value: Value = "least-squares"
    """(D(x) - 1)^2 + D(G)^2, and (D(G) - 1)^2."""


@dataclass(frozen=True)
class Wasserstein(gan.Config):
    """Wasserstein GAN with clipped weights (Arjovsky et al. 2017, algorithm 1)."""

    value: Value = "wasserstein"
    """-D(x) + D(G), and -D(G)."""
    clip: float = 0.01
    """Keeps the critic's weights within plus and minus this."""
    discriminator_moves: int = 5
    """Moves of the critic in a round, each on fresh images."""
    discriminator_optimizer: Optimizer = Optimizer("rmsprop", 5e-5, b2=0.99)
    """How the critic steps."""
    generator_optimizer: Optimizer = Optimizer("rmsprop", 5e-5, b2=0.99)
    """How the generator steps."""


@dataclass(frozen=True)
class WassersteinPenalty(gan.Config):
    """Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, algorithm 1)."""

    value: Value = "wasserstein"
    """-D(x) + D(G), and -D(G)."""
    penalty: Penalty = "gradient"
    """10 (|grad D| - 1)^2 between real and generated images."""
    discriminator_norm: Norm = "layer"
    """Norms in the critic: the paper's replacement for batch norm."""
    discriminator_moves: int = 5
    """Moves of the critic in a round, each on fresh images."""
    discriminator_optimizer: Optimizer = Optimizer(learning_rate=1e-4, b1=0.0, b2=0.9)
    """How the critic steps."""
    generator_optimizer: Optimizer = Optimizer(learning_rate=1e-4, b1=0.0, b2=0.9)
    """How the generator steps."""


@dataclass(frozen=True)
class Dragan(gan.Config):
    """DRAGAN (Kodali et al. 2017): the gradient penalty around real images. Its batch norm gives way to layer norm."""

    penalty: Penalty = "dragan"
    """10 (|grad D| - 1)^2 around real images."""
    discriminator_norm: Norm = "layer"
    """Norms in the discriminator."""


@dataclass(frozen=True)
class ZeroCentered(gan.Config):
    """GAN with zero-centered gradient penalty on real images (Mescheder et al. 2018, section 6.2).

    The paper's residual networks have no norms at all, and 256 dimensions of z; the generator here keeps DCGAN's.
    """

    penalty: Penalty = "r1"
    """gamma / 2 |grad D|^2 at real images, gamma = 10."""
    discriminator_norm: Norm = "none"
    """Norms in the discriminator: the paper has none."""
    discriminator_optimizer: Optimizer = Optimizer("rmsprop", 1e-4, b2=0.99)
    """How the discriminator steps."""
    generator_optimizer: Optimizer = Optimizer("rmsprop", 1e-4, b2=0.99)
    """How the generator steps."""


@dataclass(frozen=True)
class Lipschitz(gan.Config):
    """Lipschitz GAN (Zhou et al. 2019): the largest slope is penalized, to no target."""

    penalty: Penalty = "max-gradient"
    """The largest |grad D|^2 between real and generated images."""
    penalty_weight: float = 1.0
    """Weight of the penalty: the paper searches."""
    discriminator_norm: Norm = "none"
    """Norms in the discriminator."""
    discriminator_moves: int = 5
    """Moves of the discriminator in a round, each on fresh images."""
    discriminator_optimizer: Optimizer = Optimizer(learning_rate=2e-4, b1=0.0, b2=0.9)
    """How the discriminator steps."""
    generator_optimizer: Optimizer = Optimizer(learning_rate=2e-4, b1=0.0, b2=0.9)
    """How the generator steps."""


@dataclass(frozen=True)
class Hinge(gan.Config):
    """GAN with hinge loss (Lim & Ye 2017): an SVM's margin between real and generated images."""

    value: Value = "hinge"
    """max(0, 1 - D(x)) + max(0, 1 + D(G)), and -D(G)."""


@dataclass(frozen=True)
class Relativistic(gan.Config):
    """Relativistic GAN (Jolicoeur-Martineau 2018, RSGAN): is this image more real than that one?"""

    value: Value = "relativistic"
    """-log s(D(x) - D(G)), and -log s(D(G) - D(x))."""


@dataclass(frozen=True)
class RelativisticAverage(gan.Config):
    """Relativistic average GAN (Jolicoeur-Martineau 2018, RaSGAN): more real than the others are on average?"""

    value: Value = "relativistic-average"
    """The same against the other side's mean score over the global batch."""


@dataclass(frozen=True)
class Conditional(gan.Config):
    """Conditional GAN (Mirza & Osindero 2014): both networks are told the class."""

    condition: Literal["concatenate"] = "concatenate"
    """The class is beside z, and, embedded in few dimensions, channels beside the image's."""


@dataclass(frozen=True)
class AuxiliaryClassifier(gan.Config):
    """Auxiliary classifier GAN (Odena et al. 2016): the discriminator also tells the class."""

    condition: Literal["auxiliary"] = "auxiliary"
    """The generator is told the class, the discriminator tells it."""


@dataclass(frozen=True)
class Projection(gan.Config):
    """GAN with projection discriminator (Miyato & Koyama 2018), on residual networks with spectral norm."""

    network: gan.NetworkName = "resnet"
    """Both networks."""
    width: int = 64
    """Channels of the last block at 64 pixels; all others scale with it."""
    latent_size: int = 128
    """Dimensions of z."""
    spectral: gan.Spectral = "discriminator"
    """Where weights are divided by their largest singular value."""
    value: Value = "hinge"
    """max(0, 1 - D(x)) + max(0, 1 + D(G)), and -D(G)."""
    condition: Literal["projection"] = "projection"
    """The class is an inner product with the discriminator's features."""
    condition_place: gan.Place = "norm"
    """The generator's batch norms have gains and shifts for each class."""
    discriminator_moves: int = 5
    """Moves of the discriminator in a round, each on fresh images."""
    discriminator_optimizer: Optimizer = Optimizer(learning_rate=2e-4, b1=0.0, b2=0.9)
    """How the discriminator steps."""
    generator_optimizer: Optimizer = Optimizer(learning_rate=2e-4, b1=0.0, b2=0.9)
    """How the generator steps."""


@dataclass(frozen=True)
class SpectralNorm(gan.Config):
    """Spectrally normalized GAN (Miyato et al. 2018): the plain networks of table 3, setting C of table 1."""

    network: gan.NetworkName = "sndcgan"
    """Both networks; resnet is the paper's other choice."""
    latent_size: int = 128
    """Dimensions of z."""
    spectral: gan.Spectral = "discriminator"
    """Where weights are divided by their largest singular value."""


@dataclass(frozen=True)
class SelfAttention(gan.Config):
    """Self-attention GAN (Zhang et al. 2018): spectral norm and attention in both networks, two time scales."""

    network: gan.NetworkName = "resnet"
    """Both networks."""
    latent_size: int = 128
    """Dimensions of z."""
    spectral: gan.Spectral = "both"
    """Where weights are divided by their largest singular value."""
    attention: int = -1
    """Height in pixels of the map that self-attention follows; 0: none; -1: half of the image's."""
    value: Value = "hinge"
    """max(0, 1 - D(x)) + max(0, 1 + D(G)), and -D(G)."""
    condition: gan.Condition = "projection"
    """The class is an inner product with the discriminator's features; none does without classes."""
    condition_place: gan.Place = "norm"
    """The generator's batch norms have gains and shifts for each class."""
    discriminator_optimizer: Optimizer = Optimizer(learning_rate=4e-4, b1=0.0, b2=0.9)
    """How the discriminator steps: four times as fast as the generator."""
    generator_optimizer: Optimizer = Optimizer(learning_rate=1e-4, b1=0.0, b2=0.9)
    """How the generator steps."""


PRESETS: dict[str, type] = {
    "dcgan": Dcgan,
    "lsgan": LeastSquares,
    "wgan": Wasserstein,
    "wgan-gp": WassersteinPenalty,
    "dragan": Dragan,
    "r1gan": ZeroCentered,
    "lgan": Lipschitz,
    "hinge-gan": Hinge,
    "rsgan": Relativistic,
    "ragan": RelativisticAverage,
    "cgan": Conditional,
    "acgan": AuxiliaryClassifier,
    "projection-gan": Projection,
    "sngan": SpectralNorm,
    "sagan": SelfAttention,
}
"""From the name on the command line to the configuration."""
