"""Classes in GANs against NumPy: beside the input, as a second task, as a projection; images without a label."""

import dataclasses
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import DENSE, SPEC, N, X, Z, dense, generated, leaky, log_d, pay, wide

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.models import CONFIGS, MODELS, gan
from vaegan_jax.models.adversarial_game import completed

pytestmark = pytest.mark.usefixtures("compiled_quickly")
LABELED = dataclasses.replace(SPEC, classes=3)
LABELS = np.array([0, 1, 2, -1, -1])
ENTERS = ("concatenate", "auxiliary", "projection")


def one_hot(labels):
    return np.where(labels[:, None] == np.arange(3), 1.0, 0.0)


def conditioned(condition, **fields):
    config = replace(DENSE, condition=condition, **fields)
    return config, *wide(gan.networks(config, LABELED))


def judged(network, x, labels):
    """The scores of a dense discriminator, and the class logits of an auxiliary one."""
    if "channels" in network:
        told = one_hot(labels) @ network["channels"]["Dense_0"]["kernel"]
        x = np.concatenate([x.reshape(N, 4, 1), np.broadcast_to(told[:, None], (N, 4, 8))], 2).reshape(N, -1)
    features = leaky(dense(x, network["body"]["Dense_0"]))
    score = dense(features, network["head"]["score"])[:, 0]
    if "projection" in network["head"]:
        score = score + (one_hot(labels) @ network["head"]["projection"]["kernel"] * features).sum(1)
    return score, dense(features, network["head"]["classes"]) if "classes" in network["head"] else None


def misjudged(logits, labels):
    """-log P(y | x) in the mean over images with a label."""
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    known = labels >= 0
    return -log_p[known, labels[known]].mean()


def captured(config, params, stats, labels, key=0):
    """The losses, and the table that the discriminator's lay on."""
    tables = []
    seams = gan.seams(config, LABELED)
    note = {"noted": lambda table: tables.append(table) or jnp.zeros(())}
    told = seams.told | {"discriminator": note}
    paid = pay(config, spec=LABELED, weights=params, stats=stats, labels=labels, key=key, told=told)
    return paid, tables[0]


@pytest.mark.parametrize("condition", ENTERS)
def test_labels_reach_both_networks_and_both_losses_are_numpy_s(condition, float64):
    """Of unlabeled real images the discriminator is told zeros, and they pay no classification; a class is generated
    for them all the same."""
    config, params, stats, weights = conditioned(
        condition, **{"classification_weight": 0.7} if condition == "auxiliary" else {}
    )
    paid, table = captured(config, params, stats, LABELS)
    wanted = np.asarray(table.fake.labels)
    np.testing.assert_array_equal(wanted[:3], LABELS[:3])
    assert ((wanted >= 0) & (wanted < 3)).all()
    np.testing.assert_array_equal(table.real.labels, LABELS)
    fake = generated(weights["generator"], np.concatenate([Z, one_hot(wanted)], 1))
    np.testing.assert_allclose(np.asarray(table.fake.images).reshape(N, 4), fake, rtol=1e-12)
    (real_score, real_classes), (score, classes) = (
        judged(weights["discriminator"], x, labels) for x, labels in ((X, LABELS), (fake, wanted))
    )
    discriminator = -log_d(real_score).mean() - log_d(-score).mean()
    generator = -log_d(score).mean()
    if condition == "auxiliary":
        discriminator += 0.7 * (misjudged(real_classes, LABELS) + misjudged(classes, wanted))
        generator += 0.7 * misjudged(classes, wanted)
        np.testing.assert_allclose(paid["generator"][2]["classes"], 0.7 * misjudged(classes, wanted), rtol=1e-10)
    np.testing.assert_allclose(paid["discriminator"][0], discriminator, rtol=1e-10)
    np.testing.assert_allclose(paid["generator"][0], generator, rtol=1e-10)


def test_classes_for_unlabeled_images_are_drawn_evenly_and_anew():
    keys = jax.random.split(jax.random.key(0), 3000)
    drawn = np.asarray(completed(jnp.full(3000, -1), keys, 3))
    counts = np.bincount(drawn, minlength=3)
    assert len(counts) == 3 and abs(counts - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)
    np.testing.assert_array_equal(completed(jnp.full(3000, 1), keys, 3), 1)


def test_one_joint_batch_takes_the_labels_of_both_halves(float64):
    config, params, stats, _ = conditioned("projection")
    two, one = (captured(replace(config, joint_batch=joint), params, stats, LABELS)[0] for joint in (False, True))
    for name in two:
        np.testing.assert_allclose(one[name][0], two[name][0], rtol=1e-12)


def test_a_penalty_is_on_the_slope_of_the_score_of_an_image_and_its_class(float64):
    config, params, stats, weights = conditioned("projection", penalty="r1", penalty_weight=3.0)
    paid, _ = captured(config, params, stats, LABELS)
    body, score = weights["discriminator"]["body"]["Dense_0"], weights["discriminator"]["head"]["score"]["kernel"]
    direction = score.T + one_hot(LABELS) @ weights["discriminator"]["head"]["projection"]["kernel"]
    slope = (direction * np.where(dense(X, body) > 0, 1, 0.2)) @ body["kernel"].T
    np.testing.assert_allclose(paid["discriminator"][2]["penalty"], 1.5 * (slope**2).sum(1).mean(), rtol=1e-10)
    assert "penalty" not in paid["generator"][2]


@pytest.mark.parametrize("condition", ENTERS)
def test_samples_are_of_the_classes_asked_for_or_of_any(condition, float64):
    config, params, stats, weights = conditioned(condition)
    keys, labels = jax.random.split(jax.random.key(0), 60), np.arange(60) % 3
    z = np.asarray(gan.prior(config)(keys))

    def images_of(labels):
        return generated(weights["generator"], np.concatenate([z, one_hot(labels)], 1))

    with jax.debug_key_reuse(True):
        asked, _ = gan.sample(config, LABELED, params, stats, jax.random.clone(keys), labels=jnp.asarray(labels))
        own, _ = gan.sample(config, LABELED, params, stats, jax.random.clone(keys))
    np.testing.assert_allclose(np.asarray(asked).reshape(60, 4), images_of(labels), rtol=1e-10)
    each = np.stack([images_of(np.full(60, label)) for label in range(3)])
    distances = abs(each - np.asarray(own).reshape(60, 4)).max(2)
    assert distances.min(0).max() < 1e-10 and set(distances.argmin(0)) == {0, 1, 2}
    turns = gan.generate(config, LABELED, params, stats, jnp.asarray(z))
    np.testing.assert_allclose(np.asarray(turns).reshape(60, 4), images_of(labels), rtol=1e-10)


@pytest.mark.parametrize("name", ["cgan", "acgan", "projection-gan", "sagan"])
def test_a_conditional_model_of_data_without_labels_is_refused_in_one_line(name):
    told = 'needs labels, and pixels has none; give an array "label", choose another data set'
    with pytest.raises(UserError, match=told) as refused:
        MODELS[name].game(CONFIGS[name](), DataSpec("pixels", (32, 32, 1), batch_size=4))
    assert "\n" not in str(refused.value)


def test_a_self_attention_gan_does_without_classes():
    config = CONFIGS["sagan"](condition="none", width=8)
    assert gan.game(config, DataSpec("pixels", (16, 16, 1), batch_size=4))
