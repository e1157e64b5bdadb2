"""Path-angles against their closed forms for linear fields (Berard et al. 2020, section 4)."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from vaegan_jax.dynamics.paths import ALPHAS, path
from vaegan_jax.errors import UserError


def linear(matrix, point):
    moved = matrix @ jnp.stack([point["x"], point["y"]])
    return {"x": moved[0], "y": moved[1]}


def at(x, y):
    return {"x": jnp.asarray(x, float), "y": jnp.asarray(y, float)}


ATTRACTION, ROTATION, MIX = np.eye(2), np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([[1.0, 2.0], [-2.0, 1.0]])
START, AROUND = (0.7, 1.2), np.array([0, 0.5, 0.9, 0.99, 1.01, 1.1])


def measured(matrix, end, alphas, start=START):
    return path(Partial(linear, jnp.asarray(matrix)), at(*start), at(*end), np.asarray(alphas, float))


@pytest.mark.parametrize(("matrix", "cosine"), [(ATTRACTION, 1.0), (ROTATION, 0.0), (MIX, 5**-0.5)])
def test_on_the_way_to_the_equilibrium_the_sign_of_the_angle_flips_there(matrix, cosine, float64):
    """c = -+ d^T S d / (|d| |J d|)."""
    found = measured(matrix, (0, 0), AROUND)
    np.testing.assert_allclose(found.cosines, cosine * np.sign(AROUND - 1), rtol=0, atol=1e-12)
    length = np.linalg.norm(matrix @ START)
    np.testing.assert_allclose(found.norms, np.abs(AROUND - 1) * length, rtol=1e-12)


def test_beside_the_equilibrium_rotation_is_a_bump_and_attraction_crosses_smoothly(float64):
    bump = measured(ROTATION, (0.1, -0.1), AROUND)
    np.testing.assert_allclose(bump.cosines, [0.096, 0.195, 0.815, 0.968, 0.903, 0.568], rtol=0, atol=5e-4)
    crossing = measured(ATTRACTION, (0.1, -0.1), np.linspace(0, 1.2, 50)).cosines
    assert (np.diff(crossing) > 0).all() and crossing[0] < -0.99 and crossing[-1] > 0.8


def test_the_angle_of_any_field_is_that_of_its_vectors_along_the_line(float64):
    def swirl(point):
        return {"x": jnp.sin(point["y"]) + point["x"] ** 2, "y": jnp.cos(point["x"] * point["y"])}

    found = path(swirl, at(-1, 0.3), at(2, 1))
    x, y = -1 + 3 * ALPHAS, 0.3 + 0.7 * ALPHAS
    vectors, d = np.stack([np.sin(y) + x**2, np.cos(x * y)]), np.array([3, 0.7])
    np.testing.assert_allclose(found.norms, np.linalg.norm(vectors, axis=0), rtol=1e-12)
    expected = d @ vectors / (np.linalg.norm(d) * np.linalg.norm(vectors, axis=0))
    np.testing.assert_allclose(found.cosines, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.alphas, ALPHAS)


def test_where_the_field_is_0_there_is_no_angle_and_between_one_point_no_path(float64):
    found = measured(ATTRACTION, (0, 0), [0.5, 1.0])
    assert found.cosines[0] == pytest.approx(-1) and np.isnan(found.cosines[1]) and found.norms[1] == 0
    with pytest.raises(UserError, match="the same"):
        measured(ATTRACTION, START, AROUND)
