"""The Dirac-GAN's closed forms: the paper's eigenvalues against JAX's, radii, cycles and rates against play."""

import functools

import jax
import numpy as np
import pytest
import scipy.integrate
from jax.flatten_util import ravel_pytree
from toys import KEY

from vaegan_jax.dynamics import theory_dirac
from vaegan_jax.dynamics.dirac import LOSSES, DiracGan
from vaegan_jax.errors import UserError
from vaegan_jax.games import consensus, gradient, init, play

pytestmark = pytest.mark.usefixtures("compiled_quickly")
TURNS = (("generator",), ("discriminator",))

VARIANTS = [
    *[(DiracGan(loss, how), "none") for loss in LOSSES for how in ("none", "r1")],
    *[(DiracGan(loss, "instance-noise"), "none") for loss in LOSSES if loss != "relativistic"],
    (DiracGan("least-squares", "instance-noise", sigma=1.7), "none"),  # beyond the critical variance
    (DiracGan("non-saturating", "r2", gamma=10.0), "none"),  # and weight
    *[(DiracGan(loss, "jensen-shannon", gamma=0.8), "none") for loss in ("minimax", "non-saturating")],
    (DiracGan("minimax", gamma=1.0), "consensus"),
    (DiracGan("wasserstein"), "consensus"),
]


def moved(config, direction, schedule, step):
    """A round of plain steps as a function of (theta, psi)."""
    toy = config.make(step=step)
    _, unravel = ravel_pytree(toy.start)
    round = play(toy.game, schedule, direction)
    return lambda point: ravel_pytree(round(init(toy.game, unravel(point)), {}, KEY)[0].params)[0]


@functools.cache
def jacobians():
    with jax.enable_x64(True):
        rounds = [
            moved(c, consensus(c.gamma) if by == "consensus" else gradient, (TURNS[0] + TURNS[1],), 1.0)
            for c, by in VARIANTS
        ]
        update = jax.jit(lambda point: [jax.jacfwd(round)(point) for round in rounds])(np.zeros(2))
    return {variant: np.eye(2) - np.asarray(matrix) for variant, matrix in zip(VARIANTS, update, strict=True)}


def sorted_pair(values):
    return np.array(sorted(values, key=lambda value: (round(value.imag, 9), round(value.real, 9))))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_eigenvalues_are_those_of_the_measured_jacobian(variant):
    config, by = variant
    regularizer = by if by == "consensus" else config.regularizer
    closed = theory_dirac.eigenvalues(config.loss, regularizer, config.gamma, config.sigma)
    measured = np.linalg.eigvals(jacobians()[variant]).astype(complex)
    np.testing.assert_allclose(sorted_pair(measured), sorted_pair(closed), rtol=0, atol=1e-12)
    paper = theory_dirac.eigenvalues(config.loss, regularizer, config.gamma, config.sigma, mescheder=True)
    np.testing.assert_array_equal(paper, -closed)
    if by == "none":
        np.testing.assert_allclose(jacobians()[variant], config.jacobian(), rtol=0, atol=1e-12)


PAPER = [  # loss, regularizer, gamma, sigma, one eigenvalue in the paper's sign
    ("minimax", "none", 0.3, 0.7, 0.5j),
    ("non-saturating", "none", 0.3, 0.7, 0.5j),
    ("wasserstein", "none", 0.3, 0.7, 1j),
    ("least-squares", "none", 0.3, 0.7, 1j),
    ("hinge", "none", 0.3, 0.7, 1j),
    ("relativistic", "none", 0.3, 0.7, 0.5j),
    ("minimax", "instance-noise", 0.3, 0.7, -0.1225 + 0.48476j),
    ("minimax", "r1", 0.3, 0.7, -0.15 + 0.47697j),
    ("non-saturating", "r2", 1.0, 0.7, -0.5),
    ("minimax", "consensus", 1.0, 0.7, -0.25 + 0.5j),
    ("wasserstein", "r1", 1.0, 0.7, -0.5 + 0.866025j),
]


@pytest.mark.parametrize("loss,regularizer,gamma,sigma,value", PAPER)
def test_the_eigenvalues_have_the_digits_and_the_sign_of_the_paper(loss, regularizer, gamma, sigma, value):
    values = theory_dirac.eigenvalues(loss, regularizer, gamma, sigma, mescheder=True)
    np.testing.assert_allclose(sorted_pair(values), sorted_pair([value, np.conj(value)]), atol=6e-6)


