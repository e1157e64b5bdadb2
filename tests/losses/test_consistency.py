"""Consistency and LeCam regularization against the papers' formulas."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.losses import consistency

RNG = np.random.default_rng(0)
SCORES, CHANGED = RNG.normal(size=(2, 6))
IMAGES, MOVED = RNG.normal(size=(2, 3, 4, 4, 2))
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_every_public_function_is_tested():
    functions = inspect.getmembers(consistency, inspect.isfunction)
    own = {f.__name__ for name, f in functions if not name.startswith("_") and f.__module__ == consistency.__name__}
    assert own == {"consistency", "latent_diversity", "lecam"}


def test_consistency_is_the_weighted_square_of_what_changes_and_latent_diversity_its_opposite_on_images(float64):
    value = consistency.consistency(jnp.asarray(SCORES), jnp.asarray(CHANGED), 7.0)
    np.testing.assert_allclose(value, 7 * (SCORES - CHANGED) ** 2, rtol=1e-14)
    slope = jax.grad(lambda a, b: consistency.consistency(a, b, 7.0).sum(), (0, 1))(
        *map(jnp.asarray, (SCORES, CHANGED))
    )
    np.testing.assert_allclose(slope, np.stack([14 * (SCORES - CHANGED), -14 * (SCORES - CHANGED)]), rtol=1e-14)
    value = consistency.latent_diversity(jnp.asarray(IMAGES), jnp.asarray(MOVED), 0.3)
    np.testing.assert_allclose(value, -0.3 * ((IMAGES - MOVED) ** 2).mean((1, 2, 3)), rtol=1e-14)


def test_lecam_is_the_papers_square_and_one_sided_nothing_on_the_wrong_side(float64):
    real, fake = jnp.asarray(SCORES), jnp.asarray(CHANGED)
    anchors = jnp.asarray(0.2), jnp.asarray(-0.1)  # of real and of fake scores
    on_real, on_fake = consistency.lecam(real, fake, *anchors, 0.3)
    np.testing.assert_allclose(on_real, 0.3 * (SCORES + 0.1) ** 2, rtol=1e-14)
    np.testing.assert_allclose(on_fake, 0.3 * (CHANGED - 0.2) ** 2, rtol=1e-14)
    one_real, one_fake = consistency.lecam(real, fake, *anchors, 0.3, one_sided=True)
    np.testing.assert_array_equal(one_real, np.where(SCORES > -0.1, on_real, 0))
    np.testing.assert_array_equal(one_fake, np.where(CHANGED < 0.2, on_fake, 0))
    assert 0 < (one_real == 0).sum() < 6 and 0 < (one_fake == 0).sum() < 6


def test_all_are_finite_in_float32_at_extreme_scores():
    low, high = jnp.float32([-1e4, 1e4]), jnp.float32([1e4, -1e4])

    def everything(a, b):
        anchored = consistency.lecam(a, b, jnp.float32(1e4), jnp.float32(-1e4))
        diversity = consistency.latent_diversity(a[:, None], b[:, None])
        return sum(x.sum() for x in (consistency.consistency(a, b), diversity, *anchored))

    for leaf in jax.tree.leaves(jax.jit(jax.value_and_grad(everything, (0, 1)))(low, high)):
        assert leaf.dtype == jnp.float32
        assert jnp.isfinite(leaf).all()
