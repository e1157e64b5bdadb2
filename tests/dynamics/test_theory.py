"""Closed forms of bilinear games: against the digits of the table, and against rounds that the engine plays."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree
from toys import KEY

from vaegan_jax.dynamics import theory
from vaegan_jax.dynamics.games import Bilinear, MatrixGame
from vaegan_jax.dynamics.toy import JOINT
from vaegan_jax.errors import UserError
from vaegan_jax.games import Direction, consensus, gradient, init, play, symplectic

pytestmark = pytest.mark.usefixtures("compiled_quickly")
TURNS = (("min",), ("max",))

# The name, whether in turns, constants, and the radii at steps 0.1 and 0.5 for f = xy.
TABLE = [
    ("simultaneous", False, {}, 1.00498756, 1.11803399),
    ("gradient", False, {}, 1.00498756, 1.11803399),
    ("gradient", True, {}, 1.0, 1.0),
    ("alternating", False, {}, 1.0, 1.0),
    ("averaging", True, {}, 1.0, 1.0),
    ("gradient", True, {"moves": 3.0}, 1.0, 1.0),
    ("two-time-scales", False, {"factor": 0.25}, 1.00124922, 1.03077641),
    ("heavy-ball", False, {"momentum": 0.5}, 1.04568739, 1.36602540),
    ("heavy-ball", False, {"momentum": -0.5}, 1.00074303, 1.02005367),
    ("negative-momentum", False, {"momentum": 0.5}, 1.00074303, 1.02005367),
    ("heavy-ball", False, {"momentum": 0.9}, 1.19828623, 1.60396548),
    ("nesterov", False, {"momentum": 0.5}, 1.03395995, 1.37283433),
    ("nesterov", False, {"momentum": -0.5}, 1.00295351, 1.06885011),
    ("heavy-ball", True, {"momentum": -0.5, "other_momentum": 0.0}, 0.99888745, 0.97128671),
    ("negative-momentum", True, {"momentum": 0.5, "other_momentum": 0.0}, 0.99888745, 0.97128671),
    ("negative-momentum", True, {}, 0.99851779, 0.96254370),
    ("negative-momentum", True, {"momentum": 0.3}, 0.99863292, 0.96484952),
    ("heavy-ball", True, {"momentum": 0.5, "other_momentum": 0.0}, 1.00941543, 1.12627123),
    ("extragradient", False, {}, 0.99503769, 0.90138782),
    ("extragradient", False, {"ahead": 1.0}, 0.90553851, 0.70710678),
    ("optimistic", False, {}, 0.99493615, 0.70710678),
    ("consensus", False, {"gamma": 0.1}, 0.99503769, 1.07354553),
    ("consensus", False, {"gamma": 1.0}, 0.90553851, 0.70710678),
    ("consensus", False, {"gamma": 10.0}, 0.10000000, 4.03112887),
    ("symplectic", False, {"lam": 1.0}, 0.90553851, 0.70710678),
    ("hamiltonian", False, {}, 0.9, 0.5),
    ("proximal", False, {}, 0.99503719, 0.89442719),
    ("competitive", False, {}, 0.99503719, 0.89442719),
    ("linearized-competitive", False, {}, 0.99503769, 0.90138782),
    ("lookahead-opponent", False, {}, 0.99503769, 0.90138782),
    ("lola", False, {}, 0.98508883, 0.70710678),
    ("lola", False, {"ahead": 1.0}, 0.80622577, 0.5),
    ("sos", False, {"share": 0.0}, 0.99503769, 0.90138782),
    ("sos", False, {"share": 1.0}, 0.98508883, 0.70710678),
    ("sos", False, {}, 0.99503769, 0.90138782),
    ("unrolled", False, {"inner_steps": 1}, 0.99498744, 0.86602540),
    ("unrolled", False, {"inner_steps": 5}, 0.95393920, 1.39564392),
    ("unrolled", False, {"inner_steps": 10}, 0.9, 3.94948974),
    ("unrolled", True, {"inner_steps": 1}, 0.98994949, 0.70710678),
    ("unrolled", True, {"inner_steps": 5}, 0.94868330, 1.65586885),
    ("unrolled", True, {"inner_steps": 10}, 0.92701562, 4.20194102),
    ("lookahead-minmax", False, {"k": 5, "slow_step": 0.5}, 0.98132691, 0.64744842),
    ("lookahead-minmax", True, {"k": 5, "slow_step": 0.5}, 0.96888662, 0.30257682),
    ("lookahead-minmax", False, {"k": 20}, 0.57318251, 4.16305147),
    ("lookahead-minmax", True, {"k": 20}, 0.53995125, 0.33463335),
    ("replay", False, {"tau": 0.1}, 1.03048623, 1.12109841),
    ("replay", False, {"tau": 0.01}, 1.01783318, 1.04627594),
]
rows = pytest.mark.parametrize("name,alternating,constants,tenth,half", TABLE)


def test_every_closed_form_has_a_row_in_the_table():
    assert {row[0] for row in TABLE} == set(theory.SOLVERS)


@rows
def test_the_radius_has_the_digits_of_the_table(name, alternating, constants, tenth, half):
    radii = [theory.radius(name, step, (1.0,), alternating, **constants) for step in (0.1, 0.5)]
    np.testing.assert_allclose(radii, [tenth, half], rtol=0, atol=2e-8)  # 1e-8 at a double root of optimism


def test_lookahead_over_extragradient_has_the_digits_of_the_table():
    for k, tenth, half in ((5, 0.95660608, 0.21683921), (20, 0.51091580, 0.54527259)):
        radii = [theory.radius("lookahead-minmax", step, k=k, ahead=step) for step in (0.1, 0.5)]
        np.testing.assert_allclose(radii, [tenth, half], atol=5e-9)


@pytest.mark.parametrize("name,alternating,constants,tenth,half", [row for row in TABLE if row[0] != "hamiltonian"])
def test_a_singular_value_scales_steps_and_weights(name, alternating, constants, tenth, half):
    scaled = constants | {name: constants[name] * 0.4 for name in ("ahead", "gamma", "lam") if name in constants}
    whole = theory.eigenvalues(name, 0.3, (1.0, 0.4), alternating, **constants)
    parts = [theory.eigenvalues(name, step, (1.0,), alternating, **c) for step, c in ((0.3, constants), (0.12, scaled))]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-12)
    radii = [np.abs(part).max() for part in parts]
    assert theory.radius(name, 0.3, (1.0, 0.4), alternating, **constants) == pytest.approx(max(radii))


def test_hamiltonian_descent_is_scaled_by_the_square():
    np.testing.assert_allclose(theory.eigenvalues("hamiltonian", 0.3, (0.4,)), 1 - 0.3 * 0.16)


@rows
def test_directions_in_the_kernel_stay_where_they_are(name, alternating, constants, tenth, half):
    values = theory.eigenvalues(name, 0.3, (0.0,), alternating, **constants)
    assert np.abs(values - 1).min() < 1e-7


@rows
def test_eigenvalues_come_in_conjugate_pairs(name, alternating, constants, tenth, half):
    values = theory.eigenvalues(name, 0.3, (0.8,), alternating, **constants)
    assert_same_multiset(values, values.conj(), 1e-12)


@pytest.mark.parametrize(
    "name,step,k,tenth",
    [("simultaneous", 0.1, 1, 463), ("extragradient", 0.1, 1, 463), ("optimistic", 0.5, 1, 6.6), ("lola", 0.1, 1, 153)],
)
def test_steps_for_a_factor_10_are_the_table_s(name, step, k, tenth):
    assert theory.steps_for_tenth(theory.rate(name, step)) == pytest.approx(tenth, rel=0.01)
    assert theory.steps_for_tenth(1.0) == float("inf") and theory.steps_for_tenth(0.1) == pytest.approx(1)


def test_the_rate_of_lookahead_is_by_inner_steps():
    outer = theory.radius("lookahead-minmax", 0.1, (1.0,), True, k=5)
    assert theory.rate("lookahead-minmax", 0.1, (1.0,), True, k=5) ** 5 == pytest.approx(outer)
    assert theory.rate("gradient", 0.1) == theory.radius("gradient", 0.1)


def test_a_solver_without_a_closed_form_is_refused_with_the_nearest_that_has_one():
    with pytest.raises(UserError, match="Did you mean 'optimistic'"):
        theory.radius("optimistc", 0.1)
    assert theory.radius("proximal", 0.1, alternating=True) is None
    assert theory.rate("proximal", 0.1, alternating=True) is None


class Native(NamedTuple):
    """A solver that the engine and optax have, and its closed form's name and constants."""

    name: str
    tx: object = optax.sgd
    schedule: tuple = JOINT
    direction: Direction = gradient
    ahead: float | None = None
    constants: dict = {}


