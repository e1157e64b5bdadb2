"""Models whose every likelihood is known: x = z W + mean + deviation * noise, with z standard normal.

Probabilistic PCA (Tipping & Bishop 1999, "Probabilistic principal component analysis", JRSS B 61) is its fit to data.
Estimators are tested against it. All in float64, in nats.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaegan_jax import latents
from vaegan_jax.evaluation.likelihood.latent_models import LatentModel, standard_normal
from vaegan_jax.losses import likelihoods, reductions


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """p(z) = N(0, I), p(x | z) = N(x; z W + mean, deviation^2 I)."""

    weights: Float[np.ndarray, "k d"]
    mean: Float[np.ndarray, " d"]
    deviation: float

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Of x: W^T W + deviation^2 I."""
        return self.weights.T @ self.weights + self.deviation**2 * np.eye(len(self.mean))

    @property
    def posterior_covariance(self) -> Float[np.ndarray, "k k"]:
        """Of z given any x: (I + W W^T / deviation^2)^-1."""
        return np.linalg.inv(np.eye(len(self.weights)) + self.weights @ self.weights.T / self.deviation**2)

    def posterior_mean(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """E[z | x]."""
        return (x - self.mean) @ self.weights.T @ self.posterior_covariance / self.deviation**2

    def log_evidence(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """log p(x), which IWAE-k tends to as k grows."""
        factor = np.linalg.cholesky(self.covariance)
        white = np.linalg.solve(factor, (x - self.mean).T)
        constant = len(self.mean) / 2 * math.log(2 * math.pi) + np.log(np.diag(factor)).sum()
        return -0.5 * (white**2).sum(0) - constant

    def sample(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """z, (count, k), and x, (count, d), drawn from the model: each z is an exact posterior draw given its x."""
        z = rng.normal(size=(count, len(self.weights)))
        return z, z @ self.weights + self.mean + self.deviation * rng.normal(size=(count, len(self.mean)))

    def distortion(
        self, x: Float[np.ndarray, "n d"], mean: Float[np.ndarray, "n k"], covariance: Float[np.ndarray, "k k"]
    ) -> Float[np.ndarray, " n"]:
        """-E_q log p(x | z) for q = N(mean, covariance)."""
        residual = ((x - mean @ self.weights - self.mean) ** 2).sum(1)
        spread = np.trace(self.weights.T @ covariance @ self.weights)
        constant = len(self.mean) / 2 * math.log(2 * math.pi * self.deviation**2)
        return constant + (residual + spread) / (2 * self.deviation**2)

    def elbo(
        self, x: Float[np.ndarray, "n d"], mean: Float[np.ndarray, "n k"], covariance: Float[np.ndarray, "k k"]
    ) -> Float[np.ndarray, " n"]:
        """-distortion - KL(q || p(z)) for q = N(mean, covariance); short of log p(x) by KL(q || p(z | x))."""
        prior = np.zeros_like(mean), np.eye(len(self.weights))
        return -self.distortion(x, mean, covariance) - kl(mean, covariance, *prior)

    def mutual_information(self) -> float:
        """I(x; z) = 1/2 log det(I + W W^T / deviation^2): what GILBO reaches with the exact posterior."""
        return float(-0.5 * np.linalg.slogdet(self.posterior_covariance)[1])

    def model(self, inflation: float = 1.0) -> LatentModel:
        """As functions; q(z | x) is the exact posterior with its standard deviation times `inflation`.

        Simulates exactly. Its params are of JAX's default float type: enable x64 for digits.
        """
        covariance = inflation**2 * self.posterior_covariance
        params = {
            "weights": self.weights,
            "mean": self.mean,
            "deviation": self.deviation,
            "gain": self.weights.T @ self.posterior_covariance / self.deviation**2,
            "factor": np.linalg.cholesky(covariance),
        }
        return _functions(len(self.weights))._replace(
            params={name: jnp.asarray(value, float) for name, value in params.items()}
        )


def probabilistic_pca(x: Float[np.ndarray, "n d"], latent_size: int) -> LinearGaussian:
    """The maximum of the likelihood of x (Tipping & Bishop 1999, eqs. 7 and 8).

    W is sqrt(eigenvalues - deviation^2) times the leading eigenvectors of the covariance (with 1/n), deviation^2 the
    mean of the other eigenvalues. Raises ValueError unless 0 < latent_size < d.
    """
    if not 0 < latent_size < x.shape[1]:
        raise ValueError(f"latent_size must be in 1 .. {x.shape[1] - 1}, not {latent_size}")
    mean = x.mean(0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    variance = values[:-latent_size].mean()
    scale = np.sqrt(np.maximum(values[-latent_size:] - variance, 0))
    return LinearGaussian((vectors[:, -latent_size:] * scale).T[::-1], mean, float(math.sqrt(variance)))


def kl(
    mean: Float[np.ndarray, "n k"],
    covariance: Float[np.ndarray, "k k"],
    other_mean: Float[np.ndarray, "n k"],
    other_covariance: Float[np.ndarray, "k k"],
) -> Float[np.ndarray, " n"]:
    """KL(N(mean, covariance) || N(other_mean, other_covariance)) for each pair of means, in nats."""
    inverse = np.linalg.inv(other_covariance)
    difference = mean - other_mean
    ratio = np.linalg.slogdet(other_covariance)[1] - np.linalg.slogdet(covariance)[1]
    constant = np.trace(inverse @ covariance) - len(covariance) + ratio
    return 0.5 * (np.einsum("ni,ij,nj->n", difference, inverse, difference) + constant)


def _log_likelihood(params, x, z) -> Float[Array, " n"]:
    mean = z @ params["weights"] + params["mean"][None]
    return -reductions.sum_events(likelihoods.gaussian(mean, x, 2 * jnp.log(params["deviation"])))


def _simulate(params, z, keys) -> Float[Array, "n d"]:
    mean = z @ params["weights"] + params["mean"][None]
    return mean + params["deviation"] * jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)


def _encode(params, x) -> tuple[Array, Array]:
    mean = (x - params["mean"][None]) @ params["gain"]
    return mean, jnp.broadcast_to(params["factor"], (len(x), *params["factor"].shape))


def _draw(q, keys) -> Float[Array, "n k"]:
    mean, factor = q
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)
    return mean + jnp.einsum("nij,nj->ni", factor, noise)


def _log_density(q, z) -> Float[Array, " n"]:
    mean, factor = q
    white = jax.vmap(lambda factor, offset: jax.scipy.linalg.solve_triangular(factor, offset, lower=True))
    return standard_normal(white(factor, z - mean)) - jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)).sum(1)


def _kl(q) -> Float[Array, " n"]:
    mean, factor = q
    size = jnp.square(mean).sum(1) + jnp.square(factor).sum((1, 2)) - mean.shape[1]
    return 0.5 * size - jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)).sum(1)


@functools.lru_cache(maxsize=8)
def _functions(latent_size: int) -> LatentModel:
    return LatentModel(
        None,
        _log_likelihood,
        latents.normal(latent_size),
        simulate=_simulate,
        encode=_encode,
        draw=_draw,
        log_density=_log_density,
        kl=_kl,
    )
