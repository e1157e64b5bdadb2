"""The Frechet distance against closed forms, scipy, three packages, and the traps of its numerics."""

import math
import types
import warnings

import numpy as np
import pytest
import scipy.linalg

from vaegan_jax.errors import Caution, UserError
from vaegan_jax.evaluation import frechet
from vaegan_jax.evaluation.moments import Moments, covariance, of

quietly = pytest.mark.filterwarnings("ignore::vaegan_jax.errors.Caution", "ignore::scipy.linalg.LinAlgWarning")


def rectified(count, size, seed, scale=1.0):
    """Features as networks give them: correlated, not negative, many of them 0."""
    mixing = np.random.default_rng(99).normal(size=(size, size)) / math.sqrt(size)
    return np.maximum(np.random.default_rng(seed).normal(size=(count, size)) @ mixing * scale + 0.3, 0)


def gaussian(mean, matrix, count=10**6):
    """Moments of a Gaussian that is known exactly."""
    return Moments(count, np.asarray(mean, float), np.asarray(matrix, float) * (count - 1))


def standard(size, seed, count):
    return np.random.default_rng(seed).normal(size=(count, size))


def by_sqrtm(x, y, ddof=1):
    a, b = (np.cov(side.T, ddof=ddof) for side in (x, y))
    shift = x.mean(axis=0) - y.mean(axis=0)
    return shift @ shift + np.trace(a + b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b).real)


def by_nuclear(x, y):
    """The roots as singular values of X Y^T, which square nothing."""
    a, b = ((side - side.mean(axis=0)) / math.sqrt(len(side) - 1) for side in (x, y))
    roots = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2) + (a**2).sum() + (b**2).sum() - 2 * roots


def test_commuting_gaussians_have_the_distance_of_their_deviations():
    rotation = np.linalg.qr(standard(6, 0, 6))[0]
    s, t = np.arange(1, 7.0), np.array([2, 2, 0.1, 7, 0, 3])
    a, b = (gaussian(np.full(6, m), rotation @ np.diag(v**2) @ rotation.T) for m, v in ((0.5, s), (2.0, t)))
    exact = 6 * 1.5**2 + np.sum((s - t) ** 2)
    assert frechet.distance(a, b) == pytest.approx(exact, rel=1e-7)
    assert frechet.distance(b, a) == pytest.approx(exact, rel=1e-7)


def test_gaussians_that_do_not_commute_have_the_distance_of_the_optimal_map():
    # T = [[2, 1], [1, 2]] is positive definite, so that x -> T x is optimal, and its cost is tr((T - I) S (T - I)).
    cov, optimal = np.array([[1.0, 0.8], [0.8, 2.0]]), np.array([[2.0, 1.0], [1.0, 2.0]])
    moved = optimal @ cov @ optimal
    cost = np.trace((optimal - np.eye(2)) @ cov @ (optimal - np.eye(2)))
    assert frechet.distance(gaussian([0, 0], cov), gaussian([3, 4], moved)) == pytest.approx(25 + cost, rel=1e-12)


def test_the_distance_agrees_with_sqrtm_and_is_symmetric():
    x, y = rectified(400, 32, 1), rectified(300, 32, 2, 1.2)
    for ddof, normalizer in enumerate(("biased", "unbiased")):
        mine = frechet.distance(of(x), of(y), normalizer)
        assert mine == pytest.approx(by_sqrtm(x, y, ddof), rel=1e-11)
        assert mine == pytest.approx(frechet.distance(of(y), of(x), normalizer), rel=1e-11)
    assert frechet.distance_of_features(x, y).form == "eigh"


def test_a_set_has_no_distance_to_itself_and_shifts_and_rotations_change_none():
    x, y = rectified(300, 16, 1), rectified(300, 16, 2)
    rotation, same = np.linalg.qr(standard(16, 5, 16))[0], frechet.distance(of(x), of(y))
    assert 0 <= frechet.distance(of(x), of(x)) < 1e-12
    assert frechet.distance(of(x @ rotation + 50), of(y @ rotation + 50)) == pytest.approx(same, rel=1e-10)
    assert frechet.distance(of(3 * x), of(3 * y)) == pytest.approx(9 * same, rel=1e-10)


