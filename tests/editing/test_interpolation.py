"""Rows between two samples: their ends are the samples, and what is between goes evenly from the one to the other."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.editing.interpolation import Interpolation, images_of, points
from vaegan_jax.errors import UserError
from vaegan_jax.models import biggan, biggan_deep, gan, infogan, vae
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import SAMPLES, assemble, example_range, generate, weights_for_sampling

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SPEC = DataSpec("made up", (8, 8, 1), classes=3, class_names=("cup", "pot", "pan"))
DENSE = gan.Config(network="mlp", hidden_sizes=(8,), latent_size=6, condition="projection")
KEYS = example_range(jax.random.fold_in(jax.random.key(4), SAMPLES), 0, 6)
SHARES = np.linspace(0, 1, 5)[:, None]


def experiment(config, spec=SPEC):
    return assemble(RunConfig(config, batch_size=8, training=TrainingConfig(ema_halflife_kimg=0.0)), spec)


def rows(config, labels=(), **how):
    z, told = points(experiment(config), Interpolation(3, 5, **how), KEYS, labels)
    return np.asarray(z).reshape(3, 5, -1), None if told is None else np.asarray(told).reshape(3, 5, -1)


@pytest.mark.parametrize(
    ("config", "between"),
    [
        (DENSE, "both"),
        (vae.Config(hidden_sizes=(8,), latent_size=3), "latents"),
        (infogan.Config(network="mlp", hidden_sizes=(8,)), "latents"),
    ],
    ids=["gan", "vae", "infogan"],
)
def test_the_ends_of_a_row_are_two_samples_in_turn(config, between):
    here = experiment(config)
    params, stats, _ = weights_for_sampling(here, first_state(here))
    z, told = points(here, Interpolation(3, 5, between), KEYS)
    images = images_of(here, params, stats, z, told).reshape(3, 5, 8, 8, 1)
    ends = images[:, [0, -1]].reshape(6, 8, 8, 1)
    np.testing.assert_allclose(ends, generate(here, params, stats, 6, seed=4), atol=1e-6)
    assert np.abs(np.diff(images, axis=1)).max((2, 3, 4)).min() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("model", [biggan, biggan_deep], ids=["biggan", "biggan-deep"])
def test_a_biggan_s_classes_and_latents_go_from_sample_to_sample_truncated_or_not(model):
    spec = DataSpec("made up", (8, 8, 1), classes=3)
    here = experiment(model.Config(width=8, latent_size=4, shared_size=3, attention=0), spec)
    state = first_state(here)
    for truncation in (None, 0.5):
        params, stats, _ = weights_for_sampling(here, state, truncation)
        z, told = points(here, Interpolation(3, 5, "both", "line"), KEYS, ["0", "2"], truncation)
        images = images_of(here, params, stats, z, told).reshape(3, 5, 8, 8, 1)
        labels = np.array([0, 2] * 3)
        ends = generate(here, params, stats, 6, 4, labels, truncation)
        np.testing.assert_allclose(images[:, [0, -1]].reshape(6, 8, 8, 1), ends, atol=1e-5)
        assert np.abs(np.diff(images, axis=1)).max((2, 3, 4)).min() > 1e-4


def test_lengths_go_evenly_on_the_great_circle_and_latents_on_the_line():
    z, _ = rows(DENSE)
    first, last = z[:, :1], z[:, -1:]
    lengths = np.linalg.norm(z, axis=2)
    np.testing.assert_allclose(lengths, (1 - SHARES.T) * lengths[:, :1] + SHARES.T * lengths[:, -1:], rtol=1e-5)
    straight, _ = rows(DENSE, path="line")
    np.testing.assert_allclose(straight, (1 - SHARES) * first + SHARES * last, atol=1e-6)
    assert (np.linalg.norm(straight[:, 2], axis=1) < lengths[:, 2]).all()


def test_uniform_latents_stay_in_their_cube_and_codes_go_along_lines():
    uniform, _ = rows(replace(DENSE, prior="uniform"))
    np.testing.assert_allclose(uniform, (1 - SHARES) * uniform[:, :1] + SHARES * uniform[:, -1:], atol=1e-6)
    round_about, _ = rows(replace(DENSE, prior="uniform"), path="great-circle")
    assert np.abs(round_about - uniform).max() > 0.01
    codes, _ = rows(infogan.Config(network="mlp", hidden_sizes=(8,)))
    np.testing.assert_allclose(codes, (1 - SHARES) * codes[:, :1] + SHARES * codes[:, -1:], atol=1e-6)


def test_between_latents_the_class_stands_and_between_classes_the_latent():
    z, told = rows(DENSE, ["pan", "cup"])
    np.testing.assert_array_equal(told.argmax(2), np.repeat([[2], [0], [2]], 5, 1))
    assert np.abs(np.diff(z, axis=1)).min() > 0
    still, told = rows(DENSE, ["pan", "1"], between="classes")
    np.testing.assert_allclose(still[:, 0], z[:, 0], atol=1e-6)  # an end of a circle is rounded
    assert (np.diff(still, axis=1) == 0).all()
    np.testing.assert_allclose(told, np.broadcast_to((1 - SHARES) * [0, 0, 1] + SHARES * [0, 1, 0], told.shape))


def test_rows_are_the_same_whichever_their_number():
    z, told = rows(DENSE, between="both")
    fewer, weights = points(experiment(DENSE), Interpolation(1, 5, "both"), KEYS[:2])
    np.testing.assert_allclose(fewer, z[0], atol=1e-6)
    np.testing.assert_allclose(weights, told[0])


def test_truncated_ends_are_within_the_threshold():
    z, _ = points(experiment(DENSE), Interpolation(3, 5), KEYS, truncation=0.5)
    assert np.abs(np.asarray(z).reshape(3, 5, -1)[:, [0, -1]]).max() <= 0.5


def test_a_model_without_classes_has_nothing_between_them():
    with pytest.raises(UserError, match="vae was not told classes, so there is nothing between them"):
        points(experiment(vae.Config(latent_size=3)), Interpolation(3, 5, "classes"), KEYS)
