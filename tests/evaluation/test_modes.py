"""Mode counts: stacked digits, whose expectations are known, and mixtures, whose ceiling is."""

import math

import numpy as np
import pytest
import scipy.stats

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import modes


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_the_divergence_is_scipy_s_relative_entropy_to_the_uniform_distribution():
    counts = np.array([5, 0, 17, 1, 40])
    np.testing.assert_allclose(modes.kl_to_uniform(counts), scipy.stats.entropy(counts, np.ones(5)), rtol=1e-12)


def test_it_is_0_for_equal_counts_and_log_modes_for_a_single_one():
    assert modes.kl_to_uniform(np.full(10, 7)) == pytest.approx(0, abs=1e-15)
    collapsed = modes.mode_counts(np.full(50, 123), 1000)
    assert collapsed.found == 1 and collapsed.kl == pytest.approx(math.log(1000))


def test_uniform_samples_have_the_divergence_of_the_floor_not_0():
    """The trap: 0.0192 at 26,000 samples of 1,000 modes; the mean of 20 draws, of deviation 0.00086 each."""
    draws = [modes.mode_counts(np.random.default_rng(s).integers(0, 1000, modes.STACKED), 1000) for s in range(20)]
    assert draws[0].kl_floor == pytest.approx(999 / 52_000) == pytest.approx(0.01921, abs=5e-6)
    np.testing.assert_allclose(np.mean([draw.kl for draw in draws]), draws[0].kl_floor, atol=5 * 0.00085 / 20**0.5)
    assert all(draw.found == 1000 for draw in draws)


def test_so_many_uniform_samples_miss_5e_9_modes_and_few_miss_as_many_as_expected():
    assert modes.expected_missing(1000, modes.STACKED) == pytest.approx(5.0e-9, rel=0.02)
    missed = [1000 - len(np.unique(np.random.default_rng(s).integers(0, 1000, 2000))) for s in range(50)]
    np.testing.assert_allclose(np.mean(missed), modes.expected_missing(1000, 2000), rtol=0.02)


def digits(seed=0):
    """Images that a classifier cannot mistake: all pixels are 20 times the label."""
    labels = np.random.default_rng(seed).integers(0, 10, 300)
    return np.broadcast_to((20 * labels[:, None, None, None]).astype(np.uint8), (300, 4, 5, 1)).copy(), labels


def tell(images):
    return images.reshape(len(images), -1).max(1).astype(np.int64) // 20


def test_stacked_images_have_the_three_drawn_ones_as_channels_and_their_labels_in_order():
    images, labels = modes.stack(*digits(), count=2000, seed=1)
    assert images.shape == (2000, 4, 5, 3) and images.dtype == np.uint8 and labels.shape == (2000, 3)
    np.testing.assert_array_equal(images, np.broadcast_to(20 * labels[:, None, None], images.shape))
    np.testing.assert_array_equal(modes.stacked_labels(images, tell), labels)
    assert abs(np.corrcoef(labels.T) - np.eye(3)).max() < 0.1  # the three are drawn independently


