"""What a likelihood is estimated of: p(z) p(x | z), and maybe q(z | x), as pure functions.

Bounds, annealing and rates know nothing else of a model; `of_vae` and `of_gan` make one of the library's models, and
`exact.LinearGaussian` one whose every quantity is known.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vaegan_jax import latents
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import check
from vaegan_jax.losses import divergences, likelihoods, reductions
from vaegan_jax.losses.likelihoods import bounded_exp
from vaegan_jax.models import gan, vae

PyTree = Any
_LOG_TWO_PI = math.log(2 * math.pi)


def standard_normal(z: Float[Array, "n d"]) -> Float[Array, " n"]:
    """log N(z; 0, I) in nats."""
    return -0.5 * (jnp.square(z).sum(1) + z.shape[1] * _LOG_TWO_PI)


def draw_normal(q: tuple[jax.Array, jax.Array], keys: Key[Array, " n"]) -> Float[Array, "n d"]:
    """z ~ N(mean, diag exp(log_variance)), one for each key; `q` is the pair, each (n, d)."""
    return latents.reparameterize(keys, *q)


def log_density_normal(q: tuple[jax.Array, jax.Array], z: Float[Array, "n d"]) -> Float[Array, " n"]:
    """log N(z; mean, diag exp(log_variance)) in nats; `q` is the pair, each (n, d)."""
    mean, log_variance = q
    # The very variance that draw_normal uses, or weights of p / q would be wrong where it is bounded.
    deviation = bounded_exp(log_variance / 2)
    return -0.5 * (jnp.square((z - mean) / deviation) + _LOG_TWO_PI).sum(1) - jnp.log(deviation).sum(1)


def kl_normal(q: tuple[jax.Array, jax.Array]) -> Float[Array, " n"]:
    """KL(N(mean, diag exp(log_variance)) || N(0, I)) in nats; `q` is the pair, each (n, d)."""
    return divergences.kl_standard_normal(*q).sum(1)


class LatentModel(NamedTuple):
    """p(z) p(x | z) and, where `encode` is given, a proposal q(z | x). The first axis of x, z and keys is the example.

    Everything but `params` is a function; two models with the same functions share compiled programs.
    """

    params: PyTree
    """Handed to the functions as an argument: weights, statistics, variances."""
    log_likelihood: Callable[[PyTree, jax.Array, jax.Array], jax.Array]
    """(params, x (n, ...), z (n, d)) -> log p(x | z) in nats, (n,), differentiable in z."""
    sample_prior: latents.Prior
    """Keys (n,) -> z (n, d)."""
    log_prior: Callable[[jax.Array], jax.Array] = standard_normal
    """z -> log p(z) in nats, (n,)."""
    simulate: Callable[[PyTree, jax.Array, jax.Array], jax.Array] | None = None
    """(params, z, keys) -> x ~ p(x | z)."""
    encode: Callable[[PyTree, jax.Array], PyTree] | None = None
    """(params, x) -> q, whatever describes q(z | x): arrays whose first axis is the example."""
    draw: Callable[[PyTree, jax.Array], jax.Array] = draw_normal
    """(q, keys) -> z ~ q(z | x)."""
    log_density: Callable[[PyTree, jax.Array], jax.Array] = log_density_normal
    """(q, z) -> log q(z | x) in nats, (n,)."""
    kl: Callable[[PyTree], jax.Array] | None = None
    """q -> KL(q(z | x) || p(z)) in nats, (n,), where it has a closed form."""

    @property
    def functions(self) -> "LatentModel":
        """The same without params: what a program is compiled for."""
        return self._replace(params=None)


def of_vae(config: vae.Config, spec: DataSpec, params, stats) -> LatentModel:
    """A VAE of the library; x are images (n, height, width, channels) in [-1, 1]."""
    return _of_vae(config, spec)._replace(params={"params": params, "stats": stats})


FROM_NORMAL: dict[str, Callable[[jax.Array], jax.Array]] = {
    "normal": lambda u: u,
    "uniform": lambda u: jax.scipy.special.erf(u / math.sqrt(2)),
    "spherical": lambda u: u * math.sqrt(u.shape[1]) / jnp.linalg.norm(u, axis=1, keepdims=True),
    "truncated": lambda u: jax.scipy.special.ndtri(
        jax.scipy.special.ndtr(-2.0) + jax.scipy.special.ndtr(u) * (1 - 2 * jax.scipy.special.ndtr(-2.0))
    ),
}
"""Latents of each prior as functions of normal ones: p(x) is the same, and chains in these meet no wall."""


def of_gan(config: gan.Config, spec: DataSpec, params, stats, deviation: float) -> LatentModel:
    """A GAN of the library with p(x | z) = N(x; G(z), deviation^2 I), as Wu et al. 2017 (arXiv 1611.04273) measure one.

    x are images (n, height, width, channels) in [-1, 1], black to white is 2; batch norm runs on its averages. A
    generator has no density of its own: the number belongs to the pair of generator and `deviation`, and rises or
    falls by hundreds of nats with the latter. z are always normal: another prior's latents are a function of them.
    Raises UserError for a generator that is given more than such latents: classes or codes.
    """
    plain = config.prior in FROM_NORMAL and config.condition == "none" and not hasattr(config, "categories")
    check(plain, "a likelihood needs a generator of continuous latents alone, not of classes, codes or categories")
    functions = _of_gan(config, spec)
    return functions._replace(params={"params": params, "stats": stats, "deviation": jnp.asarray(deviation, float)})


def with_gaussian_pixels(generate: Callable[[PyTree, jax.Array], jax.Array], sample_prior: latents.Prior):
    """The functions of any generator x = G(z) with Gaussian noise: `generate(params, z)` -> images.

    Set `params` (by `_replace`) to a dictionary of what `generate` is given and "deviation", a scalar.
    """

    def log_likelihood(params, x, z):
        log_variance = 2 * jnp.log(params["deviation"])
        return -reductions.sum_events(likelihoods.gaussian(generate(params, z), x, log_variance))

    def simulate(params, z, keys):
        mean = generate(params, z)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)
        return mean + params["deviation"] * noise

    return LatentModel(None, log_likelihood, sample_prior, simulate=simulate)


@functools.lru_cache(maxsize=8)
def _of_vae(config: vae.Config, spec: DataSpec) -> LatentModel:
    def log_likelihood(params, x, z):
        return vae.log_likelihood(config, spec, params["params"], params["stats"], x, z)

    def simulate(params, z, keys):
        return vae.observe(config, spec, params["params"], params["stats"], z, keys)

    def encode(params, x):
        return vae.encode(config, spec, params["params"], params["stats"], x)

    prior = latents.normal(config.latent_size)
    return LatentModel(None, log_likelihood, prior, simulate=simulate, encode=encode, kl=kl_normal)


@functools.lru_cache(maxsize=8)
def _of_gan(config: gan.Config, spec: DataSpec) -> LatentModel:
    latent = FROM_NORMAL[config.prior]

    def generate(params, z):
        return gan.generate(config, spec, params["params"], params["stats"], latent(z))

    return with_gaussian_pixels(generate, latents.normal(config.latent_size))