RADII = [  # loss, regularizer, gamma; at once with steps 0.1 and 0.5; in turns
    ("minimax", "none", 0.3, 1.00124922, 1.03077641, 1, 1),
    ("non-saturating", "none", 0.3, 1.00124922, 1.03077641, 1, 1),
    ("wasserstein", "none", 0.3, 1.00498756, 1.11803399, 1, 1),
    ("relativistic", "none", 0.3, 1.00124922, 1.03077641, 1, 1),
    ("minimax", "instance-noise", 0.3, 0.98893883, 0.96953597, 0.98767404, 0.93674970),
    ("minimax", "r1", 0.3, 0.98615415, 0.95524866, 0.98488578, 0.92195445),
    ("minimax", "r1", 1.0, 0.95, 0.75, 0.96, 0.84759705),
    ("minimax", "r1", 10.0, 0.99749, 3.987, 0.9975, 4.05),
    ("wasserstein", "r1", 1.0, 0.95393920, 0.86602540, 0.94868330, 0.70710678),
    ("minimax", "consensus", 1.0, 0.97628121, 0.91001374, 0.975, 0.875),
]


@pytest.mark.parametrize("row", RADII, ids=str)
def test_the_radii_have_the_digits_of_the_table(row):
    loss, regularizer, gamma, *digits = row
    for (alternating, step), value in zip([(a, h) for a in (False, True) for h in (0.1, 0.5)], digits, strict=True):
        # A double root has half of the digits, and the row of weight 10 was given with fewer.
        tolerance = 2e-3 if gamma == 10.0 else 2e-8
        radius = theory_dirac.update_radius(step, loss, regularizer, gamma, alternating=alternating)
        assert radius == pytest.approx(value, abs=tolerance)


def test_a_round_of_the_engine_has_the_eigenvalues_of_the_closed_form(float64):
    """At once and in turns, two moves of the generator to three of the discriminator."""
    cases = [
        (DiracGan(regularizer="r1", gamma=0.4), schedule, alternating, moves)
        for schedule, alternating, moves in [
            ((TURNS[0] + TURNS[1],), False, (1, 1)),
            (TURNS, True, (1, 1)),
            (TURNS[:1] * 2 + TURNS[1:] * 3, True, (2, 3)),
        ]
    ]
    rounds = [moved(config, gradient, schedule, 0.3) for config, schedule, _, _ in cases]
    matrices = jax.jit(lambda point: [jax.jacfwd(round)(point) for round in rounds])(np.zeros(2))
    for (config, _, alternating, moves), matrix in zip(cases, matrices, strict=True):
        closed = theory_dirac.update_eigenvalues(0.3, "minimax", config.regularizer, 0.4, 0.7, alternating, moves)
        measured = np.linalg.eigvals(np.asarray(matrix)).astype(complex)
        np.testing.assert_allclose(sorted_pair(measured), sorted_pair(closed), atol=1e-12)


def test_moves_in_turn_stay_on_the_unit_circle_up_to_their_bound():
    for moves in ((1, 1), (2, 3), (1, 5)):
        below, above = (bound / (np.prod(moves) ** 0.5 * 0.5) for bound in (1.95, 2.05))
        radius = functools.partial(theory_dirac.update_radius, alternating=True, moves=moves)
        assert radius(below) == pytest.approx(1, abs=1e-9) and radius(above) > 1.3


def test_beyond_the_critical_weight_nothing_rotates():
    assert theory_dirac.critical_gamma("minimax") == 1 and theory_dirac.critical_gamma("wasserstein") == 2
    for weight, turns in ((0.99, True), (1.01, False)):
        assert bool(np.abs(theory_dirac.eigenvalues("minimax", "r1", weight).imag).max() > 0) is turns
    assert theory_dirac.critical_variance("minimax") == 2 and theory_dirac.critical_variance("hinge") == np.inf
    for variance, turns in ((1.99, True), (2.01, False)):
        values = theory_dirac.eigenvalues("minimax", "instance-noise", sigma=variance**0.5)
        assert bool(np.abs(values.imag).max() > 0) is turns


def test_what_converges_is_the_paper_s_table():
    converging = {how for how in theory_dirac.REGULARIZERS if theory_dirac.converges("minimax", how)}
    assert converging == {"instance-noise", "r1", "r2", "jensen-shannon", "consensus"}
    assert not theory_dirac.converges("wasserstein", "instance-noise")  # straight: noise changes nothing
    with pytest.raises(UserError, match="Did you mean 'consensus'"):
        theory_dirac.eigenvalues("minimax", "concensus")