def test_the_seed_decides_what_is_stacked():
    first, again, other = (modes.stack(*digits(), count=50, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_chunks_do_not_change_the_labels(monkeypatch):
    images, labels = modes.stack(*digits(), count=100)
    monkeypatch.setattr(modes, "CHUNK", 7)
    np.testing.assert_array_equal(modes.stacked_labels(images, tell), labels)


def test_modes_of_stacked_digits_are_their_ordered_triples():
    triples = np.array([[1, 2, 3], [3, 2, 1], [1, 2, 3], [9, 9, 9], [0, 0, 0]])
    result = modes.stacked_modes(triples)
    assert (result.found, result.modes, result.count) == (4, 1000, 5)
    assert result.kl == pytest.approx(np.log(1000) - scipy.stats.entropy([2, 1, 1, 1]))
    whole = np.stack(np.meshgrid(*[np.arange(10)] * 3), -1).reshape(-1, 3)
    assert modes.stacked_modes(whole)[:3] == (1000, 1000, pytest.approx(0, abs=1e-12))


def test_a_ring_has_every_mean_once():
    """The trap: angles from 0 to 2 pi inclusive have the first mean twice."""
    means = modes.ring(8, radius=2.0)
    gaps = np.linalg.norm(means[:, None] - means[None], axis=2) + 10 * np.eye(8)
    np.testing.assert_allclose(gaps.min(1), 4 * np.sin(np.pi / 8), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 2, rtol=1e-12)
    np.testing.assert_allclose(means[0], [2, 0])


def test_a_grid_has_its_means_around_the_origin():
    means = modes.grid()
    assert {tuple(mean) for mean in means} == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}


@pytest.mark.parametrize("means,deviation", [(modes.ring(), 0.01), (modes.grid(), 0.05)])
def test_the_mixture_itself_reaches_all_modes_and_the_ceiling_of_98_9_percent(means, deviation):
    """1 - exp(-9 / 2), not 100 %: within 5 standard errors of 50,000 samples."""
    which = np.random.default_rng(1).integers(0, len(means), 50_000)
    result = modes.mixture_modes(means[which] + deviation * normal((50_000, 2)), means, deviation)
    assert result.found == result.modes == len(means)
    assert result.ceiling == pytest.approx(1 - math.exp(-4.5)) == pytest.approx(0.98889, abs=5e-6)
    assert abs(result.high_quality - result.ceiling) < 5 * (0.98889 * 0.01111 / 50_000) ** 0.5
    assert result.reverse_kl < 5 * result.kl_floor


def test_the_ceiling_falls_with_the_dimension():
    means = np.zeros((1, 3))
    result = modes.mixture_modes(normal((50_000, 3)), means, 1.0)
    assert result.ceiling == pytest.approx(scipy.stats.maxwell.cdf(3))
    assert abs(result.high_quality - result.ceiling) < 5 * (0.97 * 0.03 / 50_000) ** 0.5


def test_a_mode_is_found_by_one_sample_within_3_deviations_and_not_by_one_beyond():
    means = modes.ring()
    inside, beyond = (means[2:3] + [[offset * 0.1, 0]] for offset in (2.999, 3.001))
    assert modes.mixture_modes(inside, means, 0.1)[:3] == (1, 8, 1.0)
    result = modes.mixture_modes(beyond, means, 0.1)
    assert result[:3] == (0, 8, 0.0) and result.reverse_kl == math.inf


def test_collapse_on_one_mode_is_seen_though_all_samples_are_good():
    means = modes.grid()
    result = modes.mixture_modes(np.repeat(means[:1], 100, 0), means, 0.05)
    assert (result.found, result.high_quality) == (1, 1.0) and result.reverse_kl == pytest.approx(math.log(25))


@pytest.mark.parametrize(
    "refused,told",
    [
        (lambda: modes.mode_counts(np.zeros(0, int), 3), "there are none"),
        (lambda: modes.mode_counts(np.array([0, 3]), 3), r"in 0 \.\. 2"),
        (lambda: modes.stacked_modes(np.array([[0, 1, 10]])), r"in 0 \.\. 9"),
        (lambda: modes.stacked_modes(np.array([[0, 1, -1]])), r"in 0 \.\. 9"),
        (lambda: modes.stacked_labels(np.zeros((0, 2, 2, 3), np.uint8), tell), "there are none"),
        (lambda: modes.stack(*digits(), count=0), "at least 1"),
        (lambda: modes.stack(digits()[0], np.arange(3), 5), "a label for each"),
        (lambda: modes.mixture_modes(np.zeros((0, 2)), modes.ring(), 0.1), "there are none"),
        (lambda: modes.mixture_modes(np.full((3, 2), np.nan), modes.ring(), 0.1), "NaN"),
        (lambda: modes.mixture_modes(np.zeros((3, 2)), modes.ring(), 0.0), "above 0"),
    ],
)
def test_what_cannot_be_counted_is_refused(refused, told):
    with pytest.raises(UserError, match=told):
        refused()
