"""What a row of distances to the equilibrium says: a rate per round, and whether it converges, cycles or diverges."""

import math
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from vaegan_jax.errors import check
from vaegan_jax.games import Params

Verdict = Literal["converges", "cycles", "diverges", "unknown"]
BLOCKS = 8
"""Parts into which `verdict` cuts the second half of the rounds."""
FEWEST = 32
"""Fewer distances than these are no ground for a verdict, unless they end at 0 or are not finite."""
GOES_ON = 0.69
"""A trend goes on that loses no more of itself from one quarter of all rounds to the next."""
HARMONICS = 3
"""Of the wobble of an elliptic orbit, in a fit with its period."""


class Rate(NamedTuple):
    """log distance = constant + round log rate, fitted by least squares."""

    rate: float
    """Factor of the distance in one round; NaN where too few distances can be fitted, but 0 where the next one is."""
    error: float
    """Standard error of the rate, as if the residuals were independent; those of an orbit are not."""
    steps_for_ten: float
    """Rounds in which the distance changes by a factor 10, shrinking or growing; infinite for a rate of 1."""
    first: int
    """The first round of the fit."""
    last: int
    """Its last round: before the distances leave the range of their type, if they do."""


def distance(point: Params, equilibrium: Params) -> float:
    """The Euclidean distance of two joint points."""
    apart = jax.tree.map(lambda a, b: np.asarray(a, np.float64) - np.asarray(b, np.float64), point, equilibrium)
    return float(np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(apart))))


def vectors(points: Params) -> Float[np.ndarray, "t d"]:
    """A trajectory of joint points, leaves (t, ...), as rows in the order of `ravel_pytree` of one of them."""
    return np.asarray(jax.vmap(lambda point: ravel_pytree(point)[0])(points), np.float64)


def distances(
    points: Float[np.ndarray, "t d"], equilibrium: Float[np.ndarray, " d"], form: Float[np.ndarray, "d d"] | None = None
) -> Float[np.ndarray, " t"]:
    """sqrt(e^T Q e) of e = point - equilibrium; Q is `form`, or the identity. ValueError for a form that is not > 0.

    On an elliptic orbit the Euclidean distance wobbles, and that in its own form does not: alternating steps of size
    a in the bilinear game keep [[1, -a / 2], [-a / 2, 1]].
    """
    apart = points - equilibrium[None]
    if form is None:
        return np.linalg.norm(apart, axis=1)
    if not np.allclose(form, form.T) or np.linalg.eigvalsh(form)[0] <= 0:
        raise ValueError("the form of a norm must be symmetric and positive definite")
    return np.linalg.norm(apart @ np.linalg.cholesky(form), axis=1)


def fit(distances: Float[np.ndarray, " t"], burn_in: int | None = None, period: float | None = None) -> Rate:
    """The rate of a trajectory, from one distance a round.

    The first `burn_in` rounds are left out, by default a quarter of those that count: whatever comes after a distance
    that is not finite, or so small that its type loses digits (2e-292 in float64), does not. With `period`, the rounds
    in which the distance of an elliptic orbit comes back (half a turn), waves of this period are fitted along with the
    line, so that they do not tilt it. Raises UserError for a burn-in below 0 or a period that is not above 2.
    """
    check(burn_in is None or burn_in >= 0, f"burn-in must be at least 0, not {burn_in}")
    check(period is None or period > 2, f"period must be above 2 rounds, not {period}")
    limits = np.finfo(distances.dtype)
    sound = np.isfinite(distances) & (distances > limits.tiny / limits.eps)
    count = len(distances) if sound.all() else int(np.argmin(sound))
    first = count // 4 if burn_in is None else burn_in
    rounds = np.arange(first, count, dtype=float)
    waves = [] if period is None else [k * 2 * np.pi / period * rounds for k in range(1, HARMONICS + 1)]
    columns = [rounds - rounds.mean() if len(rounds) else rounds, np.ones_like(rounds)]
    design = np.stack(columns + [wave(phase) for phase in waves for wave in (np.cos, np.sin)], 1)
    if len(rounds) < design.shape[1]:
        gone = count < len(distances) and distances[count] == 0  # at once, as by a step that solves the game
        return Rate(*((0.0, 0.0, 0.0) if gone else (math.nan,) * 3), first, max(count - 1, 0))
    logs = np.log(distances[first:count].astype(np.float64))
    solution, _, _, _ = np.linalg.lstsq(design, logs)
    left = np.square(logs - design @ solution).sum() / max(len(rounds) - design.shape[1], 1)
    spread = np.linalg.pinv(design.T @ design)[0, 0]
    rate = math.exp(solution[0])
    return Rate(rate, rate * math.sqrt(left * spread), steps_for_ten(rate), first, count - 1)


