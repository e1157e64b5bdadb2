"""What lets a discriminator see that a generator always draws the same: statistics across the global batch.

(Salimans et al. 2016: it is the discriminator that sees the whole batch; the lecture notes say the generator, a slip.)
Both mix examples, through `gathering.everyone`: no per-example gradient penalty fits to them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaegan_jax.games import device_mean
from vaegan_jax.gathering import everyone, mine


class MinibatchDiscrimination(nn.Module):
    """Appends how near the others are: (n, f) -> (n, f + kernels), by Salimans et al. 2016, section 3.2.

    M_i = f(x_i) T, of `kernels` rows of `size` numbers; o(x_i)_b = sum over j of exp(-|M_ib - M_jb|_1). The sum runs
    over the global batch and includes the example itself, as the paper's does. Memory: n n kernels size numbers.
    """

    kernels: int = 100
    size: int = 5

    @nn.compact
    def __call__(self, x: Float[Array, "n f"]) -> Float[Array, "n f2"]:
        tensor = self.param("kernel", nn.initializers.normal(0.05), (x.shape[-1], self.kernels * self.size))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        own = (wide @ tensor.astype(wide.dtype)).reshape((len(x), self.kernels, self.size))
        distance = jnp.abs(own[:, None] - everyone(own)[None]).sum(-1)
        return jnp.concatenate([x, jnp.exp(-distance).sum(1).astype(x.dtype)], 1)


class MinibatchDeviation(nn.Module):
    """Appends one channel that tells how much the batch varies: (n, ..., c) -> (n, ..., c + 1). No parameters.

    Karras et al. 2017, section 3: the standard deviation of each feature at each pixel over the batch, then the mean of
    these. With `group`, over groups of so many examples of the global batch, every (n / group)-th one to a group, each
    of which is told its own; ValueError where they do not divide the batch. 0 is the whole batch.
    """

    group: int = 0
    epsilon: float = 1e-8

    @nn.compact
    def __call__(self, x: Float[Array, "n *b c"]) -> Float[Array, "n *b c2"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.group:
            told = mine(self._groups(everyone(wide)))
        else:
            mean = device_mean(wide.mean(0))
            variance = device_mean(jnp.square(wide - mean[None]).mean(0))
            told = jnp.broadcast_to(jnp.sqrt(variance + self.epsilon).mean(), (len(x),))
        told = told.reshape((-1,) + (1,) * (x.ndim - 1))
        return jnp.concatenate([x, jnp.broadcast_to(told, (*x.shape[:-1], 1)).astype(x.dtype)], -1)

    def _groups(self, x: jax.Array) -> jax.Array:
        """(n, ...) -> (n,), what each example is told."""
        if len(x) % self.group:
            raise ValueError(f"groups of {self.group} do not divide a batch of {len(x)}")
        groups = x.reshape((self.group, len(x) // self.group, -1))
        variance = jnp.square(groups - groups.mean(0, keepdims=True)).mean(0)
        return jnp.tile(jnp.sqrt(variance + self.epsilon).mean(1), self.group)
