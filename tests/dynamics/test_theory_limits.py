"""What is conserved, what averages do, rates that are no powers, best steps: theory against rounds of the engine."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from toys import KEY

from vaegan_jax.dynamics import theory, theory_limits
from vaegan_jax.dynamics.games import Bilinear, MatrixGame
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.dynamics.solvers import solve
from vaegan_jax.games import init, play

pytestmark = pytest.mark.usefixtures("compiled_quickly")
TURNS = (("min",), ("max",))


@functools.cache
def orbit(steps, rounds, schedule=TURNS):
    """(steps, rounds + 1, 2): f = xy from (1, 1), for several steps in one compilation."""
    with jax.enable_x64(True):

        def one(step):
            toy = Bilinear().make(step=0.1)
            start = init(toy.game, toy.start)
            round = play(_stepping(step), schedule)

            def body(state, _):
                state = round(state, {}, KEY)[0]
                return state, ravel_pytree(state.params)[0]

            return jax.lax.scan(body, start, length=rounds)[1]

        points = np.asarray(jax.jit(jax.vmap(one))(np.array(steps)))
    return np.concatenate([np.ones((len(steps), 1, 2)), points], 1)


def _stepping(step):
    return Bilinear().make({"min": optax.sgd(step), "max": optax.sgd(step)}).game


def test_gradient_steps_in_turns_conserve_their_ellipse_to_12_digits():
    for step, points in zip((0.1, 0.5), orbit((0.1, 0.5), 3000), strict=True):
        values = theory_limits.alternating_invariant(*points.T, step)
        np.testing.assert_allclose(values[:1001], 2 - step, rtol=0, atol=1e-12)


def test_gradient_steps_in_turns_advance_by_2_arcsin_of_half_the_step():
    """After n rounds of angle theta, z in the ellipse's own coordinates has turned by n theta."""
    for step, points in zip((0.1, 0.5), orbit((0.1, 0.5), 3000), strict=True):
        # Q = ((1 - a/2)/2) (x + y)^2 + ((1 + a/2)/2) (x - y)^2
        axes = np.sqrt([(1 - step / 2) / 2, (1 + step / 2) / 2])
        z = axes[0] * (points[:, 0] + points[:, 1]) + 1j * axes[1] * (points[:, 0] - points[:, 1])
        turned = np.abs(np.angle(z[1:1000] / z[:999]))
        np.testing.assert_allclose(turned, theory_limits.alternating_angle(step), rtol=0, atol=1e-11)


def test_a_matrix_game_has_an_ellipse_for_each_singular_value(float64):
    config = MatrixGame(singular_values=(1.0, 0.3))
    toy = config.make(step=0.5)
    U, s, Vt = np.linalg.svd(config.matrix())
    round = jax.jit(play(toy.game, TURNS))
    state = init(toy.game, toy.start)
    values = []
    for _ in range(50):
        x, y = U.T @ np.asarray(state.params["x"]), Vt @ np.asarray(state.params["y"])
        values.append([theory_limits.alternating_invariant(*pair) for pair in zip(x, y, [0.5] * 2, s, strict=True)])
        state = round(state, {}, KEY)[0]
    np.testing.assert_allclose(values, np.broadcast_to(values[0], (50, 2)), atol=1e-12)


@pytest.mark.parametrize("decay,gains", [(0.9, (0.7255, 0.2063)), (0.99, (0.1000, 0.0201))])
def test_a_moving_average_shrinks_the_orbit_by_the_gain_of_its_filter(decay, gains):
    for step, points, digits in zip((0.1, 0.5), orbit((0.1, 0.5), 3000), gains, strict=True):
        assert theory_limits.average_gain(decay, step) == pytest.approx(digits, abs=5e-5)
        mean = points[0]
        for point in points[1:]:
            mean = decay * mean + (1 - decay) * point
        ratio = np.sqrt(theory_limits.alternating_invariant(*mean, step) / (2 - step))
        assert ratio == pytest.approx(theory_limits.average_gain(decay, step), abs=1e-9)


def test_the_slowest_average_of_the_table_has_its_gain():
    assert theory_limits.average_gain(0.999, 0.1) == pytest.approx(0.01, abs=5e-6)
    assert theory_limits.average_gain(0.999, 0.5) == pytest.approx(0.0020, abs=5e-5)


def test_the_uniform_average_of_steps_in_turns_converges_as_1_over_t():
    """A geometric sum of e^(i theta) is at most 2 / |1 - e^(i theta)| = 2/a: so is T times the mean, in the ellipse."""
    for step, points in zip((0.1, 0.5), orbit((0.1, 0.5), 3000), strict=True):
        sums = theory_limits.alternating_invariant(*np.cumsum(points, 0).T, step)
        assert (sums < (2 / step) ** 2 * (2 - step) * (1 + 1e-9)).all()


def test_the_uniform_average_of_simultaneous_steps_diverges_by_the_formula():
    (points,) = orbit((0.1,), 1000, (("min", "max"),))
    formula = theory_limits.uniform_average(2**0.5, 0.1, 1000)
    assert formula == pytest.approx(2.048, abs=1e-3)
    assert np.linalg.norm(points[:1000].mean(0)) == pytest.approx(formula, rel=5e-3)


