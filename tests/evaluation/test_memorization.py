"""Copies and their tests against closed forms, scipy and brute force, and the picture of nearest images."""

import math

import numpy as np
import pytest
import scipy.spatial
import scipy.stats

from vaegan_jax import pictures
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import memorization, neighbors
from vaegan_jax.evaluation.memorization import (
    authenticity,
    birthday,
    birthday_batch,
    copying,
    duplicate_probability,
    duplicates,
    mann_whitney,
    nearest,
    picture,
    ratio,
    uniform_support,
)


def features(seed, count, size=8):
    return np.random.default_rng(seed).normal(size=(count, size))


def images(seed, count, side=6, channels=1):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


@pytest.fixture(params=[2048, 32, 17])
def block(request, monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK", request.param)
    monkeypatch.setattr(memorization, "BLOCK", request.param)


def test_the_nearest_images_are_those_of_scipy_in_features_and_in_pixels(block):
    for x, y in ((features(0, 50), features(1, 90)), (images(0, 50), images(1, 90))):
        distances = scipy.spatial.distance.cdist(*(side.reshape(len(side), -1).astype(float) for side in (x, y)))
        found = nearest(x, y)
        np.testing.assert_array_equal(found.indices, distances.argmin(axis=1))
        np.testing.assert_allclose(found.distances, distances.min(axis=1), rtol=1e-13)


def test_a_copy_is_at_distance_zero_and_one_grey_level_off_at_one(block):
    training = images(0, 100, 16, 3)
    samples = training[[7, 80]].copy()
    samples[1, 3, 2, 0] ^= 1
    found = nearest(samples, training)
    assert found.indices.tolist() == [7, 80] and found.distances.tolist() == [0, 1]


def test_the_ratio_and_the_closer_share_of_numbers_on_a_line():
    result = ratio(np.array([[0.0], [5.0], [9.0]]), np.array([[1.0], [9.0]]), np.array([[0.5], [5.0], [12.0]]))
    # d_train = 1, 4, 0 and d_test = .5, 0, 3.
    assert result == (2.0, 1 / 3, 2 / 5)
    assert ratio(np.array([[1.0]]), np.array([[1.0]]), np.array([[1.0]])) == (1, 0.5, 0.5)


def test_new_images_are_closer_to_training_images_in_proportion_to_their_number():
    shares = [ratio(features(3 * i, 50), features(3 * i + 1, 90), features(3 * i + 2, 30)) for i in range(40)]
    closer = np.array([result.closer for result in shares])
    assert closer.mean() == pytest.approx(90 / 120, abs=4 * closer.std() / math.sqrt(40))
    assert all(result.expected == 90 / 120 for result in shares)
    copied = ratio(features(1, 90)[:50] + 1e-3, features(1, 90), features(2, 90))
    assert copied.closer == 1 and copied.median < 0.01


def test_the_authenticity_compares_with_the_nearest_images_own_neighbor(block):
    x, y = features(0, 60, 3), features(1, 80, 3)
    between, within = scipy.spatial.distance.cdist(x, y), scipy.spatial.distance.cdist(y, y)
    np.fill_diagonal(within, np.inf)
    expected = [between[i].min() > within[between[i].argmin()].min() for i in range(60)]
    assert 0 < np.mean(expected) < 1
    assert authenticity(x, y) == pytest.approx(100 * np.mean(expected))
    assert authenticity(y[:20] + 1e-4, y) == 0
    assert authenticity(x + 100, y) == 100


def test_the_mann_whitney_score_is_that_of_scipy_without_corrections():
    rng = np.random.default_rng(0)
    for x, y in (
        (rng.normal(size=30), rng.normal(0.5, size=40)),
        (rng.integers(0, 5, 30) * 1.0, rng.integers(0, 5, 20) * 1.0),
    ):
        n, m = len(x), len(y)
        u = scipy.stats.mannwhitneyu(x, y).statistic
        assert mann_whitney(x, y) == pytest.approx((u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12), rel=1e-12)
    assert mann_whitney(np.arange(3.0), np.arange(5.0, 9.0)) == pytest.approx(-6 / math.sqrt(12 * 8 / 12))


def test_ct_of_one_cell_is_the_mann_whitney_score_of_nearest_distances():
    fake, train, test = features(0, 60), features(1, 100), features(2, 50)
    direct = mann_whitney(nearest(fake, train).distances, nearest(test, train).distances)
    assert copying(fake, train, test, cells=1) == pytest.approx(direct, rel=1e-12)


def test_ct_is_standard_normal_for_new_images_far_below_for_copies_and_far_above_for_others():
    values = [
        copying(features(3 * i, 60), features(3 * i + 1, 100), features(3 * i + 2, 60), cells=1) for i in range(60)
    ]
    # One training set for both raises the variance a little above 1.
    assert abs(np.mean(values)) < 0.6 and 0.7 < np.std(values) < 1.5
    train, test = features(1, 100), features(2, 60)
    assert copying(train[:60] + 0.01, train, test) < -4
    assert copying(features(0, 60) * 3, train, test, cells=1) > 4


def test_ct_in_cells_weighs_each_by_its_test_images_and_leaves_out_those_with_few_samples():
    offsets = np.array([[0.0] * 8, [100.0] * 8])
    train = np.concatenate([features(i, 50) + offset for i, offset in enumerate(offsets)])
    test = np.concatenate([features(5, 40) + offsets[0], features(6, 10) + offsets[1]])
    fake = np.concatenate([features(7, 30) + offsets[0], features(8, 25) + offsets[1]])
    parts = [
        mann_whitney(nearest(f, r).distances, nearest(t, r).distances)
        for f, r, t in ((fake[:30], train[:50], test[:40]), (fake[30:], train[50:], test[40:]))
    ]
    assert copying(fake, train, test, cells=2) == pytest.approx(0.8 * parts[0] + 0.2 * parts[1], rel=1e-12)
    assert copying(fake, train, test, cells=2, least=28) == pytest.approx(parts[0], rel=1e-12)


def test_ct_in_many_dimensions_looks_at_the_principal_components_of_the_training_images():
    def inflated(seed, count):  # but for the training images, seed 1, with more outside those components
        return np.concatenate([features(seed, count, 4) * 10, features(seed + 5, count, 90) * 99 * (seed != 1)], axis=1)

    turn = np.linalg.qr(features(9, 94, 94))[0]  # so that they are not the first columns
    sides = [inflated(seed, 70) for seed in range(3)]
    expected = copying(*(side[:, :4] for side in sides), cells=1)
    assert copying(*(side @ turn for side in sides), cells=1, components=4) == pytest.approx(expected, rel=1e-9)


def test_duplicates_are_the_pairs_within_the_threshold(block):
    x = images(0, 70)
    x[[40, 69]] = x[3]
    assert duplicates(x, 0).tolist() == [[3, 40], [3, 69], [40, 69]]
    y = features(0, 70, 2)
    close = scipy.spatial.distance.cdist(y, y) <= 0.1
    np.testing.assert_array_equal(duplicates(y, 0.1), np.argwhere(np.triu(close, 1)))
    assert duplicates(y, 0).shape == (0, 2)


def test_the_birthday_problem_has_its_known_numbers():
    assert duplicate_probability(23, 365) == pytest.approx(0.5072972343, abs=1e-10)
    assert duplicate_probability(22, 365) < 0.5 < duplicate_probability(23, 365)
    assert duplicate_probability(1, 10) == 0 and duplicate_probability(11, 10) == 1
    for support, batch, probability in ((1000, 38, 0.5093), (10_000, 119, 0.5058)):
        assert math.ceil(birthday_batch(support)) == batch
        assert duplicate_probability(batch, support) == pytest.approx(probability, abs=5e-5)
        assert uniform_support(birthday_batch(support)) == pytest.approx(support, rel=1e-12)


def test_the_birthday_test_finds_the_support_of_a_uniform_generator():
    support, results = features(0, 200, 4), []
    for seed in range(5):
        samples = support[np.random.default_rng(seed).integers(0, 200, 400)]
        results.append(birthday(samples, 1e-6, draws=400))
    expected = birthday_batch(200)  # 17.2
    assert np.mean([result.batch for result in results]) == pytest.approx(expected, rel=0.1)
    assert all(0.5 <= result.probability < 0.56 for result in results)
    assert np.mean([result.support for result in results]) == pytest.approx(200, rel=0.25)


def test_a_single_pair_is_complete_in_a_batch_as_combinatorics_says():
    x = features(0, 20)
    x[11] = x[4]
    result = birthday(x, 1e-6, draws=4000)
    # P(both among the first s of 20) = s (s - 1) / 380 reaches 1/2 at s = 15 (.5526; .4789 at 14).
    assert result.batch == 15
    assert result.probability == pytest.approx(15 * 14 / 380, abs=4 * math.sqrt(0.25 / 4000))


def test_without_duplicates_the_support_is_unknown():
    assert birthday(features(0, 50), 1e-6) == (math.inf, 0, math.inf)


def test_the_picture_shows_the_nearest_pairs_first_each_sample_above_its_image():
    samples, training = images(0, 10, 28), images(1, 10, 28)
    distances = np.arange(10.0)[::-1].copy()
    sheet = picture(samples, training, distances, count=9)
    first = pictures.side_by_side({"0": pictures.pairs(*(s[9:] / 127.5 - 1 for s in (samples, training)), columns=1)})
    height, width, _ = first.shape
    assert sheet.dtype == np.uint8 and sheet.shape == (2 * height, 8 * width, 3)
    np.testing.assert_array_equal(sheet[:height, :width], first)
    last = pictures.side_by_side({"8": pictures.pairs(*(s[1:2] / 127.5 - 1 for s in (samples, training)), columns=1)})
    np.testing.assert_array_equal(sheet[height:, :width], last)
    assert (sheet[height:, width:] == 255).all()
    # Pixel by pixel: below the title, inside the gap, each pixel twice.
    shown = sheet[24 + 2 : 24 + 2 + 56 : 2, 2 : 2 + 56 : 2]
    np.testing.assert_array_equal(shown, np.repeat(samples[9], 3, axis=2))
    np.testing.assert_array_equal(sheet[24 + 60 : 24 + 60 + 56 : 2, 2 : 2 + 56 : 2], np.repeat(training[9], 3, axis=2))


def test_bad_sets_are_refused_in_one_line():
    damaged = features(0, 30)
    damaged[4] = np.nan
    with pytest.raises(UserError, match="sample image 4 are not finite"):
        nearest(damaged, features(1, 30))
    with pytest.raises(UserError, match="at least 1 training images, there are 0"):
        nearest(features(0, 30), features(1, 0))
    with pytest.raises(UserError, match="samples of 8 values, training of 6"):
        nearest(features(0, 30), features(1, 30, 6))
    with pytest.raises(UserError, match="at least 2 training images, there are 1"):
        authenticity(features(0, 30), features(1, 1))
    with pytest.raises(UserError, match="at least 20 sample images, there are 19"):
        copying(features(0, 19), features(1, 30), features(2, 30))
    with pytest.raises(UserError, match="none of 3 cells"):
        copying(features(0, 20), features(1, 60), features(2, 30), least=20)
    with pytest.raises(UserError, match="at least 2 sample images, there are 1"):
        birthday(features(0, 1), 0.1)
