"""InfoGAN: part of the latent vector is a code that the image shall tell, and that comes to mean something unlabeled.

Chen et al. 2016 (arXiv 1606.03657), equations 5 and 6: both players also minimize -lambda L_I, with
L_I = E log Q(c | G(z, c)) + H(c). Q shares the discriminator's body, as in the paper's appendix C.
"""

from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import check
from vaegan_jax.games import Game
from vaegan_jax.latents import PRIORS, Prior, categorical, uniform
from vaegan_jax.losses import auxiliary
from vaegan_jax.models import gan, gan_networks
from vaegan_jax.models.adversarial_game import Seams, Table, more
from vaegan_jax.networks.heads import Codes, Recognition
from vaegan_jax.networks.network import Network
from vaegan_jax.optimizers import Optimizer

AVERAGED = gan.AVERAGED


@dataclass(frozen=True)
class Config(gan.Config):
    """InfoGAN (Chen et al. 2016)."""

    latent_size: int = 62
    """Dimensions of the incompressible noise; the codes are beside it."""
    categories: tuple[int, ...] = (10,)
    """Values of each categorical code."""
    continuous: int = 2
    """Continuous codes, uniform on [-1, 1]."""
    information_weight: float = 1.0
    """lambda of the categorical codes."""
    continuous_weight: float = 0.1
    """lambda of the continuous codes."""
    condition: Literal["none"] = "none"
    """No classes are told: codes find their own."""
    generator_optimizer: Optimizer = field(default_factory=lambda: Optimizer(learning_rate=1e-3, b1=0.5))
    """How the generator steps: the paper's 1e-3."""

    def __post_init__(self):
        super().__post_init__()
        check(min(self.categories, default=2) > 1, f"categories must be at least 2 each, not {self.categories}")
        check(self.continuous >= 0, f"continuous must be 0 or more, not {self.continuous}")
        check(bool(self.categories or self.continuous), "there is no code: give categories or continuous ones")
        check(not self.techniques.replay, "replay keeps images without their codes: use it with another model")
        moved = "latent-consistency and latent-diversity move latents, and a code moved is none: use another model"
        check(not self.techniques.nearby, moved)
        told = "autoencoding finds latents of real images, and these have no codes: use it with another model"
        check(not self.techniques.autoencoding, told)
        for name in ("information_weight", "continuous_weight"):
            value = getattr(self, name)
            check(0 <= value < float("inf"), f"{name.replace('_', '-')} must be 0 or more, not {value}")

    def _generator_pays(self) -> bool:
        return super()._generator_pays() or self.information_weight + self.continuous_weight > 0


def prior(config: Config) -> Prior:
    """Noise, then the categorical codes, one-hot, then the continuous ones: keys (n,) -> (n, d)."""
    return _noise_and_codes(config)


def _noise_and_codes(config: Config) -> Prior:
    draws = [PRIORS[config.prior](config.latent_size), *map(categorical, config.categories)]
    draws += [uniform(config.continuous)] if config.continuous else []

    def draw(keys):
        own = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, len(draws)))(keys), 1, 0)
        return jnp.concatenate([draw(keys) for draw, keys in zip(draws, own, strict=True)], 1)

    return draw


def networks(config: Config, spec: DataSpec) -> dict[str, Network]:
    """Generator, and discriminator with Q on its features. ValueError for images that do not fit."""
    recognition = Recognition(config.categories, config.continuous, spectral=config.spectral != "none")
    made = gan.networks_of(config, spec, gan_networks.discriminator(config, spec, recognition))
    size = config.latent_size + sum(config.categories) + config.continuous
    return made | {"generator": gan_networks.generator(config, spec, size)}


def seams(config: Config, spec: DataSpec) -> Seams:
    """The configured game, with -lambda L_I for both players."""

    def information(table: Table):
        return -_information(config, table.fake.judgment.codes, table.fake.latents)

    made = gan.seams(config, spec)._replace(prior=prior(config))
    terms = more(made.terms, "discriminator", information=information)
    return made._replace(terms=more(terms, "generator", information=information))


def game(config: Config, spec: DataSpec) -> Game:
    """Two players: Q is the discriminator's."""
    return gan.assembled(config, spec, networks(config, spec), seams(config, spec))


def sample(
    config: Config, spec: DataSpec, params, stats, keys, train: bool = False, labels=None, prior: Prior | None = None
) -> tuple[jax.Array, dict]:
    """Images in [-1, 1], one per key, and the stats; `prior` stands in for that of noise and codes."""
    return gan.sample(config, spec, params, stats, keys, train, labels, prior or _noise_and_codes(config))


def recognize(config: Config, spec: DataSpec, params, stats, images) -> Codes:
    """Q's codes of images (n, height, width, channels) in [-1, 1], by running statistics."""
    network = networks(config, spec)["discriminator"]
    return network.apply(params["discriminator"], stats["discriminator"], images, train=False)[0].codes


def codes_of(config: Config, latents: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """The categorical codes as integers (n,), one for each, and the continuous ones (n, c), of latents (n, d)."""
    at, categories = config.latent_size, []
    for size in config.categories:
        categories.append(latents[:, at : at + size].argmax(1))
        at += size
    return tuple(categories), latents[:, at:]


def _information(config: Config, told: Codes, latents: jax.Array) -> jax.Array:
    """(n,): L_I of each image, weighted."""
    categories, continuous = codes_of(config, latents)
    total = jnp.zeros(len(latents), latents.dtype)
    for logits, code in zip(told.categories, categories, strict=True):
        total += config.information_weight * auxiliary.categorical_information(logits, code)
    if config.continuous:
        total += config.continuous_weight * auxiliary.continuous_information(told.means, continuous)
    return total


schedule, generate = gan.schedule, gan.generate
