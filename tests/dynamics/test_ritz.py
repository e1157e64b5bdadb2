"""Arnoldi's and Lanczos' estimates at a fixed price: against NumPy, and against a projection made in another way."""

import numpy as np
import pytest

from vaegan_jax.dynamics.ritz import arnoldi
from vaegan_jax.errors import UserError

RNG = np.random.default_rng(0)
GENERAL = RNG.normal(size=(30, 30)) / 30**0.5
SYMMETRIC = GENERAL + GENERAL.T
MATRICES = {"general": (GENERAL, False), "symmetric": (SYMMETRIC, True)}
both = pytest.mark.parametrize(("matrix", "symmetric"), MATRICES.values(), ids=MATRICES)


def counted(matrix):
    calls = []
    return calls, lambda v: calls.append(1) or matrix @ v


@both
def test_a_complete_space_has_all_eigenvalues(matrix, symmetric):
    found = arnoldi(lambda v: matrix @ v, 30, 99, symmetric)
    expected = np.linalg.eigvalsh(matrix) if symmetric else np.linalg.eigvals(matrix)
    np.testing.assert_allclose(np.sort(found.values), np.sort(expected), atol=1e-10)
    assert found.residuals.max() < 1e-10 and (np.diff(np.abs(found.values)) < 1e-12).all()


@both
def test_an_incomplete_one_has_those_of_the_projection_with_their_residuals(matrix, symmetric):
    """The same space by QR of the powers: Ritz pairs are eigenpairs of Q^T M Q."""
    calls, times = counted(matrix)
    found = arnoldi(times, 30, 6, symmetric, seed=3)
    power, powers = np.random.default_rng(3).normal(size=30), []
    for _ in range(6):
        powers.append(power / np.linalg.norm(power))
        power = matrix @ powers[-1]
    q, _ = np.linalg.qr(np.stack(powers, 1))
    values, vectors = np.linalg.eig(q.T @ matrix @ q)
    residuals = np.linalg.norm(matrix @ q @ vectors - q @ vectors * values, axis=0)
    order, mine = (np.lexsort((np.round(v.imag, 6), np.round(v.real, 6))) for v in (values, found.values + 0j))
    assert len(calls) == 6
    np.testing.assert_allclose(found.values[mine], values[order], atol=1e-9)
    np.testing.assert_allclose(found.residuals[mine], residuals[order], atol=1e-9)
    assert residuals.min() > 1e-3


def test_a_symmetric_matrix_has_an_eigenvalue_within_each_residual():
    found, exact = arnoldi(lambda v: SYMMETRIC @ v, 30, 10, True), np.linalg.eigvalsh(SYMMETRIC)
    assert found.values.dtype == np.float64
    for value, residual in zip(*found, strict=True):
        assert np.abs(exact - value).min() <= residual * (1 + 1e-9)


@pytest.mark.parametrize(
    ("matrix", "values"),
    [(2 * np.eye(30), [2]), (np.zeros((30, 30)), [0]), (np.diag([1.0, 3.0] * 15), [3, 1])],
    ids=["a multiple of the identity", "zero", "two eigenvalues"],
)
def test_a_space_that_is_complete_early_costs_no_more(matrix, values):
    calls, times = counted(matrix)
    found = arnoldi(times, 30, 20)
    np.testing.assert_allclose(found.values, values, atol=1e-12)
    assert len(calls) == len(values) and found.residuals.max() < 1e-10


def test_vectors_of_single_precision_do_for_single_precision():
    single, double = (arnoldi(lambda v: GENERAL @ v, 30, 12, dtype=kind) for kind in (np.float32, np.float64))
    np.testing.assert_allclose(single.values, double.values, atol=1e-4)


def test_what_is_not_finite_is_refused():
    with pytest.raises(UserError, match="the Jacobian is not finite at this point"):
        arnoldi(lambda v: v * np.nan, 4, 4)
