"""What mixes examples of a batch and is more than a mean of them: the global batch, as one device would see it.

Beside `games.device_mean`. Under `jax.pmap` each device holds a contiguous slice of the batch; under `jit` arrays are
global already. Differentiable: what other devices make of one's examples comes back in their gradient.
"""

import jax
from jaxtyping import Array, Shaped

from vaegan_jax.games import AXIS, _mapped


def everyone(x: Shaped[Array, "n ..."]) -> Shaped[Array, "global_n ..."]:
    """The examples of all devices, in the global batch's order: gathered under `pmap`, x itself under `jit`."""
    return jax.lax.all_gather(x, AXIS, tiled=True) if _mapped() else x


def mine(x: Shaped[Array, "global_n ..."]) -> Shaped[Array, "n ..."]:
    """The inverse of `everyone`: of the global batch, the examples that this device holds."""
    if not _mapped():
        return x
    count = len(x) // jax.lax.axis_size(AXIS)
    return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(AXIS) * count, count)
