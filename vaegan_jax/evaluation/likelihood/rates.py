"""What latents carry: active units, rate and distortion, and a bound of the information between latents and images."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vaegan_jax.evaluation.likelihood.annealing import simulated
from vaegan_jax.evaluation.likelihood.bounds import Estimate, bounds, over_images
from vaegan_jax.evaluation.likelihood.latent_models import LatentModel

THRESHOLD = 0.01
"""Variance over images above which a unit is active (Burda et al. 2015, section 5.2)."""


class ActiveUnits(NamedTuple):
    """How many latents depend on the image."""

    count: int
    variances: Float[np.ndarray, " d"]
    """Var_x E_q[z] of each latent: clearly two-peaked where some have collapsed onto the prior."""


class RatePoint(NamedTuple):
    """A point of the rate-distortion plane, in nats per image."""

    rate: Estimate
    """KL(q(z | x) || p(z))."""
    distortion: Estimate
    """-E_q log p(x | z)."""


def active_units(means: Float[np.ndarray, "n d"], threshold: float = THRESHOLD) -> ActiveUnits:
    """Units whose posterior mean varies over images by more than `threshold` (Burda et al. 2015, section 5.2).

    `means` are E_q[z] of each image (`posterior_means`). The variance is the population's, with 1/n.
    """
    variances = np.asarray(means, np.float64).var(0)
    return ActiveUnits(int((variances > threshold).sum()), variances)


def posterior_means(
    model: LatentModel, images: Float[np.ndarray | Array, "n *event"], images_at_once: int = 500
) -> Float[np.ndarray, "n d"]:
    """E_q[z] of each image, for a model whose `encode` gives (mean, ...)."""
    size = min(images_at_once, len(images))
    parts = []
    for at in range(0, len(images), size):
        chosen = np.minimum(np.arange(at, at + size), len(images) - 1)
        mean = _encode(model.functions, model.params, jnp.asarray(images[chosen], float))[0]
        parts.append(np.asarray(mean, np.float64)[: len(images) - at])
    return np.concatenate(parts)


def rate_distortion(
    model: LatentModel, images: Float[np.ndarray | Array, "n *event"], key: Key[Array, ""], draws: int = 10
) -> RatePoint:
    """Where a model stands in the plane of Alemi et al. 2018 (arXiv 1711.00464): -ELBO = rate + distortion."""
    found = bounds(model, images, key, draws)
    return RatePoint(over_images(found.rate), over_images(found.distortion))


def rate_distortion_curve(points: Mapping[str, RatePoint]) -> dict[str, RatePoint]:
    """Of several models, such as those of several betas, the ones that no other beats in both, by rising rate."""
    ranked = sorted(points.items(), key=lambda item: (item[1].rate.mean, item[1].distortion.mean))
    curve, best = {}, np.inf
    for name, point in ranked:
        if point.distortion.mean < best:
            curve[name], best = point, point.distortion.mean
    return curve


def generative_information(model: LatentModel, count: int, key: Key[Array, ""]) -> Estimate:
    """GILBO (Alemi & Fischer 2018, arXiv 1802.04874): E log q(z | x) - log p(z), z ~ p(z), x ~ p(x | z), in nats.

    A lower bound of I(x; z) for whatever q the model encodes by, tight where q is the posterior. `count` pairs; the
    error is theirs. Raises ValueError for a model without `encode` or `simulate`.
    """
    if model.encode is None:
        raise ValueError("the information needs a proposal: this model has no encode")
    images, latents = simulated(model, count, key)
    return over_images(np.asarray(_information(model.functions, model.params, images, latents), np.float64))


@functools.partial(jax.jit, static_argnums=0)
def _encode(functions: LatentModel, params, images):
    return functions.encode(params, images)


@functools.partial(jax.jit, static_argnums=0)
def _information(functions: LatentModel, params, images, latents):
    return functions.log_density(functions.encode(params, images), latents) - functions.log_prior(latents)
