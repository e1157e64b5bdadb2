"""Modes over time, on histories made by hand."""

import math

import numpy as np
import pytest

from vaegan_jax.dynamics.coverage import coverage, forgetting, period
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.modes import mixture_modes, ring


def test_coverage_is_that_of_each_time_and_its_mass_adds_up():
    rng, means = np.random.default_rng(0), ring(8)
    which = [rng.integers(0, modes, 400) for modes in (1, 3, 8)]
    samples = np.stack([means[w] + 0.1 * rng.normal(size=(400, 2)) for w in which])
    found = coverage(samples, means, 0.1)
    for time, now in enumerate(samples):
        told = mixture_modes(now, means, 0.1)
        assert (found.found[time], found.high_quality[time]) == (told.found, told.high_quality)
        assert found.reverse_kl[time] == told.reverse_kl and found.ceiling == told.ceiling
    np.testing.assert_array_equal((found.mass > 0).sum(1), found.found)
    np.testing.assert_allclose(found.mass.sum(1), found.high_quality, rtol=1e-12)
    assert found.mass[0, 0] > 0.97 and list(found.found) == [1, 3, 8]


def test_what_is_forgotten_is_the_share_of_the_earlier_modes_that_the_later_have_not():
    mass = np.array([[0.5, 0.5, 0, 0], [0.2, 0, 0.3, 0.5], [0, 0, 0, 0]])
    expected = [[0, 1 / 2, 1], [2 / 3, 0, 1], [math.nan] * 3]
    np.testing.assert_allclose(forgetting(mass), expected, rtol=1e-12)


@pytest.mark.parametrize("length", [5, 8])
def test_a_generator_that_goes_around_the_modes_has_the_period_of_its_round(length):
    visits = np.eye(length)[np.arange(12 * length) % length]
    assert period(visits) == length
    noisy = visits + 0.1 * np.random.default_rng(0).normal(size=visits.shape)
    assert period(np.abs(noisy)) == length


@pytest.mark.parametrize(
    "mass",
    [
        np.full((40, 8), 1 / 8),
        np.linspace(0, 1, 40)[:, None] * np.ones((1, 8)) / 8,
        np.abs(np.random.default_rng(0).normal(size=(60, 8))),
    ],
    ids=["still", "growing", "noise"],
)
def test_what_does_not_come_round_again_has_no_period(mass):
    assert math.isnan(period(mass))


def test_coverage_without_samples_is_refused():
    with pytest.raises(UserError, match="there are none"):
        coverage(np.zeros((2, 0, 2)), ring(), 0.1)