@functools.cache
def plays():
    """|w| after 500 steps of 0.2 from (1, 1), and where long plays of the non-saturating game are."""
    with jax.enable_x64(True):

        def play_on(config, schedule, rounds):
            round = moved(config, gradient, schedule, 0.2)
            norms = jax.lax.scan(lambda w, _: (round(w),) * 2, np.ones(2), length=rounds)[1]
            return jax.numpy.linalg.norm(norms, axis=1)

        both = (TURNS[0] + TURNS[1],)
        games = {name: DiracGan(*name) for name in NOTEBOOK}
        run = jax.jit(
            lambda: (
                {n: (play_on(g, both, 500)[-1], play_on(g, TURNS, 500)[-1]) for n, g in games.items()},
                play_on(DiracGan("non-saturating"), both, 20_000),
                play_on(DiracGan("non-saturating"), TURNS, 5000),
            )
        )
        return jax.tree.map(np.asarray, run())


NOTEBOOK = {
    ("minimax",): (3.10, 1.42),
    ("minimax", "r1", 0.3): (2.6e-6, 2.3e-7),
    ("minimax", "r1", 1.0): (9.5e-22, 7.5e-17),
    ("minimax", "instance-noise", 0.3, 0.7): (5.7e-5, 4.0e-6),
    ("non-saturating", "r1", 0.3): (2.2e-6, 1.5e-7),
}


@pytest.mark.parametrize("name", NOTEBOOK)
def test_500_steps_end_where_they_are_known_to(name):
    np.testing.assert_allclose(plays()[0][name], NOTEBOOK[name], rtol=0.03)


def test_simultaneous_steps_of_the_non_saturating_game_end_on_a_cycle_of_radius_sqrt_2h():
    late = plays()[1][-2000:]
    assert theory_dirac.non_saturating_cycle(0.2) == pytest.approx(0.632, abs=5e-4)
    assert late.min() > 0.622 and late.max() < 0.642


def test_alternating_steps_of_the_non_saturating_game_shrink_as_sqrt_8_over_t():
    assert plays()[2][-1] == pytest.approx(0.0880, abs=5e-5)  # at time 1000
    assert plays()[2][-1] == pytest.approx(theory_dirac.non_saturating_radius(1000.0), rel=0.02)


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def runge_kutta(field, point, step, count):
    point = complex(*point)
    for _ in range(count):
        k1 = field(point)
        k2 = field(point + step / 2 * k1)
        k3 = field(point + step / 2 * k2)
        point += step / 6 * (k1 + 2 * k2 + 2 * k3 + field(point + step * k3))
    return point


def test_in_continuous_time_the_gan_conserves_its_radius():
    def field(w):
        return sigmoid(-w.real * w.imag) * complex(-w.imag, w.real)

    assert abs(runge_kutta(field, (1, 1), 0.02, 10_000)) == pytest.approx(2**0.5, abs=1e-8)


def test_in_continuous_time_the_non_saturating_game_shrinks_as_sqrt_8_over_t():
    def field(w):
        t = w.real * w.imag
        return complex(-w.imag * sigmoid(t), w.real * sigmoid(-t))

    radius = abs(runge_kutta(field, (1, 1), 0.25, 16_000))
    assert radius == pytest.approx(theory_dirac.non_saturating_radius(4000.0), rel=2e-3)


def test_wgan_gp_ends_on_its_limit_cycle():
    """Half a cycle at a time, in which psi > 0 and the field is smooth; the other half is its mirror image."""

    def field(time, w):
        return [-w[1], w[0] - 0.7 * (w[1] - 1)]

    def back(time, w):
        return w[1]

    back.terminal, back.direction = True, -1
    theta = 1.0
    for _ in range(40):
        half = scipy.integrate.solve_ivp(
            field, (0, 20), [theta, 1e-14], "DOP853", events=back, rtol=1e-12, atol=1e-14, dense_output=True
        )
        theta = -half.y[0, -1]
    w = half.sol(np.linspace(0, half.t[-1], 20_001))
    radius = np.linalg.norm(w, axis=0)
    measured = [np.abs(w[0]).max(), w[1].max(), radius.min(), radius.max(), 2 * half.t[-1]]
    np.testing.assert_allclose(measured, theory_dirac.WGAN_GP_CYCLE, atol=2e-6)
