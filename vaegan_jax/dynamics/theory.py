"""Closed forms: what a step of each solver does to a bilinear game, as eigenvalues.

On min_x max_y s x y, with z = x + iy and a the step, the field is -is z: a solver that treats both players alike is a
recursion of one complex number, and its eigenvalues come with their conjugates. The singular value decomposition
makes such a pair of every singular value s of x^T A y, so that the spectral radius there is the largest over s.
Directions in a kernel of A stay where they are: give s = 0 for them.

Sources: Gidel et al. 2019, "Negative momentum for improved game dynamics" (momentum, alternation); Daskalakis et al.
2018 (optimism); Korpelevich 1976 (extragradient); Mescheder et al. 2017 (consensus); Balduzzi et al. 2018
(symplectic); Schaefer & Anandkumar 2019 (competitive); Foerster et al. 2018 and Letcher et al. 2019 (LOLA, SOS); Metz
et al. 2017 (unrolled); Chavdarova et al. 2021 (lookahead). Every row is checked in tests against played rounds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vaegan_jax.errors import unknown

Number = float | int
Constants = Mapping[str, Number]
Row = Callable[[float, float, Constants, bool], np.ndarray | None]
"""(step a, singular value s, the solver's constants, whether x moves before y) -> eigenvalues; None: not known."""


def filtered(
    step: float,
    sigma: float,
    filters: tuple[tuple[Sequence[Number], Sequence[Number]], ...],
    alternating: bool,
) -> np.ndarray:
    """Eigenvalues where each player's optimizer is a linear filter of its gradients, with the transfer function N / D.

    With the sequences growing as l^t, the players obey (l - 1) D1 x = -a s N1 y and (l - 1) D2 y = a s N2 x, the
    second one times l where it sees the new x. So (l - 1)^2 D1 D2 + (a s)^2 l^[alternating] N1 N2 = 0. A filter is its
    (N, D), polynomials by falling powers: plain steps (1, 1), heavy ball (l, l - b).
    """
    s = step * sigma
    (n1, d1), (n2, d2) = filters
    if not alternating and (tuple(n1), tuple(d1)) == (tuple(n2), tuple(d2)):
        return _pair(np.roots(np.polysub(np.polymul([1, -1], d1), 1j * s * np.asarray(n1))))
    still = np.polymul(np.polymul([1, -2, 1], d1), d2)
    turning = s**2 * np.polymul(n1, n2)
    return np.roots(np.polyadd(still, np.append(turning, 0) if alternating else turning)).astype(complex)


def of_plain(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """Gradient steps. `factor`: one player's step over the other's; `moves`: how often y moves in its turn.

    1 +- is at once; in turns exp(+-i theta), theta = 2 arcsin(s/2), up to s = 2, and real beyond. The factor and the
    moves are roots in s = a sigma sqrt(factor moves).
    """
    s = step * sigma * constants.get("factor", 1.0) ** 0.5
    if not alternating:
        return _pair([1 + 1j * s])
    s *= constants.get("moves", 1.0) ** 0.5
    root = s * np.emath.sqrt(1 - s**2 / 4)
    return np.array([1 - s**2 / 2 + 1j * root, 1 - s**2 / 2 - 1j * root], complex)


def of_alternating(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """Gradient steps in turns."""
    return of_plain(step, sigma, constants, True)


def of_two_time_scales(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """Gradient steps, one player's a `factor` of the other's, by default 1/4."""
    return of_plain(step, sigma, {"factor": 0.25} | dict(constants), alternating)


def of_heavy_ball(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """x+ = x - a v + b (x - x_), of `momentum` b; the other player's is `other_momentum` where that differs."""
    betas = _momenta(constants)
    return filtered(step, sigma, tuple(([1, 0], [1, -beta]) for beta in betas), alternating)


def of_negative_momentum(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """Heavy ball with minus these momenta."""
    first, other = _momenta(constants)
    return of_heavy_ball(step, sigma, {"momentum": -first, "other_momentum": -other}, alternating)


def of_nesterov(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """The gradient is taken at x + b (x - x_)."""
    betas = _momenta(constants)
    return filtered(step, sigma, tuple(([1 + beta, -beta], [1, -beta]) for beta in betas), alternating)


def of_optimistic(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """z+ = z - a ((alpha + beta) v - beta v_): optimistic, past extragradient and Popov's method are one here."""
    alpha, beta = constants.get("alpha", 1.0), constants.get("beta", 1.0)
    return filtered(step, sigma, (([alpha + beta, -beta], [1, 0]),) * 2, alternating)


def _adjusted(strength: Callable[[float, Constants], float]) -> Row:
    """1 - a g s^2 +- ias: the field and g times what turns it inwards.

    That is the field ahead (g is how far), J^T v or A^T v. In turns it is plain: a player's own block of J is 0.
    """

    def row(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
        g = strength(step, constants)
        turns = of_plain(step, sigma, {}, True)
        return turns if alternating else _pair([1 - step * g * sigma**2 + 1j * step * sigma])

    return row


def _joint(factor: Callable[[float, float, float, Constants], complex | float]) -> Row:
    """A solver that moves both players at once and multiplies z by a factor of (a, s, `ahead`, constants)."""

    def row(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray | None:
        return None if alternating else _pair([factor(step, sigma, _ahead(step, constants), constants)])

    return row


def of_unrolled(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """x descends f(x, y after K = `inner_steps` of size `ahead` e), y is plain: with P = K e s, the matrix is
    [[1 - 2asP, -as], [as, 1]], and in turns [[1 - 2asP, -as], [as (1 - 2asP), 1 - (as)^2]]."""
    s, P = step * sigma, constants.get("inner_steps", 5.0) * _ahead(step, constants) * sigma
    damped = 1 - 2 * s * P
    y = [s, 1.0] if not alternating else [s * damped, 1 - s**2]
    return np.linalg.eigvals(np.array([[damped, -s], y])).astype(complex)


def of_lookahead(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """1 - alpha + alpha l^k of each outer step: `slow_step` alpha, after `k` gradient steps in turns or at once.

    l is an eigenvalue of the inner steps: extragradient's where `ahead` says how far.
    """
    inner = SOLVERS["extragradient"] if "ahead" in constants else of_plain
    alpha, k = constants.get("slow_step", 0.5), int(constants.get("k", 5))
    return 1 - alpha + alpha * inner(step, sigma, constants, alternating) ** k


def of_replay(step: float, sigma: float, constants: Constants, alternating: bool) -> np.ndarray:
    """Each against an average of the other, zbar+ = (1 - tau) zbar + tau z+: l^2 - (2 - tau + ias tau) l + 1 - tau.

    The averages move after the round, so that turns make no difference.
    """
    tau = constants.get("tau", 0.1)
    return _pair(np.roots([1, -(2 - tau + 1j * step * sigma * tau), 1 - tau]))


def _implicit(a: float, s: float, ahead: float, constants: Constants) -> complex:
    return 1 + 1j * a * s / (1 - 1j * ahead * s)


def _seeing(share: Callable[[Constants], float]) -> Row:
    """Players that see the opponent's next step: 1 - a e s^2 share +- ias, of steps e."""
    return _joint(lambda a, s, ahead, constants: 1 - a * ahead * s**2 * share(constants) + 1j * a * s)


SOLVERS: dict[str, Row] = {
    "gradient": of_plain,
    "simultaneous": lambda step, sigma, constants, alternating: of_plain(step, sigma, constants, False),
    "alternating": of_alternating,
    "two-time-scales": of_two_time_scales,
    "heavy-ball": of_heavy_ball,
    "negative-momentum": of_negative_momentum,
    "nesterov": of_nesterov,
    "extragradient": _adjusted(lambda step, constants: _ahead(step, constants)),
    "optimistic": of_optimistic,
    "consensus": _adjusted(lambda step, constants: constants.get("gamma", 1.0)),
    "symplectic": _adjusted(lambda step, constants: constants.get("lam", 1.0)),
    "hamiltonian": _joint(lambda a, s, ahead, constants: 1 - a * s**2),
    "proximal": _joint(_implicit),
    "competitive": _joint(_implicit),
    "linearized-competitive": _seeing(lambda constants: 1.0),
    "lookahead-opponent": _seeing(lambda constants: 1.0),
    "lola": _seeing(lambda constants: 2.0),
    "sos": _seeing(lambda constants: 1 + constants.get("share", 0.0)),
    "unrolled": of_unrolled,
    "lookahead-minmax": of_lookahead,
    "averaging": of_plain,
    "replay": of_replay,
}
"""By the name of the solver, with the constants of `settings.Solver` under their names; its `step` is `ahead` here,
by default a. Without a `share`, SOS takes none near the equilibrium, where its criterion is the squared norm of the
field. Averaging has the iterates' eigenvalues, not the mean's. Solvers without a row (Adam, anchors, historical
averages) are not linear with constant coefficients, or, like follow-the-ridge, need curvature: see `theory_limits`
and `theory_linear`."""


def eigenvalues(
    name: str, step: float, singular_values: Sequence[Number] = (1.0,), alternating: bool = False, **constants: Number
) -> np.ndarray | None:
    """Of one step (an outer one, of lookahead) in min_x max_y x^T A y, all singular values together; None: not known.

    Raises UserError for a solver that has no row.
    """
    if name not in SOLVERS:
        raise unknown("solver with a closed form", name, SOLVERS)
    parts = [SOLVERS[name](step, sigma, constants, alternating) for sigma in singular_values]
    return None if any(part is None for part in parts) else np.concatenate(parts)


def radius(
    name: str, step: float, singular_values: Sequence[Number] = (1.0,), alternating: bool = False, **constants: Number
) -> float | None:
    """Spectral radius of one step (an outer one, of lookahead): below 1 it converges, above 1 it diverges."""
    values = eigenvalues(name, step, singular_values, alternating, **constants)
    return None if values is None else float(np.abs(values).max())


def rate(
    name: str, step: float, singular_values: Sequence[Number] = (1.0,), alternating: bool = False, **constants: Number
) -> float | None:
    """Factor of the distance in a round: the radius, of lookahead its root of the inner steps' number."""
    value = radius(name, step, singular_values, alternating, **constants)
    k = int(constants.get("k", 5)) if name == "lookahead-minmax" else 1
    return None if value is None else value ** (1 / k)


def steps_for_tenth(rate: float) -> float:
    """Steps in which the distance falls to a tenth or, above 1, grows ten times; infinite at 1."""
    if rate <= 0:
        return 1.0
    growth = abs(np.log(rate))
    return float(np.log(10) / growth) if growth > 1e-12 else float("inf")


class Interval(NamedTuple):
    """Of steps, open."""

    low: float
    high: float


def stable(
    name: str,
    singular_values: Sequence[Number] = (1.0,),
    alternating: bool = False,
    longest: float = 8.0,
    points: int = 4000,
    **constants: Number,
) -> tuple[Interval, ...]:
    """The steps up to `longest` with a radius below 1, ends within 1e-9; none for a solver that never converges.

    The closed radius is searched on a grid: what is narrower than longest / points may be missed.
    """
    steps = longest * np.arange(1, points + 1) / points

    def contracts(step: float) -> bool:
        value = radius(name, float(step), singular_values, alternating, **constants)
        return value is not None and value < 1 - 1e-12

    def edge(inside: float, outside: float) -> float:
        while abs(outside - inside) > 1e-10:
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if contracts(middle) else (inside, middle)
        return inside

    within = [contracts(step) for step in steps]
    lows = [0.0] if within[0] else []
    highs = [longest] if within[-1] else []
    for i in range(1, points):
        if within[i] and not within[i - 1]:
            lows.append(edge(steps[i], steps[i - 1]))
        if within[i - 1] and not within[i]:
            highs.append(edge(steps[i - 1], steps[i]))
    return tuple(Interval(float(a), float(b)) for a, b in zip(sorted(lows), sorted(highs), strict=True))


def _pair(values: Sequence[complex | float] | np.ndarray) -> np.ndarray:
    values = np.asarray(values, complex)
    return np.concatenate([values, values.conj()])


def _ahead(step: float, constants: Constants) -> float:
    return constants.get("ahead", step)


def _momenta(constants: Constants) -> tuple[float, float]:
    first = constants.get("momentum", 0.5)
    return first, constants.get("other_momentum", first)
