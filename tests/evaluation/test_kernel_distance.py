"""KID and CMMD against loops over pairs, torch-fidelity, scipy, and the traps of their signs and digits."""

import inspect
import math

import numpy as np
import pytest
import scipy.spatial

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import neighbors
from vaegan_jax.evaluation.kernel_distance import cmmd, distance, squared_mmd


def features(seed, count, size=6, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, size)) + shift


def unit(seed, count, size=32):
    """Embeddings of norm 1, near each other."""
    x = features(seed, count, size) + 3
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def looped(x, y):
    """The unbiased estimate, pair by pair, with the exact sum of floats."""

    def kernel(a, b):
        return (math.fsum(a * b) / len(a) + 1) ** 3

    def pairs(side):
        return [kernel(a, b) for i, a in enumerate(side) for j, b in enumerate(side) if i != j]

    cross = [kernel(a, b) for a in x for b in y]
    return sum(math.fsum(ks) / len(ks) for ks in (pairs(x), pairs(y))) - 2 * math.fsum(cross) / len(cross)


def test_the_squared_mmd_is_that_of_a_loop_over_pairs():
    x, y = features(0, 20), features(1, 25, shift=0.2)
    assert squared_mmd(x, y) == pytest.approx(looped(x, y), rel=1e-12, abs=1e-13)


def test_two_images_a_side_give_the_numbers_of_paper_and_pencil():
    # d = 1: within, (1 * 2 + 1)^3 = 27 and (0 * 3 + 1)^3 = 1; across, (x y + 1)^3 = 1, 64, 1, 343.
    assert squared_mmd(np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])) == 27 + 1 - 2 * 409 / 4


def test_the_kid_is_the_mean_and_deviation_over_subsets_of_numpys_random_state():
    x, y = features(0, 60), features(1, 50, shift=0.5)
    rng, values = np.random.RandomState(2020), []
    for _ in range(7):
        a = x[rng.choice(60, 20, replace=False)]
        values.append(looped(a, y[rng.choice(50, 20, replace=False)]))
    result = distance(x, y, subsets=7, size=20)
    assert result.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert result.deviation == pytest.approx(np.std(values), rel=1e-11)
    assert distance(x, y, subsets=7, size=20, seed=1) != result


def test_torch_fidelity_agrees_with_the_same_subsets():
    fidelity, torch = pytest.importorskip("torch_fidelity.metric_kid"), pytest.importorskip("torch")
    x, y = (features(seed, 300, 64, 0.3 * seed).astype(np.float32) for seed in (0, 1))
    theirs = fidelity.kid_features_to_metric(
        torch.tensor(x), torch.tensor(y), kid_subsets=10, kid_subset_size=100, verbose=False
    )
    mine = distance(x, y, subsets=10, size=100)
    assert mine.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert mine.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-5)


def test_trap_a_kid_below_zero_is_right_and_as_likely_as_one_above():
    values = np.array([squared_mmd(features(2 * i, 50), features(2 * i + 1, 50)) for i in range(60)])
    assert 15 < (values < 0).sum() < 50
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(60)


def test_the_squared_mmd_is_unbiased_for_moments_that_are_known():
    # d = 1, x ~ N(0, 1), y = 1: E k = E (x x' + 1)^3 = 1 + 3 E (x x')^2 = 4; k(y, y) = 8; E (x + 1)^3 = 1 + 3 = 4.
    values = [squared_mmd(features(i, 200, 1), np.ones((5, 1))) for i in range(200)]
    assert np.mean(values) == pytest.approx(4 + 8 - 2 * 4, abs=4 * np.std(values) / math.sqrt(200))


def test_subsets_larger_than_a_set_are_refused_with_their_size():
    with pytest.raises(UserError, match=r"subsets of 1,000 needs at least 1,000 fake images, there are 300"):
        distance(features(0, 1000), features(1, 300))
    with pytest.raises(UserError, match="2 images or more"):
        distance(features(0, 10), features(1, 10), size=1)
    with pytest.raises(UserError, match="at least 2 real images, there are 1"):
        squared_mmd(features(0, 1), features(1, 10))


def biased(x, y, sigma=10.0):
    """1000 MMD^2 of distances from differences, summed exactly."""

    def mean(a, b):
        squared = scipy.spatial.distance.cdist(a, b, "sqeuclidean")
        return math.fsum(np.expm1(-squared.ravel() / (2 * sigma**2))) / squared.size

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def test_the_cmmd_has_its_closed_form_for_single_images():
    x, y = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])
    assert cmmd(x, y) == pytest.approx(1000 * (2 - 2 * math.exp(-25 / 200)), rel=1e-13)
    assert cmmd(x, y, sigma=1) == pytest.approx(1000 * (2 - 2 * math.exp(-12.5)), rel=1e-13)


def test_the_cmmd_is_that_of_all_pairs_in_blocks_of_any_size(monkeypatch):
    x, y = unit(0, 50), unit(1, 41)
    for size in (2048, 16):
        monkeypatch.setattr(neighbors, "BLOCK", size)
        assert cmmd(x, y) == pytest.approx(biased(x, y), rel=1e-9)


def test_the_cmmd_counts_each_image_with_itself_and_is_zero_for_a_set_and_itself():
    x, y = unit(0, 30), unit(1, 30)
    assert cmmd(x, x) == 0
    assert cmmd(x, y) > 0
    off = ~np.eye(30, dtype=bool)
    kernels = [np.exp(-scipy.spatial.distance.cdist(a, b, "sqeuclidean") / 200) for a, b in ((x, x), (y, y), (x, y))]
    unbiased = 1000 * (kernels[0][off].mean() + kernels[1][off].mean() - 2 * kernels[2].mean())
    assert abs(cmmd(x, y) - unbiased) > 0.01


def test_trap_the_cmmd_in_float32_has_lost_its_digits():
    x, y = unit(0, 200).astype(np.float32), unit(1, 200).astype(np.float32)
    squares = [(side**2).sum(axis=1) for side in (x, y)]

    def mean(i, j):
        sides = (x, y)
        gram = squares[i][:, None] + squares[j][None] - 2 * sides[i] @ sides[j].T
        return np.exp(-gram / np.float32(200)).mean()

    in_float32 = 1000 * (mean(0, 0) + mean(1, 1) - 2 * mean(0, 1))
    exact = biased(x.astype(np.float64), y.astype(np.float64))
    assert abs(in_float32 / exact - 1) > 1e-3
    assert cmmd(x, y) == pytest.approx(exact, rel=1e-9)


def test_the_defaults_are_those_of_the_papers():
    def defaults(function):
        return {name: each.default for name, each in list(inspect.signature(function).parameters.items())[2:]}

    assert defaults(distance) == {"subsets": 100, "size": 1000, "seed": 2020}
    assert defaults(cmmd) == {"sigma": 10.0}
