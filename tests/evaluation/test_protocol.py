"""The protocol of a likelihood: what it draws, what its units are, and what it refuses."""

import json
import math
import warnings
from dataclasses import asdict

import jax
import numpy as np
import pytest
import scipy.stats

from vaegan_jax.data.batches import fetch
from vaegan_jax.errors import Caution, UserError
from vaegan_jax.evaluation.likelihood import protocol
from vaegan_jax.evaluation.likelihood.protocol import Protocol, bits_per_dimension

pytestmark = pytest.mark.usefixtures("compiled_quickly")
RNG = np.random.default_rng(0)
TRAIN, TEST = (RNG.integers(0, 256, (n, 4, 5, 1), np.uint8) for n in (30, 20))
GREY = np.full((5000, 2, 2, 1), 64, np.uint8)


def test_static_binarization_is_one_stream_of_numpy_over_training_and_then_test_images():
    """As experiments/vae_mnist.py draws both splits of MNIST."""
    stream = np.random.RandomState(3)
    train, test = (np.where(stream.random_sample(x.shape) < x / 255, 1, -1) for x in (TRAIN, TEST))
    np.testing.assert_array_equal(protocol.static_binarization(TRAIN, 3), train)
    np.testing.assert_array_equal(protocol.static_binarization(TEST, 3, preceding_images=30), test)
    assert (protocol.static_binarization(TEST, 3) != test).any()
    stream = np.random.RandomState(3)
    drawn = protocol.static_binarization(GREY, 3, preceding_images=2500)  # beyond what is drawn at once
    np.testing.assert_array_equal(drawn, np.where(stream.random_sample((7500, 2, 2, 1))[2500:] < 64 / 255, 1, -1))


