"""Solvers against theory: played through the engine, each does to bilinear games what its closed form says.

In z = x + iy the field of min_x max_y s x y is -i s z, so that a solver which treats both players alike multiplies z
by a factor; the others are matrices over (x, y), or polynomials whose roots are the eigenvalues. The expectations are
written from these, never computed by the library.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from probing import EXACT, STEPS, assert_same_multiset, probed, zero_sum
from toys import JOINT, TURNS, Svd

from vaegan_jax.dynamics.solvers import Solver

SVD = Svd(
    scipy.stats.ortho_group.rvs(3, random_state=1),
    np.array([1.0, 0.6, 0.25]),
    scipy.stats.ortho_group.rvs(3, random_state=2),
)


@pytest.fixture(autouse=True)
def traced_steps(monkeypatch):
    """Steps are traced here, so that all share one compilation: annotations, which say float, are not checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


class Row(NamedTuple):
    """A solver, the schedule that it is given, and what a pair of singular value s then does, with steps of size a."""

    solver: Solver
    factor: Callable | None = None
    """(a, s) -> of z."""
    block: Callable | None = None
    """(a, s) -> over (x, y)."""
    roots: Callable | None = None
    """(a, s) -> all eigenvalues, with those of what is remembered."""
    schedule: tuple = JOINT
    fixed: bool = False
    """Whether the solver's own step is not a."""


def pairs(polynomial):
    roots = np.roots(polynomial)
    return [*roots, *np.conj(roots)]


def heavy(beta):
    return lambda a, s: pairs([1, -(1 + beta + 1j * a * s), beta])


def heavy_in_turns(first, second):
    return lambda a, s: np.roots(np.polyadd(np.poly([1, 1, first, second]), [(a * s) ** 2, 0, 0, 0]))


def optimistic(alpha, beta):
    return lambda a, s: pairs([1, -(1 + 1j * a * s * (alpha + beta)), 1j * a * s * beta])


def damped(curvature):
    """1 - a curvature s^2 + ias, the curvature a function of a."""
    return lambda a, s: 1 - a * curvature(a) * s**2 + 1j * a * s


def implicit(a, s):
    return 1 / (1 - 1j * a * s)


def unrolled(a, s):
    """x descends x s y_5 with y_5 = y + 5 a s x."""
    return np.array([[1 - 10 * (a * s) ** 2, -a * s], [a * s, 1]])


