"""Arnoldi and Lanczos against dense eigenvalues, and the kinds of points against closed forms."""

import time
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from toys import KEY

from vaegan_jax.dynamics import instruments, spectra
from vaegan_jax.dynamics.toy import point, zero_sum
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.modes import ring
from vaegan_jax.games import Player, init

pytestmark = pytest.mark.usefixtures("compiled_quickly")
COUNT = 12
OUTERMOST = {"magnitude": lambda x: -abs(x), "largest real": lambda x: -x.real, "smallest real": lambda x: x.real}


def linear(matrix, point):
    vector, unravel = ravel_pytree(point)
    return unravel(matrix @ vector)


def linear_field(matrix):
    return Partial(linear, jnp.asarray(matrix))


def perceptron(layers, x):
    *hidden, (kernel, bias) = layers
    for inner, shift in hidden:
        x = jnp.tanh(x @ inner + shift[None])
    return x @ kernel + bias[None]


def gan_losses():
    """The non-saturating GAN, noise and data being given: drawing them takes most of the time to compile."""

    def discriminator(params, stats, batch, key, step):
        fake = perceptron(params["discriminator"], perceptron(params["generator"], batch["latent"]))
        real = perceptron(params["discriminator"], batch["real"])
        return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean(), ({}, {})

    def generator(params, stats, batch, key, step):
        fake = perceptron(params["discriminator"], perceptron(params["generator"], batch["latent"]))
        return jax.nn.softplus(-fake).mean(), ({}, {})

    return {"discriminator": discriminator, "generator": generator}


@pytest.fixture(scope="module")
def ring_gan():
    """787 parameters on the ring of 8: the game, its field, a point with Hessians of both signs, J and its spectrum."""
    rng = np.random.default_rng(0)
    game = {name: Player((name,), loss, optax.identity()) for name, loss in gan_losses().items()}
    shapes = {"discriminator": (2, 16, 16, 1), "generator": (8, 16, 16, 2)}
    with jax.enable_x64(True):
        at = {
            name: [(jnp.asarray(1.5 * rng.normal(size=(a, b)) / a**0.5), jnp.zeros(b)) for a, b in pairwise(sizes)]
            for name, sizes in shapes.items()
        }
        real = ring()[rng.integers(0, 8, 64)] + 0.05 * rng.normal(size=(64, 2))
        batch = {"real": real[None, None], "latent": rng.normal(size=(1, 1, 64, 8))}
        field = instruments.field(game, init(game, at), batch, KEY)
        dense = instruments.jacobian(field, at)
    assert dense.shape == (787, 787) and np.abs(dense - dense.T).max() > 0.1
    return game, field, at, dense, np.linalg.eigvals(dense)


def assert_outermost(found, expected, which, tolerance):
    """The eigenvalues found are the outermost of the matrix; the last may be one of a pair of the same rank."""
    rank = OUTERMOST[which]
    ranks = np.sort([rank(value) for value in expected])[: len(found)]
    np.testing.assert_allclose([rank(value) for value in found], ranks, rtol=0, atol=tolerance)
    assert all(np.abs(expected - value).min() <= tolerance for value in found)


@pytest.mark.parametrize("which", OUTERMOST)
def test_arnoldi_agrees_with_the_dense_jacobian_of_a_ring_gan_in_two_seconds(which, ring_gan, float64):
    _, field, at, _, eigenvalues = ring_gan
    instruments.operator(field, at).jacobian(np.ones(787))  # compiled now
    began = time.process_time()  # others may use the processor, too
    found = spectra.leading(field, at, COUNT, which)
    assert time.process_time() - began < 2
    assert found.complete and len(found.eigenvalues) == COUNT and (found.residuals < 1e-9).all()
    assert_outermost(found.eigenvalues, eigenvalues, which, 1e-8)
    assert COUNT < found.products < 787