@quietly
@pytest.mark.parametrize("counts", [(40, 50), (40, 300), (300, 40), (64, 64), (65, 64), (2, 3)])
def test_the_two_forms_agree_on_covariances_of_low_rank(counts):
    x, y = rectified(counts[0], 64, 1), rectified(counts[1], 64, 2)
    nuclear = frechet.distance_of_features(x, y)
    assert nuclear.form == "nuclear"
    assert frechet.distance(of(x), of(y)) == pytest.approx(nuclear.distance, rel=1e-9)
    assert frechet.estimate(of(x), of(y)).bias == pytest.approx(nuclear.bias, rel=1e-6)
    assert by_sqrtm(x, y) == pytest.approx(nuclear.distance, rel=1e-6)  # which has half the digits here


def test_constant_and_repeated_features_need_no_epsilon():
    x, y = rectified(200, 6, 1), rectified(200, 6, 2)
    exact = frechet.distance(of(x), of(y))
    dead = [np.concatenate([side, np.full((200, 2), 7.0)], axis=1) for side in (x, y)]
    assert frechet.distance(*map(of, dead)) == pytest.approx(exact, rel=1e-10)
    twice = [np.concatenate([side, side], axis=1) for side in (x, y)]
    assert frechet.distance(*map(of, twice)) == pytest.approx(2 * exact, rel=1e-10)


def test_one_singular_covariance_is_enough_for_all_digits():
    x, y = rectified(200, 6, 1), rectified(200, 6, 2)
    turn = np.linalg.qr(standard(8, 0, 8))[0]
    lone = standard(2, 3, 200)
    alive = np.concatenate([y, lone], axis=1) @ turn
    dead = np.concatenate([x, np.full((200, 2), 7.0)], axis=1) @ turn
    exact, singular = by_nuclear(dead, alive), of(dead)
    nearly = singular._replace(scatter=singular.scatter + 1e-16 * np.trace(singular.scatter) * np.eye(8))
    np.linalg.cholesky(covariance(nearly))  # rounding decides whether there is a factor, and must not decide more
    for each in (singular, nearly):
        assert frechet.distance(each, of(alive)) == pytest.approx(exact, rel=1e-10)
        assert frechet.distance(of(alive), each) == pytest.approx(exact, rel=1e-10)


@quietly
@pytest.mark.parametrize("count", [2, 20])
def test_a_generator_that_collapsed_to_one_image_has_a_distance(count):
    real, same = rectified(20, 3, 1), np.full((count, 3), 7.0)
    expected = np.sum((real.mean(axis=0) - 7) ** 2) + np.trace(np.cov(real.T))
    assert frechet.distance_of_features(real, same).distance == pytest.approx(expected, rel=1e-12)
    assert frechet.distance(of(same), of(real)) == pytest.approx(expected, rel=1e-12)
    assert frechet.distance_of_features(same, same + 1) == (3, 0, "nuclear" if count == 2 else "eigh")


def test_a_matrix_with_a_negative_eigenvalue_is_no_covariance():
    with pytest.raises(UserError, match="no covariance"):
        frechet.distance(gaussian([0, 0], [[1, 2], [2, 1]]), gaussian([0, 0], np.eye(2)))


def test_pytorch_fid_agrees_to_ten_digits(monkeypatch):
    pytorch_fid = pytest.importorskip("pytorch_fid.fid_score")
    x, y = rectified(500, 48, 1), rectified(400, 48, 2, 1.1)
    both = [(side.mean(axis=0), np.cov(side.T)) for side in (x, y)]
    # It passes `disp`, which SciPy has since dropped, and then expects an error estimate, which it does not read.
    monkeypatch.setattr(
        pytorch_fid, "linalg", types.SimpleNamespace(sqrtm=lambda m, disp: (scipy.linalg.sqrtm(m), None))
    )
    theirs = pytorch_fid.calculate_frechet_distance(*both[0], *both[1])
    assert frechet.distance(of(x), of(y)) == pytest.approx(theirs, rel=1e-10)


