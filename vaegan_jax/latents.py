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


def spherical(size: int) -> Prior:
    """Latents uniform on the sphere of radius sqrt(size), where nearly all of a normal one's mass is: (n, size)."""

    def draw(keys):
        z = normal(size)(keys)
        return z * (jnp.sqrt(size) / jnp.linalg.norm(z, axis=1, keepdims=True))

    return draw


def truncated(size: int, threshold: float = 2.0) -> Prior:
    """Standard normal latents, each entry drawn again until it is within `threshold`: (n, size).

    Brock et al. 2018 (arXiv 1809.11096), section 3.1. Raises ValueError unless threshold > 0.
    """
    if not threshold > 0:
        raise ValueError(f"the threshold of truncation must be above 0, got {threshold}")
    return lambda keys: jax.vmap(lambda key: jax.random.truncated_normal(key, -threshold, threshold, (size,)))(keys)


def shrunk(size: int, factor: float, threshold: float = 2.0) -> Prior:
    """`factor` times what `truncated` draws, (n, size): how published BigGANs are truncated, by a factor of 1 at most.

    Raises ValueError unless factor > 0.
    """
    if not factor > 0:
        raise ValueError(f"the factor of truncation must be above 0, got {factor}")
    draw = truncated(size, threshold)
    return lambda keys: factor * draw(keys)


def categorical(size: int) -> Prior:
    """One-hot latents, each of the `size` choices as likely as the others: (n, size)."""

    def one(key):
        return jax.nn.one_hot(jax.random.randint(key, (), 0, size), size, dtype=float)

    return lambda keys: jax.vmap(one)(keys)


PRIORS: dict[str, Callable[[int], Prior]] = {
    "normal": normal,
    "uniform": uniform,
    "spherical": spherical,
    "truncated": truncated,
    "categorical": categorical,
}
"""By the names that configurations have for them."""


def line(a: Float[Array, "*d"], b: Float[Array, "*d"], share: Float[Array, " n"]) -> Float[Array, "n *d"]:
    """Points on the straight line from a (share 0) to b (share 1); its middle is nearer to 0 than a prior's mass is."""
    share = share.reshape((-1,) + (1,) * a.ndim)
    return (1 - share) * a[None] + share * b[None]


def great_circle(a: Float[Array, "*d"], b: Float[Array, "*d"], share: Float[Array, " n"]) -> Float[Array, "n *d"]:
    """Points on the great circle from a to b, the norm going evenly from the one's to the other's.

    White 2016 (arXiv 1609.04468), section 2.1; straight where a and b have one direction. Opposite directions have no
    one great circle, and get none that means anything; neither does a zero vector, which has no direction.
    """
    share = share.reshape((-1,) + (1,) * a.ndim)
    lengths = jnp.linalg.norm(a), jnp.linalg.norm(b)
    a, b = a / lengths[0], b / lengths[1]
    angle = 2 * jnp.arctan2(jnp.linalg.norm(a - b), jnp.linalg.norm(a + b))
    near = angle < 1e-4
    sine = jnp.where(near, 1.0, jnp.sin(angle))
    parts = [jnp.where(near, part, jnp.sin(part * angle) / sine) for part in (1 - share, share)]
    return (parts[0] * a[None] + parts[1] * b[None]) * ((1 - share) * lengths[0] + share * lengths[1])


def reparameterize(
    keys: Key[Array, " n"], mean: Float[Array, "n d"], log_variance: Float[Array, "n d"]
) -> Float[Array, "n d"]:
    """z = mu + sigma eps with eps ~ N(0, I) from each example's key (Kingma & Welling 2013, section 2.4).

    The lecture notes' sigma^2 eps is a slip: log_variance is log sigma^2, so sigma is exp(log_variance / 2).
    """
    epsilon = normal(mean.shape[-1])(keys).astype(mean.dtype)
    return mean + bounded_exp(jnp.asarray(log_variance) / 2) * epsilon
