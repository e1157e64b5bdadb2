"""Moving averages against a loop in NumPy, their half-life in images, and standing statistics by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.data.batches import batch, resident
from vaegan_jax.games import Player, State, init, play
from vaegan_jax.models import gan, vae
from vaegan_jax.training.averaging import averaged, standing_statistics, start
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, assemble, step_of, weights_for_sampling

SOURCE = ArraySource({"image": np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)})
pytestmark = pytest.mark.usefixtures("compiled_quickly")


class Scripted(NamedTuple):
    """A round whose networks take given values, one after the other."""

    values: np.ndarray

    def __call__(self, state, batch, key, told=True):
        value = jnp.asarray(self.values)[state.step]
        params = {name: {"w": value * factor} for name, factor in (("generator", 1), ("discriminator", -1))}
        return state._replace(step=state.step + 1, params=params), {"told": state.step}


def scripted(values, images_per_round, halflife_kimg, networks=("generator",), start_kimg=0.0):
    """The states after each round, from averages that begin at the first value."""
    state, _ = Scripted(values)(State(jnp.zeros((), jnp.int32), {}, {}, {}), {}, None)
    step = jax.jit(averaged(Scripted(values), images_per_round, halflife_kimg, start_kimg))
    state = start(state, networks)
    states = [state]
    for _ in values[1:]:
        state, metrics = step(state, {}, jax.random.key(0))
        assert set(metrics) == {"told"}
        states.append(state)
    return states


def test_an_average_is_that_of_a_loop_in_numpy(float64):
    values = np.random.default_rng(0).normal(size=(12, 3))
    states = scripted(values, images_per_round=96, halflife_kimg=0.25)
    keep, average = 0.5 ** (96 / 250), values[0]
    for value, state in zip(values, states, strict=True):
        average = keep * average + (1 - keep) * value
        np.testing.assert_allclose(state.averages["generator"]["w"], average, rtol=1e-13, atol=1e-15)
        np.testing.assert_array_equal(state.params["generator"]["w"], value)


def test_an_average_that_starts_late_is_the_network_itself_until_then(float64):
    """100 images a round: the fifth is the last up to 0.5 kimg."""
    values = np.random.default_rng(0).normal(size=(12, 3))
    states = scripted(values, 100, 0.25, start_kimg=0.5)
    keep, average = 0.5 ** (100 / 250), values[0]
    for place, (value, state) in enumerate(zip(values, states, strict=True)):
        average = value if place + 1 <= 5 else keep * average + (1 - keep) * value
        np.testing.assert_allclose(state.averages["generator"]["w"], average, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("images_per_round", [10, 50, 100, 125])
def test_after_the_half_life_half_of_the_distance_is_left_whatever_the_batch(images_per_round, float64):
    """500 images of a constant target, for a half-life of 0.5 kimg; after as many again, a quarter."""
    rounds = 500 // images_per_round
    values = np.array([[8.0]] + [[0.0]] * (2 * rounds))
    states = scripted(values, images_per_round, halflife_kimg=0.5)
    np.testing.assert_allclose(states[rounds].averages["generator"]["w"], [4.0], rtol=1e-13)
    np.testing.assert_allclose(states[2 * rounds].averages["generator"]["w"], [2.0], rtol=1e-13)


def test_only_the_named_networks_are_averaged_beginning_as_copies():
    values = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    for networks in (("generator",), ("discriminator",), ("generator", "discriminator"), ()):
        first = scripted(values, 10, 1.0, networks)[0]
        assert set(first.averages) == set(networks)
        for name in networks:
            np.testing.assert_array_equal(first.averages[name]["w"], first.params[name]["w"])
            # A step gives the buffers of its state away: one buffer cannot be in two places.
            assert pointer(first.averages[name]["w"]) != pointer(first.params[name]["w"])


def pointer(leaf):
    return leaf.unsafe_buffer_pointer()


def test_a_game_does_not_see_its_averages():
    """They are NaN here, and every other bit of the state is what it is without them."""

    def loss(params, stats, batch, key, step):
        value = jnp.square(params["generator"]["w"] - 3.0).sum()
        return value, ({}, {})

    game = {"one": Player(("generator",), loss, optax.adam(0.1))}
    plain = play(game, (("one",),))
    state = init(game, {"generator": {"w": jnp.arange(4.0)}})
    poisoned = state._replace(averages={"generator": {"w": jnp.full(4, jnp.nan)}})
    step = jax.jit(averaged(plain, 10, 1.0))
    ends = []
    for first in (state._replace(averages=state.params), poisoned):
        for _ in range(3):
            first, metrics = step(first, {}, jax.random.key(0))
        ends.append(first._replace(averages=()))
        assert all(jnp.isfinite(value) for value in metrics.values())
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(a, b)
    assert jnp.isnan(first.averages["generator"]["w"]).all()


def experiment_of(model, halflife_kimg=0.05, batch_size=4):
    training = TrainingConfig(ema_halflife_kimg=halflife_kimg)
    return assemble(RunConfig(model, batch_size=batch_size, training=training), SOURCE.spec)


def filled(experiment, seed=0):
    """A state whose floats NumPy draws."""
    shapes = state_shapes(experiment)
    draw = np.random.default_rng(seed).normal
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 + 0.3 * draw(size=leaf.shape)).astype(leaf.dtype), shapes)


def test_a_gan_averages_its_generator_in_the_images_that_the_discriminator_sees():
    """With two moves of four images, a round is eight images: one in 50 / 8 of a half-life."""
    model = gan.Config("mlp", 3, hidden_sizes=(5,), discriminator_moves=2)
    experiment = experiment_of(model)
    assert experiment.images_per_round == 8
    before = filled(experiment)
    indices = batch(0, 0, experiment.batch_shape, len(SOURCE))
    after, _ = jax.jit(step_of(experiment))(before, indices, experiment.key(PLAY), resident(SOURCE))
    assert set(after.averages) == {"generator"}
    keep = 0.5 ** (8 / 50)
    for old, new, average in zip(
        *map(jax.tree.leaves, (before.averages, after.params["generator"], after.averages)), strict=True
    ):
        np.testing.assert_allclose(average, keep * old + (1 - keep) * new, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("model", "halflife"), [(gan.Config("mlp", 3, hidden_sizes=(5,)), 0.0), (vae.Config(hidden_sizes=(5,)), 10.0)]
)
def test_without_a_half_life_or_a_network_to_average_the_last_weights_are_sampled(model, halflife):
    experiment = experiment_of(model, halflife)
    state = State(jnp.zeros((), jnp.int32), {"a": 1}, {"a": 2}, {})
    assert start(state, experiment.averages).averages == {}
    assert weights_for_sampling(experiment, state) == ({"a": 1}, {"a": 2}, "last weights")


def before_the_first_norm(params, z):
    """What the first batch norm of a DCGAN's generator for 8x8 images gets: (examples x pixels, channels)."""
    dense = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["generator"]["Dense_0"])
    return (np.asarray(z, np.float64) @ dense["kernel"] + dense["bias"]).reshape(len(z) * 16, -1)


