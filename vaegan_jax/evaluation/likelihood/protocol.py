"""How a likelihood was measured: as data, which goes with the number, and the functions that do what it says.

Numbers of unlike protocols cannot be compared: on MNIST, static binarization is some 2 nats worse than dynamic, and a
density of grey pixels is another thing than either.
"""

import functools
import math
import warnings
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from vaegan_jax.data.batches import fetch
from vaegan_jax.errors import Caution, check, check_fields
from vaegan_jax.games import example_keys

LEVELS_PER_UNIT = 127.5
"""Grey levels by which an image of this library changes when its value in [-1, 1] changes by 1."""
BINARIZE, DEQUANTIZE = range(2)
"""What a key is for: folded in by meaning."""
IMAGES_AT_ONCE = 500
"""Images that pixels or noise are drawn for at once."""


@dataclass(frozen=True)
class Protocol:
    """How a likelihood was measured. `dataclasses.asdict` makes it fit for a card."""

    binarization: Literal["static", "dynamic", "none"] = "none"
    """Pixels drawn once and for all by `static_binarization`, drawn for this number alone, or left grey."""
    seed: int = 0
    """Of what is drawn: pixels, and the noise of dequantization."""
    preceding_images: int = 0
    """Images that a static binarization draws before these: the training images, if these are the test images."""
    dequantization: Literal["uniform", "none"] = "none"
    """Noise of one grey level, uniform, which makes a density of continuous pixels bound that of discrete ones."""
    split: Literal["train", "test"] = "test"
    """Of the data set."""
    images: int = 1000
    """The first so many of the split."""
    importance_samples: int = 1000
    """Draws of z per image (k of IWAE-k)."""
    units: Literal["nats", "bits-per-dimension"] = "nats"
    """Of -log p(x)."""

    def __post_init__(self):
        check_fields(self)
        check(0 <= self.seed < 2**32, f"seed must be in 0 .. 2^32 - 1, not {self.seed}")
        check(self.preceding_images >= 0, f"preceding-images must be 0 or more, not {self.preceding_images}")
        check(self.images > 0, f"images must be at least 1, not {self.images}")
        check(self.importance_samples > 0, f"importance-samples must be at least 1, not {self.importance_samples}")
        binary, noisy = self.binarization != "none", self.dequantization != "none"
        check(not (binary and noisy), "binary pixels are not dequantized: choose binarization or dequantization")
        in_bits = self.units == "bits-per-dimension"
        check(
            binary or noisy or not in_bits,
            "bits per dimension need a probability of pixels: choose dequantization uniform, or a binarization",
        )


def prepared(protocol: Protocol, images: UInt8[np.ndarray, "n h w c"], first: int = 0) -> Float[np.ndarray, "n h w c"]:
    """The images as the protocol has them, in [-1, 1] (dequantized: half a grey level beyond), in JAX's float type.

    `images` are consecutive ones of the split, from position `first` on: parts give what the whole gives.
    """
    if protocol.binarization == "static":
        made = static_binarization(images, protocol.seed, protocol.preceding_images + first)
        return np.asarray(made, jnp.result_type(float))
    if protocol.binarization == "none" and protocol.dequantization == "none":
        return np.asarray(fetch({}, {"image": images})["image"])
    meaning = BINARIZE if protocol.binarization == "dynamic" else DEQUANTIZE
    key, parts = jax.random.fold_in(jax.random.key(protocol.seed), meaning), []
    for at in range(0, len(images), IMAGES_AT_ONCE):  # the last filled up: one shape is compiled once
        chosen = np.minimum(np.arange(at, at + IMAGES_AT_ONCE), len(images) - 1)
        parts.append(np.asarray(_drawn(meaning, images[chosen], key, jnp.asarray(first + chosen))))
    return np.concatenate(parts)[: len(images)]


@functools.partial(jax.jit, static_argnums=0)
def _drawn(meaning, images, key, positions):
    draw = {BINARIZE: dynamic_binarization, DEQUANTIZE: uniform_dequantization}[meaning]
    return draw(images, example_keys(key, {"position": positions}))


