"""Closed forms of games with curvature, and what the lab is told of any toy game."""

import jax
import numpy as np
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree
from toys import KEY

from vaegan_jax.dynamics import theory, theory_linear
from vaegan_jax.dynamics.dirac import DiracGan
from vaegan_jax.dynamics.games import Bilinear, MatrixGame, Quadratic
from vaegan_jax.dynamics.learning import CovarianceLearning
from vaegan_jax.dynamics.mixtures import PlanarGan, Ring
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.dynamics.solvers import solve
from vaegan_jax.games import init

pytestmark = pytest.mark.usefixtures("compiled_quickly")

BOWL = np.array([[0.4, 1.0], [-1.0, 0.9]])


def same_multiset(left, right, tolerance):
    distance = np.abs(np.subtract.outer(np.asarray(left), np.asarray(right)))
    assert distance.shape[0] == distance.shape[1]
    return distance[scipy.optimize.linear_sum_assignment(distance)].max() < tolerance


@pytest.mark.parametrize("p,q,b", [(0.1, 0.1, 1.0), (1.0, 1.0, 1.0), (-0.1, 0.5, 1.0), (2.0, 0.5, 0.3)])
def test_the_eigenvalues_of_a_quadratic_game_are_its_formula(p, q, b):
    values = np.linalg.eigvals(Quadratic(p, q, b).make().jacobian).astype(complex)
    assert same_multiset(values, theory_linear.quadratic_eigenvalues(p, q, b), 1e-14)


@pytest.mark.parametrize("p,q,largest", [(0.1, 0.1, 0.19802), (1.0, 1.0, 1.0), (-0.1, 0.5, 0.42105), (-1.0, 0.5, 0.0)])
def test_simultaneous_steps_converge_up_to_the_largest_step(p, q, largest):
    step = theory_linear.largest_step(theory_linear.quadratic_eigenvalues(p, q, 1.0))
    assert step == pytest.approx(largest, abs=5e-6)
    if step:
        J = Quadratic(p, q, 1.0).make().jacobian
        below, above = (np.abs(theory_linear.update_eigenvalues("gradient", f * step, J)).max() for f in (0.99, 1.01))
        assert below < 1 < above


def test_follow_the_ridge_does_not_rotate_and_keeps_minimax_points_that_are_no_nash_points():
    for p, q in ((0.4, 0.9), (-0.5, 0.8)):
        J = np.array([[p, 1.0], [-1.0, q]])
        closed = theory_linear.ridge_eigenvalues(0.1, p, q, 1.0)
        assert same_multiset(theory_linear.update_eigenvalues("follow-the-ridge", 0.1, J), closed, 1e-12)
        assert (closed.imag == 0).all() and np.abs(closed).max() < 1
    assert theory_linear.update_eigenvalues("follow-the-ridge", 0.1, np.array([[0.0, 1.0], [-1.0, 0.0]])) is None


def test_with_a_fast_follower_the_slow_eigenvalue_is_the_curvature_of_the_ridge():
    J = np.array([[-0.1, 1.0], [-1.0, 0.5]])
    values = theory_linear.update_eigenvalues("two-time-scales", 0.1, J, factor=1e-6)
    assert (1 - values.real.max()) / 1e-7 == pytest.approx(-0.1 + 1 / 0.5, rel=1e-4)


JOINT_NAMES = [*theory_linear.EFFECTIVE, *theory_linear.FILTERS]


@pytest.mark.parametrize("name", [name for name in JOINT_NAMES if name in theory.SOLVERS])
def test_on_a_bilinear_game_they_are_the_bilinear_forms(name):
    J = MatrixGame(singular_values=(1.0, 0.4)).make().jacobian
    linear, bilinear = theory_linear.update_eigenvalues(name, 0.3, J), theory.eigenvalues(name, 0.3, (1.0, 0.4))
    assert same_multiset(linear, bilinear, 1e-9)


@pytest.mark.parametrize("name", theory_linear.TURNS)
def test_in_turns_they_are_the_bilinear_forms_too(name):
    J = MatrixGame(singular_values=(1.0, 0.4)).make().jacobian
    linear = theory_linear.update_eigenvalues(name, 0.3, J, alternating=True)
    assert same_multiset(linear, theory.eigenvalues(name, 0.3, (1.0, 0.4), True), 1e-9)


