"""Generative adversarial network: one game made of replaceable pure functions.

Goodfellow et al. 2014 (arXiv 1406.2661); the default networks are Radford et al. 2015's (DCGAN, arXiv 1511.06434).
A later GAN is a preset of `Config` plus the seams it fills: where latents come from (`prior`), what the
discriminator sees of an image (`view`), what scores are worth (`value`), what else the discriminator pays for
(`penalties`), and who moves when (`schedule`). Images come and go in [-1, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from vaegan_jax import latents
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import check, check_fields
from vaegan_jax.games import Game, Player, Schedule, example_keys
from vaegan_jax.losses import adversarial
from vaegan_jax.networks import dcgan, mlp
from vaegan_jax.networks.network import Network, pure
from vaegan_jax.optimizers import Adam

AVERAGED = ("generator",)
"""Networks that training also keeps as an exponential moving average, for sampling."""
PAPER_ADAM = Adam(learning_rate=2e-4, b1=0.5)
"""DCGAN, section 4."""


@dataclass(frozen=True)
class Config:
    """Generative adversarial network (Goodfellow et al. 2014; Radford et al. 2015)."""

    network: Literal["dcgan", "mlp"] = "dcgan"
    """Generator and discriminator: convolutions with batch norm, or dense layers."""
    latent_size: int = 100
    """Dimensions of z."""
    prior: Literal["normal", "uniform"] = "normal"
    """p(z): standard normal, or uniform on [-1, 1]."""
    width: int = 64
    """Channels of the largest convolution's output (dcgan)."""
    hidden_sizes: tuple[int, ...] = (512, 512)
    """Units of the hidden layers (mlp)."""
    value: Literal["non-saturating", "minimax"] = "non-saturating"
    """What the generator minimizes: -log D(G(z)), or log(1 - D(G(z)))."""
    label_smoothing: float = 0.0
    """The discriminator's target for real images is 1 minus this; for generated ones it stays 0 (one-sided)."""
    joint_batch: bool = False
    """Shows real and generated images in one batch, so that batch norms mix them, not in one each."""
    discriminator_moves: int = 1
    """Moves of the discriminator, each on fresh images, before each move of the generator."""
    discriminator_optimizer: Adam = PAPER_ADAM
    """Adam of the discriminator."""
    generator_optimizer: Adam = PAPER_ADAM
    """Adam of the generator."""

    def __post_init__(self):
        check_fields(self)
        check(self.latent_size > 0, f"latent-size must be at least 1, not {self.latent_size}")
        check(self.width > 0, f"width must be at least 1, not {self.width}")
        check(min(self.hidden_sizes, default=1) > 0, f"hidden-sizes must be at least 1 each, not {self.hidden_sizes}")
        check(0 <= self.label_smoothing < 1, f"label-smoothing must be in [0, 1), not {self.label_smoothing}")
        check(self.discriminator_moves > 0, f"discriminator-moves must be at least 1, not {self.discriminator_moves}")


class Seams(NamedTuple):
    """The replaceable functions of a GAN. `score` maps images to logits (n,)."""

    prior: latents.Prior
    """Keys (n,) -> latents (n, d)."""
    view: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """(images, keys, step) -> images as the discriminator sees them: noise, augmentation, on real and fake alike."""
    value: adversarial.Value
    """Scores -> unreduced losses of both players."""
    penalties: tuple[Callable[..., jax.Array], ...] = ()
    """Each (score, real, fake, keys) -> (n,), weighted, added to the discriminator's loss."""


def seams(config: Config) -> Seams:
    """The seams as the configuration asks for them."""
    prior = {"normal": latents.normal, "uniform": latents.uniform}[config.prior](config.latent_size)
    value = {"non-saturating": adversarial.non_saturating, "minimax": adversarial.minimax}[config.value]
    return Seams(prior, lambda images, keys, step: images, value(config.label_smoothing))


