"""The radius of played rounds over constants, against closed forms and against ranges that are known."""

import json

import jaxtyping
import numpy as np
import pytest
from commands import done, refused

from vaegan_jax.dynamics import rounds, stability
from vaegan_jax.dynamics.games import Bilinear, Quadratic
from vaegan_jax.dynamics.rounds import Setup
from vaegan_jax.dynamics.settings import Solver

pytestmark = pytest.mark.usefixtures("compiled_quickly", "tracing")


@pytest.fixture
def tracing(monkeypatch):
    """Constants that are traced are no floats, as the annotations of solvers ask for."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_the_stable_range_and_the_best_step_are_those_of_theory():
    found = stability.curve(Setup(Bilinear(), Solver("extragradient")), [("step", 0.05, 1.3)], 26)
    ((low, high),) = found.stable
    assert (low, high) == (0.05, pytest.approx(1, abs=1e-5))
    assert found.best == (pytest.approx(0.5**0.5, abs=1e-4),) and found.best_radius == pytest.approx(0.75**0.5)
    assert found.difference < 1e-12 and found.best_theory == pytest.approx(found.best_radius, abs=1e-12)
    steps = found.axes[0].values
    np.testing.assert_allclose(found.radius, np.sqrt(1 - steps**2 + steps**4), atol=1e-12)


def test_a_solver_that_looks_ahead_by_its_own_step_is_another_one():
    setup = Setup(Bilinear(), Solver("extragradient", step=1.0), follows=False)
    found = stability.curve(setup, [("step", 0.1, 0.9)], 5)
    steps = found.axes[0].values
    np.testing.assert_allclose(found.radius, np.hypot(1 - steps, steps), atol=1e-12)
    assert found.difference < 1e-12


def test_a_map_over_a_constant_of_the_solver_and_one_of_the_game_is_that_of_theory():
    over = [("gamma", 0.0, 3.0), ("b", 0.5, 2.0)]
    found = stability.curve(Setup(Quadratic(), Solver("consensus")), over, 7)
    assert [axis.name for axis in found.axes] == ["solver.gamma", "game.b"]
    assert found.radius.shape == found.theory.shape == (7, 7) and found.difference < 1e-11
    gamma, b = (axis.values for axis in found.axes)
    J = np.array([[0.1, b[2]], [-b[2], 0.1]])
    expected = np.abs(np.linalg.eigvals(np.eye(2) - 0.1 * (J + gamma[5] * J.T @ J))).max()
    assert found.radius[2, 5] == pytest.approx(expected, abs=1e-11)
    assert stability.sheet([found], "quadratic").rows[0][0].heat.values is found.radius


def test_constants_that_are_whole_are_tried_one_by_one_and_a_period_counts_as_a_round_each():
    found = stability.curve(Setup(Bilinear(), Solver("lookahead-minmax"), 0.5), [("k", 1, 2)], 9)
    assert list(found.axes[0].values) == [1, 2] and found.difference < 1e-8


def test_the_range_of_steps_by_theory_is_the_known_one():
    ((low, high),) = stability.stable_steps(Setup(Bilinear(), Solver("optimistic")))
    assert low == 0 and high == pytest.approx(3**-0.5, abs=1e-5)
    assert stability.stable_steps(Setup(Bilinear(), Solver("simultaneous"))) == ()


def test_a_round_of_the_mean_is_a_round_of_gradients():
    mean, plain = (rounds.radii(Setup(Bilinear(), Solver(name)), ["step"]) for name in ("averaging", "gradient"))
    np.testing.assert_array_equal(mean(np.array([[0.3]])), plain(np.array([[0.3]])))


def test_the_command_tells_the_range_and_json_has_the_curve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["dynamics", "stability", "dirac-gan", "--game.regularizer", "r1", "--solver", "simultaneous"]
    words += ["--over", "gamma", 0.0, 4.0, "--step", 0.5, "--points", 9]
    (found,) = json.loads(done(*words, "--json"))
    assert not list(tmp_path.iterdir())
    assert found["axes"][0]["name"] == "game.gamma" and found["difference"] < 1e-11
    ((low, high),) = found["stable"]
    assert low == pytest.approx(0.125, abs=1e-3) and high == 4.0  # gamma h/2 from |l|^2 = 1 - h gamma + h^2/4
    assert "0.125" in done(*words, "--output", "map.npz")
    saved = np.load("map.npz")
    np.testing.assert_array_equal(saved["0.0.simultaneous.y"], found["radius"])
    np.testing.assert_array_equal(saved["0.0.theory.y"], found["theory"])


BAD = {
    "a game that does not exist": (["bilinea"], "Did you mean 'bilinear'?"),
    "a constant that does not exist": (
        ["--solver", "consensus", "--over", "gama", 0, 1],
        "Did you mean 'solver.gamma'",
    ),
    "a constant that is no number": (["dirac-gan", "--over", "loss", 0, 1], "game.loss is no number"),
    "a range that is none": (["--over", "step", 1, 1], "step: 1 to 1 is no range"),
    "a value that is refused": (["--over", "step", 0, 1], "step must be above 0, not 0.0"),
    "the same twice": (["--over", "step", 0.1, 1, "--and", "step", 0.1, 1], "step can be varied once only"),
    "one point": (["--points", 1], "points must be at least 2"),
    "a solver that changes": (["--solver", "anchored"], "anchored has no update matrix"),
    "a field that jumps": (["dirac-gan", "--game.regularizer", "wgan-gp"], "jumps at the equilibrium"),
    "noise": (["stochastic-bilinear", "--points", 2], "--game.batch-size 0"),
    "no equilibrium": (["ring", "--game.gan.hidden-sizes", 2], "ring has no equilibrium"),
    "two solvers on a map": (["--solver", "lola", "sos", "--and", "step", 0.1, 1], "of one solver"),
    "a moving picture": (["--output", "a.gif"], "output must end in .png, .html, .npz"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_radius_is_told_in_one_line(case):
    words, told = BAD[case]
    assert told in refused("dynamics", "stability", *words, longest=700)
