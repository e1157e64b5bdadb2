"""Eigenvalues of a game's Jacobian and of its players' Hessians, matrix-free; and what they say of a point.

Arnoldi's and Lanczos' methods run on the host in float64 (ARPACK: Lehoucq et al. 1998); each product with the matrix
is computed on the device. Of v = gradients and J = dv/dw, eigenvalues with negative real parts repel.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, cg, eigs, eigsh

from vaegan_jax.dynamics.instruments import JointField, entries, gradient_norms, operator
from vaegan_jax.errors import check
from vaegan_jax.games import Game, Params

Which = Literal["magnitude", "largest real", "smallest real"]
SMALL = 32
"""Up to so many parameters the whole matrix is made and solved."""
RESTARTS = 300
"""After so many restarts what has converged is told, and the rest is not."""
LEADERS = ("min", "generator")
"""Players that move first in a minimax game, where none is named."""
Matrix = Callable[[np.ndarray], np.ndarray]
"""Vector -> matrix times vector."""


class Spectrum(NamedTuple):
    """Eigenvalues at an end of a spectrum, the outermost first."""

    eigenvalues: np.ndarray
    """(k,), complex128, or float64 of a symmetric matrix; fewer than were asked for where they did not converge."""
    residuals: np.ndarray
    """(k,): |M u - lambda u| of each, for |u| = 1, as a share of the matrix' largest |eigenvalue|, as far as known."""
    products: int
    """Products with the matrix that it took."""
    complete: bool
    """Whether as many converged as were asked for."""


class Ends(NamedTuple):
    """Both ends of a symmetric matrix' spectrum."""

    smallest: Spectrum
    largest: Spectrum


class Point(NamedTuple):
    """What kind of point it is, by second derivatives."""

    kind: Literal["nash", "local minimax", "neither"]
    stationary: bool
    """Whether the field is 0 there: else `kind` tells of the curvature only."""
    smallest: dict[str, float]
    """The least eigenvalue of each player's own Hessian."""
    largest: dict[str, float]
    """Its largest."""
    ridge: float | None
    """Least eigenvalue of the leader's Hessian along the follower's best answer; None where it was not looked at."""
    norms: dict[str, float]
    """Norm of the field, by player."""
    told: str
    """What was checked, with which tolerances, in a sentence."""


def leading(
    field: JointField,
    point: Params,
    count: int = 12,
    which: Which = "magnitude",
    tolerance: float | None = None,
    seed: int = 0,
) -> Spectrum:
    """`count` eigenvalues of J at a point: the largest in magnitude, or those at an end of the real axis, by Arnoldi.

    `tolerance` is that of ARPACK, by default 1e-10 in float64 and 1e-5 else; `seed` is that of the first vector.
    Raises UserError for a count that is not in 1 .. number of parameters, or a Jacobian that is not finite.
    """
    made = operator(field, point)
    return _eigenvalues(made.jacobian, made.size, count, which, _tolerance(tolerance, made.dtype), seed, False)


def hessian(
    field: JointField, point: Params, networks: Sequence[str], count: int = 1, tolerance: float | None = None
) -> Ends:
    """`count` eigenvalues at both ends of a player's own Hessian, J's block of the networks it owns, by Lanczos.

    The rest of the field is not computed. Raises as `leading`.
    """
    made = operator(*alone(field, point, networks))
    limit = _tolerance(tolerance, made.dtype)
    low, high = (
        _eigenvalues(made.jacobian, made.size, count, which, limit, 0, True)
        for which in ("smallest real", "largest real")
    )
    return Ends(low, high)


def alone(field: JointField, point: Params, networks: Sequence[str]) -> tuple[JointField, Params]:
    """A player's part of the field as a function of the networks it owns, all others held; and their point."""
    held = Partial(_own, field if isinstance(field, Partial) else Partial(field), point)
    return held, {network: point[network] for network in networks}


