"""Mean and covariance against NumPy's, in batches and merged, and what is refused."""

import numpy as np
import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import moments
from vaegan_jax.evaluation.moments import accumulate, covariance, merge, of


def standard(size, seed, count):
    return np.random.default_rng(seed).normal(size=(count, size))


def test_moments_are_those_of_numpy_whatever_the_batches(monkeypatch):
    monkeypatch.setattr(moments, "CHUNK", 64)
    x = 1e4 + standard(8, 0, 500)
    for cuts in ([], [1, 2, 3], [64, 128], [100, 100, 499], [63, 65, 300]):
        result = accumulate(np.split(x, cuts))
        assert result.count == 500
        np.testing.assert_allclose(result.mean, x.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(covariance(result), np.cov(x.T), rtol=1e-11, atol=1e-11)
        for mine, whole in zip(result, of(x), strict=True):
            np.testing.assert_array_equal(mine, whole)


def test_moments_of_two_hosts_merge_to_those_of_all():
    x = 1e3 + standard(8, 0, 300)
    for cut in (1, 2, 150, 299):
        merged, whole = merge(of(x[:cut]), of(x[cut:])), of(x)
        assert merged.count == 300
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-14)
        np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-12, atol=1e-9)


def test_float32_features_are_summed_in_float64():
    x = (100 + standard(4, 0, 3000)).astype(np.float32)
    result = of(x)
    assert result.mean.dtype == result.scatter.dtype == np.float64
    np.testing.assert_allclose(covariance(result), np.cov(x.astype(np.float64).T), rtol=1e-11, atol=1e-12)
    one_pass = (x.T @ x - len(x) * np.outer(x.mean(axis=0), x.mean(axis=0))) / (len(x) - 1)
    assert np.abs(one_pass - covariance(result)).max() > 1e-4


def test_the_normalizer_is_one_less_than_the_count_unless_it_is_said():
    x = standard(3, 0, 50)
    np.testing.assert_allclose(covariance(of(x)), np.cov(x.T), rtol=1e-13)
    np.testing.assert_allclose(covariance(of(x), "biased"), np.cov(x.T, ddof=0), rtol=1e-13)


@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused_with_the_first_image(damage, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK", 16)
    x = standard(3, 0, 100)
    x[[71, 90], 1] = damage
    with pytest.raises(UserError, match="image 71 are not finite"):
        accumulate(np.split(x, [10, 40, 60]))


def test_moments_of_nothing_of_one_image_and_of_two_widths_are_refused():
    with pytest.raises(UserError, match="at least 2"):
        accumulate([])
    with pytest.raises(UserError, match="at least 2 images, there is 1"):
        covariance(of(standard(3, 0, 1)))
    with pytest.raises(UserError, match="image 5 has 4 features, those before it 3"):
        accumulate([standard(3, 0, 5), standard(4, 0, 5)])
    with pytest.raises(UserError, match="3 and of 4 features: use one extractor"):
        merge(of(standard(3, 0, 50)), of(standard(4, 0, 50)))
