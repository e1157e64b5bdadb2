"""Terms on features, codes and classes against the papers' formulas."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaegan_jax.losses import auxiliary

RNG = np.random.default_rng(0)
CODES, FEATURES = RNG.normal(size=(2, 6, 5))
LOGITS = 3 * RNG.normal(size=(6, 4))
LABELS = np.array([0, -1, 3, 2, -1, 1])
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_every_public_function_is_tested():
    functions = inspect.getmembers(auxiliary, inspect.isfunction)
    own = {f.__name__ for name, f in functions if not name.startswith("_") and f.__module__ == auxiliary.__name__}
    information = {"categorical_information", "continuous_information"}
    assert own == {"pulling_away", "feature_matching", "auxiliary_classifier"} | information


def cosines(codes):
    """The double sum of Zhao et al. 2016: mean over i != j of the squared cosine."""
    n = len(codes)
    return sum(
        (codes[i] @ codes[j] / (np.linalg.norm(codes[i]) * np.linalg.norm(codes[j]))) ** 2
        for i in range(n)
        for j in range(n)
        if i != j
    ) / (n * (n - 1))


def differences(f, at, step=1e-5):
    """The gradient of a function of an array, entry by entry."""
    units = np.eye(at.size).reshape(at.size, *at.shape) * step
    return np.array([(f(at + e) - f(at - e)) / (2 * step) for e in units]).reshape(at.shape)


@jax.jit
def pulling_away(codes):
    """The terms, and the gradient of their mean."""
    terms, pull = jax.vjp(auxiliary.pulling_away, codes)
    return terms, pull(jnp.full_like(terms, 1 / len(terms)))[0]


def test_pulling_away_is_the_mean_squared_cosine_of_different_examples(float64):
    terms, slope = pulling_away(CODES)
    np.testing.assert_allclose(terms.mean(), cosines(CODES), rtol=1e-13)
    np.testing.assert_allclose(slope, differences(cosines, CODES), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(pulling_away(np.ones((6, 5)))[0], np.ones(6), rtol=1e-13)
    orthogonal = np.eye(6, 5)  # the last code is 0: it has no direction
    terms, slope = pulling_away(orthogonal)
    np.testing.assert_allclose(terms, np.zeros(6), atol=1e-15)
    assert jnp.isfinite(slope).all()


def test_pulling_away_refuses_a_batch_of_one():
    with pytest.raises(ValueError, match="needs a batch of two or more"):
        jax.eval_shape(auxiliary.pulling_away, jax.ShapeDtypeStruct((1, 5), jnp.float32))


def test_feature_matching_is_the_squared_distance_of_mean_features(float64):
    value, slope = jax.jit(jax.value_and_grad(auxiliary.feature_matching, 1))(CODES, FEATURES)
    gap = FEATURES.mean(0) - CODES.mean(0)
    np.testing.assert_allclose(value, gap @ gap, rtol=1e-13)
    np.testing.assert_allclose(slope, np.tile(2 * gap / 6, (6, 1)), rtol=1e-12)


@jax.jit
def classified(logits, labels):
    """The classifier's losses, and the gradient of their mean."""
    losses, pull = jax.vjp(lambda logits: auxiliary.auxiliary_classifier(logits, labels), logits)
    return losses, pull(jnp.full_like(losses, 1 / len(losses)))[0]


def test_the_auxiliary_classifiers_mean_is_the_mean_over_known_labels(float64):
    known = LABELS >= 0

    def reference(logits):
        return -scipy.special.log_softmax(logits, axis=1)[np.arange(6)[known], LABELS[known]].mean()

    losses, slope = classified(LOGITS, LABELS)
    np.testing.assert_allclose(losses.mean(), reference(LOGITS), rtol=1e-13)
    np.testing.assert_allclose(slope, differences(reference, LOGITS), rtol=1e-6, atol=1e-9)
    assert (losses[~known] == 0).all() and (slope[~known] == 0).all()
    for none_known in classified(LOGITS, np.full(6, -1)):
        assert (none_known == 0).all()


def test_information_is_the_log_probability_of_the_code_plus_its_entropy(float64):
    codes = np.array([0, 1, 3, 2, 0, 1])
    q = scipy.special.softmax(LOGITS, axis=1)[np.arange(6), codes]
    mean, log_variance = RNG.normal(size=(2, 6, 5))
    sure = 50.0 * np.eye(6, 4)[codes]  # of an image that tells its code, with k = 4

    @jax.jit
    def bounds(logits, sure, codes, mean, continuous, log_variance):
        return {
            "categorical": auxiliary.categorical_information(logits, codes),
            "other entropy": auxiliary.categorical_information(logits, codes, 0.5),
            "sure": auxiliary.categorical_information(sure, codes),
            "continuous": auxiliary.continuous_information(mean, continuous, log_variance),
            "of variance 1": auxiliary.continuous_information(mean, continuous, entropy=0.25),
        }

    expected = {
        "categorical": np.log(q) + np.log(4),
        "other entropy": np.log(q) + 0.5,
        "sure": np.full(6, np.log(4)),  # all of the entropy is information
        "continuous": scipy.stats.norm.logpdf(CODES, mean, np.exp(log_variance / 2)).sum(1) + 5 * np.log(2),
        "of variance 1": scipy.stats.norm.logpdf(CODES, mean).sum(1) + 5 * 0.25,
    }
    for name, bound in bounds(LOGITS, sure, codes, mean, CODES, log_variance).items():
        np.testing.assert_allclose(bound, expected[name], rtol=1e-12, err_msg=name)


def test_all_are_finite_in_float32_at_extremes():
    extreme, labels = np.float32(1e4 * np.sign(LOGITS)), np.arange(6) % 4

    def everything(x):
        terms = (
            auxiliary.pulling_away(x),
            auxiliary.feature_matching(x, -x),
            auxiliary.auxiliary_classifier(x, jnp.asarray(labels)),
            auxiliary.categorical_information(x, jnp.asarray(labels)),
            auxiliary.continuous_information(x, -x, x),
        )
        return sum(term.sum() for term in terms)

    for leaf in jax.tree.leaves(jax.jit(jax.value_and_grad(everything))(extreme)):
        assert leaf.dtype == jnp.float32
        assert jnp.isfinite(leaf).all()
