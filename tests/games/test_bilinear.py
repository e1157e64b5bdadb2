"""The engine against theory: solvers of bilinear games follow their closed forms, in every digit.

On min_x max_y xy a symmetric solver is one complex recursion in z = x + iy, whose field is -i z. The singular value
decomposition of a matrix game x^T A y makes such pairs of it, one for each singular value s, which scales the field.
What is expected is written from those scalars, never computed by the engine.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats
from toys import JOINT, KEY, MATRICES, TURNS, bilinear, jit, update_matrix, vectorized

from vaegan_jax.games import consensus, gradient, init, play, symplectic

TOLERANCE = {"float64": 1e-10, "float32": 1e-6}


class Solver(NamedTuple):
    """How a bilinear game is played with step a, and what that does to the pair of singular value s."""

    matrix: Callable  # (a, s) -> over x, y and, where optax keeps traces, those of x and y
    eigenvalues: Callable  # (a, s) -> all of this matrix
    radius: float  # the largest modulus of them at a = 0.1, s = 1
    schedule: tuple = JOINT
    txs: Callable = lambda a: (optax.sgd(a), optax.sgd(a))
    direction: Callable = gradient
    ahead: Callable = lambda a: None


def real(*rows):
    """The matrix over x, y and their traces of a complex one over z and its trace."""
    return np.block([[np.array([[c.real, -c.imag], [c.imag, c.real]]) for c in map(complex, row)] for row in rows])


def pairs(*values):
    return [*values, *np.conj(values)]


def symmetric(factor, radius, **how):
    """A solver that multiplies z by a complex factor."""
    return Solver(lambda a, s: real([factor(a, s)]), lambda a, s: pairs(factor(a, s)), radius, **how)


def turns(count):
    """x once, then y `count` times: a becomes a sqrt(count) in exp(+-i theta), theta = 2 arcsin(a/2)."""
    return Solver(
        lambda a, s: np.array([[1, -a * s], [count * a * s, 1 - count * (a * s) ** 2]]),
        lambda a, s: pairs(np.exp(2j * np.arcsin(a * s * np.sqrt(count) / 2))),
        radius=1.0,
        schedule=(("first",), *(("second",),) * count),
    )


def optimistic(alpha, beta, eigenvalues, radius):
    """z+ = z - a ((alpha + beta) g - beta g_), where optax keeps the field g_ = -i s z_ of the round before."""
    return Solver(
        lambda a, s: real([1 + 1j * a * s * (alpha + beta), a * beta], [-1j * s, 0]),
        lambda a, s: pairs(*eigenvalues(a, s)),
        radius,
        txs=lambda a: (optax.optimistic_gradient_descent(a, alpha, beta),) * 2,
    )


def alternating_momentum(a, s):
    """m+ = s y - m / 2; x+ = x - a m+; then y+ = y + a s x+."""
    x = np.array([1, -a * s, a / 2, 0])
    y = [0, 1, 0, 0] + a * s * x
    return np.array([x, y, [0, s, -1 / 2, 0], -s * x])


SOLVERS = {
    "simultaneous": symmetric(lambda a, s: 1 + 1j * a * s, 1.00498756),
    "alternating": turns(1),
    "three steps of y": turns(3),
    "twelve steps of y": turns(12),  # long enough for lax.scan
    "two time scales": Solver(
        lambda a, s: np.array([[1, -a * s / 4], [a * s, 1]]),
        lambda a, s: pairs(1 + 1j * np.sqrt(a / 4 * a) * s),
        radius=1.00124922,
        txs=lambda a: (optax.sgd(a / 4), optax.sgd(a)),
    ),
    "extragradient": symmetric(lambda a, s: 1 - (a * s) ** 2 + 1j * a * s, 0.99503769, ahead=lambda a: a),
    "extragradient, far ahead": symmetric(lambda a, s: 1 - a * s**2 + 1j * a * s, 0.90553851, ahead=lambda a: 1.0),
    "consensus": symmetric(lambda a, s: 1 - a * s**2 + 1j * a * s, 0.90553851, direction=consensus(1.0)),
    "weak consensus": symmetric(lambda a, s: 1 - a * s**2 / 10 + 1j * a * s, 0.99503769, direction=consensus(0.1)),
    "symplectic": symmetric(lambda a, s: 1 - a * s**2 + 1j * a * s, 0.90553851, direction=symplectic(1.0)),
    "optimistic": optimistic(
        1.0,
        1.0,
        lambda a, s: [(1 + sign * np.sqrt(1 - 4 * (a * s) ** 2)) / 2 + 1j * a * s for sign in (1, -1)],
        radius=0.99493615,
    ),
    "momentum": Solver(
        lambda a, s: real([1 + 1j * a * s, -a / 2], [-1j * s, 1 / 2]),
        lambda a, s: pairs(*np.roots([1, -(1 + 1 / 2 + 1j * a * s), 1 / 2])),
        radius=1.04568739,
        txs=lambda a: (optax.sgd(a, momentum=0.5),) * 2,
    ),
    "negative momentum of x, alternating": Solver(
        alternating_momentum,
        lambda a, s: np.roots(np.polyadd(np.poly([1, 1, -1 / 2, 0]), [(a * s) ** 2, 0, 0, 0])),
        radius=0.99888745,
        schedule=TURNS,
        txs=lambda a: (optax.sgd(a, momentum=-0.5), optax.sgd(a, momentum=0.0)),
    ),
}


solvers = pytest.mark.parametrize("solver", SOLVERS)
matrices = pytest.mark.parametrize("matrix", MATRICES)
cases = pytest.mark.parametrize(("matrix", "a"), [("xy", 0.1), ("xy", 0.45), ("4x4", 0.45)])
precisions = pytest.mark.parametrize("dtype", TOLERANCE)


@functools.cache  # several tests look at the same play
def played(solver, matrix, a, dtype):
    """The probed update matrix, and 100 rounds from a random state."""
    row = SOLVERS[solver]
    with jax.enable_x64(dtype == "float64"):
        game, start = bilinear(matrix, row.txs(a), dtype)
        round = play(game, row.schedule, row.direction, row.ahead(a))
        start, function = vectorized(round, init(game, start))
        points = [jnp.asarray(np.random.default_rng(3).normal(size=start.shape), dtype)]
        for _ in range(100):
            points.append(function(points[-1]))
        assert points[-1].dtype == dtype
        return update_matrix(start, function), np.stack(points).astype(np.float64)


def expected_matrix(solver, matrix, a):
    """The closed form of every pair, rotated into the coordinates of x, y and their traces."""
    svd = MATRICES[matrix]
    blocks = np.array([SOLVERS[solver].matrix(a, s) for s in svd.values])
    frames = [svd.left, svd.right] * 2
    size = range(blocks.shape[1])
    return np.block([[frames[i] * blocks[:, i, j] @ frames[j].T for j in size] for i in size])


def assert_same_multiset(left, right, tolerance):
    distance = np.abs(np.subtract.outer(np.asarray(left), np.asarray(right)))
    assert distance.shape[0] == distance.shape[1]
    assert distance[scipy.optimize.linear_sum_assignment(distance)].max() < tolerance


@solvers
def test_the_closed_forms_have_the_known_spectral_radius(solver):
    row = SOLVERS[solver]
    np.testing.assert_allclose(max(np.abs(row.eigenvalues(0.1, 1.0))), row.radius, rtol=0, atol=5e-9)


@precisions
@cases
@solvers
def test_the_update_matrix_of_a_bilinear_game_is_the_closed_form(solver, matrix, a, dtype):
    probed, _ = played(solver, matrix, a, dtype)
    np.testing.assert_allclose(probed, expected_matrix(solver, matrix, a), rtol=0, atol=TOLERANCE[dtype])


@precisions
@cases
@solvers
def test_the_eigenvalues_of_a_bilinear_game_are_the_closed_form(solver, matrix, a, dtype):
    probed, _ = played(solver, matrix, a, dtype)
    expected = np.concatenate([SOLVERS[solver].eigenvalues(a, s) for s in MATRICES[matrix].values])
    assert_same_multiset(np.linalg.eigvals(probed), expected, TOLERANCE[dtype])


@cases
@solvers
def test_a_hundred_rounds_in_float64_are_powers_of_the_closed_form(solver, matrix, a):
    _, points = played(solver, matrix, a, "float64")
    expected = points[0]
    for point in points[1:]:
        expected = expected_matrix(solver, matrix, a) @ expected
        np.testing.assert_allclose(point, expected, rtol=0, atol=1e-10 * np.linalg.norm(expected))


@cases
@solvers
def test_each_of_a_hundred_rounds_in_float32_is_the_closed_form(solver, matrix, a):
    # Each from where it starts: over many rounds the roundings grow and turn with the game itself.
    _, points = played(solver, matrix, a, "float32")
    closed = expected_matrix(solver, matrix, a)
    largest = max(1, np.linalg.norm(closed, 2)) * np.linalg.norm(points[:-1], axis=1)
    assert (np.linalg.norm(points[1:] - points[:-1] @ closed.T, axis=1) <= 1e-6 * largest).all()


@cases
def test_alternating_rounds_conserve_their_invariant(matrix, a, float64):
    game, start = bilinear(matrix, (optax.sgd(a), optax.sgd(a)), "float64")
    svd = MATRICES[matrix]
    start, function = vectorized(play(game, TURNS), init(game, start))
    point, values = start + jnp.arange(start.size), []
    for _ in range(1000):
        point = function(point)
        x, y = np.split(np.asarray(point), 2)
        values.append(x @ x + y @ y - a * (svd.left.T @ x * svd.values) @ (svd.right.T @ y))
    np.testing.assert_allclose(values, values[0], rtol=1e-11)


def test_the_first_round_of_optimism_is_a_plain_step(float64):
    game, start = bilinear("xy", (optax.optimistic_gradient_descent(0.1),) * 2, "float64")
    state, _ = jit(play(game, JOINT))(init(game, start), {}, KEY)
    np.testing.assert_allclose([state.params["x"], state.params["y"]], [0.9, 1.1], rtol=1e-14)
