"""What gradients and lifts of a function of a batch must agree with."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaegan_jax.games import AXIS

COUNT = 4


def on_devices(lifted, run, *batch):
    """What `run(*batch)` returns on four devices: arrays over examples whole again, others from the first device.

    A leaf is over examples where it is as long as the batch is on one device; let nothing else be so long.
    """
    devices = jax.devices()[:COUNT]
    if lifted == "sharded":
        split = NamedSharding(Mesh(np.array(devices), ("examples",)), PartitionSpec("examples"))
        return jax.jit(run)(*jax.device_put(batch, split))
    each = len(batch[0]) // COUNT
    dealt = [np.asarray(leaf).reshape(COUNT, each, *leaf.shape[1:]) for leaf in batch]
    out = jax.tree.map(np.asarray, jax.pmap(run, AXIS, devices=devices)(*dealt))
    return jax.tree.map(lambda x: np.concatenate(x) if x.ndim > 1 and x.shape[1] == each else x[0], out)


def check_slope(loss, *args, rtol=1e-6, step=1e-6):
    """The gradient by all arguments, along a random direction, is a central difference; in float64, jitted."""
    draw = np.random.default_rng(0).normal
    toward = jax.tree.map(lambda leaf: draw(size=leaf.shape), args)
    slope = jax.jit(jax.grad(loss, tuple(range(len(args)))))(*args)
    along = sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(toward), strict=True))
    value = jax.jit(loss)
    plus, minus = (
        value(*jax.tree.map(lambda a, d, sign=sign: jnp.asarray(np.asarray(a) + sign * step * d), args, toward))
        for sign in (1, -1)
    )
    np.testing.assert_allclose(along, (plus - minus) / (2 * step), rtol=rtol)


def filled(module, *inputs):
    """Variables of a module by NumPy, which needs no compiler, and a compiled function that applies it in training."""
    options = {"train": True} if "train" in inspect.signature(type(module).__call__).parameters else {}
    given = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
    shapes = jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x, **options), *given)
    draw = np.random.default_rng(0).normal
    variables = jax.tree.map(lambda leaf: (0.5 * draw(size=leaf.shape)).astype(leaf.dtype), shapes)
    return variables, jax.jit(lambda variables, *x: module.apply(variables, *x, **options, mutable=True)[0])
