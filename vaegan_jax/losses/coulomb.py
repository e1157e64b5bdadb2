"""Coulomb GAN: images as charges, a discriminator that learns their potential (Unterthiner et al. 2017).

arXiv 1708.08819. Real images are positive charges, generated ones negative, and the field at a is

    Phi(a) = mean_i k(a, x_i) - mean_j k(a, G_j),    k(a, b) = (|a - b|^2 + epsilon^2)^(-(dimension - 2) / 2),

a Plummer kernel, over the global batch. The generator moves its images up the learned potential.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.gathering import everyone
from vaegan_jax.losses.adversarial import Value
from vaegan_jax.losses.reductions import sum_events


def coulomb(real_potentials: Float[Array, "*real"], fake_potentials: Float[Array, "*fake"]) -> Value:
    """The game on scores D, given the `potentials` of the images that they are of, in the same shapes.

    The discriminator's losses are (D(x) - Phi(x))^2 / 4 and (D(G) - Phi(G))^2 / 4: half the squared error, in the mean
    over points of which half are real. The points are taken as they are, as in the authors' code, without the noise
    that the paper adds to them. The generator's loss is -D(G) / 2, which needs no potentials.
    """

    def discriminator(
        real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]
    ) -> tuple[Float[Array, "*real"], Float[Array, "*fake"]]:
        return jnp.square(real_scores - real_potentials) / 4, jnp.square(fake_scores - fake_potentials) / 4

    def generator(real_scores: Float[Array, "*real"], fake_scores: Float[Array, "*fake"]) -> Float[Array, "*fake"]:
        return -fake_scores / 2

    return Value(discriminator, generator)


def potentials(
    real: Float[Array, "n *event"], fake: Float[Array, "m *event"], dimension: float = 3.0, epsilon: float = 1.0
) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """Phi at each real and at each generated image, (n,) and (m,), from all charges of the global batch.

    A point's own charge counts, with k(a, a) = epsilon^(2 - dimension), as in the authors' code. Its dimension of 3
    makes k the potential 1/r of three dimensions, softened; larger ones hardly reach beyond a point's surroundings.
    Raises ValueError unless dimension > 2 and epsilon > 0.
    """
    if not (dimension > 2 and epsilon > 0):
        raise ValueError(f"need dimension > 2 and epsilon > 0, got {dimension} and {epsilon}")
    positive, negative = (everyone(images) for images in (real, fake))

    def potential(points):
        attracting, repelling = (_kernel(points, charges, dimension, epsilon) for charges in (positive, negative))
        return attracting.mean(1) - repelling.mean(1)

    return potential(real), potential(fake)


def _kernel(a, b, dimension: float, epsilon: float) -> jax.Array:
    """(n, m) values of k. The squared distance is |a|^2 + |b|^2 - 2 a.b: no array of n x m images."""
    center = b.mean(0, keepdims=True)  # the same for all points, and the fewer digits are lost the nearer it is to them
    a, b = ((images - center).reshape(len(images), -1) for images in (a, b))
    products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    squares = sum_events(a**2)[:, None] + sum_events(b**2)[None, :] - 2 * products
    return (jax.nn.relu(squares) + epsilon**2) ** (-(dimension - 2) / 2)
