"""Coulomb's potentials against the kernel written out, and the game on them."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.losses import coulomb

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(5, 4, 3, 2)), RNG.normal(size=(7, 4, 3, 2)) + 1
settings = pytest.mark.parametrize(("dimension", "epsilon"), [(3.0, 1.0), (5.0, 0.3)])
potentials = jax.jit(coulomb.potentials, static_argnums=(2, 3))
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def potential(a, real, fake, dimension=3.0, epsilon=1.0):
    """The field of positive and negative charges at a, charge by charge (Unterthiner et al. 2017)."""

    def kernel(b):
        return 1 / np.sqrt(np.linalg.norm((a - b).ravel()) ** 2 + epsilon**2) ** (dimension - 2)

    return np.mean([kernel(x) for x in real]) - np.mean([kernel(g) for g in fake])


def test_every_public_function_is_tested():
    functions = inspect.getmembers(coulomb, inspect.isfunction)
    own = {f.__name__ for name, f in functions if not name.startswith("_") and f.__module__ == coulomb.__name__}
    assert own == {"coulomb", "potentials"}


@settings
def test_potentials_are_sums_over_all_charges_a_points_own_among_them(dimension, epsilon, float64):
    both = potentials(REAL, FAKE, dimension, epsilon)
    for got, points in zip(both, (REAL, FAKE), strict=True):
        expected = [potential(a, REAL, FAKE, dimension, epsilon) for a in points]
        np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_potentials_fall_off_as_the_inverse_distance_and_vanish_where_the_charges_agree(float64):
    real, fake = 1e6 * np.eye(1, 6), np.zeros((1, 6))
    at_real, at_fake = potentials(real, fake, 3.0, 0.5)
    np.testing.assert_allclose([at_real[0], at_fake[0]], [1 / 0.5 - 1e-6, 1e-6 - 1 / 0.5], rtol=1e-9)
    for at_points in potentials(REAL, REAL[::-1]):
        np.testing.assert_allclose(at_points, np.zeros(5), atol=1e-14)


def test_potentials_of_large_images_keep_their_digits_in_float32_wherever_the_images_lie():
    rng = np.random.default_rng(1)
    real, fake = (np.tanh(rng.normal(size=(6, 32, 32, 3)) + 2).astype(np.float32) for _ in range(2))
    fake[0] = real[0] + 1e-3  # a near neighbor, where the squared distance cancels
    for got, points in zip(potentials(real, fake), (real, fake), strict=True):
        expected = [potential(a.astype(float), real.astype(float), fake.astype(float)) for a in points]
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_losses_are_the_papers_and_their_minimum_is_the_potential(float64):
    fields, scores = (tuple(RNG.normal(size=size) for size in (5, 7)) for _ in range(2))

    @jax.jit
    def played(fields, real, fake):
        value = coulomb.coulomb(*fields)
        losses, pull = jax.vjp(value.discriminator, real, fake)
        return losses, pull(jax.tree.map(jnp.ones_like, losses)), value.generator(real, fake)

    losses, slopes, generator = played(fields, *scores)
    for loss, slope, score, field in zip(losses, slopes, scores, fields, strict=True):
        np.testing.assert_allclose(loss, 0.25 * (score - field) ** 2, rtol=1e-13)
        np.testing.assert_allclose(slope, 0.5 * (score - field), rtol=1e-13)
    np.testing.assert_array_equal(generator, -0.5 * scores[1])
    for leaf in jax.tree.leaves(played(fields, *fields)[:2]):
        assert (leaf == 0).all()


def test_all_is_finite_in_float32_at_extremes():
    images = np.float32(1e4 * REAL)
    fields = potentials(images, -images)
    losses = coulomb.coulomb(*fields).discriminator(jnp.full(5, 1e4), jnp.full(5, -1e4))
    value = coulomb.coulomb(*fields)
    slopes = jax.grad(
        lambda a, b: sum(x.sum() for x in value.discriminator(a, b)) + value.generator(a, b).sum(), (0, 1)
    )(jnp.full(5, 1e4), jnp.full(5, -1e4))
    by_image = jax.grad(lambda a, b: sum(x.sum() for x in potentials(a, b)), (0, 1))(images, images)  # all meet
    for leaf in (*fields, *losses, *slopes, *by_image):
        assert leaf.dtype == jnp.float32
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize(("dimension", "epsilon"), [(2.0, 1.0), (3.0, 0.0)])
def test_a_kernel_without_a_range_is_refused(dimension, epsilon):
    with pytest.raises(ValueError, match=r"^need dimension > 2 and epsilon > 0, got "):
        coulomb.potentials(jnp.asarray(REAL), jnp.asarray(FAKE), dimension, epsilon)