@pytest.mark.slow  # to import
def test_torchmetrics_agrees_to_ten_digits():
    torch, torchmetrics = pytest.importorskip("torch"), pytest.importorskip("torchmetrics.image.fid")
    x, y = rectified(500, 48, 1), rectified(400, 48, 2, 1.1)
    tensors = [torch.tensor(array) for side in (x, y) for array in (side.mean(axis=0), np.cov(side.T))]
    theirs = float(torchmetrics._compute_fid(*tensors))
    assert frechet.distance(of(x), of(y)) == pytest.approx(theirs, rel=1e-10)


def test_torch_fidelity_agrees_to_six_digits_on_float32_features():
    fidelity, torch = pytest.importorskip("torch_fidelity.metric_fid"), pytest.importorskip("torch")
    x, y = (rectified(400, 48, seed).astype(np.float32) for seed in (1, 2))
    statistics = [fidelity.fid_features_to_statistics(torch.tensor(side)) for side in (x, y)]
    theirs = fidelity.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert frechet.distance(of(x), of(y)) == pytest.approx(theirs, rel=1e-6)


def test_trap_one_over_n_takes_the_share_of_one_image_off_the_covariance_part():
    x, y = rectified(50, 16, 1), rectified(50, 16, 2)
    shift = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    unbiased, biased = (frechet.distance(of(x), of(y), normalizer) for normalizer in ("unbiased", "biased"))
    assert biased == pytest.approx(shift + (unbiased - shift) * 49 / 50, rel=1e-12)
    assert biased < unbiased


@quietly
def test_trap_float32_eigenvalues_lose_the_second_digit_of_a_singular_covariance():
    x, y = rectified(90, 128, 1), rectified(90, 128, 2)
    exact = frechet.distance_of_features(x, y).distance
    a, b = (np.cov(side.T).astype(np.float32) for side in (x, y))
    roots = np.sqrt(np.linalg.eigvals(a @ b).astype(np.complex64)).real.sum()
    wrong = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2) + np.trace(a) + np.trace(b) - 2 * roots
    assert abs(wrong / exact - 1) > 1e-4
    assert abs(frechet.distance(of(x), of(y)) / exact - 1) < 1e-9


def test_fewer_images_than_features_are_told_of_in_one_line():
    with pytest.warns(Caution, match=r"^20 images for 32 features: .*biased upwards") as caught:
        frechet.distance(of(rectified(20, 32, 1)), of(rectified(200, 32, 2)))
        frechet.distance_of_features(rectified(20, 32, 1), rectified(200, 32, 2))
    assert len(caught) == 2 and "\n" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet.distance(of(rectified(40, 32, 1)), of(rectified(200, 32, 2)))


@pytest.mark.parametrize("size,n,m", [(32, 2000, 2000), (32, 8000, 1000), (64, 2000, math.inf)])
def test_the_bias_of_the_standard_normal_has_its_closed_form(size, n, m):
    expected = (size + size * (size + 1) / 4) * (1 / n + 1 / m)
    assert frechet.bias(gaussian(np.zeros(size), np.eye(size)), n, m) == pytest.approx(expected, rel=1e-12)


def spread(size):
    """A covariance with eigenvalues over three decades, and another that does not commute with it."""
    rng = np.random.default_rng(7)
    turns = [np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2)]
    return [turn @ np.diag(np.geomspace(1, 1e-3, size)) @ turn.T for turn in turns]