KINDS = [{"binarization": "static"}, {"binarization": "dynamic"}, {"dequantization": "uniform"}, {}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_parts_are_prepared_as_the_whole_and_again_the_same(kind):
    how = Protocol(**kind)
    whole = protocol.prepared(how, TEST)
    assert whole.dtype == np.float32
    parts = [protocol.prepared(how, TEST[at : at + 7], first=at) for at in range(0, 20, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    other = protocol.prepared(Protocol(seed=1, **kind), TEST)
    assert (other != whole).any() == bool(kind)


@pytest.mark.parametrize("binarization", ["static", "dynamic"])
def test_a_pixel_is_white_as_often_as_it_is_grey_and_black_and_white_stay(binarization):
    how = Protocol(binarization=binarization)
    drawn = protocol.prepared(how, GREY)
    assert set(np.unique(drawn)) == {-1, 1}
    assert scipy.stats.binomtest(int((drawn == 1).sum()), drawn.size, 64 / 255).pvalue > 1e-3
    both = protocol.prepared(how, np.concatenate([np.zeros_like(GREY), np.full_like(GREY, 255)]))
    assert (both[:5000] == -1).all() and (both[5000:] == 1).all()


def test_images_that_nothing_is_drawn_for_are_those_that_models_are_trained_on():
    np.testing.assert_array_equal(protocol.prepared(Protocol(), TEST), fetch({}, {"image": TEST})["image"])


def test_dequantized_pixels_are_uniform_within_their_level():
    every = np.tile(np.arange(256, dtype=np.uint8).reshape(16, 16), (40, 1, 1))[..., None]
    continuous = protocol.prepared(Protocol(dequantization="uniform"), every).astype(np.float64)
    levels = (continuous + 1) * 127.5 + 0.5
    noise = levels - every
    assert noise.min() > -1e-4 and noise.max() < 1 + 1e-4
    assert scipy.stats.kstest(noise.ravel(), "uniform").pvalue > 1e-3
    assert abs(continuous).max() <= 1 + 1 / 255 + 1e-6


@pytest.mark.parametrize(
    "levels_per_unit, width", [(1.0, 256.0), (256.0, 1.0), (127.5, 256 / 127.5), (255.0, 256 / 255)]
)
def test_the_uniform_density_has_8_bits_a_dimension_in_any_scale(levels_per_unit, width):
    """`width` is that of the interval that 256 levels fill."""
    nats = 784 * math.log(width)
    assert bits_per_dimension(nats, 784, levels_per_unit) == pytest.approx(8, abs=1e-12)


def test_bits_per_dimension_of_this_library_are_those_of_discrete_pixels():
    """A density that is constant within each level is as probable as the level, and the bound is tight."""
    probability = RNG.dirichlet(np.ones(256))
    v = RNG.integers(0, 256, (3, 4))
    density = probability[v] * 127.5  # of x = (v + u - 1/2) / 127.5 - 1
    nats = -np.log(density).sum(1)
    np.testing.assert_allclose(bits_per_dimension(nats, 4), -np.log2(probability[v]).mean(1), rtol=1e-12)


def test_scaled_to_the_unit_interval_eight_bits_are_added_and_none_to_probabilities():
    assert bits_per_dimension(10.0, 5, 256.0) == pytest.approx(10 / (5 * math.log(2)) + 8, abs=1e-12)
    assert bits_per_dimension(10.0, 5, 1.0) == pytest.approx(10 / (5 * math.log(2)), abs=1e-12)
    assert bits_per_dimension(0.0, 5) == pytest.approx(math.log2(127.5), abs=1e-12)
    for dimensions, levels in ((0, 1.0), (3, 0.0), (3, math.inf)):
        with pytest.raises(ValueError, match="no scale"):
            bits_per_dimension(1.0, dimensions, levels)


def test_numbers_come_in_the_units_of_the_protocol():
    in_bits = {"units": "bits-per-dimension"}
    assert protocol.in_units(Protocol(), 90.0, 784) == 90
    binary = protocol.in_units(Protocol(binarization="static", **in_bits), 784 * math.log(2), 784)
    assert binary == pytest.approx(1, abs=1e-12)
    dequantized = protocol.in_units(Protocol(dequantization="uniform", **in_bits), 784 * math.log(256 / 127.5), 784)
    assert dequantized == pytest.approx(8, abs=1e-12)


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"seed": -1}, r"seed must be in 0 .. 2\^32 - 1, not -1"),
        ({"images": 0}, "images must be at least 1, not 0"),
        ({"importance_samples": 0}, "importance-samples must be at least 1, not 0"),
        ({"preceding_images": -1}, "preceding-images must be 0 or more, not -1"),
        ({"binarization": "static", "dequantization": "uniform"}, "binary pixels are not dequantized"),
        ({"units": "bits-per-dimension"}, "bits per dimension need a probability of pixels"),
    ],
)
def test_protocols_that_make_no_sense_are_refused(wrong, told):
    with pytest.raises(UserError, match=told):
        Protocol(**wrong)


def test_a_protocol_survives_json():
    how = Protocol(binarization="static", seed=7, preceding_images=60_000, images=10_000, importance_samples=5000)
    assert Protocol(**json.loads(json.dumps(asdict(how)))) == how


@pytest.mark.parametrize(
    "kind, likelihood, told",
    [
        ({}, "bernoulli", "cross-entropy, not a likelihood"),
        ({"dequantization": "uniform"}, "bernoulli", "cross-entropy, not a likelihood"),
        ({"binarization": "static"}, "bernoulli", None),
        ({"binarization": "dynamic"}, "gaussian", "grows without limit"),
        ({}, "gaussian", "grows without limit"),
        ({"dequantization": "uniform"}, "gaussian", None),
    ],
)
def test_what_is_no_likelihood_is_told(kind, likelihood, told):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        protocol.warn_of(Protocol(**kind), likelihood)
    assert [warning.category for warning in found] == ([Caution] if told else [])
    assert not told or told in str(found[0].message)


def test_dynamic_binarization_and_dequantization_are_pure():
    keys = jax.random.split(jax.random.key(0), 20)
    for draw in (protocol.dynamic_binarization, protocol.uniform_dequantization):
        np.testing.assert_allclose(jax.jit(draw)(TEST, keys), draw(TEST, keys), atol=2e-7)
