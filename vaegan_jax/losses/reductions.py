"""From unreduced values to one value per example."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def sum_events(values: Float[Array, "n *event"]) -> Float[Array, " n"]:
    """The sum over all dimensions but the first, in full precision.

    It is a product with ones: XLA:CPU fuses what is summed into the sum, and computes it there entry by entry, which
    for the cross-entropies of 128 images of 784 pixels takes 2 to 6 ms; as a product 0.25 ms.
    """
    size = math.prod(values.shape[1:])
    return jnp.matmul(
        values.reshape(len(values), size), jnp.ones(size, values.dtype), precision=jax.lax.Precision.HIGHEST
    )
