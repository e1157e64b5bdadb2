"""Attention of every pixel to every other: images (n, height, width, channels)."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.networks.layers import Convolution, Initializer
from vaegan_jax.networks.resampling import max_pool


class SelfAttention(nn.Module):
    """y = x + gamma o, with o_j = sum_i softmax_i(f(x_i) . g(x_j)) h(x_i), and gamma 0 at the start.

    "sagan" (Zhang et al. 2018, arXiv 1805.08318, section 3): f and g have an eighth of the channels, h all of them.
    "biggan" (Brock et al. 2018, in the authors' code): h has half of them and an output convolution brings them back;
    f and h (keys and values) are max-pooled 2 x 2, for a quarter of the products. All four are 1 x 1 without bias.
    The softmax is taken in at least float32. ValueError for fewer than 8 channels, and for odd sides with pooling.
    """

    form: Literal["sagan", "biggan"] = "sagan"
    spectral: bool = False
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n h w c"]:
        n, height, width, channels = x.shape
        if channels < 8:
            raise ValueError(f"self-attention looks at an eighth of the channels, of which there are only {channels}")
        pooled = self.form == "biggan"

        def project(features, name, pool=False):
            layer = Convolution(features, 1, 1, False, self.kernel_init, self.spectral, name=name)
            y = layer(x, train)
            return (max_pool(y) if pool else y).reshape((n, -1, features))

        keys = project(channels // 8, "f", pooled)
        queries = project(channels // 8, "g")
        values = project(channels // 2 if pooled else channels, "h", pooled)
        o = attend(queries, keys, values).reshape((n, height, width, -1))
        if pooled:
            o = Convolution(channels, 1, 1, False, self.kernel_init, self.spectral, name="output")(o, train)
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + (gamma * o).astype(x.dtype)  # gamma's gradient is a sum over all pixels: not in bfloat16


def attend(
    queries: Float[Array, "n q d"], keys: Float[Array, "n k d"], values: Float[Array, "n k e"]
) -> Float[Array, "n q e"]:
    """For each query the mean of the values, weighted by the softmax of its products with the keys.

    The products are not divided by sqrt(d), and neither are they in SAGAN; products and softmax in at least float32.
    """
    weights = jax.nn.softmax(_products(queries, keys), axis=-1)
    return jnp.einsum("nqk,nke->nqe", weights.astype(values.dtype), values)


@jax.custom_vjp
def _products(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """(n, q, k), in at least float32. Their derivative is of products in the type of the inputs, as elsewhere."""
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    return jnp.einsum("nqd,nkd->nqk", queries, keys, preferred_element_type=wide)


def _products_backward(saved, slope):
    queries, keys = saved
    slope = slope.astype(queries.dtype)
    return jnp.einsum("nqk,nkd->nqd", slope, keys), jnp.einsum("nqk,nqd->nkd", slope, queries)


_products.defvjp(lambda queries, keys: (_products(queries, keys), (queries, keys)), _products_backward)
