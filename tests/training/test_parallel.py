"""Both lifts follow the trajectory of one device, in float64: a float32 GAN is chaotic, and could not tell."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.data.batches import batch, fetch, resident
from vaegan_jax.errors import UserError
from vaegan_jax.games import consensus, play, symplectic
from vaegan_jax.models import gan, vae
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, assemble, step_of
from vaegan_jax.training.parallel import LIFTS, choose_devices, rounds

MODELS = {
    "vae": (vae.Config(hidden_sizes=(16,), latent_size=4), 8),
    "gan": (gan.Config(width=4, latent_size=8), 8),
    "convolutional vae": (vae.Config(network="convolutional", width=4, latent_size=4), 28),
    "larger gan": (gan.Config(width=4, latent_size=8, discriminator_moves=2, label_smoothing=0.1), 28),
    "gan with one batch of real and fake": (gan.Config(width=4, latent_size=8, joint_batch=True), 16),
}
SMALL, LARGER = list(MODELS)[:2], list(MODELS)[2:]
LENGTH = 20
JOINT = (("discriminator", "generator"),)


def setup(model, side, micro_batches=1):
    """An experiment on noise, its store, and the batch of a round."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, side, side, 1), dtype=np.uint8)
    source = ArraySource({"image": pixels})
    config = RunConfig(model, batch_size=8, training=TrainingConfig(micro_batches=micro_batches, ema_halflife_kimg=0.1))
    experiment = assemble(config, source.spec)

    def feed(step, moves=None):
        shape = (moves or len(experiment.schedule), *experiment.batch_shape[1:])
        return {name: leaf[None] for name, leaf in batch(config.seed, step, shape, len(source)).items()}

    return experiment, resident(source), feed