@pytest.mark.parametrize("n,m", [(300, 300), (200, 1000)])
@pytest.mark.parametrize("same", [True, False])
def test_the_bias_is_the_mean_excess_of_many_samples(same, n, m):
    p, q = spread(12)
    q = p if same else q
    truth = frechet.distance(gaussian(np.zeros(12), p), gaussian(np.zeros(12), q))
    rng, results = np.random.default_rng(0), []
    halves = [np.linalg.cholesky(matrix).T for matrix in (p, q)]
    for _ in range(300):
        x, y = (rng.normal(size=(count, 12)) @ half for count, half in zip((n, m), halves, strict=True))
        results.append(frechet.estimate(of(x), of(y)))
    excess = np.array([result.distance for result in results]) - truth
    error = excess.std() / math.sqrt(300)
    told = np.mean([result.bias for result in results])
    assert excess.mean() > 20 * error if same else excess.mean() > 3 * error  # it can be told from 0 at all
    assert told == pytest.approx(excess.mean(), abs=3 * error + 0.03 * told)
    if same:
        assert frechet.bias(gaussian(np.zeros(12), p), n, m) == pytest.approx(told, rel=0.05)


def test_the_bias_knows_that_biased_covariances_are_too_small():
    p, q = rectified(60, 8, 1), 3 * rectified(60, 8, 2)
    told, biased = (frechet.estimate(of(p), of(q), normalizer) for normalizer in ("unbiased", "biased"))
    assert told.bias - biased.bias == pytest.approx(told.distance - biased.distance, rel=0.1)
    assert told.distance - biased.distance > 0.01


def test_the_distance_to_infinity_is_zero_within_its_error_for_the_standard_normal():
    truth, results = gaussian(np.zeros(16), np.eye(16)), []
    for seed in range(6):
        results.append(frechet.infinity(truth, standard(16, seed, 4000), smallest=400, seed=seed))
    values = np.array([result.distance for result in results])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(6)
    assert np.mean([result.slope for result in results]) == pytest.approx(16 + 16 * 17 / 4, rel=0.1)
    assert np.abs(values).max() < 0.5 * results[0].distances[-1]  # all images at once are farther off
    assert results[0].counts == tuple(np.linspace(400, 4000, 15).astype(int))


def test_the_line_and_its_error_are_those_of_statistics():
    import scipy.stats

    result = frechet.infinity(rectified(600, 8, 1), rectified(900, 8, 2), points=7, smallest=100)
    reference = scipy.stats.linregress(1 / np.array(result.counts), result.distances)
    assert result.distance == pytest.approx(reference.intercept, rel=1e-10)
    assert result.slope == pytest.approx(reference.slope, rel=1e-10)
    assert result.error == pytest.approx(reference.intercept_stderr, rel=1e-10)
    whole = frechet.distance(of(rectified(600, 8, 1)), of(rectified(900, 8, 2)))
    assert result.distances[-1] == pytest.approx(whole, rel=1e-10)


def test_features_that_are_not_finite_or_of_two_widths_are_refused():
    damaged = standard(3, 0, 100)
    damaged[71, 1] = np.nan
    with pytest.raises(UserError, match="fake image 71 are not finite"):
        frechet.distance_of_features(standard(3, 1, 100), damaged)
    with pytest.raises(UserError, match="3 and of 4 features: use one extractor"):
        frechet.distance(of(standard(3, 0, 50)), of(standard(4, 0, 50)))


def test_too_few_images_for_a_line_are_refused_with_their_number():
    with pytest.raises(UserError, match=r"5,000 fake images, there are 300"):
        frechet.infinity(rectified(300, 8, 1), rectified(300, 8, 2))
    with pytest.raises(UserError, match="3 points"):
        frechet.infinity(rectified(300, 8, 1), rectified(300, 8, 2), points=2, smallest=100)
    with pytest.raises(UserError, match="at least 2 fake images, there are 1"):
        frechet.distance_of_features(rectified(300, 8, 1), rectified(1, 8, 2))
