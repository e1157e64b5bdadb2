"""What is read off features, against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from agreement import filled

from vaegan_jax.networks.conditions import ConditionChannels
from vaegan_jax.networks.heads import Recognition, Score

pytestmark = pytest.mark.usefixtures("compiled_quickly")
FEATURES, LABELS = np.random.default_rng(0).normal(size=(6, 4)), np.eye(3)[[0, 2, 1, 1, 0, 2]]


def read(module, *inputs):
    """Its parameters, and what it makes of the inputs in training."""
    variables, apply = filled(module, *inputs)
    return variables["params"], apply(variables, *inputs)


def test_a_projection_adds_the_product_of_embedding_and_features_and_classes_have_logits_of_their_own(float64):
    params, (score, classes) = read(Score(projection=True, classes=3), FEATURES, LABELS)
    dense = lambda name: FEATURES @ params[name]["kernel"] + params[name]["bias"]  # noqa: E731
    projected = np.einsum("ny,yf,nf->n", LABELS, params["projection"]["kernel"], FEATURES)
    np.testing.assert_allclose(score, dense("score")[:, 0] + projected, rtol=1e-12)
    np.testing.assert_allclose(classes, dense("classes"), rtol=1e-12)


def test_a_plain_score_has_no_classes_and_is_computed_in_float32():
    params, (score, classes) = read(Score(), FEATURES.astype(jnp.bfloat16))
    assert classes is None and score.shape == (6,) and score.dtype == jnp.float32
    expected = FEATURES.astype(jnp.bfloat16).astype(np.float64) @ params["score"]["kernel"][:, 0]
    np.testing.assert_allclose(score, expected + params["score"]["bias"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("minibatch", "more"), [("discrimination", 100), ("deviation", 1)])
def test_the_batch_completes_the_features_before_they_are_scored(minibatch, more):
    params, (score, _) = read(Score(minibatch=minibatch), FEATURES.astype(np.float32))
    assert params["score"]["kernel"].shape == (4 + more, 1)
    alone = read(Score(minibatch=minibatch), FEATURES[:3].astype(np.float32))[1].score
    assert not np.allclose(score[:3], alone)


def test_recognition_gives_logits_of_each_categorical_code_and_means_of_the_others(float64):
    params, codes = read(Recognition((3, 2), 4), FEATURES)
    hidden = FEATURES @ params["Dense_0"]["kernel"]
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    hidden = hidden * params["BatchNorm_0"]["scale"] + params["BatchNorm_0"]["bias"]
    y = np.where(hidden > 0, hidden, 0.1 * hidden) @ params["codes"]["kernel"] + params["codes"]["bias"]
    for found, expected in zip((*codes.categories, codes.means), np.split(y, [3, 5], 1), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    _, codes = read(Recognition(continuous=2, hidden=0), FEATURES)
    assert codes.categories == () and codes.means.shape == (6, 2)


def test_a_condition_becomes_channels_that_are_the_same_at_every_pixel(float64):
    x = np.random.default_rng(2).normal(size=(6, 2, 3, 1))
    params, y = read(ConditionChannels(5), x, LABELS)
    table = params["Dense_0"]["kernel"]
    assert table.shape == (3, 5) and y.shape == (6, 2, 3, 6)
    np.testing.assert_array_equal(y[..., :1], x)
    np.testing.assert_allclose(y[..., 1:], np.broadcast_to((LABELS @ table)[:, None, None], (6, 2, 3, 5)), rtol=1e-12)
