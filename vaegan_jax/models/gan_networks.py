"""Generators and discriminators of the GAN family, as a configuration asks for them."""

from typing import TYPE_CHECKING, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.networks import biggan, biggan_deep, dcgan, heads, mlp, resnet, sndcgan
from vaegan_jax.networks.binned import binned
from vaegan_jax.networks.conditions import ConditionChannels
from vaegan_jax.networks.heads import Codes, Recognition, Score
from vaegan_jax.networks.network import Network, pure
from vaegan_jax.networks.noise import noisy

if TYPE_CHECKING:
    from vaegan_jax.models.gan import Config

OWN_NORMS = {"dcgan": "batch", "mlp": "none", "resnet": "none", "sndcgan": "none"}
"""Of the discriminators in their papers; the generators' are batch norms, but for the mlp's, which has none."""
RESIDUAL = ("resnet", "biggan", "biggan-deep")
"""Networks of blocks, whose inner activations can be computed again."""
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}
"""What a precision makes of products and activations; None leaves them as they are, float64 in tests."""


class Judgment(NamedTuple):
    """A discriminator's verdict on n images."""

    score: jax.Array
    """(n,): a logit, a critic's value or minus an energy; the higher, the more real."""
    features: jax.Array
    """(n, f): what the score is read off."""
    classes: jax.Array | None = None
    """(n, k): logits of an auxiliary classifier."""
    codes: Codes | None = None
    """What the latent code seems to have been (InfoGAN)."""


class Discriminator(nn.Module):
    """A body, (n, height, width, channels) -> features, and a head: images (and classes, one-hot) -> Judgment."""

    body: nn.Module
    head: Score
    channels: ConditionChannels | None = None
    """Puts the classes beside the image's channels."""
    recognition: Recognition | None = None
    """Reads the latent code off the features."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w c"], condition: Float[Array, "n k"] | None = None, train: bool = False
    ) -> Judgment:
        x = images if self.channels is None else self.channels(images, condition, train)
        features = self.body(x, train)
        score, classes = self.head(features, condition if self.head.projection else None, train)
        codes = None if self.recognition is None else self.recognition(features, train)
        return Judgment(score, features, classes, codes)


def discriminator(config: "Config", spec: DataSpec, recognition: Recognition | None = None) -> Network:
    """Images (and classes (n, k)) -> Judgment. ValueError for images and options that the network does not have."""
    _check(config)
    spectral = config.spectral != "none"
    channels = ConditionChannels(spectral=spectral) if config.condition == "concatenate" else None
    classes = spec.classes if config.condition == "auxiliary" else 0
    init = biggan.ORTHOGONAL if config.network.startswith("biggan") else heads.GLOROT
    head = Score(config.condition == "projection", classes, spectral, config.minibatch, init)
    module = Discriminator(body(config, spec), head, channels, recognition)
    image = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.result_type(float))
    return pure(module, image, *_told(config, spec), dtype=DTYPES[config.precision])


def generator(config: "Config", spec: DataSpec, latent_size: int = 0) -> Network:
    """Latents (n, d) and classes (n, k) or None -> images before tanh. `latent_size`: if not the configured one."""
    latent = jax.ShapeDtypeStruct((1, latent_size or config.latent_size), jnp.result_type(float))
    made = pure(generator_module(config, spec), latent, *_told(config, spec), dtype=DTYPES[config.precision])
    made = binned(made, bins) if (bins := getattr(config, "statistics_bins", 0)) else made
    return noisy(made, config.techniques.generator_noise) if config.techniques.generator_noise else made


def generator_module(config: "Config", spec: DataSpec) -> nn.Module:
    """The generator as a module. ValueError for images and options that the network does not have."""
    _check(config)
    norm, spectral = config.generator_norm, config.spectral == "both"
    norm = ("none" if config.network == "mlp" else "batch") if norm == "auto" else norm
    slope, place = config.generator_slope, config.condition_place
    shape, width, attention = spec.image_shape, config.width, _attention(config, spec)
    again = {"rematerialize": config.rematerialize}
    shared = (shape, width, getattr(config, "shared_size", 0), config.attention, slope)
    modules = {
        "mlp": lambda: mlp.VectorToImage(config.hidden_sizes, shape, norm, spectral, slope),
        "dcgan": lambda: dcgan.Generator(shape, width, norm, spectral, attention, config.up, slope, place),
        "sndcgan": lambda: sndcgan.Generator(shape, width, norm, spectral, attention, slope, place),
        "resnet": lambda: resnet.Generator(shape, width, norm, spectral, attention, slope, place, **again),
        "biggan": lambda: biggan.Generator(*shared, **again, **_published(config)),
        "biggan-deep": lambda: biggan_deep.Generator(*shared, **again, **_published(config)),
    }
    if config.network in ("biggan", "biggan-deep"):
        biggan.plan(spec.image_shape)
    elif config.network != "mlp":
        dcgan.sides(spec.image_shape)
    return modules[config.network]()


def body(config: "Config", spec: DataSpec) -> nn.Module:
    """Images -> features (n, f)."""
    attention = _attention(config, spec)
    norm, spectral = config.discriminator_norm, config.spectral != "none"
    norm = OWN_NORMS[config.network] if norm == "auto" else norm
    norm = "none" if config.discriminator_norm == "auto" and spectral else norm
    again, pool = (
        {"rematerialize": config.rematerialize},
        "sum" if spectral else "mean",
    )  # Miyato et al.; Gulrajani et al.
    modules = {
        "mlp": lambda: mlp.Body(config.hidden_sizes, norm, spectral),
        "dcgan": lambda: dcgan.Body(config.width, norm, spectral, attention, config.down),
        "sndcgan": lambda: sndcgan.Body(config.width, norm, spectral, attention),
        "resnet": lambda: resnet.Body(config.width, norm, spectral, attention, pool=pool, **again),
        "biggan": lambda: biggan.Body(config.width, config.attention, **again),
        "biggan-deep": lambda: biggan_deep.Body(config.width, config.attention, **again),
    }
    return modules[config.network]()


def _told(config: "Config", spec: DataSpec) -> tuple[jax.ShapeDtypeStruct, ...]:
    return (jax.ShapeDtypeStruct((1, spec.classes), jnp.result_type(float)),) if config.condition != "none" else ()


def _published(config: "Config") -> dict[str, float | int]:
    """What BigGAN's published weights differ in."""
    return {"epsilon": config.norm_epsilon, "filters": config.image_filters}


def _attention(config: "Config", spec: DataSpec) -> int:
    return spec.image_shape[0] // 2 if config.attention == -1 else config.attention


def _check(config: "Config") -> None:
    """What a network does not have, by the names of the flags."""
    if config.rematerialize and config.network not in RESIDUAL:
        told = f"rematerialize is for the blocks of {', '.join(RESIDUAL)}, and the {config.network} network has none"
        raise ValueError(f"{told}: leave it, or use micro-batches")
    if config.network == "mlp":
        if config.attention:
            raise ValueError("attention is for maps, and the mlp network has none: choose attention 0, or dcgan")
        if config.condition != "none" and config.condition_place == "norm":
            raise ValueError("condition-place norm is for convolutional networks: with mlp choose input")
        if "instance" in (config.generator_norm, config.discriminator_norm):
            raise ValueError("instance norm is for maps, and the mlp network has none: choose layer")
    for name in ("up", "down"):  # a paper's own choice is one for the network that it has
        asked = getattr(config, name) != getattr(type(config), name)
        if asked and config.network != "dcgan":
            raise ValueError(f"up and down are for the dcgan network; {config.network} has its own ways: leave {name}")
