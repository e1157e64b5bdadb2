"""Closed forms of the Dirac-GAN (Mescheder, Geiger & Nowozin 2018, arXiv 1801.04406).

The library's field is of gradients, so that an equilibrium is stable where the eigenvalues have positive real parts;
the paper's is the direction of motion, with the opposite sign. `mescheder=True` gives the paper's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex

from vaegan_jax.dynamics.dirac import LOSSES
from vaegan_jax.errors import unknown

REGULARIZERS = ("none", "instance-noise", "r1", "r2", "wgan-gp", "jensen-shannon", "consensus")
"""Those of `dirac.DiracGan`, and the direction."""


def eigenvalues(
    loss: str = "minimax",
    regularizer: str = "none",
    gamma: float = 0.3,
    sigma: float = 0.7,
    mescheder: bool = False,
) -> Complex[np.ndarray, "2"] | None:
    """Of the field's Jacobian at the equilibrium; None for wgan-gp, whose field has a jump there.

    With a damping d of psi they are d/2 +- sqrt(d^2/4 - f'^2): d = gamma (r1, r2), gamma/2 (jensen-shannon, of logits)
    or -2 sigma^2 f'' (instance noise). Consensus makes gamma f'^2 +- i f' of +- i f'. Raises UserError for an unknown
    loss or regularizer.
    """
    if regularizer == "wgan-gp":
        return None
    slope, damping, both = _parts(loss, regularizer, gamma, sigma)
    root = np.emath.sqrt(damping**2 / 4 - slope**2)
    mu = np.array([damping / 2 + both + root, damping / 2 + both - root], complex)
    return -mu if mescheder else mu


def critical_gamma(loss: str = "minimax") -> float:
    """The weight of r1 or r2 from which nothing rotates any more, 2 f'(0): there both eigenvalues are f'(0)."""
    return 2 * _of(loss).slope


def critical_variance(loss: str = "minimax") -> float:
    """The same for the variance of instance noise, f' / |f''|: infinite where the loss is straight at 0."""
    row = _of(loss)
    return row.slope / abs(row.curvature) if row.curvature else float("inf")


def update_eigenvalues(
    step: float,
    loss: str = "minimax",
    regularizer: str = "none",
    gamma: float = 0.3,
    sigma: float = 0.7,
    alternating: bool = False,
    moves: tuple[int, int] = (1, 1),
) -> Complex[np.ndarray, "2"] | None:
    """Of a round of plain steps near the equilibrium, at once or in turns of `moves` (generator, discriminator).

    In turns theta+ = theta - h f' psi and psi+ = (1 - h d) psi + h f' theta+; with consensus both players descend
    gamma/2 |v|^2 besides. Without a regularizer, n_g and n_d moves stay on the unit circle while
    sqrt(n_g n_d) h f' <= 2.
    """
    if regularizer == "wgan-gp":
        return None
    slope, damping, both = _parts(loss, regularizer, gamma, sigma)
    generator = np.array([[1 - step * both, -step * slope], [0, 1]])
    discriminator = np.array([[1, 0], [step * slope, 1 - step * (damping + both)]])
    if alternating:
        powers = (np.linalg.matrix_power(m, n) for m, n in zip((generator, discriminator), moves, strict=True))
        first, then = powers
        matrix = then @ first
    else:
        matrix = generator + discriminator - np.eye(2)
    return np.roots([1, -np.trace(matrix), np.linalg.det(matrix)]).astype(complex)


def update_radius(
    step: float,
    loss: str = "minimax",
    regularizer: str = "none",
    gamma: float = 0.3,
    sigma: float = 0.7,
    alternating: bool = False,
    moves: tuple[int, int] = (1, 1),
) -> float | None:
    """The largest modulus of `update_eigenvalues`."""
    values = update_eigenvalues(step, loss, regularizer, gamma, sigma, alternating, moves)
    return None if values is None else float(np.abs(values).max())


def converges(loss: str = "minimax", regularizer: str = "none", gamma: float = 0.3, sigma: float = 0.7) -> bool:
    """Whether the Dirac-GAN converges linearly in continuous time: the table of the paper."""
    values = eigenvalues(loss, regularizer, gamma, sigma)
    return values is not None and bool((values.real > 0).all())


def non_saturating_radius(time: float) -> float:
    """sqrt(8 / t): how the non-saturating game's (theta, psi) shrinks in continuous time, when t is large."""
    return float(np.sqrt(8 / time))


def non_saturating_cycle(step: float) -> float:
    """sqrt(2 h): radius of the limit cycle of its simultaneous steps, when h is small."""
    return float(np.sqrt(2 * step))


class Cycle(NamedTuple):
    """A limit cycle in continuous time."""

    theta: float
    """The largest |theta|."""
    psi: float
    """The largest |psi|."""
    nearest: float
    """The least distance to the equilibrium."""
    farthest: float
    period: float


WGAN_GP_CYCLE = Cycle(1.326605, 1.287963, 1.209101, 1.382291, 6.707432)
"""Of the Wasserstein loss with wgan-gp of weight 0.7 and target 1, to all digits."""


class _Parts(NamedTuple):
    slope: float
    damping: float
    """Of psi."""
    both: float
    """Of theta and psi."""


def _parts(loss: str, regularizer: str, gamma: float, sigma: float) -> _Parts:
    if regularizer not in REGULARIZERS:
        raise unknown("regularizer", regularizer, REGULARIZERS)
    slope, curvature = _of(loss).slope, _of(loss).curvature
    damping = {"instance-noise": -2 * sigma**2 * curvature, "r1": gamma, "r2": gamma, "jensen-shannon": gamma / 2}
    return _Parts(slope, damping.get(regularizer, 0.0), gamma * slope**2 if regularizer == "consensus" else 0.0)


def _of(loss: str):
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    return LOSSES[loss]