@pytest.mark.slow
def test_lanczos_agrees_with_both_ends_of_the_players_hessians(ring_gan, float64):
    game, field, at, dense, _ = ring_gan
    kind = spectra.classify(game, field, at)
    for name, player in game.items():
        own = instruments.entries(player.owns, at)
        expected = np.linalg.eigvalsh(dense[np.ix_(own, own)])
        ends = spectra.hessian(field, at, player.owns, 3)
        np.testing.assert_allclose(ends.smallest.eigenvalues, expected[:3], rtol=0, atol=1e-8)
        np.testing.assert_allclose(ends.largest.eigenvalues, expected[:-4:-1], rtol=0, atol=1e-8)
        assert max(end.residuals.max() for end in ends) < 1e-9 and max(end.products for end in ends) < 300
        assert kind.smallest[name] == pytest.approx(expected[0], abs=1e-8) and expected[0] < 0
    assert kind.kind == "neither" and not kind.stationary and kind.ridge is None  # no Hessian is semidefinite


@pytest.mark.parametrize("size", [2, 12, 60])
@pytest.mark.parametrize("which", OUTERMOST)
def test_small_and_large_matrices_are_told_alike(size, which, float64):
    matrix = np.random.default_rng(size).normal(size=(size, size))
    found = spectra.leading(linear_field(matrix), {"x": jnp.zeros(size)}, min(size, 4), which)
    assert_outermost(found.eigenvalues, np.linalg.eigvals(matrix), which, 1e-8)
    assert found.complete and (found.residuals < 1e-8).all() and found.eigenvalues.dtype == complex


def test_a_least_eigenvalue_of_0_does_not_keep_lanczos_busy(float64):
    """ARPACK's tolerance is relative to each eigenvalue: without a shift, one that is 0 never converges."""
    matrix = np.diag(np.concatenate([[0.0], np.linspace(1, 50, 199)]))
    for sign in (1, -1):
        ends = spectra.hessian(linear_field(sign * matrix), {"x": jnp.zeros(200)}, ("x",))
        extremes = sorted(sign * np.array([0, 50]))
        np.testing.assert_allclose([end.eigenvalues[0] for end in ends], extremes, rtol=0, atol=1e-8)
        assert all(end.complete and end.products < 400 for end in ends)


def test_what_did_not_converge_is_left_out_and_said(monkeypatch, float64):
    monkeypatch.setattr(spectra, "RESTARTS", 1)
    crowded = np.diag(np.linspace(1, 1.001, 200))
    found = spectra.leading(linear_field(crowded), {"x": jnp.zeros(200)}, 3)
    assert not found.complete and len(found.eigenvalues) == len(found.residuals) < 3
    kind = spectra.classify(*quadratic(crowded, np.zeros((200, 1)), 1.0))
    assert kind.kind == "neither" and "did not converge for min" in kind.told and np.isnan(kind.smallest["min"])


def test_a_matrix_of_zeros_has_eigenvalues_of_zero(float64):
    found = spectra.leading(linear_field(np.zeros((50, 50))), {"x": jnp.zeros(50)}, 3)
    assert found.complete and found.products <= 4
    np.testing.assert_array_equal(found.eigenvalues, np.zeros(3))


def test_single_precision_is_told_by_the_residuals():
    matrix = np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)
    found = spectra.leading(linear_field(matrix), {"x": jnp.zeros(80, jnp.float32)}, 4)
    assert_outermost(found.eigenvalues, np.linalg.eigvals(matrix.astype(float)), "magnitude", 1e-3)
    assert 1e-9 < found.residuals.max() < 1e-4


def test_what_has_no_spectrum_is_refused(float64):
    for count in (0, 4):
        with pytest.raises(UserError, match=r"in 1 \.\. 3"):
            spectra.leading(linear_field(np.eye(3)), {"x": jnp.zeros(3)}, count)
    with pytest.raises(UserError, match="not finite"):
        spectra.leading(linear_field(np.full((3, 3), np.nan)), {"x": jnp.zeros(3)}, 1)


