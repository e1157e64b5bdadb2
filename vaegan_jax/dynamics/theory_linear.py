"""Closed forms for any linear field v = J w: games with curvature, and any game near its equilibrium.

A solver whose step is a polynomial in J, or a filter of the field, acts on each eigenvalue of J alone; one that uses
J^T, or knows the players, acts on the matrix that it makes of J. On bilinear games all this is `theory`'s.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Complex, Float

from vaegan_jax.dynamics import theory
from vaegan_jax.dynamics.settings import CONSTANTS, Solver
from vaegan_jax.dynamics.solvers import SOLVERS
from vaegan_jax.dynamics.theory import Constants, Number
from vaegan_jax.dynamics.toy import Toy

Matrix = Float[np.ndarray, "d d"]


def rate(solver: Solver, toy: Toy, step: float) -> float | None:
    """What theory says of a toy game near its equilibrium: factor of the distance in a round of plain steps.

    None where it says nothing: for solvers without a closed form, and games whose Jacobian is not known.
    """
    if toy.jacobian is None or (solver.name == "symplectic" and solver.align and not toy.singular_values):
        return None
    joint = len(toy.schedule) == 1 or SOLVERS[solver.name].joint
    alternating, known = solver.name == "alternating" or not joint, constants(solver)
    if len(toy.schedule) > 2:
        return None
    if toy.singular_values and solver.name in theory.SOLVERS:
        return theory.rate(solver.name, step, toy.singular_values, alternating, **known)
    if solver.player or (alternating and solver.name not in TURNS):
        return None
    split = sum(leaf.size for network in toy.game[toy.schedule[0][0]].owns for leaf in [toy.start[network]])
    values = update_eigenvalues(solver.name, step, toy.jacobian, split, alternating, **known)
    return None if values is None else float(np.abs(values).max())


def constants(solver: Solver) -> dict[str, float]:
    """A solver's numbers as the closed forms take them: its step is `ahead`, momentum of one is no other's."""
    names = [name for name in CONSTANTS[solver.name] if isinstance(getattr(solver, name), int | float)]
    known = {("ahead" if name == "step" else name): float(getattr(solver, name)) for name in names}
    return known | ({"other_momentum": 0.0} if "momentum" in known and solver.player else {})


def update_eigenvalues(
    name: str,
    step: float,
    jacobian: Matrix,
    split: int | None = None,
    alternating: bool = False,
    **constants: Number,
) -> Complex[np.ndarray, " n"] | None:
    """Eigenvalues of one step of a solver where the field has this Jacobian; None: not known.

    `split` parameters are the first player's, by default half of them. In turns only plain steps are known.
    """
    split = len(jacobian) // 2 if split is None else split
    first = np.diag([1.0] * split + [0.0] * (len(jacobian) - split))
    if alternating or name == "alternating":
        if name not in TURNS:
            return None
        scaled = TURNS[name](constants) * first
        rest = np.eye(len(jacobian)) - first
        one, other = (np.eye(len(jacobian)) - step * part @ jacobian for part in (scaled, rest))
        return np.linalg.eigvals(other @ one).astype(complex)
    if name in FILTERS:
        numerator, denominator = FILTERS[name](constants)
        still = np.polymul([1, -1], denominator)
        mu = np.linalg.eigvals(jacobian) + 0j
        return np.concatenate([np.roots(np.polyadd(still, step * m * np.asarray(numerator))) for m in mu])
    if name not in EFFECTIVE:
        return None
    between = first @ jacobian + jacobian @ first - 2 * first @ jacobian @ first
    try:
        field = EFFECTIVE[name](constants.get("ahead", step), jacobian, between, first, constants)
    except np.linalg.LinAlgError:
        return None
    return 1 - step * np.linalg.eigvals(field).astype(complex)


def _ridge(J: np.ndarray, first: np.ndarray, damping: float) -> np.ndarray:
    """v_x for the first player and v_y - (J_yy + damping)^-1 J_yx v_x for the second."""
    n = int(np.trace(first))
    field = np.array(J)
    field[n:] -= np.linalg.solve(J[n:, n:] + damping * np.eye(len(J) - n), J[n:, :n]) @ J[:n]
    return field


TURNS: dict[str, Callable[[Constants], float]] = {
    "gradient": lambda c: 1.0,
    "alternating": lambda c: 1.0,
    "two-time-scales": lambda c: c.get("factor", 0.25),
}
"""What is known in turns, with the factor of the first player's step."""