PLAYED = [
    Solver("gradient"),
    Solver("alternating"),
    Solver("two-time-scales", factor=0.4),
    Solver("heavy-ball", momentum=0.3),
    Solver("nesterov", momentum=0.3),
    Solver("negative-momentum", momentum=0.3),
    Solver("extragradient", step=0.2),
    Solver("optimistic", alpha=0.8, beta=1.1),
    Solver("consensus", gamma=0.3),
    Solver("symplectic", lam=0.3),
    Solver("hamiltonian"),
    Solver("proximal", step=0.2, iterations=2),
    Solver("competitive", step=0.2, iterations=2),
    Solver("linearized-competitive", step=0.2),
    Solver("lookahead-opponent", step=0.2),
    Solver("follow-the-ridge"),
    Solver("averaging"),
]


def test_every_form_is_played():
    assert {solver.name for solver in PLAYED} | {"simultaneous"} == set(JOINT_NAMES) | set(theory_linear.TURNS)


@pytest.mark.parametrize("solver", PLAYED, ids=lambda solver: solver.name)
def test_a_played_solver_nears_the_equilibrium_at_the_rate_that_is_told(solver, float64):
    """What is left after 100 rounds obeys x+ = t x - d x_ of the leading pair, whose moduli are known from t and d."""
    toy = Quadratic(0.4, 0.9, 1.0).make(step=0.1)
    played = solve(solver, toy.game, toy.schedule)

    def body(state, _):
        state = played.round(state, {}, KEY)[0]
        return state, ravel_pytree(state.params)[0]

    state = played.start(init(played.game, toy.start))
    points = np.asarray(jax.jit(lambda state: jax.lax.scan(body, state, length=110)[1])(state))[100:]
    points = points / np.linalg.norm(points[0])
    before = np.stack([points[1:-1].ravel(), -points[:-2].ravel()], 1)
    trace, determinant = np.linalg.lstsq(before, points[2:].ravel())[0]
    measured = np.abs(np.roots([1, -trace, determinant])).max()
    assert measured == pytest.approx(theory_linear.rate(solver, toy, 0.1), abs=1e-8)


def test_the_lab_is_told_rates_of_bilinear_games_by_singular_values():
    toy = Bilinear(2.0).make(step=0.1)
    assert theory_linear.rate(Solver("extragradient"), toy, 0.1) == theory.rate("extragradient", 0.1, (2.0,), ahead=0.1)
    solver = Solver("negative-momentum", player="min")
    expected = theory.rate("negative-momentum", 0.1, (2.0,), momentum=0.5, other_momentum=0.0)
    assert theory_linear.rate(solver, toy, 0.1) == expected
    turns = toy._replace(schedule=(("min",), ("max",)))
    assert theory_linear.rate(Solver("gradient"), turns, 0.1) == pytest.approx(1)
    assert theory_linear.rate(Solver("extragradient"), turns, 0.1) == theory.rate("extragradient", 0.1, (2.0,))
    assert theory_linear.rate(Solver("lookahead-minmax", k=4), toy, 0.1) == theory.rate(
        "lookahead-minmax", 0.1, (2.0,), k=4
    )


def test_the_lab_is_told_nothing_where_nothing_is_known():
    bilinear = Bilinear().make()
    assert all(theory_linear.rate(Solver(name), bilinear, 0.1) is None for name in ("extra-adam", "anchored"))
    assert theory_linear.rate(Solver("lola"), Quadratic().make(), 0.1) is None
    ring = Ring(gan=PlanarGan((4,), 2)).make()
    assert theory_linear.rate(Solver("gradient"), ring, 0.1) is None
    assert theory_linear.rate(Solver("gradient"), DiracGan(regularizer="wgan-gp").make(), 0.1) is None


def test_learning_a_covariance_diverges_at_its_rate():
    """sqrt(1 + 4 a^2 s) for the variance s."""
    toy = CovarianceLearning(variances=(1.0,)).make()
    assert theory_linear.rate(Solver("gradient"), toy, 0.1) == pytest.approx((1 + 4 * 0.01) ** 0.5)
    assert theory_linear.rate(Solver("gradient"), DiracGan().make(), 0.1) == pytest.approx(1.00124922)
