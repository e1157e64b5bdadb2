"""Rates and verdicts on trajectories whose closed forms are known: f = xy as recursions of one complex number."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from vaegan_jax.dynamics import rates
from vaegan_jax.errors import UserError

ROUNDS, START = 2000, 1.0 + 1.0j


def recursion(polynomial, rounds=ROUNDS):
    """|z| of z+ = sum_k polynomial[k] z_{t-k}, with all of the past at the start."""
    past, told = [START] * len(polynomial), [abs(START)]
    for _ in range(rounds):
        past = [sum(c * z for c, z in zip(polynomial, past, strict=True)), *past[:-1]]
        told.append(abs(past[0]))
    return np.array(told)


def alternating(a, beta=0.0, rounds=ROUNDS, k=1, start=(1.0, 1.0)):
    """Heavy ball of -beta for the first player, k steps of the second; the points."""
    (x, y), before, told = start, start[0], []
    for _ in range(rounds + 1):
        told.append((x, y))
        x, before = x - a * y + beta * (x - before), x
        for _ in range(k):
            y = y + a * x
    return np.array(told)


def dirac(h, slope_x, slope_y, rounds, turns=False, start=(1.0, 1.0)):
    x, y, told = *start, []
    for _ in range(rounds + 1):
        told.append(math.hypot(x, y))
        new = x + h * slope_x(x, y)
        y = y + h * slope_y(new if turns else x, y)
        x = new
    return np.array(told)


def saturating(rounds, turns):
    """NS-GAN on a Dirac (Mescheder et al. 2018): simultaneous has a limit cycle, alternating follows sqrt(8 / t)."""
    f = lambda t: 1 / (1 + math.exp(t))  # noqa: E731
    return dirac(0.2, lambda x, y: -y * f(-x * y), lambda x, y: x * f(x * y), rounds, turns)


def adam(step, rounds, b1=0.9, b2=0.999):
    w, m, v, told = np.ones(2), np.zeros(2), np.zeros(2), []
    for t in range(1, rounds + 2):
        told.append(np.linalg.norm(w))
        slope = np.array([w[1], -w[0]])
        m, v = b1 * m + (1 - b1) * slope, b2 * v + (1 - b2) * slope**2
        w = w - step * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-12)
    return np.array(told)


def penalized(h, rounds):
    """WGAN-GP with gamma 0.7 and g0 = 1 on a Dirac: a limit cycle of radius 1.21 to 1.38."""
    return dirac(h, lambda x, y: -y, lambda x, y: x - 0.7 * (abs(y) - 1) * np.sign(y), rounds)


def anchored(a, rounds):
    """Extragradient with an anchor: k |v| tends to |w0| / a."""
    z, told = START, []
    for k in range(rounds + 1):
        told.append(abs(z))
        half = z + (START - z) / (k + 2) + 1j * a * z
        z = z + (START - z) / (k + 2) + 1j * a * half
    return np.array(told)


def double(a):
    return recursion([1 + 2j * a, -1j * a])


# (distances, spectral radius): DYNAMICS' closed forms for f = xy.
LINEAR = {
    "simultaneous": (lambda a: recursion([1 + 1j * a]), lambda a: math.sqrt(1 + a**2)),
    "extragradient": (lambda a: recursion([1 - a**2 + 1j * a]), lambda a: math.sqrt(1 - a**2 + a**4)),
    "optimistic": (double, lambda a: math.sqrt((1 + math.sqrt(1 - 4 * a**2)) / 2)),
    "proximal": (lambda a: recursion([1 / (1 - 1j * a)]), lambda a: 1 / math.sqrt(1 + a**2)),
    "consensus": (lambda a: recursion([1 - a + 1j * a]), lambda a: math.sqrt((1 - a) ** 2 + a**2)),
    "Hamiltonian": (lambda a: recursion([1 - a]), lambda a: 1 - a),
    "heavy ball": (
        lambda a: recursion([1.5 + 1j * a, -0.5]),
        lambda a: np.abs(np.roots([1, -1.5 - 1j * a, 0.5])).max(),
    ),
    "negative momentum, alternating": (
        lambda a: np.linalg.norm(alternating(a, -0.5), axis=1),
        lambda a: np.abs(np.roots(np.polymul([1, -2, 1], [1, 0.5, 0]) + np.array([0, a**2, 0, 0, 0]))).max(),
    ),
    "alternating": (lambda a: np.linalg.norm(alternating(a), axis=1), lambda a: 1.0),
}


@pytest.mark.parametrize("a", [0.03, 0.1, 0.3, 0.45])
@pytest.mark.parametrize("solver", LINEAR)
def test_fitted_rates_of_2000_rounds_are_the_spectral_radii_to_1e_4(solver, a):
    played, radius = LINEAR[solver]
    found = rates.fit(played(a))
    assert found.rate == pytest.approx(radius(a), rel=0, abs=1e-4)
    assert found.last <= ROUNDS and found.first == (found.last + 1) // 4


@pytest.mark.parametrize("a", [0.03, 0.1, 0.3, 0.45])
@pytest.mark.parametrize("solver", LINEAR)
def test_verdicts_are_those_of_the_spectral_radii(solver, a):
    played, radius = LINEAR[solver]
    rho = radius(a)
    expected = "cycles" if rho == 1 else "converges" if rho < 1 else "diverges"
    assert rates.verdict(played(a)) == expected


def test_the_table_of_rounds_for_a_factor_10():
    """DYNAMICS A2: simultaneous 463 and 21, extragradient 463 and 22, Hamiltonian 22 and 3.3."""
    told = {1.00498756: 463, 1.11803399: 21, 0.99503769: 463, 0.90138782: 22, 0.9: 22, 0.5: 3.3}
    for rate, steps in told.items():
        assert rates.steps_for_ten(rate) == pytest.approx(steps, rel=0.02)
    assert rates.steps_for_ten(1.0) == math.inf and rates.steps_for_ten(0.0) == 0


@pytest.mark.parametrize("a", [0.1, 0.5, 1.9])
def test_in_the_form_of_the_orbit_alternating_steps_keep_their_distance(a):
    points = alternating(a)
    form = np.array([[1, -a / 2], [-a / 2, 1]])
    kept = rates.distances(points, np.zeros(2), form)
    np.testing.assert_allclose(kept, kept[0], rtol=1e-12)
    assert rates.fit(kept).rate == pytest.approx(1, abs=1e-14) and rates.verdict(kept) == "cycles"
    assert np.ptp(rates.distances(points, np.zeros(2))) > a / 10
    np.testing.assert_allclose(kept**2, points[:, 0] ** 2 + points[:, 1] ** 2 - a * points.prod(1), rtol=1e-9)


@pytest.mark.parametrize("a", [0.1, 1.5, 1.8, 1.99])
@pytest.mark.parametrize("rounds", [100, 300, 1000, 2000])
def test_an_orbit_cycles_however_slowly_it_falls_out_of_step_with_the_rounds(a, rounds):
    """Alternating steps on xy turn by nearly half a circle each at a near 2: the distance then beats slowly."""
    points = [np.ones(2)]
    for _ in range(rounds):
        x = points[-1][0] - a * points[-1][1]
        points.append(np.array([x, points[-1][1] + a * x]))
    assert rates.verdict(np.linalg.norm(points, axis=1)) == "cycles"


def test_a_fit_with_the_period_of_the_orbit_is_not_tilted_by_its_wobble():
    """A few rounds of an eccentric orbit, of which no whole number of turns fits."""
    a, rho = 0.7, 0.999
    points = alternating(a, rounds=70) * rho ** np.arange(71)[:, None]
    told = rates.distances(points, np.zeros(2))
    half_turn = math.pi / (2 * math.asin(a / 2))
    plain, fitted = rates.fit(told, burn_in=0), rates.fit(told, burn_in=0, period=half_turn)
    assert abs(fitted.rate - rho) < 1e-6 < 1e-5 < abs(plain.rate - rho) and fitted.error < plain.error
    kept = rates.fit(rates.distances(points, np.zeros(2), np.array([[1, -a / 2], [-a / 2, 1]])))
    assert kept.rate == pytest.approx(rho, abs=1e-12)


def test_a_fit_ends_where_the_type_loses_digits():
    told = 0.5 ** np.arange(2000)  # 0 from round 1075 on
    found = rates.fit(told)
    assert found.rate == pytest.approx(0.5, abs=1e-12) and 900 < found.last < 1000
    assert rates.fit(told.astype(np.float32)).rate == pytest.approx(0.5, abs=1e-6)
    assert found.steps_for_ten == pytest.approx(math.log2(10)) and rates.verdict(told) == "converges"


def test_a_fit_ends_where_the_distances_overflow():
    with np.errstate(over="ignore"):
        told = np.cumprod(np.full(3000, 1.5))
    found = rates.fit(told)
    assert found.rate == pytest.approx(1.5, abs=1e-12) and not np.isfinite(told[found.last + 1])
    assert rates.verdict(told) == rates.verdict(told[:1000]) == "diverges"


def test_what_cannot_be_fitted_has_no_rate_unless_it_is_at_0():
    assert math.isnan(rates.fit(np.array([1.0])).rate) and math.isnan(rates.fit(np.array([math.nan, 1])).rate)
    assert rates.fit(np.array([1.0, 0.0, 0.0])) == (0.0, 0.0, 0.0, 0, 0)
    for settings, told in (({"burn_in": -1}, "burn-in"), ({"period": 2.0}, "above 2")):
        with pytest.raises(UserError, match=told):
            rates.fit(np.ones(10), **settings)


def test_the_error_of_a_fit_is_its_spread_over_noise():
    rng, line = np.random.default_rng(0), 0.99 ** np.arange(400)
    found = [rates.fit(line * np.exp(0.1 * rng.normal(size=400))) for _ in range(200)]
    np.testing.assert_allclose(np.std([fit.rate for fit in found]), np.mean([fit.error for fit in found]), rtol=0.2)
    np.testing.assert_allclose(np.mean([fit.rate for fit in found]), 0.99, rtol=0, atol=1e-5)


def inwards(rounds):
    """Simultaneous steps of 0.1 in a Dirac-GAN with R1 of 0.3, linearized: half an orbit takes 66 rounds."""
    matrix = np.eye(2) + 0.1 * np.array([[0.0, -0.5], [0.5, -0.3]])
    return np.array([np.linalg.norm(np.linalg.matrix_power(matrix, n) @ (1, 1)) for n in range(rounds + 1)])


NONLINEAR = {
    "Adam's limit cycle, from inside": (lambda: adam(0.1, 20_000), "cycles"),
    "Adam's limit cycle, of 9 tenths of the start": (lambda: adam(0.01, 20_000), "cycles"),
    "Adam without momentum": (lambda: adam(0.1, 20_000, b1=0.0), "cycles"),
    "NS-GAN, simultaneous: a limit cycle": (lambda: saturating(4000, False), "cycles"),
    "NS-GAN, alternating: sqrt(8 / t)": (lambda: saturating(4000, True), "converges"),
    "WGAN-GP: a limit cycle": (lambda: penalized(0.01, 4000), "cycles"),
    "1 / sqrt(t)": (lambda: np.arange(1, 2001) ** -0.5, "converges"),
    "1 / t^2": (lambda: np.arange(1, 2001.0) ** -2, "converges"),
    "sqrt(t)": (lambda: np.arange(1, 2001) ** 0.5, "diverges"),
    "an anchor: 1 / k": (lambda: anchored(0.1, 2000), "converges"),
    "alternating, five steps of the second": (lambda: np.linalg.norm(alternating(0.3, k=5), axis=1), "cycles"),
    "alternating, eccentric": (lambda: np.linalg.norm(alternating(1.9), axis=1), "cycles"),
    "alternating at its limit: linear growth": (
        lambda: np.linalg.norm(alternating(2.0, start=(1.0, 0.0)), axis=1),
        "diverges",
    ),
    "a negative momentum of -0.9": (lambda: np.linalg.norm(alternating(0.1, -0.9), axis=1), "converges"),
    "at the equilibrium": (lambda: np.zeros(10), "converges"),
    "solved at once": (lambda: np.array([1.0, 0.0, 0.0]), "converges"),
    "converged to rounding": (lambda: np.maximum(0.9 ** np.arange(2000), 1e-16), "converges"),
    "kept away by noise": (
        lambda: 0.1 * np.linalg.norm(np.random.default_rng(0).normal(size=(2000, 2)), axis=1),
        "cycles",
    ),
    "NaN": (lambda: np.array([1.0, 2.0, math.nan]), "diverges"),
    "too few": (lambda: 1.005 ** np.arange(20), "unknown"),
    "too slow to tell": (lambda: (1 + 1e-6) ** np.arange(2000), "unknown"),
    "shrinking to a radius, not there yet": (lambda: 1 + np.exp(-np.arange(2000) / 900), "unknown"),
    "shrinking to a radius, nearly there": (lambda: 1 + np.exp(-np.arange(2000) / 400), "cycles"),
    "Adam on its way to the limit cycle": (lambda: adam(0.1, 2000), "unknown"),
    "growing to a radius, not there yet": (lambda: 2 - np.exp(-np.arange(2000) / 900), "unknown"),
    "part of an orbit on the way in": (lambda: inwards(45), "unknown"),
    "another part of it": (lambda: inwards(127), "unknown"),
    "several orbits on the way in": (lambda: inwards(400), "converges"),
    "none": (lambda: np.zeros(0), "unknown"),
}


@pytest.mark.parametrize(("played", "expected"), NONLINEAR.values(), ids=NONLINEAR)
def test_verdicts_beyond_exponentials_in_any_unit(played, expected):
    told = played()
    assert [rates.verdict(unit * told) for unit in (1e-9, 1.0, 1e9)] == [expected] * 3


@pytest.mark.parametrize("phase", np.linspace(0, 40, 9).astype(int))
def test_verdicts_do_not_depend_on_where_a_trajectory_is_cut(phase):
    for a, beta, expected in ((0.02, 0.0, "cycles"), (0.7, 0.0, "cycles"), (0.1, -0.5, "converges")):
        told = np.linalg.norm(alternating(a, beta, ROUNDS + 50), axis=1)
        assert rates.verdict(told[: ROUNDS + phase]) == rates.verdict(told[phase:]) == expected


def test_distances_are_of_joint_points_and_their_trajectories():
    ends = (
        {"x": jnp.asarray([3.0]), "y": {"a": jnp.asarray(1.0)}},
        {"x": jnp.asarray([0.0]), "y": {"a": jnp.asarray(5.0)}},
    )
    assert rates.distance(*ends) == 5
    points = {"x": jnp.asarray([[3.0], [0.0]]), "y": {"a": jnp.asarray([1.0, 5.0])}}
    rows = rates.vectors(points)
    np.testing.assert_array_equal(rows, [[3, 1], [0, 5]])
    np.testing.assert_array_equal(rates.distances(rows, np.array([0.0, 5.0])), [5, 0])
    with pytest.raises(ValueError, match="positive definite"):
        rates.distances(rows, np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
