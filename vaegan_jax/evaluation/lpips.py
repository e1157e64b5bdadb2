"""LPIPS, the learned perceptual image patch similarity (Zhang et al. 2018, arXiv 1801.03924), version 0.1."""

from types import ModuleType
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from vaegan_jax.errors import check
from vaegan_jax.evaluation.features import alexnet, vgg16

TINY = 1e-10
"""Added to a norm, so that a pixel without activations is all zeros."""


def distance(
    arrays: dict[str, Array | np.ndarray],
    images0: Float[Array | np.ndarray, "n h w c"],
    images1: Float[Array | np.ndarray, "n h w c"],
    net: Literal["vgg16", "alexnet"] = "vgg16",
) -> Float[Array, " n"]:
    """sum_l mean_hw sum_c w_lc (phi0_lc - phi1_lc)^2 over unit-normalized activations phi (the paper's equation 1).

    Images are in [-1, 1], of 3 channels or 1, and are neither rounded nor resized. `arrays` are those of
    `weights.load(net)`. A pure function that can be differentiated, once and twice, also where the images are equal;
    there it is 0, or, compiled, the 1e-15 that fused multiplications leave.

    Raises UserError for images too small for the network, and ValueError for shapes that do not go together.
    """
    network: ModuleType = {"vgg16": vgg16, "alexnet": alexnet}[net]
    images0, images1 = jnp.asarray(images0), jnp.asarray(images1)
    floating = all(jnp.issubdtype(images.dtype, jnp.floating) for images in (images0, images1))
    if images0.shape != images1.shape or images0.shape[-1] not in (1, 3) or not floating:
        given = f"{images0.dtype} {images0.shape} and {images1.dtype} {images1.shape}"
        raise ValueError(f"LPIPS is between images in [-1, 1] of equal shape with 1 or 3 channels, not {given}")
    height, width = images0.shape[1:3]
    least = network.SMALLEST
    told = f"LPIPS with {net} needs images of {least} x {least} at least, not of {height} x {width}"
    check(min(height, width) >= least, told + ("; vgg16 takes smaller ones" if net == "alexnet" else ""))
    both = jnp.concatenate([images0, images1])
    both = jnp.repeat(both, 3 // both.shape[-1], axis=-1)
    total = jnp.zeros(len(images0), both.dtype)
    for layer, activations in enumerate(network.activations(arrays, both), 1):
        total = total + compare(activations[: len(images0)], activations[len(images0) :], arrays[f"head{layer}"])
    return total


def compare(
    activations0: Float[Array | np.ndarray, "n h w c"],
    activations1: Float[Array | np.ndarray, "n h w c"],
    head: Float[Array | np.ndarray, " c"],
) -> Float[Array, " n"]:
    """One layer's part of the distance."""
    squares = (_normalized(jnp.asarray(activations0)) - _normalized(jnp.asarray(activations1))) ** 2
    return jnp.dot(squares, head, precision=lax.Precision.HIGHEST).mean((1, 2))


def _normalized(activations: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    squared = (activations**2).sum(-1, keepdims=True)
    # The root of 0 has an infinite slope, which would make the gradient of a pixel without activations NaN.
    norm = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
    return activations / (norm + TINY)