DCGAN = gan.Config(width=2, latent_size=3)


def test_standing_statistics_are_the_means_over_batches_of_the_batches_means_and_biased_variances():
    experiment = experiment_of(DCGAN)
    state = filled(experiment)
    keys = jax.random.split(jax.random.key(0), (5, 8))

    def sample(params, stats, keys, train):
        return gan.sample(DCGAN, experiment.spec, params, stats, keys, train)

    stats = standing_statistics(sample, ("generator",), state.params, state.stats, keys)
    batches = [before_the_first_norm(state.params, gan.prior(DCGAN)(row)) for row in keys]
    first = stats["generator"]["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(first["mean"], np.mean([x.mean(0) for x in batches], axis=0), rtol=1e-4)
    np.testing.assert_allclose(first["variance"], np.mean([x.var(0) for x in batches], axis=0), rtol=1e-4)
    whole = np.concatenate(batches)
    assert abs(first["variance"] / whole.var(0) - 1).max() > 1e-3  # which is not the variance of all together

    # The old statistics are forgotten, and those of other networks are left alone.
    forgotten = state.stats | {"generator": jax.tree.map(lambda leaf: leaf + 7, state.stats["generator"])}
    again = standing_statistics(sample, ("generator",), state.params, forgotten, keys)
    for a, b in zip(*map(jax.tree.leaves, (stats["generator"], again["generator"])), strict=True):
        np.testing.assert_array_equal(a, b)
    assert jax.tree.structure(stats) == jax.tree.structure(state.stats)
    for a, b in zip(*map(jax.tree.leaves, (stats["discriminator"], state.stats["discriminator"])), strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_statistics_stand_spectral_vectors_iterate_and_nothing_else_changes():
    """Of the averaged networks alone; averaged weights did not grow with the vectors of the last ones."""
    mean, ones = jnp.full(2, 9.0), jnp.full(2, 5.0)
    stats = {name: {"batch_stats": {"mean": mean}, "spectral": {"u": ones}, "codes": {"c": ones}} for name in "ab"}

    def sample(params, stats, keys, train):
        assert train
        mean = 0.9 * stats["a"]["batch_stats"]["mean"] + 0.1 * params["a"]
        moved = {
            "batch_stats": {"mean": mean},
            "spectral": {"u": stats["a"]["spectral"]["u"] + 1},
            "codes": {"c": mean},
        }
        return None, stats | {"a": moved}

    stood = standing_statistics(
        sample, ("a",), {"a": jnp.arange(2.0)}, stats, jax.random.split(jax.random.key(0), (3, 4))
    )
    np.testing.assert_allclose(stood["a"]["batch_stats"]["mean"], [0.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(stood["a"]["spectral"]["u"], np.full(2, 8.0))  # a power iteration a batch
    np.testing.assert_array_equal(stood["a"]["codes"]["c"], ones)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (stood["b"], stats["b"])), strict=True))


def test_samples_are_made_with_the_averaged_generator_and_statistics_that_fit_it():
    experiment = experiment_of(DCGAN)
    state = filled(experiment)
    state = state._replace(averages=jax.tree.map(lambda leaf: 3 * leaf, state.averages))
    params, stats, told = weights_for_sampling(experiment, state)
    assert told == "averaged weights (half-life 0.05 kimg), standing statistics of 8 x 128 latents"
    for name, expected in (
        ("generator", state.averages["generator"]),
        ("discriminator", state.params["discriminator"]),
    ):
        for a, b in zip(*map(jax.tree.leaves, (params[name], expected)), strict=True):
            np.testing.assert_array_equal(a, b)
    # Over many standard normal latents: the mean of the biases, and the mean square of the weights beside theirs.
    dense = state.averages["generator"]["Dense_0"]
    kernel, bias = np.asarray(dense["kernel"]).reshape(3, 16, -1), np.asarray(dense["bias"]).reshape(16, -1)
    first = stats["generator"]["batch_stats"]["BatchNorm_0"]
    variance = (kernel**2).sum(0).mean(0) + bias.var(0)
    assert (abs(first["mean"] - bias.mean(0)) < 5 * np.sqrt(variance / 1024)).all()
    np.testing.assert_allclose(first["variance"], variance, rtol=0.2)
    for a, b in zip(*map(jax.tree.leaves, (stats["discriminator"], state.stats["discriminator"])), strict=True):
        np.testing.assert_array_equal(a, b)