def classify(
    game: Game,
    field: JointField,
    point: Params,
    leader: str | None = None,
    tolerance: float | None = None,
    still: float = 1e-6,
    ends: dict[str, Ends] | None = None,
) -> Point:
    """Nash, local minimax or neither.

    Nash: no player's own Hessian has an eigenvalue below -`tolerance` times its largest |eigenvalue| (by default 1e-6
    in float64, 1e-3 else). Local minimax (Jin et al. 2020, arXiv 1902.00618, propositions 19 and 20; strict): in a
    zero-sum game of two, the follower's Hessian is positive definite, beyond the tolerance, and so is the Schur
    complement J_11 - J_12 J_22^-1 J_21; it is looked at where the point is not Nash and `leader` is told, or one is
    named "min" or "generator". That the game is zero-sum is checked: J_12 = -J_21^T, on a random vector.
    The point is stationary where the field's norm is at most `still`. `ends` are of each player's Hessian, if known.
    """
    if tolerance is None:
        tolerance = 1e-6 if ravel_pytree(point)[0].dtype == np.float64 else 1e-3
    ends = ends or {name: hessian(field, point, player.owns) for name, player in game.items()}
    smallest, largest = ({name: _value(end[side]) for name, end in ends.items()} for side in (0, 1))
    zero = {name: tolerance * max(abs(smallest[name]), abs(largest[name])) for name in game}
    norms = gradient_norms(game, field, point)
    total = float(np.sqrt(sum(norm**2 for norm in norms.values())))
    bent = [name for name in game if smallest[name] < -zero[name]]
    lost = [name for name in game if np.isnan(zero[name])]
    kind, ridge, told = "nash", None, "every player's Hessian is positive semidefinite"
    if lost:
        kind, told = "neither", f"nobody knows: Lanczos did not converge for {' and '.join(lost)}"
    elif bent:
        kind, ridge, told = _minimax(game, field, point, leader, smallest, zero)
        told = f"the Hessian of {' and of '.join(bent)} has a negative eigenvalue; {told}"
    told += f" (within {tolerance:g} of the largest in magnitude); the field's norm is {total:.3g}"
    return Point(kind, total <= still, smallest, largest, ridge, norms, told)


def _minimax(
    game: Game, field: JointField, point: Params, leader: str | None, smallest: dict[str, float], zero: dict[str, float]
) -> tuple[str, float | None, str]:
    leader = leader or next((name for name in LEADERS if name in game), None)
    followers = [name for name in game if name != leader]
    if leader not in game or len(followers) != 1:
        return "neither", None, "local minimax is of two players, of whom a known one leads"
    (follower,) = followers
    if not smallest[follower] > zero[follower]:
        return "neither", None, f"that of {follower}, who follows, is not positive definite"
    if not _zero_sum(field, point, game[leader].owns):
        return "neither", None, "local minimax is of zero-sum games, and this is none"
    ridge = _ridge(field, point, game[leader].owns)
    told = f"{leader}'s along the best answer of {follower} has {ridge:.3g} as its least"
    return "local minimax" if ridge > zero[leader] else "neither", ridge, told


def _own(field: JointField, rest: Params, own: Params) -> Params:
    vector = field(rest | own)
    return {network: vector[network] for network in own}


def _tolerance(tolerance: float | None, dtype: np.dtype) -> float:
    return tolerance if tolerance is not None else 1e-10 if dtype == np.float64 else 1e-5


def _value(spectrum: Spectrum) -> float:
    return float(spectrum.eigenvalues[0]) if len(spectrum.eigenvalues) else float("nan")


def _eigenvalues(
    matrix: Matrix, size: int, count: int, which: Which, tolerance: float, seed: int, symmetric: bool
) -> Spectrum:
    check(1 <= count <= size, f"count must be in 1 .. {size:,}, the number of parameters, not {count}")
    calls = [0]

    def times(vector: np.ndarray) -> np.ndarray:
        calls[0] += 1
        return matrix(vector)

    start = np.random.default_rng(seed).normal(size=size)
    scale = np.linalg.norm(times(start)) / np.linalg.norm(start)
    check(bool(np.isfinite(scale)), "the Jacobian is not finite at this point")
    if size <= SMALL or count >= size - 1:
        dense = np.stack([times(basis) for basis in np.eye(size)], 1)
        values, basis = np.linalg.eigh((dense + dense.T) / 2) if symmetric else np.linalg.eig(dense)
        radius, complete = np.abs(values).max(), True
    elif not scale:
        values, basis, radius, complete = np.zeros(count), np.eye(size, count), 0.0, True
    else:
        values, basis, radius, complete = _arpack(times, start, float(scale), count, which, tolerance, symmetric)
    order = {"magnitude": -np.abs(values), "largest real": -values.real, "smallest real": values.real}[which]
    chosen = np.argsort(order, kind="stable")[:count]
    values, basis = values[chosen], basis[:, chosen]
    left = [_times(times, u) - value * u for value, u in zip(values, basis.T, strict=True)]
    residuals = np.array([np.linalg.norm(vector) for vector in left]) / max(radius, np.finfo(float).tiny)
    return Spectrum(values if symmetric else values.astype(complex), residuals, calls[0], complete)