@functools.cache
def solved(name, constants, step, rounds):
    with jax.enable_x64(True):
        toy = Bilinear().make(step=step)
        played = solve(Solver(name, **dict(constants)), toy.game, toy.schedule)
        state = played.start(init(played.game, toy.start))

        def body(state, _):
            return played.round(state, {}, KEY)[0], None

        end = jax.jit(lambda state: jax.lax.scan(body, state, length=rounds)[0])(state)
        return float(np.linalg.norm(ravel_pytree(end.params)[0]))


@pytest.mark.parametrize("step,digits", [(0.1, 14.139), (0.5, 2.8278)])
def test_k_times_the_field_of_the_anchored_extragradient_tends_to_its_limit(step, digits):
    distance = solved("anchored", (("step", step),), step, 10_000)  # = |v| in this game
    assert 10_000 * distance == pytest.approx(digits, abs=2e-3)
    assert 10_000 * distance == pytest.approx(theory_limits.anchored_limit(2**0.5, step), rel=1e-3)


@pytest.mark.parametrize("step,strength,digits", [(0.1, 1.0, 0.050), (0.5, 1.0, 0.022)])
def test_historical_averaging_is_slower_than_with_a_frozen_mean(step, strength, digits):
    distance = solved("historical-averaging", (("strength", strength),), step, 10_000)
    assert distance == pytest.approx(digits, rel=0.05)
    assert theory_limits.frozen_history(step, strength) < 1 < distance ** (1 / 10_000) + 1e-3


def test_historical_averaging_diverges_where_its_frozen_radius_says_so():
    assert theory_limits.frozen_history(0.5, 0.1) == pytest.approx(1.0735, abs=5e-5)
    assert solved("historical-averaging", (("strength", 0.1),), 0.5, 200) > 1e4


def test_the_best_period_of_lookahead_is_half_a_turn():
    assert theory_limits.best_period(0.1) == 31
    assert theory.radius("lookahead-minmax", 0.1, (1.0,), True, k=31) == pytest.approx(0.0201, abs=5e-5)
    assert theory.rate("lookahead-minmax", 0.1, (1.0,), True, k=31) == pytest.approx(0.8817, abs=1e-4)


def test_with_steps_that_shrink_as_1_over_sqrt_t_the_iterates_grow_and_their_mean_shrinks(float64):
    decaying = optax.sgd(lambda count: 0.5 / jnp.sqrt(count + 1.0))
    toy = Bilinear().make({"min": decaying, "max": decaying})
    round = play(toy.game, toy.schedule)

    def body(state, _):
        return round(state, {}, KEY)[0], ravel_pytree(state.params)[0]

    points = np.asarray(jax.jit(lambda state: jax.lax.scan(body, state, length=10_001)[1])(init(toy.game, toy.start)))
    assert np.linalg.norm(points[-1]) == pytest.approx(4.70, abs=0.01)
    assert np.linalg.norm(points.mean(0)) == pytest.approx(0.094, abs=1e-3)


@pytest.mark.parametrize("title", theory_limits.BEST)
def test_the_best_steps_are_minima_with_their_radii(title):
    best = theory_limits.BEST[title]
    tolerance = 1e-4 if "heavy" in title else 1e-7  # a triple root has a third of the digits
    at = lambda step: theory.radius(best.solver, step, (1.0,), best.alternating, **best.constants)  # noqa: E731
    assert at(best.step) == pytest.approx(best.radius, abs=tolerance)
    assert min(at(best.step - 0.02), at(best.step + 0.02)) > best.radius + 1e-4


def test_no_momenta_near_the_best_are_better():
    best = theory_limits.BEST["heavy ball"]
    for step, first, other in np.random.default_rng(0).normal(scale=0.02, size=(200, 3)):
        momenta = (best.constants["momentum"] + first, best.constants["momentum"] + other)
        constants = dict(zip(("momentum", "other_momentum"), momenta, strict=True))
        assert theory.radius("heavy-ball", best.step + step, (1.0,), True, **constants) > best.radius


@pytest.mark.parametrize("name", theory_limits.GAINS)
def test_small_steps_gain_by_the_expansion(name):
    assert theory.radius(name, 0.01) == pytest.approx(1 - theory_limits.small_step_gain(name) * 1e-4, abs=5e-8)


@pytest.mark.parametrize("betas", [(-0.5, 0.0), (-0.5, -0.5), (0.3, -0.2)])
@pytest.mark.parametrize("alternating", [True, False])
def test_momentum_gains_by_its_expansion(betas, alternating):
    constants = dict(zip(("momentum", "other_momentum"), betas, strict=True))
    expansion = theory_limits.momentum_expansion(0.01, *betas, alternating)
    assert theory.radius("heavy-ball", 0.01, (1.0,), alternating, **constants) == pytest.approx(expansion, abs=1e-7)


def test_negative_momentum_gains_a_ninth_and_four_27ths_of_the_squared_step():
    assert theory_limits.momentum_expansion(0.01, -0.5, 0.0) == pytest.approx(1 - 1e-4 / 9, abs=1e-12)
    assert theory_limits.momentum_expansion(0.01, -0.5, -0.5) == pytest.approx(1 - 4e-4 / 27, abs=1e-12)
    assert theory_limits.momentum_expansion(0.01, -0.5, -0.5, False) == pytest.approx(1 + 0.0741e-4, abs=1e-8)
