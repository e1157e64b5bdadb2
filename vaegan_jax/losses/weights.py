"""What players pay for their weights, whatever these do to a batch."""

import jax
import jax.numpy as jnp

from vaegan_jax.games import Params

SHARED = "shared"
"""The name of embeddings, which are vectors beside each other and not filters of one layer."""
TRANSPOSED = "TransposedConvolution"


def orthogonality(params: Params) -> jax.Array:
    """Sum over kernels of |W'W * (1 - I)|_F^2, with a filter a column of W: Brock et al. 2018 (BigGAN), equation 3.

    arXiv 1809.11096; without its weight beta, 1e-4 there. The diagonal is free: filters may have any length. Kernels
    are the leaves of that name but for those of embeddings, "shared"; the last dimension is the filters, that before it
    in transposed convolutions. In at least float32. The authors' program adds half of this gradient for the same beta.
    """
    total = jnp.zeros(())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *modules, name = [part.key for part in path]
        if name == "kernel" and SHARED not in modules:
            turned = any(module.startswith(TRANSPOSED) for module in modules[-1:])
            total = total + _overlap(leaf.swapaxes(-1, -2) if turned else leaf)
    return total


def _overlap(kernel: jax.Array) -> jax.Array:
    matrix = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32)).reshape(-1, kernel.shape[-1])
    products = jnp.matmul(matrix.T, matrix, precision=jax.lax.Precision.HIGHEST)
    return jnp.square(products).sum() - jnp.square(jnp.diagonal(products)).sum()
