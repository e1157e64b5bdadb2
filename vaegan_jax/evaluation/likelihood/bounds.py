"""Lower bounds of log p(x): the evidence lower bound and the importance-weighted bound, by draws from q(z | x).

With weights w_j = p(x | z_j) p(z_j) / q(z_j | x), z_1 .. z_k ~ q(z | x):

    ELBO = E log w_1  <=  IWAE-k = E log 1/k sum_j w_j  <=  log p(x)

(Kingma & Welling 2013; Burda et al. 2015, arXiv 1509.00519, eq. 8), and IWAE-k rises with k. All in nats. Draw j of
the image at position i has its own key, so that nothing depends on how images and draws are cut into pieces.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vaegan_jax.evaluation.likelihood.latent_models import LatentModel
from vaegan_jax.games import example_keys

MEMORY = {"cpu": 3 << 20, "otherwise": 256 << 20}
"""Bytes of decoded images at once; on a CPU they should fit its cache."""
DRAWS_AT_ONCE, IMAGES_AT_ONCE = 128, 64
"""In a piece, at most: few draws, so that images share it; few images, as the last piece is filled up with copies."""


class Bounds(NamedTuple):
    """Per image, each (n,) float64: in nats, but the last."""

    importance_weighted: Float[np.ndarray, " n"]
    """log of the mean of the k weights: in expectation IWAE-k."""
    elbo: Float[np.ndarray, " n"]
    """Mean of the k log weights, the KL by its closed form where the model has one."""
    distortion: Float[np.ndarray, " n"]
    """-E_q log p(x | z)."""
    rate: Float[np.ndarray, " n"]
    """KL(q(z | x) || p(z)), in closed form where the model has one."""
    effective_draws: Float[np.ndarray, " n"]
    """(sum w)^2 / sum w^2, of k: where it is near 1, one draw decides, and the bound is loose."""


class Estimate(NamedTuple):
    """A mean over images."""

    mean: float
    standard_error: float
    """Of the choice of images, not of the draws."""


def bounds(
    model: LatentModel,
    images: Float[np.ndarray | Array, "n *event"],
    key: Key[Array, ""],
    draws: int,
    first: int = 0,
    rows: int | None = None,
) -> Bounds:
    """Both bounds of each image from the same `draws` (k) draws of z.

    `first` is the position of the first image in the whole set: parts give what the whole gives. `rows` bounds how
    many pairs of image and draw are decoded at once. Raises ValueError for a model without `encode`, or no draws.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    chunks = [_summary(*terms) for terms in _terms(model, images, key, draws, first, rows)]
    iw, distortion, estimated, kl, effective = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    rate = kl if model.kl else estimated
    return Bounds(iw, -distortion - rate, distortion, rate, effective)


def importance_weighted(
    model: LatentModel, images: Float[np.ndarray | Array, "n *event"], key: Key[Array, ""], k: int, first: int = 0
) -> Float[np.ndarray, " n"]:
    """IWAE-k of each image in nats, a lower bound of log p(x) in expectation; see `bounds`."""
    return bounds(model, images, key, k, first).importance_weighted


def elbo(
    model: LatentModel,
    images: Float[np.ndarray | Array, "n *event"],
    key: Key[Array, ""],
    draws: int = 1,
    first: int = 0,
    analytic: bool = True,
) -> Float[np.ndarray, " n"]:
    """The evidence lower bound of each image in nats; `analytic` takes the KL's closed form where the model has one."""
    return bounds(model if analytic else model._replace(kl=None), images, key, draws, first).elbo


def log_weights(
    model: LatentModel,
    images: Float[np.ndarray | Array, "n *event"],
    key: Key[Array, ""],
    draws: int,
    first: int = 0,
) -> Float[np.ndarray, "draws n"]:
    """log w_j of every draw and image, in nats: what the bounds are made of."""
    terms = _terms(model, images, key, draws, first, None)
    return np.concatenate([likelihood + ratio for likelihood, ratio, _ in terms], axis=1)


def over_images(values: Float[np.ndarray, " n"]) -> Estimate:
    """Mean over images with its standard error, which is NaN for a single image."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), float(error))


def _terms(model, images, key, draws, first, rows) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For some images at a time, in float64: log p(x | z) and log p(z) / q(z | x), (draws, m), and the KL, (m,).

    Always the same number of images at a time, the last ones repeated, so that a program is compiled once and does
    the same to an image whatever the others are.
    """
    if model.encode is None:
        raise ValueError("bounds need a proposal: this model has no encode")
    rows = rows or max(1, MEMORY.get(jax.default_backend(), MEMORY["otherwise"]) // (4 * math.prod(images.shape[1:])))
    per_piece = math.ceil(draws / math.ceil(draws / min(DRAWS_AT_ONCE, rows)))
    size = min(max(1, rows // per_piece), IMAGES_AT_ONCE)
    for at in range(0, len(images), size):
        chosen = np.minimum(np.arange(at, at + size), len(images) - 1)
        chunk = jnp.asarray(images[chosen], float)
        pieces = [
            _weigh(model.functions, model.params, chunk, key, jnp.int32(first) + chosen, jnp.int32(draw), per_piece)
            for draw in range(0, draws, per_piece)
        ]
        live = min(size, len(images) - at)
        likelihood, ratio = (
            np.concatenate([np.asarray(piece[part], np.float64) for piece in pieces])[:draws, :live] for part in (0, 1)
        )
        yield likelihood, ratio, np.asarray(pieces[0][2], np.float64)[:live]


@functools.partial(jax.jit, static_argnums=(0, 6))
def _weigh(functions: LatentModel, params, images, key, positions, first_draw, draws):
    q = functions.encode(params, images)
    keys = example_keys(key, {"position": positions})

    def one(draw):
        z = functions.draw(q, jax.vmap(jax.random.fold_in, (0, None))(keys, draw))
        return functions.log_likelihood(params, images, z), functions.log_prior(z) - functions.log_density(q, z)

    # Over draws by vmap, so that images are broadcast inside the arithmetic and never copied.
    likelihood, ratio = jax.vmap(one)(first_draw + jnp.arange(draws))
    return likelihood, ratio, functions.kl(q) if functions.kl else jnp.zeros(len(images))


def _summary(likelihood: np.ndarray, ratio: np.ndarray, kl: np.ndarray) -> tuple[np.ndarray, ...]:
    weights = likelihood + ratio
    total = _log_sum_exp(weights)
    effective = np.exp(2 * total - _log_sum_exp(2 * weights))
    return total - math.log(len(weights)), -likelihood.mean(0), -ratio.mean(0), kl, effective


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    peak = values.max(0)
    return peak + np.log(np.exp(values - peak).sum(0))
