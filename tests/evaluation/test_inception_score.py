"""The Inception score against closed forms, scipy, torch-fidelity, and the traps of its splits and bias."""

import math

import numpy as np
import pytest
import scipy.special

from vaegan_jax.errors import Caution, UserError
from vaegan_jax.evaluation.inception_score import score


def logits(count, classes=5, seed=0, scale=2.0):
    return np.random.default_rng(seed).normal(size=(count, classes)) * scale


def certain(labels, classes, height=1e4):
    return np.eye(classes)[labels] * height


def mutual_information(x):
    """The exponent of the score by entropies: H(y) - H(y|x)."""
    p = scipy.special.softmax(x, axis=1)
    return scipy.special.entr(p.mean(axis=0)).sum() - scipy.special.entr(p).sum(axis=1).mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_that_are_sure_and_even_score_their_number(dtype):
    result = score(certain(np.tile(np.arange(7), 20), 7).astype(dtype), splits=10, seed=None)
    assert result.mean == pytest.approx(7, rel=1e-14)
    assert result.deviation == pytest.approx(0, abs=1e-13)


def test_a_classifier_that_does_not_look_scores_one():
    assert score(np.zeros((100, 4))).mean == pytest.approx(1, rel=1e-14)
    assert score(np.tile(logits(1), (100, 1))).mean == pytest.approx(1, rel=1e-14)


def test_two_classes_of_unequal_shares_score_the_exponential_of_their_entropy():
    labels = np.array([0] * 30 + [1] * 10)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert score(certain(labels, 2), splits=1).mean == pytest.approx(math.exp(entropy), rel=1e-14)


def test_the_score_is_the_mutual_information_over_unequal_parts_in_a_permutation():
    x = logits(103)
    order = np.random.RandomState(2020).permutation(103)
    parts = [x[order][i * 103 // 10 : (i + 1) * 103 // 10] for i in range(10)]
    values = [math.exp(mutual_information(part)) for part in parts]
    assert score(x) == pytest.approx((np.mean(values), np.std(values)), rel=1e-12)


@pytest.mark.parametrize("shuffle", [True, False])
def test_torch_fidelity_agrees_with_the_same_permutation(shuffle):
    fidelity, torch = pytest.importorskip("torch_fidelity.metric_isc"), pytest.importorskip("torch")
    x = logits(205, 10)
    theirs = fidelity.isc_features_to_metric(torch.tensor(x), 10, shuffle, 2020)
    mine = score(x, seed=2020 if shuffle else None)
    assert mine.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert mine.deviation == pytest.approx(theirs["inception_score_std"], rel=1e-10)


def test_large_logits_and_a_shift_of_each_image_change_nothing():
    x = logits(100)
    shifted = x + np.random.default_rng(1).normal(size=(100, 1)) * 1e3
    assert score(shifted) == pytest.approx(score(x), rel=1e-10)
    assert score(np.full((100, 4), 1e300)).mean == 1
    assert score(certain(np.tile([0, 1], 50), 2, 1e300), seed=None).mean == pytest.approx(2)


def test_trap_ten_splits_score_lower_than_one():
    x = logits(200, 10)
    assert score(x, splits=10).mean < score(x, splits=1).mean - 0.01


def test_trap_the_bias_of_the_last_layer_changes_the_score():
    x, bias = logits(200), np.array([3.0, 0, 0, 0, 0])
    assert abs(score(x + bias).mean - score(x).mean) > 0.1


def test_trap_samples_in_the_order_of_their_classes_need_the_permutation():
    x = certain(np.repeat(np.arange(10), 50), 10)
    assert score(x, seed=None).mean == pytest.approx(1)
    assert score(x).mean > 8


def test_splits_with_fewer_images_than_classes_are_told_of():
    with pytest.warns(Caution, match="1,008 classes on splits of 10 images"):
        score(logits(100, 1008))


def test_fewer_images_than_two_a_split_and_bad_logits_are_refused():
    with pytest.raises(UserError, match="in 10 splits needs at least 20 fake images, there are 19"):
        score(logits(19))
    with pytest.raises(UserError, match="1 split or more"):
        score(logits(19), splits=0)
    damaged = logits(30)
    damaged[17, 2] = np.nan
    with pytest.raises(UserError, match="fake image 17 are not finite"):
        score(damaged)
