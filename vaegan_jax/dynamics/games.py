"""Toy games with known answers, each a configuration that makes ordinary games of the engine.

Everywhere v is the field of gradients, a plain step is w - a v(w), and J = dv/dw: in continuous time an equilibrium
is stable where the eigenvalues of J have positive real parts.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vaegan_jax.dynamics.dirac import DiracGan
from vaegan_jax.dynamics.learning import CovarianceLearning, MeanLearning, ParallelLines
from vaegan_jax.dynamics.mixtures import Grid, Ring, Spiral
from vaegan_jax.dynamics.toy import JOINT, Optimizers, Toy, answer, coupled, point, zero_sum
from vaegan_jax.errors import check, check_fields
from vaegan_jax.games import Batch


@dataclass(frozen=True)
class Bilinear:
    """min_x max_y c x y of two scalars: J has the eigenvalues +-ic, so that all is rotation and nothing attracts."""

    coefficient: float = 1.0
    """c."""

    def __post_init__(self):
        check_fields(self)
        check(bool(np.isfinite(self.coefficient)), f"coefficient must be finite, not {self.coefficient}")

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game; its start is (1, 1)."""
        c = self.coefficient
        game = zero_sum(lambda x, y, batch: c * x * y, optimizers, step)
        jacobian = answer(lambda: coupled(np.array([[c]], float)))
        values = answer(lambda: (abs(float(c)),))
        return Toy("bilinear", game, JOINT, point(1, 1), point(0, 0), jacobian, values or ())


@dataclass(frozen=True)
class MatrixGame:
    """min_x max_y x^T A y: a bilinear game of two scalars for each singular value of A, turned."""

    singular_values: tuple[float, ...] = ()
    """Of A = U diag(s) V^T with random rotations U and V; none: A has normal entries of variance 1 / size."""
    size: int = 4
    """Rows and columns of A where no singular values are given."""
    seed: int = 0
    """Of the random matrices."""

    def __post_init__(self):
        check_fields(self)
        check(self.size > 0, f"size must be at least 1, not {self.size}")
        check(self.seed >= 0, f"seed must be at least 0, not {self.seed}")
        fine = all(0 <= s < float("inf") for s in self.singular_values)
        check(fine, f"singular-values must be at least 0 and finite, not {self.singular_values}")

    def matrix(self) -> Float[np.ndarray, "d d"]:
        """A, in float64."""
        stream = random(self.seed)
        size = len(self.singular_values) or self.size
        U, V = rotation(stream, size), rotation(stream, size)
        if not self.singular_values:
            return stream.normal(size=(size, size)) / size**0.5
        return U * np.array(self.singular_values, float) @ V.T

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game; its start is all ones."""
        A = self.matrix()
        values = tuple(float(s) for s in np.linalg.svd(A, compute_uv=False))
        game = zero_sum(lambda x, y, batch: x @ (jnp.asarray(A, y.dtype) @ y), optimizers, step)
        start, zero = np.ones(len(A)), np.zeros(len(A))
        return Toy("matrix", game, JOINT, point(start, start), point(zero, zero), coupled(A), values)


@dataclass(frozen=True)
class Quadratic:
    """min_x max_y p/2 x^2 + b x y - q/2 y^2 of two scalars; J = [[p, b], [-b, q]]."""

    p: float = 0.1
    """Curvature for x. Below 0 the origin is no Nash equilibrium; it is a local minimax while p + b^2 / q > 0."""
    q: float = 0.1
    """Curvature against y."""
    b: float = 1.0
    """Coupling, what rotates."""

    def __post_init__(self):
        check_fields(self)
        check(bool(np.isfinite([self.p, self.q, self.b]).all()), "p, q and b must be finite")

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game; its start is (1, 1)."""
        p, q, b = self.p, self.q, self.b
        game = zero_sum(lambda x, y, batch: p / 2 * x**2 + b * x * y - q / 2 * y**2, optimizers, step)
        values = answer(lambda: () if p or q else (abs(float(b)),))
        jacobian = answer(lambda: np.array([[p, b], [-b, q]], float))
        return Toy("quadratic", game, JOINT, point(1, 1), point(0, 0), jacobian, values or ())


@dataclass(frozen=True)
class StochasticBilinear:
    """min_x max_y 1/n sum_i x^T A_i y + b_i^T x + c_i^T y, of which a round sees a few terms.

    Chavdarova et al. 2019, "Reducing noise in GAN training with variance reduced extragradient" (arXiv 1904.08598):
    A_i has a single entry, 1 in row and column i, and b_i, c_i ~ N(0, I / d). Where n > d, i is taken modulo d.
    """

    examples: int = 100
    """n, the terms of the sum: one pass is so many of them."""
    dimensions: int = 100
    """d, of x and of y."""
    batch_size: int = 1
    """Terms that a move sees, drawn with replacement; 0 shows all of them, without noise."""
    seed: int = 0
    """Of b and c and, with the round, of what is drawn."""

    def __post_init__(self):
        check_fields(self)
        check(self.dimensions > 0, f"dimensions must be at least 1, not {self.dimensions}")
        told = f"examples must be at least dimensions, {self.dimensions}, not {self.examples}: no equilibrium else"
        check(self.examples >= self.dimensions, told)
        check(self.batch_size >= 0, f"batch-size must be at least 0, not {self.batch_size}")
        check(self.seed >= 0, f"seed must be at least 0, not {self.seed}")

    def batch(self, round: int, moves: int = 1) -> Batch:
        """The rows of a round, (moves, 1, batch size), int32: a pure function of the seed and the round."""
        shape = (moves, 1, self.batch_size or self.examples)
        if self.batch_size:
            rows = random(self.seed, 1 + round).randint(0, self.examples, shape)
        else:
            rows = np.broadcast_to(np.arange(self.examples), shape)
        return {"row": jnp.asarray(rows, jnp.int32)}

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game; its start is all ones."""
        n, d = self.examples, self.dimensions
        b, c = random(self.seed).normal(size=(2, n, d)) / d**0.5
        values = np.bincount(np.arange(n) % d, minlength=d) / n

        def f(x, y, batch):
            row = batch["row"]
            slope, tilt = (jnp.asarray(array, x.dtype)[row] for array in (b, c))
            return jnp.mean(x[row % d] * y[row % d] + slope @ x + tilt @ y)

        equilibrium = point(-c.mean(0) / values, -b.mean(0) / values)
        start = point(np.ones(d), np.ones(d))
        game = zero_sum(f, optimizers, step)
        told = tuple(float(s) for s in values)
        jacobian = coupled(np.diag(values))
        return Toy("stochastic-bilinear", game, JOINT, start, equilibrium, jacobian, told, self.batch)


def random(*seed: int) -> np.random.RandomState:
    """A stream that no version of NumPy changes."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))


def rotation(stream: np.random.RandomState, size: int) -> Float[np.ndarray, "d d"]:
    """A random orthogonal matrix, evenly distributed (Haar)."""
    q, r = np.linalg.qr(stream.normal(size=(size, size)))
    return q * np.sign(np.diag(r))


GAMES: dict[str, type] = {
    "bilinear": Bilinear,
    "matrix": MatrixGame,
    "quadratic": Quadratic,
    "stochastic-bilinear": StochasticBilinear,
    "dirac-gan": DiracGan,
    "mean-learning": MeanLearning,
    "covariance-learning": CovarianceLearning,
    "parallel-lines": ParallelLines,
    "ring": Ring,
    "grid": Grid,
    "spiral": Spiral,
}
"""From the public name to the configuration: `GAMES[name]().make(step=0.1)`."""
