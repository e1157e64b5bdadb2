"""The Parzen window against its closed form; and that it never comes without its warning."""

import math
import warnings

import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaegan_jax.errors import Caution, UserError
from vaegan_jax.evaluation.likelihood import exact, parzen

RNG = np.random.default_rng(0)


def test_the_log_likelihood_is_that_of_the_mixture_by_its_definition():
    x, samples, widths = RNG.normal(size=(7, 5)), RNG.normal(size=(30, 5)) + 3, [0.2, 1.0, 4.0]
    expected = [
        [
            scipy.special.logsumexp([scipy.stats.norm.logpdf(row, sample, h).sum() for sample in samples])
            - math.log(30)
            for h in widths
        ]
        for row in x
    ]
    np.testing.assert_allclose(parzen.log_likelihood(x, samples, widths), expected, rtol=1e-10)


def test_single_precision_far_from_the_origin_and_far_apart_keep_their_digits():
    x = np.float32([[1000.5, 1000.25], [0, 0]])
    samples = np.float32([[1000.25, 1000.25]])
    expected = scipy.stats.norm.logpdf(x.astype(float), 1000.25, 0.1).sum(1)
    np.testing.assert_allclose(parzen.log_likelihood(x, samples, [0.1])[:, 0], expected, rtol=1e-10)


def test_blocks_do_not_change_the_result(monkeypatch):
    x, samples = RNG.normal(size=(50, 3)), RNG.normal(size=(20, 3))
    whole = parzen.log_likelihood(x, samples, [0.3, 1.0])
    monkeypatch.setattr(parzen, "BLOCK", 8 * 20 * 7)
    np.testing.assert_allclose(parzen.log_likelihood(x, samples, [0.3, 1.0]), whole, rtol=1e-12)


def test_many_samples_of_a_normal_are_a_wider_normal():
    """The mean over samples of N(x; s, h^2) is N(x; 0, 1 + h^2), here within four of its standard errors."""
    x, samples, h = np.linspace(-2, 2, 9)[:, None], RNG.normal(size=(20_000, 1)), 0.5
    found = np.exp(parzen.log_likelihood(x, samples, [h])[:, 0])
    expected = scipy.stats.norm.pdf(x[:, 0], 0, math.sqrt(1 + h**2))
    error = scipy.stats.norm.pdf(x, samples.T, h).std(1) / math.sqrt(20_000)
    assert (abs(found - expected) < 4 * error).all() and (error < 0.01 * expected.max()).all()


def test_it_misses_the_true_model_by_many_nats_at_any_bandwidth():
    """10,000 samples of the very model that the data are from, with 20 pixels and 5 latents."""
    model = exact.LinearGaussian(RNG.normal(size=(5, 20)), np.zeros(20), 0.3)
    x, samples = model.sample(RNG, 100)[1], model.sample(RNG, 10_000)[1]
    gaps = (parzen.log_likelihood(x, samples, [0.2, 0.3, 0.5, 0.8]) - model.log_evidence(x)[:, None]).mean(0)
    assert gaps.max() < -4
    assert gaps[0] < gaps[1] < gaps[2]


def cautions(found):
    return [str(warning.message) for warning in found if warning.category is Caution]


def test_the_bandwidth_is_chosen_on_validation_data_and_the_warning_always_comes():
    samples, validation, test = (RNG.normal(size=(n, 2)) for n in (200, 300, 100))
    widths = [0.1, 0.2, 0.4, 0.8, 1.6]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = parzen.parzen(test, validation, samples, widths)
    assert cautions(found) == [parzen.WARNING]
    scores = parzen.log_likelihood(validation, samples, widths).mean(0)
    np.testing.assert_array_equal(result.validation_nats, scores)
    assert result.bandwidth == widths[int(scores.argmax())] == 0.4
    values = parzen.log_likelihood(test, samples, [0.4])[:, 0]
    np.testing.assert_allclose(result.nats, [values.mean(), scipy.stats.sem(values)], rtol=1e-12)


def test_a_best_bandwidth_at_the_end_of_the_tried_ones_is_told():
    x = RNG.normal(size=(50, 2))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        parzen.parzen(x, x + 1, x, [0.01, 0.02])
    assert cautions(found)[1] == "the best bandwidth, 0.02, is the end of those tried: try others beyond it"


def test_data_that_no_window_can_judge_are_refused_in_one_line():
    x, bad = RNG.normal(size=(4, 3)), np.full((4, 3), np.nan)
    with pytest.raises(UserError, match=r"as many pixels: \[3, 3, 2\]; resize the samples"):
        parzen.parzen(x, x, x[:, :2])
    with pytest.raises(UserError, match="the samples hold NaN or Inf"):
        parzen.parzen(x, x, bad)
    with pytest.raises(UserError, match="the validation data are empty"):
        parzen.parzen(x, x[:0], x)
    with pytest.raises(ValueError, match="bandwidths must be above 0"):
        parzen.log_likelihood(x, x, [0.0])