def momentum(*betas, nesterov=False):
    txs = [lambda a, b=b: optax.sgd(a, momentum=b, nesterov=nesterov) for b in betas]
    return lambda a: {name: tx(a) for name, tx in zip(("min", "max"), txs, strict=True)}


def optimism(alpha, beta):
    return lambda a: {name: optax.optimistic_gradient_descent(a, alpha, beta) for name in ("min", "max")}


def plain(a, factor=1.0):
    return {"min": optax.sgd(factor * a), "max": optax.sgd(a)}


HALVES = {"momentum": -0.5, "other_momentum": 0.3}
OPTIMISM = {"alpha": 0.7, "beta": 1.2}
NATIVE = {
    "simultaneous": Native("simultaneous", plain),
    "alternating": Native("alternating", plain, TURNS),
    "three moves of y": Native("gradient", plain, (*TURNS, *TURNS[1:], *TURNS[1:]), constants={"moves": 3.0}),
    "two time scales": Native("two-time-scales", lambda a: plain(a, 0.3), constants={"factor": 0.3}),
    "two time scales in turns": Native("two-time-scales", lambda a: plain(a, 0.3), TURNS, constants={"factor": 0.3}),
    "heavy ball": Native("heavy-ball", momentum(0.9, 0.9), constants={"momentum": 0.9}),
    "two heavy balls": Native("heavy-ball", momentum(-0.5, 0.3), constants=HALVES),
    "heavy balls in turns": Native("heavy-ball", momentum(-0.5, 0.3), TURNS, constants=HALVES),
    "negative momentum in turns": Native("negative-momentum", momentum(-0.5, -0.5), TURNS),
    "nesterov": Native("nesterov", momentum(0.5, 0.5, nesterov=True)),
    "nesterov in turns": Native("nesterov", momentum(-0.5, 0.3, nesterov=True), TURNS, constants=HALVES),
    "extragradient": Native("extragradient", plain, ahead=0.3, constants={"ahead": 0.3}),
    "extragradient in turns": Native("extragradient", plain, TURNS, ahead=0.3),
    "optimistic": Native("optimistic", optimism(1.0, 1.0)),
    "general optimism": Native("optimistic", optimism(**OPTIMISM), constants=OPTIMISM),
    "optimism in turns": Native("optimistic", optimism(**OPTIMISM), TURNS, constants=OPTIMISM),
    "consensus": Native("consensus", plain, direction=consensus(0.4), constants={"gamma": 0.4}),
    "consensus in turns": Native("consensus", plain, TURNS, consensus(0.4), constants={"gamma": 0.4}),
    "symplectic": Native("symplectic", plain, direction=symplectic(0.6), constants={"lam": 0.6}),
    "aligned symplectic": Native("symplectic", plain, direction=symplectic(0.6, True), constants={"lam": 0.6}),
}
STEPS = np.array([0.03, 0.1, 0.3, 0.45, 0.7, 0.9])
SIGMAS = (1.0, 0.7, 0.4)