def networks(config: Config, spec: DataSpec) -> dict[str, Network]:
    """Generator (latents -> images before tanh) and discriminator. ValueError for images that a DCGAN cannot halve."""
    if config.network == "dcgan":
        dcgan.sides(spec.image_shape)
        generator = dcgan.VectorToImage(spec.image_shape, config.width)
        discriminator = dcgan.ImageToVector(1, config.width)
    else:
        generator = mlp.VectorToImage(config.hidden_sizes, spec.image_shape)
        discriminator = mlp.ImageToVector(config.hidden_sizes, 1, slope=0.2)
    image = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.result_type(float))
    latent = jax.ShapeDtypeStruct((1, config.latent_size), jnp.result_type(float))
    return {"generator": pure(generator, latent), "discriminator": pure(discriminator, image)}


def game(config: Config, spec: DataSpec, filled: Seams | None = None) -> Game:
    """Two players, a network each; `filled` stands in for the seams that the configuration asks for."""
    prior, view, value, penalties = filled or seams(config)
    discriminator = networks(config, spec)["discriminator"]
    generate = partial(_generate, config, spec, prior)

    def score(params, stats, images):
        logits, stats = discriminator.apply(params["discriminator"], stats, images, train=True)
        return logits[:, 0], stats

    def scores(params, stats, real, fake):
        stats = stats["discriminator"]
        if config.joint_batch:
            logits, stats = score(params, stats, jnp.concatenate([real, fake]))
            return *jnp.split(logits, 2), stats
        real_logits, stats = score(params, stats, real)
        fake_logits, stats = score(params, stats, fake)
        return real_logits, fake_logits, stats

    def images(params, stats, batch, key, step):
        """Real and generated images through the view, keys for penalties, and the generator's new stats."""
        latent_keys, *view_keys, penalty_keys = (example_keys(k, batch) for k in jax.random.split(key, 4))
        fake, moved = generate(params, stats, latent_keys, train=True)
        real, fake = (view(x, keys, step) for x, keys in zip((batch["image"], fake), view_keys, strict=True))
        return real, fake, penalty_keys, moved

    def discriminator_loss(params, stats, batch, key, step):
        real, fake, keys, _ = images(params, stats, batch, key, step)
        real_logits, fake_logits, moved = scores(params, stats, real, fake)
        real_loss, fake_loss = value.discriminator(real_logits, fake_logits)
        held = lambda x: score(params, stats["discriminator"], x)[0]  # noqa: E731 (a penalty moves no statistics)
        penalty = sum(penalize(held, real, fake, keys).mean() for penalize in penalties)
        metrics = {"real": jax.nn.sigmoid(real_logits).mean(), "fake": jax.nn.sigmoid(fake_logits).mean()}
        return real_loss.mean() + fake_loss.mean() + penalty, ({"discriminator": moved}, metrics)

    def generator_loss(params, stats, batch, key, step):
        real, fake, _, moved = images(params, stats, batch, key, step)
        real_logits, fake_logits, _ = scores(params, stats, real, fake)  # the compiler drops what the value ignores
        return value.generator(real_logits, fake_logits).mean(), ({"generator": moved}, {})

    return {
        "discriminator": Player(
            ("discriminator",), discriminator_loss, config.discriminator_optimizer.transformation()
        ),
        "generator": Player(("generator",), generator_loss, config.generator_optimizer.transformation()),
    }


def schedule(config: Config) -> Schedule:
    """The discriminator's moves, then the generator's one."""
    return (("discriminator",),) * config.discriminator_moves + (("generator",),)


def sample(
    config: Config, spec: DataSpec, params, stats, keys, train: bool = False, filled: Seams | None = None
) -> tuple[jax.Array, dict]:
    """Images in [-1, 1], one per key, and the stats; `train` takes batch norm's statistics from this very batch."""
    images, moved = _generate(config, spec, (filled or seams(config)).prior, params, stats, keys, train)
    return images, stats | {"generator": moved}


def prior(config: Config) -> latents.Prior:
    """p(z), as configured."""
    return seams(config).prior


def generate(config: Config, spec: DataSpec, params, stats, z) -> jax.Array:
    """Images in [-1, 1], one per latent, (n, height, width, channels); batch norm by its running statistics."""
    return _generate(config, spec, lambda z: z, params, stats, z, train=False)[0]


def _generate(config, spec, prior, params, stats, keys, train):
    output, moved = networks(config, spec)["generator"].apply(
        params["generator"], stats["generator"], prior(keys), train=train
    )
    return jnp.tanh(output), moved
