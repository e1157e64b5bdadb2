"""Solvers of games whose players have curvature of their own, against dense linear algebra."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from probing import EXACT, STEPS, assert_same_multiset, probed, quadratic
from toys import JOINT, KEY, TURNS, jit

from vaegan_jax.dynamics.settings import CONSTANTS
from vaegan_jax.dynamics.solvers import Solver, solve
from vaegan_jax.games import Player, init


@pytest.fixture(autouse=True)
def traced_steps(monkeypatch):
    """Steps are traced here, so that all share one compilation: annotations, which say float, are not checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# A3: f = p x^2 / 2 + b x y - q y^2 / 2. The ridge of y's best answers has curvature p + b^2 / q.
CURVED = {"stable": (0.5, 1.0, 0.8), "a local minimax point that is no equilibrium": (-0.3, 1.0, 0.5)}


def curved(p, b, q):
    return lambda step: quadratic(*(jnp.full((1, 1), value) for value in (p, b, q)), step)


@pytest.mark.parametrize(("p", "b", "q"), CURVED.values(), ids=CURVED)
def test_following_the_ridge_has_real_eigenvalues_of_the_ridge_and_of_the_follower(p, b, q, float64):
    solver = Solver("follow-the-ridge", player="first", **EXACT)
    for a, matrix in zip(STEPS, probed(solver, TURNS, STEPS, curved(p, b, q), 1), strict=True):
        assert_same_multiset(np.linalg.eigvals(matrix), [1 - a * (p + b * b / q), 1 - a * q], 1e-10)
        # y follows against x's step: y+ = y + a (b x - q y) + a (b / -q) (p x + b y)
        second = [a * b - a * b * p / q, 1 - a * q - a * b * b / q]
        np.testing.assert_allclose(matrix, [[1 - a * p, -a * b], second], rtol=0, atol=1e-12)


def test_damping_adds_to_the_follower_s_curvature(float64):
    solver = Solver("follow-the-ridge", player="first", damping=0.7, **EXACT)
    (matrix,) = probed(solver, JOINT, [0.1], curved(0.5, 1.0, 0.8), 1)
    np.testing.assert_allclose(matrix[1], [0.1 - 0.05 / 1.5, 1 - 0.08 - 0.1 / 1.5], rtol=0, atol=1e-12)


def dense(P, A, Q):
    return np.block([[P, A], [-A.T, Q]])


def competed(J, a, n):
    off = J.copy()
    off[:n, :n] = off[n:, n:] = 0
    return np.eye(2 * n) - a * np.linalg.solve(np.eye(2 * n) + a * off, J)


QUADRATIC = {
    "proximal": lambda J, a: np.linalg.inv(np.eye(4) + a * J),
    "competitive": lambda J, a: competed(J, a, 2),
    "linearized-competitive": lambda J, a: np.eye(4) - a * (J - a * (J - own(J)) @ J),
    "lookahead-opponent": lambda J, a: np.eye(4) - a * (J - a * (J - own(J)) @ J),
    "hamiltonian": lambda J, a: np.eye(4) - a * J.T @ J,
    "lola": lambda J, a: np.eye(4) - a * shaped(J, a)[1],
}


def shaped(J, a):
    """The vectors of LookAhead and of LOLA, by hand: x descends f(x, y - a v_y), y descends -f(x - a v_x, y)."""
    P, A, Q = J[:2, :2], J[:2, 2:], J[2:, 2:]
    x, y = np.eye(4)[:2], np.eye(4)[2:]
    far_x, far_y = x - a * (P @ x + A @ y), y - a * (Q @ y - A.T @ x)
    lookahead = np.vstack([P @ x + A @ far_y, Q @ y - A.T @ far_x])
    return lookahead, lookahead + a * np.vstack([A @ (A.T @ x - Q @ far_y), A.T @ (P @ far_x + A @ y)])


def own(J):
    return np.kron(np.eye(2), np.ones((2, 2))) * J


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "proximal" else ()) for n in QUADRATIC]
)
def test_with_curvature_of_their_own_the_players_step_as_dense_algebra_says(name, float64):
    """Curvature tells J from its antisymmetric part, and each player's own block from the others'."""
    draw = np.random.default_rng(5).normal
    P, Q, A = (m @ m.T / 4 for m in draw(size=(3, 2, 2)))
    constants = EXACT if "tolerance" in CONSTANTS[name] else {}
    matrices = probed(Solver(name, **constants), JOINT, STEPS, lambda a: quadratic(*map(jnp.asarray, (P, A, Q)), a), 2)
    for a, matrix in zip(STEPS, matrices, strict=True):
        np.testing.assert_allclose(matrix, QUADRATIC[name](dense(P, A, Q), a), rtol=0, atol=1e-12)


# Where both criteria leave LOLA's term whole; where it would go against LookAhead; where the field is small.
SHARES = {
    "whole": [0.0, 0.0, 1.0, 0.0],
    "just whole": [0.0, 0.0, 0.149, 0.0],
    "against": [-1.0, -1.0, -1.0, 0.0],
    "small": [0.0, 0.005, 0.0, 0.01],
}


@pytest.mark.parametrize("case", SHARES)
def test_stable_opponent_shaping_takes_the_share_of_the_two_criteria(case, float64):
    draw = np.random.default_rng(3).normal
    P, Q = (m @ m.T for m in draw(size=(2, 2, 2)))
    A, a, w = draw(size=(2, 2)), 0.3, np.array(SHARES[case])
    J = dense(P, A, Q)
    lookahead, lola = (matrix @ w for matrix in shaped(J, a))
    term, v = lola - lookahead, J @ w
    first = min(1, -0.5 * lookahead @ lookahead / (term @ lookahead)) if term @ lookahead < 0 else 1
    second = v @ v if np.linalg.norm(v) < 0.1 else 1
    assert {
        "whole": first == second == 1,
        "just whole": first == second == 1 and v @ v < 0.1,
        "against": first < 1,
        "small": second < 1,
    }[case]
    solved = solve(Solver("sos", step=a), quadratic(*map(jnp.asarray, (P, A, Q)), 0.1), JOINT)
    state = init(solved.game, {"x": jnp.asarray(w[:2]), "y": jnp.asarray(w[2:])})
    state, _ = jit(solved.round)(solved.start(state), {}, KEY)
    expected = w - 0.1 * (lookahead + min(first, second) * term)
    np.testing.assert_allclose(ravel_pytree(state.params)[0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["lookahead-opponent", "linearized-competitive"])
def test_three_players_look_ahead_at_both_others(name, float64):
    J = np.random.default_rng(7).normal(size=(3, 3))

    def player(i):
        def loss(params, *others):
            w = jnp.stack([params[network] for network in "abc"])
            return w[i] * (jnp.asarray(J[i]) @ w) - J[i, i] * w[i] ** 2 / 2, ({}, {})

        return Player(("abc"[i],), loss, optax.sgd(0.1))

    game = {name: player(i) for i, name in enumerate(("one", "two", "three"))}
    solved = solve(Solver(name, step=0.2), game, (("three",), ("one",), ("two",)))
    w = np.array([1.0, -0.5, 2.0])
    state = solved.start(init(game, {network: jnp.asarray(value) for network, value in zip("abc", w, strict=True)}))
    state, _ = jit(solved.round)(state, {}, KEY)
    expected = w - 0.1 * (J - 0.2 * (J - np.diag(np.diag(J))) @ J) @ w
    np.testing.assert_allclose([state.params[n] for n in "abc"], expected, rtol=0, atol=1e-13)
