"""Energy-based GAN: the discriminator is an autoencoder, and its error the energy of an image.

Zhao et al. 2016 (arXiv 1609.03126): equations 1 and 2, with the pulling-away term of section 2.4.
"""

from dataclasses import dataclass
from typing import Literal

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import check
from vaegan_jax.games import Game
from vaegan_jax.losses import adversarial, auxiliary
from vaegan_jax.models import energy, gan
from vaegan_jax.models.adversarial_game import Seams, more
from vaegan_jax.networks.network import Network

AVERAGED = gan.AVERAGED


@dataclass(frozen=True)
class Config(gan.Config):
    """Energy-based GAN (Zhao et al. 2016)."""

    value: Literal["margin"] = "margin"
    """D pays E(x) + max(0, m - E(G)), G pays E(G)."""
    condition: Literal["none"] = "none"
    """An energy is told no classes."""
    minibatch: Literal["none"] = "none"
    """The pulling-away term is what looks at the whole batch."""
    code_size: int = 32
    """Units between encoder and decoder of the discriminator."""
    margin: float = 10.0
    """m: the energy, a Euclidean norm over all pixels, up to which generated images are pushed (MNIST: 10)."""
    pulling_away: float = 0.1
    """Weight of the term that pulls the codes of generated images apart; 0: none."""

    def __post_init__(self):
        super().__post_init__()
        check(self.code_size > 0, f"code-size must be at least 1, not {self.code_size}")
        check(0 < self.margin < float("inf"), f"margin must be above 0 and finite, not {self.margin}")
        check(0 <= self.pulling_away < float("inf"), f"pulling-away must be 0 or more, not {self.pulling_away}")


def networks(config: Config, spec: DataSpec) -> dict[str, Network]:
    """Generator and autoencoder. ValueError for images that do not fit."""
    return gan.networks_of(config, spec, energy.discriminator(config, spec, config.code_size, "l2"))


def seams(config: Config, spec: DataSpec) -> Seams:
    """The margin game on energies, and the pulling-away term. ValueError for that in batches of one."""
    made = gan.seams(config, spec, lambda table: energy.on_scores(adversarial.margin(config.margin)))
    if not config.pulling_away:
        return made
    if spec.batch_size == 1:
        raise ValueError("pulling-away compares the codes of images: make batch-size 2 at least, or pulling-away 0")

    def pulling_away(table):
        return config.pulling_away * auxiliary.pulling_away(table.fake.judgment.features)

    return made._replace(terms=more(made.terms, "generator", pulling_away=pulling_away))


def game(config: Config, spec: DataSpec) -> Game:
    """Two players, a network each."""
    return gan.assembled(config, spec, networks(config, spec), seams(config, spec))


schedule, sample, generate, prior = gan.schedule, gan.sample, gan.generate, gan.prior
encodes, reconstruct = gan.encodes, gan.reconstruct
