"""Solvers without a constant matrix, against loops in NumPy and what is known of them; optimism against optax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import JOINT, KEY, TURNS, bilinear, jit

from vaegan_jax.dynamics.solvers import Solver, solve
from vaegan_jax.dynamics.wrappers import averaged_state
from vaegan_jax.errors import UserError
from vaegan_jax.games import init, play

I = 1j  # noqa: E741 (of the papers)


def played(solver, a, rounds, schedule=JOINT, tx=optax.sgd):
    """z = x + iy, from 1 + i on and after each round, the solver's mean of it, if it keeps one, and the last state."""
    game, start = bilinear("xy", (tx(a), tx(a)), "float64")
    solved = solve(solver, game, schedule)

    def body(state, _):
        state, metrics = solved.round(state, {}, KEY, False)
        mean = averaged_state(state).params if "mean" in state.solver else state.params
        return state, (state.params, mean)

    run = jit(lambda state: jax.lax.scan(body, state, length=rounds))
    state, (points, means) = run(solved.start(init(solved.game, start)))
    z, mean = (np.append(1 + 1j, np.asarray(tree["x"]) + 1j * np.asarray(tree["y"])) for tree in (points, means))
    return z, mean, state


@pytest.mark.parametrize("a", [0.1, 0.5])
def test_anchored_extragradient_is_its_recursion_and_its_field_shrinks_like_one_over_k(a, float64):
    z, _, state = played(Solver("anchored", step=a), a, 10_000)
    w = expected = 1 + 1j
    for k in range(2000):
        back = (expected - w) / (k + 2)
        w = w + back + a * I * (w + back + a * I * w)
        np.testing.assert_allclose(z[k + 1], w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(10_000 * np.abs(z[-1]), abs(1 + 1j) / a, rtol=1e-3)
    assert int(state.solver["count"]) == 10_000


@pytest.mark.parametrize("a", [0.1, 0.5])
def test_a_uniform_mean_of_turns_shrinks_like_one_over_their_number_and_is_the_mean_of_the_points(a, float64):
    z, mean, state = played(Solver("averaging"), a, 2000, TURNS)
    counts = np.arange(1, 2002)
    np.testing.assert_allclose(mean, np.cumsum(z) / counts, rtol=0, atol=1e-12)
    assert (counts * np.abs(mean) < 2.7 / a + 2)[1:].all()
    assert int(state.solver["count"]) == 2001


def test_a_uniform_mean_of_simultaneous_steps_diverges_as_they_do(float64):
    z, mean, _ = played(Solver("averaging"), 0.1, 1000)
    np.testing.assert_allclose(np.abs(mean[-1]), np.sqrt(2) * 1.01**500 / 100, rtol=1e-2)


@pytest.mark.parametrize(("a", "decay", "gain"), [(0.1, 0.9, 0.7255), (0.1, 0.99, 0.1000), (0.5, 0.9, 0.2063)])
def test_an_exponential_mean_of_turns_is_shrunk_by_the_gain_of_a_filter(a, decay, gain, float64):
    z, mean, _ = played(Solver("averaging", average="ema", decay=decay), a, 4000, TURNS)
    expected = (1 - decay) / np.sqrt(1 - 2 * decay * np.cos(2 * np.arcsin(a / 2)) + decay**2)
    np.testing.assert_allclose(expected, gain, atol=1e-4)
    largest = np.abs(mean[2000:]).max() / np.abs(z[2000:]).max()
    np.testing.assert_allclose(largest, expected, rtol=1e-3)


def test_historical_averaging_pulls_to_the_mean_of_all_points_so_far(float64):
    z, _, _ = played(Solver("historical-averaging"), 0.1, 10_000)
    w = total = 1 + 1j
    for k in range(2000):
        w = w + 0.1 * (I * w - 0.1 * (w - total / (k + 1)))
        total += w
        np.testing.assert_allclose(z[k + 1], w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.abs(z[-1]), 1.8e-4, atol=0.05e-4)


RATES = {
    "lookahead-minmax": (Solver("lookahead-minmax"), TURNS, 0.96888662 ** (1 / 5)),
    "lookahead-minmax at once": (Solver("lookahead-minmax"), JOINT, 0.98132691 ** (1 / 5)),
    "replay": (Solver("replay"), JOINT, 1.03048623),
    "slow replay": (Solver("replay", tau=0.01), JOINT, 1.01783318),
    "optimistic": (Solver("optimistic"), JOINT, 0.99493615),
    "negative momentum in turns": (Solver("negative-momentum"), TURNS, 0.99851779),
    "competitive": (Solver("competitive"), JOINT, 0.99503719),
}


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "schedule", "rate"), RATES.values(), ids=RATES)
def test_the_rate_of_two_thousand_rounds_is_the_known_radius(solver, schedule, rate, float64):
    z, _, _ = played(solver, 0.1, 2000, schedule)
    rounds = np.arange(1000, 2001, 5)
    slope, _ = np.polyfit(rounds, np.log(np.abs(z[rounds])), 1)
    np.testing.assert_allclose(np.exp(slope), rate, rtol=0, atol=1e-4)