ROWS = {
    "gradient": Row(Solver("gradient"), damped(lambda a: 0)),
    "simultaneous, of turns": Row(Solver("simultaneous"), damped(lambda a: 0), schedule=TURNS),
    "alternating": Row(Solver("alternating"), block=lambda a, s: np.array([[1, -a * s], [a * s, 1 - (a * s) ** 2]])),
    "alternating, three steps of y": Row(
        Solver("alternating"),
        block=lambda a, s: np.array([[1, -a * s], [3 * a * s, 1 - 3 * (a * s) ** 2]]),
        schedule=(("first",), *(("second",),) * 3),
    ),
    "two time scales": Row(
        Solver("two-time-scales", player="first"), block=lambda a, s: np.array([[1, -a * s / 4], [a * s, 1]])
    ),
    "heavy ball": Row(Solver("heavy-ball"), roots=heavy(0.5)),
    "heavier ball": Row(Solver("heavy-ball", momentum=0.9), roots=heavy(0.9)),
    "heavy ball in turns": Row(Solver("heavy-ball"), roots=heavy_in_turns(0.5, 0.5), schedule=TURNS),
    "negative momentum": Row(Solver("negative-momentum"), roots=heavy(-0.5)),
    "negative momentum in turns": Row(
        Solver("negative-momentum", momentum=0.3), roots=heavy_in_turns(-0.3, -0.3), schedule=TURNS
    ),
    "negative momentum of x, in turns": Row(
        Solver("negative-momentum", player="first"),
        roots=lambda a, s: np.roots(np.polyadd(np.poly([1, 1, -0.5]), [(a * s) ** 2, 0, 0])),
        schedule=TURNS,
    ),
    "nesterov": Row(Solver("nesterov"), roots=lambda a, s: pairs([1, -(1 + 1j * a * s) * 1.5, (1 + 1j * a * s) * 0.5])),
    "extragradient": Row(Solver("extragradient"), damped(lambda a: a), schedule=TURNS),
    "extragradient, far ahead": Row(Solver("extragradient", step=1.0), damped(lambda a: 1), fixed=True),
    "optimistic": Row(Solver("optimistic"), roots=optimistic(1, 1)),
    "optimistic, of other constants": Row(Solver("optimistic", alpha=0.7, beta=1.6), roots=optimistic(0.7, 1.6)),
    "consensus": Row(Solver("consensus"), damped(lambda a: 1), schedule=TURNS),
    "weak consensus": Row(Solver("consensus", gamma=0.1), damped(lambda a: 0.1)),
    "symplectic": Row(Solver("symplectic"), damped(lambda a: 1), schedule=TURNS),
    "symplectic, aligned": Row(Solver("symplectic", lam=0.5, align=True), damped(lambda a: 0.5)),
    "hamiltonian": Row(Solver("hamiltonian"), lambda a, s: 1 - a * s**2),
    "proximal": Row(Solver("proximal", **EXACT), implicit, schedule=TURNS),
    "proximal, by a fixed point": Row(Solver("proximal", method="fixed-point", iterations=50), implicit),
    "competitive": Row(Solver("competitive", **EXACT), implicit, schedule=TURNS),
    "linearized competitive": Row(Solver("linearized-competitive"), damped(lambda a: a), schedule=TURNS),
    "lookahead opponent": Row(Solver("lookahead-opponent"), damped(lambda a: a), schedule=TURNS),
    "lookahead opponent, far": Row(Solver("lookahead-opponent", step=1.0), damped(lambda a: 1), fixed=True),
    "lola": Row(Solver("lola"), damped(lambda a: 2 * a), schedule=TURNS),
    "lola, far": Row(Solver("lola", step=1.0), damped(lambda a: 2), fixed=True),
    "sos with no share": Row(Solver("sos", share=0.0), damped(lambda a: a)),
    "sos with a share": Row(Solver("sos", share=0.3), damped(lambda a: 1.3 * a)),
    "unrolled": Row(Solver("unrolled", player="first"), block=unrolled),
    "unrolled, in turns": Row(
        Solver("unrolled", player="first"),
        block=lambda a, s: np.array([[1, 0], [a * s, 1]]) @ (unrolled(a, s) - [[0, 0], [a * s, 0]]),
        schedule=TURNS,
    ),
    "replay": Row(Solver("replay"), roots=lambda a, s: pairs([1, -(1.9 + 0.1j * a * s), 0.9])),
    "slow replay": Row(Solver("replay", tau=0.01), roots=lambda a, s: pairs([1, -(1.99 + 0.01j * a * s), 0.99])),
    "lookahead minmax": Row(
        Solver("lookahead-minmax"), lambda a, s: 0.5 + 0.5 * (1 + 1j * a * s) ** 5
    ),  # of five rounds
    "lookahead minmax, in turns": Row(
        Solver("lookahead-minmax", k=3, slow_step=0.3),
        block=lambda a, s: (
            0.7 * np.eye(2) + 0.3 * np.linalg.matrix_power(np.array([[1, -a * s], [a * s, 1 - (a * s) ** 2]]), 3)
        ),
        schedule=TURNS,
    ),
}
SLOW = {
    "alternating, three steps of y",
    "heavier ball",
    "heavy ball in turns",
    "negative momentum",
    "negative momentum of x, in turns",
    "extragradient, far ahead",
    "optimistic, of other constants",
    "weak consensus",
    "symplectic, aligned",
    "proximal, by a fixed point",
    "lookahead opponent, far",
    "lola, far",
    "sos with no share",
    "unrolled, in turns",
    "slow replay",
    "lookahead minmax, in turns",
    "competitive",
    "gradient",
}
"""Variants, and what is also tested elsewhere."""
rows = pytest.mark.parametrize(
    "row", [pytest.param(row, marks=pytest.mark.slow if title in SLOW else (), id=title) for title, row in ROWS.items()]
)


def bilinear(step):
    A = jnp.asarray(SVD.left * SVD.values @ SVD.right.T)
    return zero_sum(lambda x, y: x @ A @ y, step)


def rotated(block_of):
    """The blocks of all pairs in the coordinates of x and y."""
    blocks, frames = np.array([block_of(s) for s in SVD.values]), (SVD.left, SVD.right)
    return np.block([[frames[i] * blocks[:, i, j] @ frames[j].T for j in range(2)] for i in range(2)])


def complexly(factor):
    return np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])


@rows
def test_the_update_of_a_bilinear_game_is_the_closed_form(row, float64):
    rounds = row.solver.k if row.solver.name == "lookahead-minmax" else 1
    matrices = probed(row.solver, row.schedule, STEPS, bilinear, 3, row.fixed, rounds)
    for a, matrix in zip(STEPS, matrices, strict=True):
        if row.roots:
            expected = np.concatenate([row.roots(a, s) for s in SVD.values])
            assert_same_multiset(np.linalg.eigvals(matrix), expected, 1e-10)
            continue

        def block_of(s, a=a):
            return row.block(a, s) if row.block else complexly(complex(row.factor(a, s)))

        if row.solver.name == "lookahead-minmax":  # the slow weights are the fast ones at the start and at the end
            matrix = matrix[:6] @ np.vstack([np.eye(6), np.eye(6)])
        np.testing.assert_allclose(matrix, rotated(block_of), rtol=0, atol=1e-12)


def test_at_the_double_root_of_optimism_the_entries_are_those_of_its_recursion(float64):
    """z+ = z - a (2 g - g_), where the gradient is g = (y, -x): eigenvalues lose half of their digits at a = 1/2."""
    (matrix,) = probed(Solver("optimistic"), JOINT, [0.5], lambda a: zero_sum(jnp.vdot, a), 1)
    expected = [[1, -1, 0.5, 0], [1, 1, 0, 0.5], [0, 1, 0, 0], [-1, 0, 0, 0]]
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-14)
