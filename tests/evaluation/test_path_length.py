"""Perceptual path length: closed forms of linear generators, the trap of rounding, and what it must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from vaegan_jax import latents
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import path_length as ppl

KEY = jax.random.key(0)
ALL = (0.0, 100.0)
W = np.random.default_rng(0).normal(size=(5, 12)) / 10
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def linear(weights=W):
    matrix = jnp.asarray(weights, jnp.float32)
    return lambda z: (z @ matrix).reshape(-1, 2, 2, 3)


def identity(z):
    return z.reshape(len(z), 1, 1, -1)


def measured(generator=None, count=4000, size=5, distance=ppl.squared_distance, **options):
    generator = generator or linear()
    return ppl.path_length(generator, distance, latents.normal(size), KEY, count, **{"chunk": 1000} | options)


@pytest.fixture(scope="module")
def on_lines():
    return measured(path="line", keep=ALL)


def test_of_a_linear_generator_on_lines_it_is_twice_the_squared_norm_of_its_matrix(on_lines):
    """E |W (z1 - z0)|^2 = 2 |W|_F^2, wherever on the path, to 4 standard errors."""
    result = on_lines
    assert result.kept == result.count == 4000 and result.error < 0.05 * result.mean
    assert abs(result.mean - 2 * (W**2).sum()) < 4 * result.error
    at_ends = measured(path="line", keep=ALL, ends=True)
    np.testing.assert_allclose(at_ends.mean, result.mean, rtol=1e-3)


@pytest.mark.parametrize("ends,expected", [(True, 16), (False, 8)])
def test_steps_begin_at_the_ends_of_the_paths_or_anywhere_on_them(ends, expected):
    """g = z^2 on lines: 4 E z_t^2 (z1 - z0)^2 is 16 a dimension at t = 0, and 8 on average over t."""
    result = measured(lambda z: identity(jnp.square(z)), size=30, path="line", keep=ALL, ends=ends)
    assert abs(result.mean - 30 * expected) < 4 * result.error and result.error < 8


@pytest.mark.parametrize("size,expected", [(2, np.pi**2 / 3), (3, (np.pi**2 - 4) / 2)])
def test_on_the_unit_sphere_the_speed_is_the_angle(size, expected):
    """Uniform on [0, pi] in the plane, of density sin(angle) / 2 in space; E angle^2 in closed form."""
    result = measured(identity, size=size, path="unit-sphere", keep=ALL)
    assert abs(result.mean - expected) < 4 * result.error and result.error < 0.05


def test_steps_of_epsilon_resolve_the_derivative_in_single_precision():
    fine, coarse = (measured(path="great-circle", epsilon=epsilon, count=500).mean for epsilon in (1e-4, 1e-3))
    np.testing.assert_allclose(fine, coarse, rtol=5e-3)


def test_the_great_circle_is_scipy_s_for_unit_quaternions():
    rng = np.random.default_rng(0)
    pairs, t = rng.normal(size=(20, 2, 4)), rng.uniform(size=20)
    pairs /= np.linalg.norm(pairs, axis=2, keepdims=True)
    pairs[:, 1] *= np.sign((pairs[:, 0] * pairs[:, 1]).sum(1))[:, None]  # rotations take the shorter way
    found = ppl.interpolate(pairs[:, 0], pairs[:, 1], t, "great-circle")
    for pair, at, point in zip(pairs, t, found, strict=True):
        expected = Slerp([0, 1], Rotation.from_quat(pair))(at).as_quat()
        np.testing.assert_allclose(point * np.sign(point @ expected), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("path", ["great-circle", "unit-sphere", "line"])
def test_every_path_leads_from_the_first_to_the_last_latent(path):
    first, last = np.random.default_rng(0).normal(size=(2, 6, 5))
    scale = (lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)) if path == "unit-sphere" else lambda z: z
    for t, end in ((np.zeros(6), first), (np.ones(6), last)):
        np.testing.assert_allclose(ppl.interpolate(first, last, t, path), scale(end), rtol=1e-12)


def test_parallel_latents_have_a_path_and_opposite_ones_none():
    z = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_allclose(ppl.interpolate(z, 3 * z, np.full(4, 0.5), "great-circle"), 2 * z, rtol=1e-12)
    with pytest.raises(ValueError, match="opposite"):
        ppl.interpolate(z, -z, np.full(4, 0.5), "great-circle")


def test_a_generator_that_rounds_to_256_values_measures_many_times_as_much(on_lines):
    """The trap: each pixel that crosses a border moves by 2 / 255, at once."""
    rounded = measured(lambda z: jnp.rint((linear()(z) + 1) * 127.5) / 127.5 - 1, path="line", keep=ALL)
    assert rounded.mean > 10 * on_lines.mean


def test_whole_numbers_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        measured(lambda z: jnp.rint((linear()(z) + 1) * 127.5).astype(jnp.uint8), count=10)


def test_the_slowest_and_fastest_hundredth_of_the_paths_are_left_out(on_lines):
    result, whole = measured(path="line"), on_lines
    assert result.kept == pytest.approx(0.98 * 4000, abs=4) and result.mean < whole.mean and result.error < whole.error


def test_an_outlier_has_no_part_in_it():
    """One path in a thousand is a million times as long."""
    lengths = np.ones(1000)
    lengths[3] = 1e6
    assert ppl._summary(lengths, (1.0, 99.0)).mean == 1


def test_nothing_depends_on_how_many_pairs_are_made_at_once():
    whole, parts = measured(count=70, chunk=70), measured(count=70, chunk=32)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-4)
    assert parts.kept == whole.kept == 70 and parts == measured(count=70, chunk=32)


def test_a_mapping_is_applied_before_the_path_and_the_generator_after_it():
    """w = A z; on lines the whole is linear again."""
    a = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    mapped = measured(mapping=lambda z: z @ jnp.asarray(a), path="line", count=300)
    whole = measured(linear(a @ W), path="line", count=300)
    np.testing.assert_allclose(mapped.mean, whole.mean, rtol=2e-3)


@pytest.mark.parametrize(
    "options,told",
    [
        ({"count": 0}, "at least 1"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"keep": (99.0, 1.0)}, "percentiles"),
        ({"distance": lambda a, b: jnp.full(len(a), jnp.nan)}, "NaN"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(options, told):
    with pytest.raises(UserError, match=told):
        measured(**{"count": 10, "chunk": 10} | options)