def steps_for_ten(rate: float) -> float:
    """Rounds for a factor 10 at a rate per round, up or down: infinite at 1, 0 at 0."""
    if rate == 0:
        return 0.0
    return math.log(10) / abs(math.log(rate)) if rate != 1 else math.inf


def verdict(
    distances: Float[np.ndarray, " t"], converged: float = 1e-6, resolved: float = 0.005, certainty: float = 4.0
) -> Verdict:
    """What a row of distances does, judged by its second half.

    - "diverges": a distance is not finite, or they grow on and on, be it as slowly as a power of the round;
    - "converges": the second half is within `converged` times the first distance, or they shrink on and on, be it as
      slowly as a power of the round, 1 / sqrt(t) say;
    - "cycles": neither, for as far as can be told: they stay within a band, as on an orbit or a limit cycle, or will,
      and so does what noise keeps away from the equilibrium;
    - "unknown": fewer than 32 distances, or a trend that is too small, or dies away too late, to say which.

    The trend is the slope of a line through the levels, logarithms of root mean squares, of 8 blocks; it counts where
    it is `certainty` of its standard errors away from 0. It goes on where the slope in the last four blocks is at least
    0.69 of that in the first: of an exponential it is all, of a power of the round 0.71. It has died away where what
    is left of it, as a geometric series, is below 2 `resolved`; but not where it broke off, from what was less than
    twice as much in the quarter before: few rounds of a slow orbit do so. A trend of less than `resolved` in all is
    too small: where single distances wobble four times as much, it is taken for none.
    """
    if not np.isfinite(distances).all():
        return "diverges"
    tail = distances[len(distances) // 2 :].astype(np.float64)
    if len(tail) and tail.max() <= converged * distances[0]:
        return "converges"
    if len(distances) < FEWEST:
        return "unknown"
    levels = np.array([_level(block) for block in np.array_split(tail, BLOCKS)])
    trend, error = _line(levels)
    total = BLOCKS * abs(trend)
    if total <= max(BLOCKS * certainty * error, 1e-8):
        return "cycles"
    if total < resolved:
        return "cycles" if tail.max() > tail.min() * math.exp(4 * total) else "unknown"
    before, after = (_line(half)[0] for half in np.split(levels, 2))
    earlier = distances[len(distances) // 4 : len(distances) // 2].max()
    if trend > 0 and tail.max() < earlier * math.exp(total / 4):
        return "cycles"  # levels wander within what was seen before: an orbit slowly in and out of step with rounds
    if before * trend > 0 and after / before >= GOES_ON:
        return "converges" if trend < 0 else "diverges"
    ratio = abs(after / before) if before else math.inf
    left = BLOCKS / 2 * abs(after) * ratio / (1 - ratio) if ratio < 1 else math.inf
    quarter = distances[len(distances) // 4 : len(distances) // 2].astype(np.float64)
    past = _line(np.array([_level(block) for block in np.array_split(quarter, BLOCKS // 2)]))[0]
    sudden = BLOCKS / 2 * abs(before) > 4 * resolved and abs(past) < 2 * abs(before)
    return "cycles" if left < 2 * resolved and not sudden else "unknown"


def _level(block: Float[np.ndarray, " n"]) -> float:
    """log of the root mean square; of what is divided by the largest, so that no square overflows or is 0."""
    largest = max(float(block.max()), np.finfo(float).tiny)
    return math.log(largest) + 0.5 * math.log(max(float(np.square(block / largest).mean()), np.finfo(float).tiny))


def _line(levels: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Slope of the line through equidistant values, and its standard error."""
    places = np.arange(len(levels)) - (len(levels) - 1) / 2
    slope = places @ levels / (places @ places)
    left = levels - levels.mean() - slope * places
    return float(slope), float(np.sqrt(left @ left / (len(levels) - 2) / (places @ places)))
