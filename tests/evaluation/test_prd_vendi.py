"""PRD and the Vendi score against closed forms, grids of angles and brute force."""

import math

import numpy as np
import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import prd, vendi


def histogram(seed, size=20, empty=0):
    shares = np.random.default_rng(seed).gamma(0.7, size=size)
    shares[np.random.default_rng(seed + 50).permutation(size)[:empty]] = 0
    return shares / shares.sum()


def features(seed, count, size=4, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, size)) + shift


def test_the_curve_is_that_of_the_paper_at_each_angle():
    p, q = histogram(0), histogram(1, empty=3)
    alpha, beta = prd.curve(p, q, angles=7)
    for i, theta in enumerate(np.arange(1, 8) * math.pi / 16):
        slope = math.tan(theta)
        assert alpha[i] == pytest.approx(sum(min(slope * a, b) for a, b in zip(p, q, strict=True)), rel=1e-12)
        assert beta[i] == pytest.approx(sum(min(a, b / slope) for a, b in zip(p, q, strict=True)), rel=1e-12)


@pytest.mark.parametrize("weight", [8, 1, 1 / 8])
@pytest.mark.parametrize("seed", range(4))
def test_the_f_score_is_the_maximum_over_a_fine_grid_of_angles(weight, seed):
    p, q = histogram(seed, empty=seed), histogram(seed + 10, empty=4 - seed)
    alpha, beta = prd.curve(p, q, angles=100_001)
    on_grid = ((1 + weight**2) * alpha * beta / (weight**2 * alpha + beta)).max()
    exact = prd.f_score(p, q, weight)
    assert on_grid <= exact * (1 + 1e-12)
    assert exact == pytest.approx(on_grid, rel=1e-3)


def test_equal_histograms_score_one_and_disjoint_ones_zero():
    p = histogram(0, empty=2)
    assert [prd.f_score(p, p, weight) for weight in (8, 1 / 8)] == pytest.approx([1, 1], rel=1e-12)
    assert prd.f_score(np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.5, 0.5]), 8) == 0


def test_half_of_the_modes_are_lost_recall_and_half_invented_ones_lost_precision():
    real, fake = np.array([0.5, 0.5, 0]), np.array([1.0, 0, 0])
    # alpha(lambda) = min(lambda / 2, 1), beta = min(1/2, 1 / lambda): best at (1, 1/2).
    assert prd.f_score(real, fake, 8) == pytest.approx(65 * 0.5 / (64 + 0.5), rel=1e-12)
    assert prd.f_score(real, fake, 1 / 8) == pytest.approx((1 + 1 / 64) * 0.5 / (1 / 64 + 0.5), rel=1e-12)
    # The other way round precision and recall change places.
    assert prd.f_score(fake, real, 1 / 8) == pytest.approx(prd.f_score(real, fake, 8), rel=1e-12)


def test_clusters_of_features_tell_dropped_modes_from_bad_samples():
    modes = np.eye(4) * 20
    real = np.concatenate([features(i, 100) + mode for i, mode in enumerate(modes)])
    dropped = np.concatenate([features(10 + i, 200) + mode for i, mode in enumerate(modes[:2])])
    invented = np.concatenate(
        [features(20, 200, shift=-20), features(21, 100) + modes[0], features(22, 100) + modes[1]]
    )
    same, fewer, bad = (
        prd.score(real, fake, runs=2) for fake in (features(30, 400) + real * 0 + real, dropped, invented)
    )
    assert fewer.precision > 0.85 and fewer.recall < 0.6
    assert bad.precision < 0.6
    assert min(same) > 0.8


def test_the_histograms_count_every_image_once_and_both_sets_alike():
    p, q = prd.histograms(features(0, 300), features(1, 90, shift=0.5), 5, seed=3)
    assert p.shape == q.shape == (5,)
    np.testing.assert_allclose([p.sum(), q.sum()], 1, rtol=1e-12)
    np.testing.assert_allclose(p * 90, np.rint(p * 90), atol=1e-9)
    again = prd.histograms(features(0, 300), features(1, 90, shift=0.5), 5, seed=3)
    np.testing.assert_array_equal(again, (p, q))


def test_fewer_images_than_clusters_and_what_is_no_histogram_are_refused():
    with pytest.raises(UserError, match="20 clusters needs at least 20 fake images, there are 19"):
        prd.score(features(0, 30), features(1, 19))
    for wrong in ([0.5, 0.6], [1.5, -0.5]):
        with pytest.raises(UserError, match="histogram"):
            prd.f_score(np.array([0.5, 0.5]), np.array(wrong), 8)


def test_the_vendi_score_counts_orthogonal_images_and_copies_once():
    assert vendi.score(np.eye(7) * 3.0) == pytest.approx(7, rel=1e-12)
    assert vendi.score(np.tile(features(0, 1), (9, 1))) == pytest.approx(1, rel=1e-10)
    assert vendi.score(np.repeat(np.eye(4), 5, axis=0)) == pytest.approx(4, rel=1e-12)


def test_the_vendi_score_of_two_images_is_a_binary_entropy_of_their_angle():
    angle = 0.7
    pair = np.array([[1, 0], [3 * math.cos(angle), 3 * math.sin(angle)]])
    shares = (1 + np.array([1, -1]) * math.cos(angle)) / 2
    assert vendi.score(pair) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-12)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (12, 12)])
def test_the_vendi_score_by_features_is_that_by_images(shape):
    x = features(0, *shape)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.linalg.svd(unit, compute_uv=False) ** 2 / len(x)
    values = values[values > 1e-14]
    assert vendi.score(x) == pytest.approx(math.exp(-(values * np.log(values)).sum()), rel=1e-10)
    assert vendi.of_kernel(unit @ unit.T) == pytest.approx(vendi.score(x), rel=1e-10)
    assert vendi.score(5 * x) == pytest.approx(vendi.score(x), rel=1e-10)


def test_the_vendi_score_refuses_what_has_no_direction():
    x = features(0, 5)
    x[3] = 0
    with pytest.raises(UserError, match="image 3 has features of length 0"):
        vendi.score(x)
    with pytest.raises(UserError, match="at least 1 given images, there are 0"):
        vendi.score(np.empty((0, 4)))
