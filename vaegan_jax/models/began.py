"""Boundary equilibrium GAN: autoencoder errors of real and generated images, kept at a ratio by a third player.

Berthelot et al. 2017 (arXiv 1703.10717), section 3.4:

    L_D = L(x) - k L(G(z)),   L_G = L(G(z)),   k <- clip(k + lambda_k (gamma L(x) - L(G(z))), 0, 1).

k is a player: its loss is -k (gamma L(x) - L(G(z))), its step lambda_k, its home [0, 1].
"""

from dataclasses import dataclass
from typing import Literal

import optax

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import check
from vaegan_jax.games import Game, Schedule
from vaegan_jax.losses import adversarial
from vaegan_jax.models import energy, gan
from vaegan_jax.models.adversarial_game import Seams, Table, beside, more, numbers
from vaegan_jax.networks.network import Network
from vaegan_jax.optimizers import Optimizer, bounded, kept

AVERAGED = gan.AVERAGED
PAPER_ADAM = Optimizer(learning_rate=1e-4)


@dataclass(frozen=True)
class Config(gan.Config):
    """Boundary equilibrium GAN (Berthelot et al. 2017)."""

    prior: gan.PriorName = "uniform"
    """p(z): the paper's is uniform on [-1, 1]."""
    latent_size: int = 64
    """Dimensions of z, and of the discriminator's code."""
    value: Literal["boundary-equilibrium"] = "boundary-equilibrium"
    """D pays L(x) - k L(G), G pays L(G), with L the mean absolute error of the autoencoder."""
    condition: Literal["none"] = "none"
    """An energy is told no classes."""
    minibatch: Literal["none"] = "none"
    """Nothing is told of the whole batch."""
    generator_norm: gan.Norm = "none"
    """Norms in the generator and the decoder: the paper has none."""
    discriminator_norm: gan.Norm = "none"
    """Norms in the encoder: the paper has none."""
    up: Literal["transposed", "shuffle", "nearest"] = "nearest"
    """How a dcgan's generator and decoder double a map."""
    down: Literal["strided", "average"] = "average"
    """How a dcgan's encoder halves one."""
    gamma: float = 0.5
    """Diversity: L(G) / L(x) at equilibrium, in (0, 1]."""
    balance_rate: float = 1e-3
    """lambda_k: how fast k is moved."""
    discriminator_optimizer: Optimizer = PAPER_ADAM
    """How the discriminator steps."""
    generator_optimizer: Optimizer = PAPER_ADAM
    """How the generator steps."""

    def __post_init__(self):
        super().__post_init__()
        check(0 < self.gamma <= 1, f"gamma must be in (0, 1], not {self.gamma}")
        check(0 < self.balance_rate < float("inf"), f"balance-rate must be above 0, not {self.balance_rate}")


def networks(config: Config, spec: DataSpec) -> dict[str, Network]:
    """Generator, autoencoder, and k, 0 at first. ValueError for images that do not fit."""
    made = gan.networks_of(config, spec, energy.discriminator(config, spec, config.latent_size, "l1"))
    return made | {"balance": numbers(k=0.0)}


def seams(config: Config, spec: DataSpec) -> Seams:
    """The game on energies, with what k makes of it; `balance/convergence` is the paper's global measure M."""

    def k(table: Table):
        return table.params["balance"]["k"]

    def balance(table: Table):
        return -k(table) * adversarial.balance(*_energies(table), config.gamma)

    told = {
        "k": k,
        "convergence": lambda table: adversarial.convergence(*_energies(table), config.gamma),
    }
    made = gan.seams(config, spec, lambda table: energy.on_scores(adversarial.boundary_equilibrium(k(table))))
    return made._replace(terms=more(made.terms, "balance", value=balance), told=made.told | {"balance": told})


def game(config: Config, spec: DataSpec) -> Game:
    """Three players: generator, discriminator and k."""
    steps = kept(bounded(optax.sgd(config.balance_rate), 0, 1))
    return gan.assembled(config, spec, networks(config, spec), seams(config, spec), {"balance": steps})


def schedule(config: Config) -> Schedule:
    """k moves beside the generator, from the errors that this sees."""
    return beside(gan.schedule(config), "generator", "balance")


def _energies(table: Table):
    return -table.real.score, -table.fake.score


sample, generate, prior = gan.sample, gan.generate, gan.prior
encodes, reconstruct = gan.encodes, gan.reconstruct
