"""Changes of images against closed forms: what each keeps, how often it does what, and gradients through it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaegan_jax.models import differentiable_augmentation as changes

pytestmark = pytest.mark.usefixtures("compiled_quickly")
MANY = 1500
IMAGE = np.random.default_rng(0).uniform(0.2, 1, (8, 16, 3))


def changed(name, image=IMAGE, count=MANY):
    """Copies of an image, each changed by a key of its own."""
    keys = jax.random.split(jax.random.key(1), count)
    return np.asarray(jax.jit(jax.vmap(getattr(changes, name), (None, 0)))(jnp.asarray(image), keys))


def uniform(values, low, high):
    """Kolmogorov and Smirnov's test at one in a million."""
    assert scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-6


def test_brightness_adds_one_number_to_an_image(float64):
    shift = changed("brightness") - IMAGE
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1, :1, :1], shift.shape), atol=1e-14)
    uniform(shift[:, 0, 0, 0], -0.5, 0.5)


@pytest.mark.parametrize(("name", "axes", "high", "low"), [("saturation", 3, 2, 0), ("contrast", (1, 2, 3), 1.5, 0.5)])
def test_saturation_and_contrast_scale_what_differs_from_a_mean(name, axes, high, low, float64):
    mean = IMAGE[None].mean(axes, keepdims=True)
    ratio = (changed(name) - mean) / (IMAGE - mean)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1, :1], ratio.shape), rtol=1e-9)
    uniform(ratio[:, 0, 0, 0], low, high)


def test_saturation_leaves_a_gray_image_alone(float64):
    gray = IMAGE[:, :, :1]
    np.testing.assert_array_equal(changed("saturation", gray, 3), np.stack([gray] * 3))


def test_a_flip_is_a_mirror_image_every_second_time(float64):
    copies = changed("flip")
    flipped = (copies == IMAGE[:, ::-1]).all((1, 2, 3))
    assert ((copies == IMAGE).all((1, 2, 3)) ^ flipped).all()
    assert abs(flipped.mean() - 0.5) < 5 * 0.5 / np.sqrt(MANY)


def test_a_translation_is_one_of_all_shifts_by_an_eighth_with_zeros_at_the_border(float64):
    """8 x 16 pixels: 3 x 5 shifts, all as likely."""
    padded = np.pad(IMAGE, ((1, 1), (2, 2), (0, 0)))
    shifts = np.stack([padded[a : a + 8, b : b + 16] for a in range(3) for b in range(5)])
    equal = abs(changed("translation")[:, None] - shifts).max((2, 3, 4)) < 1e-14
    assert (equal.sum(1) == 1).all()
    assert scipy.stats.chisquare(equal.sum(0)).pvalue > 1e-6


@pytest.mark.parametrize("side", [8, 10])
def test_a_cutout_blanks_a_rectangle_of_half_of_either_side_around_any_center(side, float64):
    """Even halves have their centers on the 9 borders of pixels; odd ones on the 10 pixels: 5 rows of them, or fewer
    at the image's border, are blank."""
    copies = changed("cutout", IMAGE[:1, :1].repeat(side, 0).repeat(side, 1))
    blank = (copies == 0).all(3)
    rows, columns = blank.any(2), blank.any(1)
    np.testing.assert_array_equal(blank, rows[:, :, None] & columns[:, None, :])
    half = side // 2
    centers = range(side + 1) if half % 2 == 0 else range(side)
    expected = [[first <= row < first + half for row in range(side)] for first in (c - half // 2 for c in centers)]
    for lines in (rows, columns):
        equal = (lines[:, None] == np.array(expected)).all(2)
        assert (equal.sum(1) == 1).all()
        assert scipy.stats.chisquare(equal.sum(0)).pvalue > 1e-6


def batch(count=MANY):
    return jnp.asarray(np.stack([IMAGE[:4, :4]] * count)), jax.random.split(jax.random.key(2), count)


def test_each_change_has_the_probability_and_none_depends_on_the_other_images(float64):
    images, keys = batch()
    run = jax.jit(lambda images, keys, p: changes.augment("cutout", images, keys, p))
    for p in (0.0, 0.25, 1.0):
        touched = (np.asarray(run(images, keys, p)) != images).any((1, 2, 3)).mean()
        assert abs(touched - p) <= 5 * np.sqrt(p * (1 - p) / MANY)
    np.testing.assert_array_equal(run(images, keys, 0.0), images)
    alone = run(images[:3], keys[:3], 1.0)
    np.testing.assert_array_equal(alone, run(images, keys, 1.0)[:3])
    assert changes.augment("none", images, keys) is not None


def test_gradients_go_through_every_change_in_a_row(float64):
    images, keys = batch(6)
    weights = np.random.default_rng(3).normal(size=images.shape)
    toward, step = np.random.default_rng(4).normal(size=images.shape), 1e-6
    loss = lambda images: (weights * jnp.square(changes.augment("all", images, keys))).sum()  # noqa: E731
    run = jax.jit(jax.value_and_grad(loss))
    (plus, _), (minus, _), (_, slope) = (run(images + scale * toward) for scale in (step, -step, 0.0))
    np.testing.assert_allclose((slope * toward).sum(), (plus - minus) / (2 * step), rtol=1e-6)


def test_every_policy_is_made_of_these_changes():
    named = {change.__name__ for policy in changes.POLICIES.values() for change in policy}
    assert named == {"brightness", "saturation", "contrast", "flip", "translation", "cutout"}