EFFECTIVE: dict[str, Callable[[float, np.ndarray, np.ndarray, np.ndarray, Constants], np.ndarray]] = {
    "gradient": lambda e, J, between, first, c: J,
    "simultaneous": lambda e, J, between, first, c: J,
    "averaging": lambda e, J, between, first, c: J,
    "two-time-scales": lambda e, J, between, first, c: J + (c.get("factor", 0.25) - 1) * first @ J,
    "extragradient": lambda e, J, between, first, c: J - e * J @ J,
    "consensus": lambda e, J, between, first, c: J + c.get("gamma", 1.0) * J.T @ J,
    "symplectic": lambda e, J, between, first, c: J + c.get("lam", 1.0) * (J.T - J) / 2 @ J,
    "hamiltonian": lambda e, J, between, first, c: J.T @ J,
    "proximal": lambda e, J, between, first, c: np.linalg.solve(np.eye(len(J)) + e * J, J),
    "competitive": lambda e, J, between, first, c: np.linalg.solve(np.eye(len(J)) + e * between, J),
    "linearized-competitive": lambda e, J, between, first, c: J - e * between @ J,
    "lookahead-opponent": lambda e, J, between, first, c: J - e * between @ J,
    "follow-the-ridge": lambda e, J, between, first, c: _ridge(J, first, c.get("damping", 0.0)),
}
"""The matrix that a solver has in place of J: its step is I - a times it. `between` is J without the players' own
blocks, `first` the projection on the first player's parameters, e how far the solver looks ahead."""

FILTERS: dict[str, Callable[[Constants], tuple[list[Number], list[Number]]]] = {
    "heavy-ball": lambda c: ([1, 0], [1, -c.get("momentum", 0.5)]),
    "negative-momentum": lambda c: ([1, 0], [1, c.get("momentum", 0.5)]),
    "nesterov": lambda c: ([1 + c.get("momentum", 0.5), -c.get("momentum", 0.5)], [1, -c.get("momentum", 0.5)]),
    "optimistic": lambda c: ([c.get("alpha", 1.0) + c.get("beta", 1.0), -c.get("beta", 1.0)], [1, 0]),
}
"""The transfer function (N, D) of both players' optimizers: (l - 1) D + a mu N = 0 (`theory.filtered`)."""


def quadratic_eigenvalues(p: float, q: float, b: float) -> Complex[np.ndarray, "2"]:
    """Of J = [[p, b], [-b, q]]: (p + q)/2 +- sqrt((p - q)^2/4 - b^2)."""
    root = np.emath.sqrt((p - q) ** 2 / 4 - b**2)
    return np.array([(p + q) / 2 + root, (p + q) / 2 - root], complex)


def largest_step(field_eigenvalues: Complex[np.ndarray, " d"]) -> float:
    """Simultaneous gradient steps converge below this step: the least 2 Re(mu) / |mu|^2; 0 where one Re(mu) <= 0."""
    parts = 2 * field_eigenvalues.real / np.abs(field_eigenvalues) ** 2
    return max(0.0, float(parts.min()))


def ridge_eigenvalues(step: float, p: float, q: float, b: float) -> Complex[np.ndarray, "2"]:
    """Of follow-the-ridge (Wang, Zhang & Ba 2020, arXiv 1910.07512) on a quadratic game, which needs q != 0.

    1 - a (p + b^2/q) and 1 - a q: both real, so that nothing rotates, and stable at every local minimax point.
    """
    return np.array([1 - step * (p + b**2 / q), 1 - step * q], complex)