def static_binarization(
    images: UInt8[np.ndarray, "n h w c"], seed: int = 0, preceding_images: int = 0
) -> Float[np.ndarray, "n h w c"]:
    """-1 or 1 for each pixel, drawn once with its grey value as the probability of 1: always the same pixels.

    The numbers of NumPy's RandomState(seed), in the order of images, rows and columns, whose stream is fixed forever;
    `preceding_images` of the same shape have drawn theirs before. It is NOT the binarized MNIST of Salakhutdinov &
    Murray 2008, which is a file.
    """
    stream, pixels = np.random.RandomState(seed), math.prod(images.shape[1:])
    for passed in range(0, preceding_images, IMAGES_AT_ONCE):
        stream.random_sample(min(IMAGES_AT_ONCE, preceding_images - passed) * pixels)
    drawn = np.empty(images.shape)
    for at in range(0, len(images), IMAGES_AT_ONCE):
        part = images[at : at + IMAGES_AT_ONCE]
        drawn[at : at + IMAGES_AT_ONCE] = np.where(stream.random_sample(part.shape) < part / 255, 1, -1)
    return drawn


def dynamic_binarization(
    images: UInt8[np.ndarray | Array, "n h w c"], keys: Key[Array, " n"]
) -> Float[Array, "n h w c"]:
    """-1 or 1 for each pixel, drawn with its grey value as the probability of 1, from each image's key; pure."""
    grey = jnp.asarray(images).astype(float) / 255
    uniform = jax.vmap(lambda key: jax.random.uniform(key, grey.shape[1:], grey.dtype))(keys)
    return jnp.where(uniform < grey, jnp.ones_like(grey), -1)


def uniform_dequantization(
    images: UInt8[np.ndarray | Array, "n h w c"], keys: Key[Array, " n"]
) -> Float[Array, "n h w c"]:
    """Grey levels v with noise, (v + u - 1/2) / 127.5 - 1 with u uniform on [0, 1) from each image's key; pure.

    E_u log p(x) of such x in [-1 - 1/255, 1 + 1/255) is a lower bound of log P(v), the probability of discrete pixels,
    less D log 127.5 (Theis et al. 2016, section 3.1): see `bits_per_dimension`.
    """
    levels = jnp.asarray(images).astype(float)
    noise = jax.vmap(lambda key: jax.random.uniform(key, levels.shape[1:], levels.dtype))(keys)
    return (levels + noise - (0.5 + LEVELS_PER_UNIT)) / LEVELS_PER_UNIT


def bits_per_dimension(
    nats: Float[np.ndarray, " n"] | float, dimensions: int, levels_per_unit: float = LEVELS_PER_UNIT
) -> Float[np.ndarray, " n"] | float:
    """-log p(x) in nats, of a density of x, as bits per dimension of the 256 grey levels.

        nats / (D ln 2) + log2(levels_per_unit)

    `levels_per_unit` tells the scale of x: 127.5 for this library's [-1, 1]; 256 for levels scaled to [0, 1) (the +8 of
    many papers), 255 where 255 became 1; 1 for the levels themselves, and for probabilities of discrete or binary
    pixels. The uniform density is 8.0 in each. Raises ValueError unless dimensions and levels_per_unit are above 0.
    """
    if dimensions < 1 or not 0 < levels_per_unit < math.inf:
        raise ValueError(f"there is no scale of {dimensions} dimensions and {levels_per_unit} levels a unit")
    return nats / (dimensions * math.log(2)) + math.log2(levels_per_unit)


def in_units(
    protocol: Protocol, nats: Float[np.ndarray, " n"] | float, dimensions: int
) -> Float[np.ndarray, " n"] | float:
    """-log p(x) in nats, of images as `prepared` gives them, in the protocol's units."""
    if protocol.units == "nats":
        return nats
    return bits_per_dimension(nats, dimensions, LEVELS_PER_UNIT if protocol.dequantization == "uniform" else 1.0)


def warn_of(protocol: Protocol, likelihood: Literal["bernoulli", "gaussian"]) -> None:
    """Warns (`Caution`) where a decoder's p(x | z) is no likelihood of such pixels."""
    if likelihood == "bernoulli" and protocol.binarization == "none":
        warnings.warn(
            "Bernoulli pixels that are grey have a cross-entropy, not a likelihood: compare it with nothing but the "
            "same on the same images, or choose binarization static or dynamic",
            Caution,
            stacklevel=2,
        )
    if likelihood == "gaussian" and protocol.dequantization == "none":
        warnings.warn(
            "a density of pixels that have few levels grows without limit as its variance falls: "
            "choose dequantization uniform",
            Caution,
            stacklevel=2,
        )
