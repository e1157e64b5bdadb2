"""The GAN's samples against NumPy, configurations that are refused, and two images that it learns."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import CONVOLUTIONAL, DENSE, LARGE, PIXELS, SPEC, STATS, WEIGHTS, bits, filled, forward, noise, params

from vaegan_jax.data import ArraySource
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.models import gan
from vaegan_jax.optimizers import Optimizer
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, assemble, generate, step_of
from vaegan_jax.training.feeding import feeder
from vaegan_jax.training.parallel import rounds

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize("config", [DENSE, CONVOLUTIONAL], ids=["mlp", "dcgan"])
def test_a_sample_is_an_image_that_depends_on_its_own_key_alone(config):
    networks = gan.networks(config, LARGE)
    params, stats = filled(networks)
    draw = jax.jit(lambda keys: gan.sample(config, LARGE, params, stats, keys))
    images, after = draw(keys(8))
    assert images.shape == (8, 16, 16, 1)
    assert -1 <= images.min() < images.max() <= 1
    assert bits(after) == bits(stats)
    assert bits(draw(keys(8))[0]) == bits(images)
    assert not np.allclose(draw(keys(8, seed=1))[0], images, atol=1e-2)
    several = jnp.concatenate([draw(keys(8)[:3])[0], draw(keys(8)[3:])[0]])
    np.testing.assert_allclose(several, images, atol=1e-5)  # however many are drawn beside it


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_samples_are_the_generator_s_images_of_the_prior_s_latents(prior, float64):
    config = replace(DENSE, prior=prior)
    z = np.asarray(gan.seams(config, SPEC).prior(keys(200)))
    assert (abs(z).max() > 1) == (prior == "normal")
    images, _ = gan.sample(config, SPEC, params(), STATS, keys(200))
    np.testing.assert_allclose(
        np.asarray(images).reshape(200, PIXELS), np.tanh(forward(z, WEIGHTS["generator"], 0.0)), rtol=1e-11, atol=1e-14
    )


def test_samples_come_from_another_prior_where_one_is_given(float64):
    z = 0.1 * noise(5, DENSE.latent_size)
    images, _ = gan.sample(DENSE, SPEC, params(), STATS, keys(5), prior=lambda keys: jnp.asarray(z))
    np.testing.assert_allclose(
        np.asarray(images).reshape(5, PIXELS), np.tanh(forward(z, WEIGHTS["generator"], 0.0)), rtol=1e-11, atol=1e-14
    )


def test_sampling_as_in_training_takes_the_statistics_of_the_batch_and_returns_them():
    params, stats = filled(gan.networks(CONVOLUTIONAL, LARGE))
    draw = jax.jit(
        lambda stats, keys, train: gan.sample(CONVOLUTIONAL, LARGE, params, stats, keys, train), static_argnums=2
    )
    images, moved = draw(stats, keys(8), True)
    forgotten = stats | {"generator": jax.tree.map(jnp.zeros_like, stats["generator"])}
    np.testing.assert_array_equal(draw(forgotten, keys(8), True)[0], images)  # the running ones do not matter
    assert not np.allclose(draw(stats, keys(8), False)[0], images, atol=1e-3)
    assert bits(moved["discriminator"]) == bits(stats["discriminator"])
    # The first norm follows the dense layer.
    dense = params["generator"]["Dense_0"]
    z = np.asarray(gan.prior(CONVOLUTIONAL)(keys(8)), np.float64)
    x = (z @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"], np.float64)).reshape(8 * 4 * 4, -1)
    old, new = (tree["generator"]["batch_stats"]["BatchNorm_0"] for tree in (stats, moved))
    np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(new["variance"], 0.9 * old["variance"] + 0.1 * x.var(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"network": "dcgna"}, "unknown network 'dcgna'. Did you mean 'dcgan'"),
        ({"prior": "cauchy"}, "unknown prior 'cauchy'.*There are: categorical, normal"),
        ({"value": "minmax"}, "unknown value 'minmax'. Did you mean 'minimax'"),
        ({"latent_size": 0}, "latent-size must be at least 1, not 0"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"hidden_sizes": (0,)}, r"hidden-sizes must be at least 1 each, not \(0,\)"),
        ({"label_smoothing": 1.0}, r"label-smoothing must be in \[0, 1\), not 1.0"),
        ({"label_smoothing": -0.1}, r"label-smoothing must be in \[0, 1\), not -0.1"),
        ({"label_smoothing": math.nan}, r"label-smoothing must be in \[0, 1\), not nan"),
        ({"discriminator_moves": 0}, "discriminator-moves must be at least 1, not 0"),
    ],
    ids=str,
)
def test_a_wrong_configuration_is_refused_in_one_line(wrong, told):
    config = gan.Config()
    for name, value in wrong.items():  # past the types that `conftest` has checked in every signature
        object.__setattr__(config, name, value)
    with pytest.raises(UserError, match=told) as refused:
        config.__post_init__()
    assert "\n" not in str(refused.value)


def test_images_that_a_dcgan_cannot_halve_are_refused_when_it_is_put_together():
    with pytest.raises(UserError, match="which 30x30 do not"):
        assemble(RunConfig(gan.Config()), DataSpec("pixels", (30, 30, 1)))


def test_three_hundred_rounds_bring_the_samples_near_both_of_two_images():
    """Mean distance from the nearer image, per pixel: 0.11 to 0.13 for seeds 0 to 3, about 0.5 before training, and
    0.25 if samples lay anywhere between the two. Each image had 0.47 to 0.53 of the samples."""
    pixels = np.stack([np.full((8, 8, 1), grey, np.float32) for grey in (-0.5, 0.5)])
    source, adam, length = ArraySource({"image": np.tile(pixels, (8, 1, 1, 1))}), Optimizer("adam", 5e-3, b1=0.0), 300
    model = gan.Config("mlp", 2, hidden_sizes=(128, 128), discriminator_optimizer=adam, generator_optimizer=adam)
    experiment = assemble(
        RunConfig(model, batch_size=32, training=TrainingConfig(rounds_per_dispatch=length)), source.spec
    )
    store, feed = feeder(experiment, source)
    first, step = first_state(experiment), jax.jit(rounds(step_of(experiment), length))
    last, _ = step(first, feed(length), np.int32(length), experiment.key(PLAY), store)

    def distance(state):
        images = generate(experiment, state.params, state.stats, 256, 0)
        distances = np.stack([abs(images - image).mean((1, 2, 3)) for image in pixels])
        return distances.min(0).mean(), distances.argmin(0).mean()

    assert distance(first)[0] > 0.4
    nearest, share = distance(last)
    assert nearest < 0.18
    assert 0.3 < share < 0.7