def params_of(game, start, rounds, round=None, state=None):
    step, state = jit(round or play(game, JOINT)), state or init(game, start)
    points = []
    for _ in range(rounds):
        state, _ = step(state, {}, KEY)
        points.append([state.params["x"], state.params["y"]])
    return np.array(points)


@pytest.mark.parametrize(
    ("solver", "own", "peer"),
    [
        (Solver("optimistic"), optax.sgd(0.1), optax.optimistic_gradient_descent(0.1)),
        (Solver("optimistic", alpha=0.5, beta=2.0), optax.sgd(0.1), optax.optimistic_gradient_descent(0.1, 0.5, 2.0)),
        (Solver("optimistic-adam"), optax.sgd(0.1), optax.optimistic_adam_v2(0.1, b1=0.5, b2=0.9, nesterov=False)),
        (
            Solver("optimistic-adam", beta=0.5),
            optax.adam(0.1, 0.3, 0.8),
            optax.optimistic_adam_v2(0.1, beta=0.5, b1=0.3, b2=0.8, nesterov=False),
        ),
    ],
    ids=["optimistic", "of other constants", "Adam", "a player's own Adam"],
)
def test_optimism_is_optax_s(solver, own, peer, float64):
    game, start = bilinear("xy", (own, own), "float64")
    solved = solve(solver, game, JOINT)
    mine = params_of(game, start, 200, solved.round, solved.start(init(game, start)))
    expected = params_of(bilinear("xy", (peer, peer), "float64")[0], start, 200)
    np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("own", [None, (0.3, 0.8)], ids=["of the solver", "of the player"])
def test_extra_adam_sees_both_gradients_with_one_adam(own, float64):
    b1, b2 = own or (0.5, 0.9)
    tx = optax.adam(0.05, *own) if own else optax.sgd(0.05)
    game, start = bilinear("xy", (tx, tx), "float64")
    solved = solve(Solver("extra-adam"), game, TURNS)
    mine = params_of(game, start, 50, solved.round, solved.start(init(game, start)))
    w, m, u, t = np.ones(2), np.zeros(2), np.zeros(2), 0
    for row in mine:
        at = w
        for _ in range(2):
            g, t = np.array([at[1], -at[0]]), t + 1
            m, u = b1 * m + (1 - b1) * g, b2 * u + (1 - b2) * g**2
            at = w - 0.05 * (m / (1 - b1**t)) / (np.sqrt(u / (1 - b2**t)) + 1e-8)
        w = at
        np.testing.assert_allclose(row, w, rtol=0, atol=1e-11)


def test_lookahead_counts_its_rounds_by_the_state_and_meets_the_fast_weights_every_k(float64):
    z, _, _ = played(Solver("lookahead-minmax", k=3, slow_step=0.25), 0.2, 7)
    w = slow = 1 + 1j
    for round in range(1, 8):
        w *= 1 + 0.2j
        if round % 3 == 0:
            w = slow = slow + 0.25 * (w - slow)
        np.testing.assert_allclose(z[round], w, rtol=0, atol=1e-14)


def test_an_average_is_refused_where_none_is_kept():
    game, start = bilinear("xy", (optax.sgd(0.1),) * 2, "float32")
    with pytest.raises(UserError, match="holds no average"):
        averaged_state(init(game, start))
    kept = solve(Solver("averaging"), game, JOINT).start(init(game, start))
    assert averaged_state(kept).params["x"].unsafe_buffer_pointer() != kept.solver["mean"]["x"].unsafe_buffer_pointer()
    assert jnp.array_equal(averaged_state(kept).params["x"], start["x"])
