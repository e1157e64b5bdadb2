"""Spectral vectors in whole rounds: one power iteration for each own move, whatever else a move tries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import DENSE, LATENT, PIXELS, SPEC, noise, wide
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaegan_jax.games import AXIS, init, play
from vaegan_jax.models import gan
from vaegan_jax.models.techniques import Techniques
from vaegan_jax.optimizers import Optimizer

pytestmark = pytest.mark.usefixtures("compiled_quickly")
STILL = Optimizer("sgd", 1e-30, b1=0.0)
CONFIG = functools.partial(
    gan.Config,
    "mlp",
    LATENT,
    hidden_sizes=DENSE.hidden_sizes,
    spectral="both",
    discriminator_optimizer=STILL,
    generator_optimizer=STILL,
)
EXAMPLES = 4
ROUNDS = {
    "two batches of either kind": (CONFIG(), "one", 1),
    "one joint batch": (CONFIG(joint_batch=True), "one", 1),
    "two moves of the discriminator": (CONFIG(discriminator_moves=2), "one", 1),
    "a penalty and other images that are tried": (
        CONFIG(penalty="gradient", techniques=Techniques(consistency=1.0, latent_consistency=1.0)),
        "one",
        1,
    ),
    "two micro-batches": (CONFIG(), "one", 2),
    "two devices, sharded": (CONFIG(), "sharded", 1),
    "two devices, pmapped": (CONFIG(), "pmapped", 1),
}


def iterated(kernel, u, times):
    """Power iterations of NumPy on a kernel (inputs, outputs)."""
    for _ in range(times):
        v = kernel @ u
        v /= np.linalg.norm(v)
        u = v @ kernel
        u /= np.linalg.norm(u)
    return u, v


def played(config, how, parts):
    """The state before and after a round whose steps are too small to matter."""
    networks, schedule = gan.networks(config, SPEC), gan.schedule(config)
    game = gan.game(config, SPEC)
    params, stats, _ = wide(networks)
    before = init(game, params, jax.tree.map(lambda leaf: jnp.asarray(leaf, float), stats))
    shape = (len(schedule), parts, EXAMPLES // parts)
    image = np.tanh(noise(*shape, PIXELS)).reshape(*shape, *SPEC.image_shape)
    batch = {"image": image, "position": np.broadcast_to(np.arange(EXAMPLES).reshape(shape[1:]), shape)}
    run, key, devices = play(game, schedule), jax.random.key(0), jax.devices()[:2]
    if how == "pmapped":
        dealt = jax.tree.map(lambda x: np.moveaxis(x.reshape(*x.shape[:2], 2, -1, *x.shape[3:]), 2, 0), batch)
        mapped = jax.pmap(lambda *args: run(*args)[0], AXIS, in_axes=(None, 0, None), devices=devices)
        return before, jax.tree.map(lambda leaf: leaf[0], mapped(before, dealt, key))
    if how == "sharded":
        split = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(None, None, AXIS))
        batch = jax.device_put(batch, split)
    return before, jax.jit(run)(before, batch, key)[0]


QUICK = {"two batches of either kind", "two micro-batches", "two devices, pmapped"}


@pytest.mark.parametrize("title", [pytest.param(t, marks=[] if t in QUICK else pytest.mark.slow) for t in ROUNDS])
def test_each_own_move_is_one_power_iteration_and_another_s_move_none(title, float64):
    config, how, parts = ROUNDS[title]
    before, after = played(config, how, parts)
    for network, moves in (("discriminator", config.discriminator_moves), ("generator", 1)):
        vectors = jax.tree_util.tree_leaves_with_path(before.stats[network]["spectral"])
        count = 0
        for path, start in vectors:
            *module, leaf = [key.key for key in path]
            if leaf != "u":
                continue
            kernel, end = before.params[network], after.stats[network]["spectral"]
            for name in module:
                kernel, end = kernel[name], end[name]
            u, v = iterated(np.asarray(kernel["kernel"]), np.asarray(start), moves)
            np.testing.assert_allclose(end["u"], u, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(end["v"], v, rtol=1e-9, atol=1e-12)
            assert (
                abs(u - iterated(np.asarray(kernel["kernel"]), np.asarray(start), moves + 1)[0]).max() > 1e-6
                or len(u) == 1
            )
            count += 1
        assert count == 2
