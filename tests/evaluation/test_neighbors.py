"""Precision, recall, density, coverage and realism against prdc, torch-fidelity, brute force and closed forms."""

import contextlib
import io
import math

import numpy as np
import pytest
import scipy.spatial
import sklearn.neighbors

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import neighbors
from vaegan_jax.evaluation.moments import check_pair
from vaegan_jax.evaluation.neighbors import (
    blocks,
    density_coverage,
    expected_coverage,
    precision_recall,
    radii,
    realism,
    scores,
)


def features(seed, count, size=16, scale=1.0):
    return np.random.default_rng(seed).normal(size=(count, size)) * scale


REAL, FAKE = features(0, 300), features(1, 200, scale=0.9) + 0.1


@pytest.fixture(params=[2048, 64, 37])
def block(request, monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK", request.param)


def by_hand(real, fake, k, inside):
    """Precision and recall from all distances at once; self-distances sort first and are skipped."""
    r, f = (np.sort(scipy.spatial.distance.cdist(side, side), axis=1)[:, k] for side in (real, fake))
    between = scipy.spatial.distance.cdist(real, fake)
    return inside(between, r[:, None]).any(axis=0).mean(), inside(between, f[None]).any(axis=1).mean()


def test_blocks_hold_the_squared_distances_of_scipy(block):
    whole = np.full((300, 200), np.nan)
    for rows, columns, part in blocks(REAL, FAKE, neighbors.BLOCK):
        whole[rows, columns] = part
    np.testing.assert_allclose(whole, scipy.spatial.distance.cdist(REAL, FAKE, "sqeuclidean"), rtol=1e-12)


def test_blocks_of_one_set_hold_each_pair_once_and_no_image_with_itself(block):
    whole = np.full((300, 300), np.nan)
    for rows, columns, part in blocks(REAL, size=neighbors.BLOCK):
        whole[rows, columns] = part
    filled = np.where(np.isnan(whole), whole.T, whole)
    assert np.isinf(np.diag(filled)).all()
    np.fill_diagonal(filled, 0)
    np.testing.assert_allclose(filled, scipy.spatial.distance.cdist(REAL, REAL, "sqeuclidean"), rtol=1e-12)


def test_no_block_is_larger_than_asked():
    shapes = [part.shape for _, _, part in blocks(REAL, FAKE, 64)]
    assert max(max(shape) for shape in shapes) == 64 and len(shapes) == 5 * 4


def test_equal_images_far_from_the_origin_have_no_distance():
    x = features(0, 50, 512) * 1e3 + 1e6
    (part,) = [part for *_, part in blocks(x, x.copy())]
    assert (np.diag(part) == 0).all() and (part >= 0).all()
    exact = scipy.spatial.distance.cdist(x, x, "sqeuclidean")
    np.testing.assert_allclose(part, exact, rtol=1e-12)
    squares = np.sum(x**2, axis=1)
    assert np.abs(squares[:, None] + squares[None] - 2 * x @ x.T - exact).max() > 1e-2  # the digits of the origin


@pytest.mark.parametrize("k", [1, 3, 7])
def test_radii_are_the_distances_of_scikit_learn_without_the_image_itself(k, block):
    tree = sklearn.neighbors.NearestNeighbors(n_neighbors=k + 1).fit(REAL)
    np.testing.assert_allclose(radii(REAL, k), tree.kneighbors(REAL)[0][:, k], rtol=1e-12)


def test_trap_the_image_itself_is_no_neighbor_even_where_it_is_there_twice():
    line = np.array([[0.0], [1.0], [3.0], [3.0]])
    np.testing.assert_array_equal(radii(line, 1), [1, 1, 0, 0])
    np.testing.assert_array_equal(radii(line, 2), [3, 2, 2, 2])


@pytest.mark.parametrize("k", [1, 3, 5])
def test_prdc_counts_the_same(k, block):
    prdc = pytest.importorskip("prdc")
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = prdc.compute_prdc(REAL, FAKE, nearest_k=k)
    mine = scores(REAL, FAKE, k, k, strict=True)
    for name, value in theirs.items():
        assert getattr(mine, name) == pytest.approx(value, rel=1e-14), name
    assert density_coverage(REAL, FAKE, k) == (mine.density, mine.coverage)


def test_torch_fidelity_counts_the_same(block):
    fidelity, torch = pytest.importorskip("torch_fidelity.metric_prc"), pytest.importorskip("torch")
    theirs = fidelity.calculate_precision_recall_full(torch.tensor(FAKE), torch.tensor(REAL))  # generated first
    assert precision_recall(REAL, FAKE) == pytest.approx(theirs, rel=1e-6)  # their mean is of float32


def test_all_four_in_one_pass_are_those_of_two(block):
    assert scores(REAL, FAKE) == (*precision_recall(REAL, FAKE), *density_coverage(REAL, FAKE))
    assert precision_recall(REAL, FAKE) == pytest.approx(by_hand(REAL, FAKE, 3, np.less_equal), rel=1e-14)
    balls = np.sort(scipy.spatial.distance.cdist(REAL, REAL), axis=1)[:, 5]
    inside = scipy.spatial.distance.cdist(REAL, FAKE) < balls[:, None]
    assert density_coverage(REAL, FAKE) == pytest.approx((inside.sum() / 5 / 200, inside.any(axis=1).mean()), rel=1e-14)


def test_trap_a_ball_holds_its_surface_for_precision_and_not_for_density():
    real = np.array([[0.0], [1.0], [2.0]])
    fake = np.array([[3.0], [-1.0]])  # both at the distance 1 of the nearest real image, whose ball has radius 1
    assert precision_recall(real, fake, k=1) == (1, 1)
    assert precision_recall(real, fake, k=1, strict=True) == (0, 1)
    assert density_coverage(real, fake, k=1) == (0, 0)


def test_a_line_of_images_gives_the_numbers_of_paper_and_pencil():
    real, fake = np.array([[0.0], [1.0], [2.0], [10.0]]), np.array([[0.5], [1.25], [30.0], [100.0]])
    # Real balls (k = 1) have radii 1, 1, 1, 8, fake ones .75, .75, 28.75, 70.
    # 0.5 is in those of 0, 1; 1.25 in those of 1, 2; 30 in none, 100 in none. 10 and 2 are in that of 30.
    assert precision_recall(real, fake, k=1) == (0.5, 1)
    assert density_coverage(real, fake, k=1) == (4 / 4, 3 / 4)


def test_trap_a_collapse_has_high_precision_and_low_recall_and_not_the_other_way_round():
    real, tight = features(0, 500, 8), features(1, 500, 8, scale=0.1)
    precision, recall = precision_recall(real, tight)
    assert precision > 0.8 and recall < 0.3
    assert precision_recall(tight, real) == (recall, precision)
    wide = precision_recall(real, features(1, 500, 8, scale=4))
    assert wide.precision < 0.3 and wide.recall > 0.8


def test_the_same_distribution_has_density_one_and_the_coverage_of_combinatorics():
    for n, m in ((150, 150), (200, 80)):
        results = np.array([density_coverage(features(2 * i, n, 4), features(2 * i + 1, m, 4)) for i in range(40)])
        errors = results.std(axis=0) / math.sqrt(40)
        assert abs(results[:, 0].mean() - 1) < 4 * errors[0] < 0.2
        assert abs(results[:, 1].mean() - expected_coverage(n, m)) < 4 * errors[1] < 0.04


def test_the_expected_coverage_counts_which_neighbors_are_real():
    assert expected_coverage(2000, 2000) == pytest.approx(0.96887, abs=5e-6)
    # The nearest of the 4 others of a real image is fake, or not: 3 real ones, 2 fake ones.
    assert expected_coverage(3, 2, k=1) == pytest.approx(2 / 4)
    assert expected_coverage(3, 2, k=3) == 1


def test_scores_do_not_change_with_order_shift_scale_and_rotation():
    expected, rng = scores(REAL, FAKE), np.random.default_rng(3)
    turn = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    assert scores(rng.permutation(REAL), rng.permutation(FAKE)) == expected
    assert scores(100 * REAL @ turn + 1e4, 100 * FAKE @ turn + 1e4) == expected


def test_float32_features_count_as_their_float64_values():
    real, fake = REAL.astype(np.float32), FAKE.astype(np.float32)
    assert scores(real, fake) == scores(real.astype(np.float64), fake.astype(np.float64))


def test_realism_is_the_largest_ratio_over_the_smaller_half_of_the_balls(block):
    reach = np.sort(scipy.spatial.distance.cdist(REAL, REAL), axis=1)[:, 3]
    kept = reach <= np.median(reach)
    between = scipy.spatial.distance.cdist(REAL[kept], FAKE)
    np.testing.assert_allclose(realism(REAL, FAKE), (reach[kept, None] / (between + 1e-5)).max(axis=0), rtol=1e-10)


def test_realism_is_above_one_inside_a_ball_and_large_for_a_copy():
    real = np.array([[0.0], [1.0], [2.0], [50.0], [90.0]])
    result = realism(real, np.array([[0.5], [4.0], [1.0], [51.0]]), k=1)
    np.testing.assert_allclose(result, [1 / 0.50001, 1 / 2.00001, 1e5, 1 / 49.00001], rtol=1e-12)


def test_fewer_images_than_neighbors_and_two_widths_are_refused():
    with pytest.raises(UserError, match="k = 5 needs at least 6 fake images, there are 5"):
        scores(REAL, FAKE[:5])
    with pytest.raises(UserError, match="k = 3 needs at least 4 real images, there are 3"):
        precision_recall(REAL[:3], FAKE)
    with pytest.raises(UserError, match="needs at least 4 given images, there are 3"):
        realism(REAL[:3], FAKE)
    with pytest.raises(UserError, match="k must be 1 or more"):
        density_coverage(REAL, FAKE, k=0)
    with pytest.raises(UserError, match="16 features, fake ones 8: use one extractor"):
        check_pair(REAL, FAKE[:, :8], "a score", 2)


def test_features_that_are_not_finite_are_refused():
    damaged = FAKE.copy()
    damaged[5, 3] = np.nan
    with pytest.raises(UserError, match="fake image 5 are not finite"):
        precision_recall(REAL, damaged)