def probe(row, config, steps):
    """The update matrices over parameters and optax's traces, for all steps in one compilation."""

    def matrix(a):
        toy = config.make(row.tx(a))
        round = play(toy.game, row.schedule, row.direction, row.ahead)
        leaves, structure = jax.tree.flatten(init(toy.game, toy.start))
        floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
        start, unravel = ravel_pytree([leaf for leaf, f in zip(leaves, floating, strict=True) if f])

        def column(vector):  # of what is no float, optax's flag of a first step is false: that one is unlike the others
            floats = iter(unravel(vector))
            full = [next(floats) if f else jnp.zeros_like(leaf) for leaf, f in zip(leaves, floating, strict=True)]
            new = jax.tree.leaves(round(structure.unflatten(full), {}, KEY)[0])
            return ravel_pytree([leaf for leaf, f in zip(new, floating, strict=True) if f])[0]

        return jax.vmap(column, out_axes=1)(jnp.eye(start.size))

    return np.asarray(jax.jit(jax.vmap(matrix))(steps))


def assert_same_multiset(left, right, tolerance):
    distance = np.abs(np.subtract.outer(np.asarray(left), np.asarray(right)))
    assert distance.shape[0] == distance.shape[1]
    assert distance[scipy.optimize.linear_sum_assignment(distance)].max() < tolerance