def quadratic(P, B, Q, x=None, y=None):
    """f = x.P x / 2 + x.B y - y.Q y / 2 at a point, by default its equilibrium: J = [[P, B], [-B^T, Q]]."""
    P, B, Q = (jnp.asarray(np.atleast_2d(matrix), float) for matrix in (P, B, Q))

    def f(x, y, batch):
        return x @ P @ x / 2 + x @ B @ y - y @ Q @ y / 2

    game = zero_sum(f, None, 0.1)
    state = init(game, point(np.zeros(len(P)) if x is None else x, np.zeros(len(Q)) if y is None else y))
    return game, instruments.field(game, state, {}, KEY), state.params


# Local minimax where p + b^2 / q > 0 and q > 0, Nash where p, q >= 0 (DYNAMICS of the ridge: Wang et al. 2020).
KINDS = {
    "a saddle": ((1.0, 1.0, 1.0), "nash", None),
    "a bilinear game": ((0.0, 1.0, 0.0), "nash", None),
    "a ridge that holds": ((-0.1, 1.0, 0.5), "local minimax", -0.1 + 1 / 0.5),
    "a ridge that does not": ((-3.0, 1.0, 0.5), "neither", -3.0 + 1 / 0.5),
    "a follower at a minimum": ((1.0, 1.0, -1.0), "neither", None),
}


@pytest.mark.parametrize(("values", "kind", "ridge"), KINDS.values(), ids=KINDS)
def test_points_of_quadratic_games_are_of_their_kind(values, kind, ridge, float64):
    p, b, q = values
    found = spectra.classify(*quadratic(p, b, q))
    assert found.kind == kind and found.stationary and found.norms == {"min": 0, "max": 0}
    assert found.smallest == {"min": pytest.approx(p), "max": pytest.approx(q)}
    assert found.ridge is None if ridge is None else found.ridge == pytest.approx(ridge, abs=1e-9)
    assert ("positive semidefinite" in found.told) == (kind == "nash") and "1e-06" in found.told


def test_the_ridge_of_a_large_game_is_its_schur_complement(float64):
    rng = np.random.default_rng(3)
    P, Q = (matrix + matrix.T for matrix in (rng.normal(size=(33, 33)), rng.normal(size=(35, 35))))
    Q, B = Q @ Q / 200 + np.eye(35), 3 * rng.normal(size=(33, 35))
    found = spectra.classify(*quadratic(P, B, Q, x=rng.normal(size=33)))
    expected = np.linalg.eigvalsh(P + B @ np.linalg.solve(Q, B.T))[0]
    assert found.smallest["min"] == pytest.approx(np.linalg.eigvalsh(P)[0], abs=1e-8) and found.smallest["min"] < 0
    assert found.ridge == pytest.approx(expected, rel=1e-7)
    assert found.kind == ("local minimax" if expected > 0 else "neither") and not found.stationary


def test_local_minimax_is_asked_of_zero_sum_games_with_a_leader_only(float64):
    game, field, at = quadratic(-0.1, 1.0, 0.5)
    renamed = {"one": game["min"], "two": game["max"]}
    assert "known one leads" in spectra.classify(renamed, field, at).told
    assert spectra.classify(renamed, field, at, leader="one").kind == "local minimax"
    assert "not positive definite" in spectra.classify(renamed, field, at, leader="two").told

    def other(params, stats, batch, key, step):  # the follower's loss is not minus the leader's
        return (params["y"] @ params["y"] / 4 - 3 * params["x"] @ params["y"]), ({}, {})

    game = game | {"max": Player(("y",), other, game["max"].tx)}
    found = spectra.classify(game, instruments.field(game, init(game, at), {}, KEY), at)
    assert found.kind == "neither" and "zero-sum" in found.told and found.ridge is None
