"""Spectral normalization: a kernel divided by its largest singular value (Miyato et al. 2018, arXiv 1802.05957).

The vectors that follow the singular pair are the network's state, in the collection "spectral". One power iteration per
move of the network's owner, whatever is applied how often: every apply in training starts from the vectors that it is
given and returns the next, so that a loss which applies its network several times hands each the *incoming* ones
(`network.held`). Threading them instead would give D(real) and D(fake) two different networks.

The norm is that of the kernel as a matrix. It is not the norm of the convolution, which may be larger: up to the
kernel's side, as every pixel is read that many times in each direction (Tsuzuku et al. 2018).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

COLLECTION = "spectral"
TINY = 1e-12
"""A norm below this counts as this: a kernel of zeros stays one."""


def normalize(
    module: nn.Module, kernel: Float[Array, "*inputs out"], train: bool, transposed: bool = False
) -> Float[Array, "*inputs out"]:
    """kernel / sigma in at least float32, with the vectors u (out,) and v (inputs,) of `module` (eqs. 8 to 12).

    Products have all digits of float32, of which TPUs drop two thirds by default.
    The kernel is the matrix W of its last dimension by all others, [k k c_in, c_out]; with `transposed`, for kernels
    stored [k, k, c_out, c_in], the last two change places first. In training v <- W u / |W u|, u <- W' v / |W' v|,
    once; else both are left as they are. sigma = v' W u, with constant u and v: d sigma / d W = v u'.
    """
    wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    matrix = (wide.swapaxes(-1, -2) if transposed else wide).reshape((-1, kernel.shape[-2 if transposed else -1]))
    still = jax.lax.stop_gradient(matrix)

    def start():
        return _unit(jax.random.normal(module.make_rng("params"), matrix.shape[1:], matrix.dtype))

    right = module.variable(COLLECTION, "u", start)
    left = module.variable(COLLECTION, "v", lambda: _unit(_multiply(still, right.value)))
    u, v = right.value, left.value
    if train and not module.is_initializing():
        v = _unit(_multiply(still, u))
        u = _unit(_multiply(v, still))
        right.value, left.value = (new.astype(old.value.dtype) for new, old in ((u, right), (v, left)))
    sigma = jnp.vdot(v, _multiply(matrix, u), precision=jax.lax.Precision.HIGHEST)
    return wide / jnp.maximum(sigma, TINY)


_multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), TINY)