@pytest.mark.parametrize("solver", NATIVE)
def test_the_update_that_the_engine_makes_of_a_matrix_game_has_the_closed_form_s_eigenvalues(solver, float64):
    row = NATIVE[solver]
    probed = probe(row, MatrixGame(singular_values=SIGMAS), STEPS)
    for step, matrix in zip(STEPS, probed, strict=True):
        closed = theory.eigenvalues(row.name, step, SIGMAS, row.schedule != JOINT, **row.constants)
        # A trace that nothing reads, of the old gradient, is an eigenvalue of 0.
        closed = np.concatenate([closed, np.zeros(len(matrix) - len(closed))])
        assert_same_multiset(np.linalg.eigvals(matrix), closed, 1e-10)


def test_at_the_double_root_of_optimism_the_entries_are_the_recursion_s(float64):
    """Eigenvalues have half the digits there: z+ = z + 2ia z - ia z_ with a = 1/2, over x, y and the old (y, -x)."""
    (matrix,) = probe(NATIVE["optimistic"], Bilinear(), np.array([0.5]))
    (order,) = [
        list(p)
        for p in itertools.permutations(range(4))
        if np.allclose(matrix[np.ix_(p, p)], [[1, -1, 0.5, 0], [1, 1, 0, 0.5], [0, 1, 0, 0], [-1, 0, 0, 0]], atol=1e-14)
    ]
    assert sorted(order) == [0, 1, 2, 3]
    assert theory.radius("optimistic", 0.5) == pytest.approx(0.5**0.5, abs=2e-8)


RANGES = [  # what the table says of stability
    ("simultaneous", False, {}, []),
    ("alternating", False, {}, []),
    ("heavy-ball", False, {"momentum": -0.5}, []),
    ("heavy-ball", False, {"momentum": 0.9}, []),
    ("nesterov", False, {"momentum": -0.5}, []),
    ("replay", False, {"tau": 0.1}, []),
    ("extragradient", False, {}, [(0, 1)]),
    ("extragradient", False, {"ahead": 0.5}, [(0, 0.8)]),  # 2 g / (1 + g^2)
    ("optimistic", False, {}, [(0, 3**-0.5)]),
    ("consensus", False, {"gamma": 3.0}, [(0, 0.6)]),
    ("hamiltonian", False, {}, [(0, 2)]),
    ("proximal", False, {}, [(0, 8)]),
    ("lola", False, {}, [(0, 3**0.5 / 2)]),
    ("unrolled", False, {"inner_steps": 1}, [(0, (4 / 3) ** 0.5)]),  # 4 a^2 < 4 + a^2, all below P = 1 at first
]


@pytest.mark.parametrize("name,alternating,constants,expected", RANGES)
def test_the_stable_steps_are_the_table_s(name, alternating, constants, expected):
    found = theory.stable(name, alternating=alternating, points=400, **constants)
    assert len(found) == len(expected)
    np.testing.assert_allclose(np.reshape(found, (-1, 2)), np.reshape(expected, (-1, 2)), atol=1e-5)


def test_of_a_matrix_game_the_largest_singular_value_sets_the_range():
    ((low, high),) = theory.stable("extragradient", (0.3, 2.0), points=400)
    assert (low, high) == (0, pytest.approx(0.5, abs=1e-9))
