"""Toy games in which a generator learns something: a mean, a covariance, where a line is."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from vaegan_jax.dynamics.toy import JOINT, Optimizers, Toy, coupled, point, zero_sum
from vaegan_jax.errors import check, check_fields
from vaegan_jax.games import Params


@dataclass(frozen=True)
class MeanLearning:
    """min_theta max_w w^T (mu - theta): a Wasserstein GAN that learns a mean.

    Daskalakis et al. 2018, "Training GANs with optimism" (arXiv 1711.00141), in expectation: the generator
    adds theta to noise, the critic is linear. It is the bilinear game with A = -I around theta = mu.
    """

    mean: tuple[float, ...] = (3.0, 4.0)
    """mu, of the data."""

    def __post_init__(self):
        check_fields(self)
        check(len(self.mean) > 0, "mean must have at least one number")
        check(bool(np.isfinite(self.mean).all()), f"mean must be finite, not {self.mean}")

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game; theta starts at 0, w at 1."""
        mean = np.array(self.mean, float)
        size = len(mean)
        game = zero_sum(lambda x, y, batch: y @ (jnp.asarray(mean, x.dtype) - x), optimizers, step)
        start, equilibrium = point(np.zeros(size), np.ones(size)), point(mean, np.zeros(size))
        return Toy("mean-learning", game, JOINT, start, equilibrium, coupled(-np.eye(size)), (1.0,) * size)


@dataclass(frozen=True)
class CovarianceLearning:
    """min_V max_W <W, Sigma - V V^T>: a generator V z of normal z and a quadratic critic learn a covariance.

    Daskalakis et al. 2018; Schaefer & Anandkumar 2019, "Competitive gradient descent" (arXiv 1905.12103). J is
    antisymmetric at the equilibrium: simultaneous steps diverge there.
    """

    variances: tuple[float, ...] = (1.0, 2.0)
    """The eigenvalues of Sigma, whose axes are random."""
    seed: int = 0
    """Of the axes."""

    def __post_init__(self):
        check_fields(self)
        check(len(self.variances) > 0, "variances must have at least one number")
        check(all(0 < v < float("inf") for v in self.variances), f"variances must be above 0, not {self.variances}")
        check(self.seed >= 0, f"seed must be at least 0, not {self.seed}")

    def covariance(self, power: float = 1.0) -> Float[np.ndarray, "d d"]:
        """Sigma to a power, in float64."""
        size = len(self.variances)
        stream = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(self.seed)))
        axes = np.linalg.qr(stream.normal(size=(size, size)))[0]
        return axes * np.array(self.variances, float) ** power @ axes.T

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game; V starts at I and W at 0. The equilibrium is V = Sigma^(1/2), W = 0, one of many."""
        sigma, root = self.covariance(), self.covariance(0.5)
        size = len(sigma)
        zero = np.zeros((size, size))
        game = zero_sum(lambda x, y, batch: jnp.sum(y * (jnp.asarray(sigma, x.dtype) - x @ x.T)), optimizers, step)
        start, equilibrium = point(np.eye(size), zero), point(root, zero)
        return Toy("covariance-learning", game, JOINT, start, equilibrium, self.jacobian())

    def jacobian(self) -> Float[np.ndarray, "n n"]:
        """J at the equilibrium, where v = (-(W + W^T) V, V V^T - Sigma) has one block, -(dW + dW^T) V, and its mirror.

        For d = 1 its eigenvalues are +-2i sqrt(Sigma).
        """
        root = self.covariance(0.5)
        units = np.eye(root.size).reshape(-1, *root.shape)
        return coupled(np.stack([(-(unit + unit.T) @ root).ravel() for unit in units], 1))

    def residual(self, params: Params) -> float:
        """sqrt(|V V^T - Sigma|^2 + |(W + W^T)/2|^2): 0 at every equilibrium, unlike the distance to one of them."""
        V, W = (np.asarray(params[name], np.float64) for name in ("x", "y"))
        return float(np.hypot(np.linalg.norm(V @ V.T - self.covariance()), np.linalg.norm(W + W.T) / 2))


@dataclass(frozen=True)
class ParallelLines:
    """min_theta max_u -K tanh(u) theta: a line at distance theta from the data's, and a critic of bounded slope.

    Arjovsky, Chintala & Bottou 2017, "Wasserstein GAN" (arXiv 1701.07875), example 1: the data is (0, Z) with Z
    uniform on [0, 1], what is generated (theta, Z). The critic is K tanh(u) times the first coordinate, so that its
    best value is K |theta|: the earth mover's distance, where `jensen_shannon` and others are flat.
    """

    bound: float = 1.0
    """K, the most that the critic's slope can be."""

    def __post_init__(self):
        check_fields(self)
        check(0 < self.bound < float("inf"), f"bound must be above 0 and finite, not {self.bound}")

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game; its start is theta = 1, u = 0."""
        K = float(self.bound)
        game = zero_sum(lambda x, y, batch: -K * jnp.tanh(y) * x, optimizers, step)
        return Toy("parallel-lines", game, JOINT, point(1, 0), point(0, 0), coupled(np.array([[-K]])), (K,))


def earth_mover(theta: ArrayLike) -> Float[np.ndarray, "*s"]:
    """W1 between parallel lines at distance theta: |theta|."""
    return np.asarray(np.abs(np.asarray(theta, np.float64)))


def jensen_shannon(theta: ArrayLike) -> Float[np.ndarray, "*s"]:
    """JS divergence between them, in nats: log 2, as of all that have no common support, but 0 where they meet."""
    return np.asarray(np.log(2) * total_variation(theta))


def kullback_leibler(theta: ArrayLike) -> Float[np.ndarray, "*s"]:
    """KL divergence between them, in nats: infinite, but 0 where they meet."""
    return np.where(np.asarray(theta) == 0, 0.0, np.inf)


def total_variation(theta: ArrayLike) -> Float[np.ndarray, "*s"]:
    """Total variation distance between them: 1, but 0 where they meet."""
    return np.where(np.asarray(theta) == 0, 0.0, 1.0)