def _arpack(
    times: Matrix, start: np.ndarray, scale: float, count: int, which: Which, tolerance: float, symmetric: bool
) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """Eigenvalues, eigenvectors in columns, the largest magnitude as far as known, and whether all converged.

    ARPACK is content with an error relative to each eigenvalue. At the ends of the real axis there may be one near 0,
    for which this would be too much: there the matrix is shifted by its radius, away from it.
    """
    solve, radius, shift = eigsh if symmetric else eigs, 0.0, 0.0
    if which != "magnitude":
        found, _, _ = _solve(solve, times, start, 1, "LM", 1e-2)
        radius = float(np.abs(found).max(initial=scale))
        shift = radius if which == "largest real" else -radius
    real = ("LA", "SA") if symmetric else ("LR", "SR")
    code = {"magnitude": "LM", "largest real": real[0], "smallest real": real[1]}[which]
    found, basis, complete = _solve(solve, lambda v: times(v) + shift * v, start, count, code, tolerance)
    return found - shift, basis, max(radius, float(np.abs(found - shift).max(initial=0))), complete


def _solve(
    solve: Callable, times: Matrix, start: np.ndarray, count: int, code: str, tolerance: float
) -> tuple[np.ndarray, np.ndarray, bool]:
    matrix = LinearOperator((len(start),) * 2, matvec=lambda v: times(v.ravel()), dtype=np.float64)
    try:
        return *solve(matrix, count, which=code, v0=start, tol=tolerance, maxiter=RESTARTS), True
    except ArpackNoConvergence as stopped:
        return stopped.eigenvalues, stopped.eigenvectors, False


def _times(times: Matrix, vector: np.ndarray) -> np.ndarray:
    return times(vector) if not np.iscomplexobj(vector) else times(vector.real) + 1j * times(vector.imag)


def _zero_sum(field: JointField, point: Params, leader: Sequence[str]) -> bool:
    made, ours = operator(field, point), entries(leader, point)
    probe = np.where(ours, 0, np.random.default_rng(0).normal(size=made.size))
    forward, back = made.jacobian(probe)[ours], made.transposed(probe)[ours]
    scale = max(np.linalg.norm(forward), np.linalg.norm(back))
    return bool(np.linalg.norm(forward + back) <= (1e-6 if made.dtype == np.float64 else 1e-3) * scale)


def _ridge(field: JointField, point: Params, leader: Sequence[str]) -> float:
    """Least eigenvalue of J_11 - J_12 J_22^-1 J_21; each solution by conjugate gradients."""
    made, ours = operator(field, point), entries(leader, point)
    theirs, tolerance = ~ours, _tolerance(None, made.dtype)

    def times(part: np.ndarray, vector: np.ndarray) -> np.ndarray:
        whole = np.zeros(made.size)
        whole[part] = vector.ravel()
        return made.jacobian(whole)

    own = LinearOperator((theirs.sum(),) * 2, matvec=lambda v: times(theirs, v)[theirs], dtype=np.float64)

    def schur(vector: np.ndarray) -> np.ndarray:
        image = times(ours, vector)
        answer, _ = cg(own, image[theirs], rtol=tolerance / 10)
        return image[ours] - times(theirs, answer)[ours]

    return _value(_eigenvalues(schur, int(ours.sum()), 1, "smallest real", tolerance, 0, True))
