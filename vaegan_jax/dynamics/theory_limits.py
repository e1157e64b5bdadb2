"""What theory says where a spectral radius does not: invariants, averages, best steps, rates that are no powers.

All is for bilinear games of singular value s, played with steps a.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float


def alternating_angle(step: float, sigma: float = 1.0) -> float:
    """2 arcsin(as/2): how far around the ellipse one round of gradient steps in turns goes, for as <= 2."""
    return float(2 * np.arcsin(step * sigma / 2))


def alternating_invariant(x: ArrayLike, y: ArrayLike, step: float, sigma: float = 1.0) -> Float[np.ndarray, "*b"]:
    """x^2 + y^2 - as xy, which gradient steps in turns (x first) conserve exactly; of any shape."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.asarray(x**2 + y**2 - step * sigma * x * y)


def average_gain(decay: float, step: float, sigma: float = 1.0) -> float:
    """By how much an exponential moving average of the parameters shrinks the orbit of gradient steps in turns.

    (1 - d) / sqrt(1 - 2 d cos(theta) + d^2), the gain of the filter at the orbit's angle. It does not converge: it
    orbits, too.
    """
    angle = alternating_angle(step, sigma)
    return float((1 - decay) / np.sqrt(1 - 2 * decay * np.cos(angle) + decay**2))


def uniform_average(distance: float, step: float, rounds: int, sigma: float = 1.0) -> float:
    """|mean of the iterates| of simultaneous gradient steps, for many rounds T: |w0| rho^T / (as T). It diverges."""
    s = step * sigma
    return float(distance * (1 + s**2) ** (rounds / 2) / (s * rounds))


def anchored_limit(distance: float, step: float) -> float:
    """|w0 - w*| / a: the limit of k |v(w_k)| for the anchored extragradient.

    EAG-C of Yoon & Ryu 2021 (arXiv 2102.07922): the last iterate's |v| falls as 1/k, no method's faster.
    """
    return distance / step


def frozen_history(step: float, strength: float, sigma: float = 1.0) -> float:
    """sqrt((1 - ac)^2 + (as)^2): the radius of historical averaging with weight c while the mean stands still.

    Above 1 it diverges. Below, the mean lags behind, and the distance falls as a power of the rounds.
    """
    return float(np.hypot(1 - step * strength, step * sigma))


def momentum_expansion(step: float, first: float, second: float, alternating: bool = True, sigma: float = 1.0) -> float:
    """Radius of heavy ball with momenta b1 and b2, to second order in the step.

    With w^2 = (as)^2 / ((1 - b1)(1 - b2)) and t = 1/(1 - b1) + 1/(1 - b2): in turns 1 - w^2 (2 - t) / 2, at once
    1 + w^2 (t - 1) / 2. In turns it converges where t < 2: the momenta are negative on the average.
    """
    squared = (step * sigma) ** 2 / ((1 - first) * (1 - second))
    total = 1 / (1 - first) + 1 / (1 - second)
    return float(1 - squared * (2 - total) / 2 if alternating else 1 + squared * (total - 1) / 2)


def small_step_gain(name: str) -> float | None:
    """g in radius = 1 - g (as)^2 for small steps; below 0 it diverges. None for a solver that is not listed."""
    return GAINS.get(name)


GAINS = {
    "gradient": -1 / 2,
    "simultaneous": -1 / 2,
    "alternating": 0.0,
    "extragradient": 1 / 2,
    "optimistic": 1 / 2,
    "proximal": 1 / 2,
    "competitive": 1 / 2,
    "linearized-competitive": 1 / 2,
    "lookahead-opponent": 1 / 2,
    "lola": 3 / 2,
}
"""Where every strength (`ahead`) is the step itself. A fixed strength g gains more: radius = 1 - a g s^2."""


class Best(NamedTuple):
    """The best step of a solver for s = 1."""

    solver: str
    step: float
    radius: float
    alternating: bool = False
    constants: Mapping[str, float] = MappingProxyType({})


BEST = {
    "extragradient": Best("extragradient", 1 / 2**0.5, 3**0.5 / 2),
    "optimistic": Best("optimistic", 1 / 2, 1 / 2**0.5),
    "heavy ball for one": Best(
        "heavy-ball", 3.375**0.5, 1 / 2, True, MappingProxyType({"momentum": -1 / 8, "other_momentum": 0.0})
    ),
    "heavy ball": Best(
        "heavy-ball",
        8 / 3 * (2 * 3**0.5 - 3) ** 0.5,
        2 * 3**0.5 - 3,
        True,
        MappingProxyType({"momentum": 4 * 3**0.5 - 7}),
    ),
}
"""Optimistic has a double root there, and is the best for all alpha and beta. Heavy ball, in turns, has triple ones.

With l = -w^2 and equal momenta b its polynomial is (w^2 + 1)(w^2 + b) = +-a w^3, which at the best step has the roots
w, w, w, -w/3: so w^4 + 6 w^2 = 3, b = -w^4 / 3 and a = 8w/3."""


def best_period(step: float, sigma: float = 1.0) -> int:
    """Steps in turns between lookahead's outer steps after which they are half around, about pi / theta.

    With alpha = 1/2 an outer step then nearly ends in the middle of the orbit.
    """
    return max(1, round(np.pi / alternating_angle(step, sigma)))
