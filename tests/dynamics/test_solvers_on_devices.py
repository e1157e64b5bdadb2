"""Every solver on a GAN with statistics: the same on one device and on four, however lifted, and after a restart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from toys import KEY, assert_close, gan, gan_batch, gan_state, normals

from vaegan_jax.dynamics.solvers import SOLVERS, Solver, solve
from vaegan_jax.games import AXIS
from vaegan_jax.training.checkpoint import flatten, unflatten

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SPECIAL = {
    "proximal": {"step": 0.3, "iterations": 3},
    "competitive": {"step": 0.3, "iterations": 3},
    "follow-the-ridge": {"damping": 0.5, "iterations": 3},
    "symplectic": {"align": True},
    "unrolled": {"inner_steps": 2},
    "lookahead-minmax": {"k": 2},
    "averaging": {"average": "ema"},
}
TURNS = (("critic",), ("generator",))
QUICK = {"lola", "lookahead-minmax"}
"""Always tested; the others are slow to compile."""
names = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SOLVERS]
)


def waves(key, batch):
    """Noise by position, without the keys, which take longer to compile than all the rest."""
    return jnp.sin(jnp.outer(batch["position"], jnp.array([1.0, 2.0])) + 1)


@functools.cache
def solved(name, noise=waves):
    """On turns: what needs all at once makes one move of them."""
    return solve(Solver(name, **SPECIAL.get(name, {})), gan(noise), TURNS)


def first(name):
    return solved(name).start(gan_state(solved(name).game))


def batch(name, micro_batches=1):
    return gan_batch(micro_batches, len(solved(name).schedule))


@functools.cache
def on_one(name):
    """The compiled round, and the states and metrics of three rounds."""
    with jax.enable_x64(True):
        round, state, seen = jax.jit(solved(name).round), first(name), []
        for _ in range(3):
            state, metrics = round(state, batch(name), KEY)
            seen.append((state, metrics))
    return round, seen


@names
def test_metrics_and_statistics_come_through_and_only_movers_write_them(name, float64):
    _, seen = on_one(name)
    state, metrics = seen[-1]
    assert {"critic/real", "generator/fake", "critic/loss", "generator/loss", "critic/gradient"} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    assert int(state.stats["critic"]["count"]) == int(state.step) == 3
    assert state.stats["generator"] == {}
    assert jax.tree.structure(state) == jax.tree.structure(first(name))
    for network, before in first(name).params.items():
        moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), before, state.params[network])
        assert min(jax.tree.leaves(moved)) > 1e-6


@names
def test_a_restart_from_what_a_checkpoint_holds_goes_on_bit_for_bit(name, float64):
    round, seen = on_one(name)
    arrays = flatten(seen[1][0])
    assert len(arrays) == len(jax.tree.leaves(seen[1][0]))
    restored = unflatten(jax.eval_shape(lambda: first(name)), arrays)
    state, _ = round(jax.tree.map(jax.numpy.asarray, restored), batch(name), KEY)
    for path, leaf in flatten(state).items():
        assert leaf.tobytes() == flatten(seen[2][0])[path].tobytes(), path


@names
def test_four_devices_under_pmap_are_one(name, float64):
    mapped = jax.pmap(solved(name).round, AXIS, in_axes=(0, 0, None))
    state = jax.tree.map(lambda leaf: np.stack([leaf] * 4), first(name))
    dealt = jax.tree.map(lambda leaf: np.stack(np.split(leaf, 4, axis=2)), batch(name))
    for _ in range(3):  # awaited: JAX 0.10 deadlocks on CPU when two calls are under way
        state, metrics = jax.block_until_ready(mapped(state, dealt, KEY))
    expected = jax.tree.map(lambda leaf: np.stack([leaf] * 4), on_one(name)[1][-1])
    assert_close((state, metrics), expected, 1e-9)


SOME = ("extragradient", "consensus", "competitive", "unrolled", "anchored", "averaging", "lookahead-minmax")
"""Of each kind one; the partitioner does for the others what it does for these."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SOME else pytest.mark.soak) for name in SOLVERS]
)
def test_four_devices_under_jit_are_one(name, float64):
    mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
    same, split = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec(None, None, AXIS)))
    round = jax.jit(solved(name).round, in_shardings=(same, split, same), out_shardings=(same, same))
    state = first(name)
    for _ in range(3):
        state, metrics = jax.block_until_ready(round(state, batch(name), KEY))
    assert_close(jax.tree.map(np.asarray, (state, metrics)), jax.tree.map(np.asarray, on_one(name)[1][-1]), 1e-9)


SECOND_ORDER = ("hamiltonian", "proximal", "competitive", "linearized-competitive", "follow-the-ridge")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SECOND_ORDER, "lookahead-opponent", "anchored", "extra-adam", "replay"])
def test_micro_batches_are_one_batch(name, float64):
    round, state = jax.jit(solved(name).round), first(name)
    for _ in range(3):
        state, metrics = round(state, batch(name, 2), KEY)
    assert_close((state, metrics), on_one(name)[1][-1], 1e-9)


@pytest.mark.parametrize("name", ["lola"])
def test_no_key_is_used_twice(name):
    state = solved(name, normals).start(gan_state(solved(name, normals).game))
    with jax.debug_key_reuse(True):
        jax.jit(solved(name, normals).round)(state, batch(name), KEY)