def widened(tree):
    """The tree in the widest floating type that is enabled."""
    wide = jnp.result_type(float)
    return jax.tree.map(lambda leaf: leaf.astype(wide) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def one_device(experiment, step, store, feed, length):
    """The reference: no mesh, no lift, the step jitted and no more."""
    state, step, key = widened(first_state(experiment)), jax.jit(step), experiment.key(PLAY)
    for t in range(length):
        state, metrics = step(state, {name: leaf[0] for name, leaf in feed(t).items()}, key, store)
    return state, metrics


def lifted(experiment, step, store, feed, length, how, devices):
    lift = LIFTS[how](rounds(step, 1), jax.devices()[:devices])
    state, store, key = lift.place(widened(first_state(experiment))), lift.place(store), experiment.key(PLAY)
    for t in range(length):
        state, metrics = lift.step(state, feed(t), np.int32(1), key, store)
    return lift.collect(state), {name: rows[0] for name, rows in metrics.items()}


def assert_same(left, right, tolerance):
    """Every leaf within the tolerance times the largest entry of what it belongs to; types and structure the same."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(left.params))
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance * largest)


@functools.cache
def reference(name, micro_batches, quickly):
    """A trajectory on one device, whose every leaf of every network is trained, and what it is of."""
    experiment, store, feed = setup(*MODELS[name], micro_batches)
    state, metrics = one_device(experiment, step_of(experiment), store, feed, LENGTH)
    begun = widened(first_state(experiment)).params
    leaves = zip(jax.tree.leaves(state.params), jax.tree.leaves(begun), strict=True)
    assert min(jnp.abs(a - b).max() for a, b in leaves) > 1e-6
    return experiment, store, feed, state, metrics


def compare(name, how, devices, micro_batches=1, quickly=False):
    """Follows a model in float64; `quickly` says how the test compiles, and so the reference."""
    with jax.enable_x64(True):
        experiment, store, feed, state, metrics = reference(name, micro_batches, quickly)
        other, others = lifted(experiment, step_of(experiment), store, feed, LENGTH, how, devices)
        assert_same(state, other, 1e-9)
        for title in metrics:
            np.testing.assert_allclose(metrics[title], others[title], rtol=1e-7, err_msg=title)


@pytest.mark.parametrize(("name", "how"), [("gan", "sharded"), ("vae", "pmapped")])
def test_twenty_rounds_in_float64_follow_the_trajectory_of_one_device(name, how, this_compiled_quickly):
    compare(name, how, 4, quickly=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", LIFTS)
@pytest.mark.parametrize("name", SMALL)
def test_so_they_do_compiled_with_all_optimizations(name, how):
    compare(name, how, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "devices"), [(how, n) for how in LIFTS for n in (1, 2, 4)])
@pytest.mark.parametrize("name", LARGER)
def test_twenty_rounds_of_larger_networks_follow_it_on_any_number_of_devices(name, how, devices, this_compiled_quickly):
    compare(name, how, devices, quickly=True)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "devices"), [("sharded", 1), ("sharded", 2), ("pmapped", 1), ("pmapped", 2)])
@pytest.mark.parametrize("name", SMALL)
def test_twenty_rounds_of_small_networks_follow_it_on_one_and_two_devices(name, how, devices, this_compiled_quickly):
    compare(name, how, devices, quickly=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", LIFTS)
def test_accumulated_rounds_follow_it_too(how, this_compiled_quickly):
    compare("vae", how, 2, micro_batches=2, quickly=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", LIFTS)
@pytest.mark.parametrize("name", SMALL)
def test_in_float32_the_first_round_agrees(name, how):
    experiment, store, feed = setup(*MODELS[name])
    # Parameters move by the learning rate at most, so gradients, which Adam normalizes, are compared by their norms.
    _, metrics = one_device(experiment, step_of(experiment), store, feed, 1)
    _, others = lifted(experiment, step_of(experiment), store, feed, 1, how, 4)
    for title in metrics:
        np.testing.assert_allclose(metrics[title], others[title], rtol=1e-5, err_msg=title)


@pytest.mark.parametrize("how", [pytest.param("sharded", marks=pytest.mark.slow), "pmapped"])
@pytest.mark.parametrize(
    "direction",
    [pytest.param(consensus(0.3), marks=pytest.mark.slow), symplectic(0.7, align=True)],
    ids=["consensus", "symplectic"],
)
@pytest.mark.parametrize(
    "model",
    [gan.Config("mlp", latent_size=4, hidden_sizes=(8,)), pytest.param(MODELS["gan"][0], marks=pytest.mark.slow)],
    ids=["mlp", "dcgan"],
)
def test_second_order_directions_are_right_on_several_devices(model, direction, how, this_compiled_quickly):
    """The mean over devices of a product is not the product of means: the field's own mean must be differentiated."""
    with jax.enable_x64(True):
        experiment, store, feed = setup(model, 8)
        round = play(experiment.game, JOINT, direction)

        def step(state, batch, key, store):
            return round(state, fetch(store, batch), key)

        def feed_one(t):
            return feed(t, moves=1)

        state, _ = one_device(experiment, step, store, feed_one, 2)
        plain, _ = one_device(
            experiment, lambda s, b, k, d: play(experiment.game, JOINT)(s, fetch(d, b), k), store, feed_one, 2
        )
        other, _ = lifted(experiment, step, store, feed_one, 2, how, 4)
        assert_same(state, other, 1e-9)
        gap = max(
            float(jnp.abs(a - b).max())
            for a, b in zip(*map(jax.tree.leaves, (state.params, plain.params)), strict=True)
        )
        assert gap > 1e-5  # the direction did something


def test_several_rounds_in_one_dispatch_are_the_same_bits_however_they_are_cut():
    experiment, store, feed = setup(*MODELS["vae"])
    key, step = experiment.key(PLAY), step_of(experiment)
    ends = []
    for cuts in ((4, 4, 4), (3, 1, 4, 2, 2), (1,) * 12):
        lift = LIFTS["sharded"](rounds(step, 4), jax.devices()[:1])
        state, held, done = lift.place(first_state(experiment)), lift.place(store), 0
        for count in cuts:
            rows = [feed(done + min(row, count - 1)) for row in range(4)]
            stacked = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
            state, metrics = lift.step(state, stacked, np.int32(count), key, held)
            assert not np.asarray(metrics["vae/loss"])[count:].any()  # rows beyond the count are not played
            done += count
        ends.append(jax.tree.map(np.asarray, lift.collect(state)))
    for other in ends[1:]:
        jax.tree.map(np.testing.assert_array_equal, ends[0], other)
    assert int(ends[0].step) == 12


@pytest.mark.parametrize("how", LIFTS)
def test_one_trace_serves_many_calls(how, this_compiled_quickly):
    experiment, store, feed = setup(*MODELS["vae"])
    traces = []

    def step(*args):
        traces.append(1)
        return step_of(experiment)(*args)

    lifted(experiment, step, store, feed, 4, how, 2)
    assert len(traces) == 1


def test_devices_are_refused_with_a_reason_where_there_are_too_few_or_the_batch_does_not_divide():
    assert len(choose_devices(RunConfig(devices=2, batch_size=8))) == 2
    with pytest.raises(UserError, match="17 devices asked for.*16 is the most that a CPU makes"):
        choose_devices(RunConfig(devices=17, batch_size=17))
    with pytest.raises(UserError, match="batch-size 6 is not divisible by 4 devices x 1"):
        choose_devices(RunConfig(devices=0, batch_size=6))
    with pytest.raises(UserError, match="batch-size 6 is not divisible by 4 devices x 1"):
        RunConfig(devices=4, batch_size=6)
