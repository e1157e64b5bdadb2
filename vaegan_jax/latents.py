"""Latent variables: priors and the reparameterization trick, with one explicit key per example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vaegan_jax.losses.likelihoods import bounded_exp

Prior = Callable[[Key[Array, " n"]], Float[Array, "n d"]]


def normal(size: int) -> Prior:
    """Standard normal latents: keys (n,) -> (n, size)."""
    return lambda keys: jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)


def uniform(size: int) -> Prior:
    """Latents uniform on [-1, 1], as in the DCGAN paper: keys (n,) -> (n, size)."""
    return lambda keys: jax.vmap(lambda key: jax.random.uniform(key, (size,), minval=-1.0))(keys)


def reparameterize(
    keys: Key[Array, " n"], mean: Float[Array, "n d"], log_variance: Float[Array, "n d"]
) -> Float[Array, "n d"]:
    """z = mu + sigma eps with eps ~ N(0, I) from each example's key (Kingma & Welling 2013, section 2.4).

    The lecture notes' sigma^2 eps is a slip: log_variance is log sigma^2, so sigma is exp(log_variance / 2).
    """
    epsilon = normal(mean.shape[-1])(keys).astype(mean.dtype)
    return mean + bounded_exp(jnp.asarray(log_variance) / 2) * epsilon
