"""Noise inside a network, put there from outside: backbones and layers know nothing of it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vaegan_jax.networks.layers import Convolution, Dense, TransposedConvolution
from vaegan_jax.networks.network import Network
from vaegan_jax.networks.norms import BatchNorm, InstanceNorm, LayerNorm

LAYERS = (Convolution, Dense, TransposedConvolution)
NORMS = (BatchNorm, InstanceNorm, LayerNorm)


def noisy(network: Network, deviation: float) -> Network:
    """The network with Gaussian noise on what each layer but the first is given (Zhao et al. 2016, EBGAN, appendix).

    `apply(params, stats, *inputs, keys, train)`, with keys (n,), one for each example; without them there is no noise.
    `deviation` is relative to the root mean square of what an example's layer is given, which no gradient goes through.
    Gains and shifts of conditional norms are exact.
    """

    def apply(params, stats, *inputs, keys: jax.Array | None = None, train: bool = False):
        if keys is None:
            return network.apply(params, stats, *inputs, train=train)
        place = 0

        def disturb(call, arguments, options, context):
            nonlocal place
            module, (x, *others) = context.module, arguments
            if not isinstance(module, LAYERS) or context.method_name != "__call__" or isinstance(module.parent, NORMS):
                return call(*arguments, **options)
            if place:
                noise = _like(x, jax.vmap(jax.random.fold_in, (0, None))(keys, place))
                x = x + (deviation * noise).astype(x.dtype)
            place += 1
            return call(x, *others, **options)

        with nn.intercept_methods(disturb):
            return network.apply(params, stats, *inputs, train=train)

    return Network(network.init, apply)


def _like(x: jax.Array, keys: jax.Array) -> jax.Array:
    """Noise of the shape of x (n, ...) and, example by example, of its root mean square; in at least float32."""
    wide = jax.lax.stop_gradient(x).astype(jnp.promote_types(x.dtype, jnp.float32))
    size = jnp.sqrt(jnp.square(wide).mean(tuple(range(1, x.ndim)), keepdims=True))
    return size * jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], wide.dtype))(keys)
