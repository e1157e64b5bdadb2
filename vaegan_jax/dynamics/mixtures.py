"""Two-dimensional sets that GANs are tried on, a ring, a grid and a spiral, with a small GAN to try.

Ring and grid: Metz et al. 2017 (arXiv 1611.02163), Srivastava et al. 2017 (VEEGAN, arXiv 1705.07761). Samples are
drawn from each example's own key, so a batch holds only the examples' positions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from vaegan_jax import latents
from vaegan_jax.dynamics.toy import Optimizers, Toy, choose
from vaegan_jax.errors import check, check_fields
from vaegan_jax.evaluation import modes
from vaegan_jax.games import Batch, Game, Player, example_keys
from vaegan_jax.losses import adversarial
from vaegan_jax.networks.layers import Dense
from vaegan_jax.networks.network import Network, init_networks, pure

Draw = Callable[[Key[Array, " n"]], Float[Array, "n 2"]]


class Perceptron(nn.Module):
    """Dense layers with tanh between, which has all derivatives: (n, c) -> (n, features)."""

    hidden: tuple[int, ...]
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "n c"], train: bool = False) -> Float[Array, "n f"]:
        for size in self.hidden:
            x = jnp.tanh(Dense(size)(x))
        return Dense(self.features)(x)


@dataclass(frozen=True)
class PlanarGan:
    """The GAN that learns a set in the plane; nobody knows its equilibrium's Jacobian."""

    hidden_sizes: tuple[int, ...] = (32, 32)
    """Units of the hidden layers, of both networks."""
    latent_size: int = 8
    """Dimensions of z, which is normal."""
    value: Literal["non-saturating", "minimax"] = "non-saturating"
    """What the generator minimizes: -log D(G(z)), or log(1 - D(G(z)))."""
    batch_size: int = 256
    """Real and generated points that a move sees, each."""
    seed: int = 0
    """Of the first parameters."""

    def __post_init__(self):
        check_fields(self)
        check(min(self.hidden_sizes, default=1) > 0, f"hidden-sizes must be at least 1 each, not {self.hidden_sizes}")
        check(self.latent_size > 0, f"latent-size must be at least 1, not {self.latent_size}")
        check(self.batch_size > 0, f"batch-size must be at least 1, not {self.batch_size}")
        check(self.seed >= 0, f"seed must be at least 0, not {self.seed}")

    def networks(self) -> dict[str, Network]:
        """Generator (n, latent size) -> (n, 2) and discriminator (n, 2) -> logits (n, 1)."""
        generator, discriminator = Perceptron(self.hidden_sizes, 2), Perceptron(self.hidden_sizes, 1)
        latent, place = (jax.ShapeDtypeStruct((1, size), jnp.result_type(float)) for size in (self.latent_size, 2))
        return {"generator": pure(generator, latent), "discriminator": pure(discriminator, place)}

    def batch(self, round: int, moves: int = 1) -> Batch:
        """Positions (moves, 1, batch size): the points are drawn from the key of the round."""
        position = jnp.arange(self.batch_size, dtype=jnp.int32)[None, None]
        return {"position": jnp.broadcast_to(position, (moves, 1, self.batch_size))}

    def make(self, name: str, real: Draw, optimizers: Optimizers | None, step: float) -> Toy:
        """The game of this GAN on data drawn by `real`, from the first parameters."""
        chosen = choose(optimizers, step, ("generator", "discriminator"))
        networks = self.networks()
        params, _ = jax.jit(partial(init_networks, networks))(jax.random.key(self.seed))
        value = {"non-saturating": adversarial.non_saturating, "minimax": adversarial.minimax}[self.value]()
        prior = latents.normal(self.latent_size)

        def sample(params, keys):
            return networks["generator"].apply(params["generator"], {}, prior(keys))[0]

        def logits(params, batch, key):
            keys = [example_keys(k, batch) for k in jax.random.split(key)]
            points = real(keys[0]), sample(params, keys[1])
            return [networks["discriminator"].apply(params["discriminator"], {}, x)[0][:, 0] for x in points]

        return Toy(
            name,
            _game(value, logits, chosen),
            (("generator", "discriminator"),),
            params,
            equilibrium=None,
            jacobian=None,
            batch=self.batch,
            sample=sample,
            real=real,
        )


def _game(value: adversarial.Value, logits: Callable, optimizers: Optimizers) -> Game:
    def generator_loss(params, stats, batch, key, step):
        return value.generator(*logits(params, batch, key)).mean(), ({}, {})

    def discriminator_loss(params, stats, batch, key, step):
        real, fake = value.discriminator(*logits(params, batch, key))
        return real.mean() + fake.mean(), ({}, {})

    losses = {"generator": generator_loss, "discriminator": discriminator_loss}
    return {name: Player((name,), loss, optimizers[name]) for name, loss in losses.items()}


@dataclass(frozen=True)
class Ring:
    """A GAN on Gaussians evenly around a circle, all of them distinct."""

    modes: int = 8
    """How many."""
    radius: float = 1.0
    """Of the circle."""
    deviation: float = 0.01
    """Standard deviation of each, in each direction."""
    gan: PlanarGan = PlanarGan()
    """Who learns it."""

    def __post_init__(self):
        check_fields(self)
        check(self.modes > 0, f"modes must be at least 1, not {self.modes}")
        _check_positive(self, "radius", "deviation")

    def means(self) -> Float[np.ndarray, "k 2"]:
        """Of the Gaussians: with `deviation`, what `evaluation.modes.mixture_modes` needs."""
        return modes.ring(self.modes, self.radius)

    def draw(self, keys: Key[Array, " n"]) -> Float[Array, "n 2"]:
        """A sample of the data for each key."""
        return _mixture(self.means(), self.deviation, keys)

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game, from the first parameters."""
        return self.gan.make("ring", self.draw, optimizers, step)


@dataclass(frozen=True)
class Grid:
    """A GAN on Gaussians in a square grid around the origin."""

    side: int = 5
    """How many in a row."""
    spacing: float = 2.0
    """Distance of neighbors."""
    deviation: float = 0.05
    """Standard deviation of each, in each direction."""
    gan: PlanarGan = PlanarGan()
    """Who learns it."""

    def __post_init__(self):
        check_fields(self)
        check(self.side > 0, f"side must be at least 1, not {self.side}")
        _check_positive(self, "spacing", "deviation")

    def means(self) -> Float[np.ndarray, "k 2"]:
        """Of the Gaussians: with `deviation`, what `evaluation.modes.mixture_modes` needs."""
        return modes.grid(self.side, self.spacing)

    def draw(self, keys: Key[Array, " n"]) -> Float[Array, "n 2"]:
        """A sample of the data for each key."""
        return _mixture(self.means(), self.deviation, keys)

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game, from the first parameters."""
        return self.gan.make("grid", self.draw, optimizers, step)


class CurveCoverage(NamedTuple):
    """How much of a curve the samples have, and how many samples are near it."""

    found: int
    """Stretches of equal length with a sample of high quality."""
    stretches: int
    high_quality: float
    """Share of the samples within 3 standard deviations of the curve."""
    ceiling: float
    """About this share for the data itself: 3 deviations across a line are 99.7 %."""
    reverse_kl: float
    """KL(stretches of the good samples, uniform), in nats; infinite where there is no good one."""
    count: int


@dataclass(frozen=True)
class Spiral:
    """A GAN on a spiral, evenly along its length, with noise: one piece, so that there are no modes to count."""

    turns: float = 2.0
    """How often it goes around while its radius grows from 0 to 1 evenly with the angle (Archimedes)."""
    deviation: float = 0.01
    """Standard deviation of the noise, in each direction."""
    gan: PlanarGan = PlanarGan()
    """Who learns it."""

    def __post_init__(self):
        check_fields(self)
        _check_positive(self, "turns", "deviation")

    def curve(self, points: int = 2001) -> Float[np.ndarray, "k 2"]:
        """Points of the curve, at equal distances along it."""
        radius = np.linspace(0, 1, 20 * points)
        fine = np.stack([radius * f(2 * np.pi * self.turns * radius) for f in (np.cos, np.sin)], 1)
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
        even = np.linspace(0, length[-1], points)
        return np.stack([np.interp(even, length, axis) for axis in fine.T], 1)

    def draw(self, keys: Key[Array, " n"]) -> Float[Array, "n 2"]:
        """A sample of the data for each key."""
        points = jnp.asarray(self.curve(), float)

        def one(key):
            place, noise = jax.random.split(key)
            along = jax.random.uniform(place) * (len(points) - 1)
            first = jnp.minimum(along.astype(jnp.int32), len(points) - 2)
            at = points[first] + (along - first) * (points[first + 1] - points[first])
            return at + self.deviation * jax.random.normal(noise, (2,))

        return jax.vmap(one)(keys)

    def make(self, optimizers: Optimizers | None = None, step: float = 0.1) -> Toy:
        """The game, from the first parameters."""
        return self.gan.make("spiral", self.draw, optimizers, step)

    def coverage(self, samples: Float[np.ndarray, "n 2"], stretches: int = 20) -> CurveCoverage:
        """How the samples lie along the curve. Raises UserError without samples, and for NaN or Inf."""
        from scipy.spatial import cKDTree
        from scipy.stats import norm

        check(len(samples) > 0, "coverage is measured of samples, and there are none")
        check(bool(np.isfinite(samples).all()), "samples hold NaN or Inf")
        curve = self.curve()
        distance, nearest = cKDTree(curve).query(samples)
        good = distance <= 3 * self.deviation
        counts = stretch_counts(nearest[good], len(curve), stretches)
        share, ceiling = float(good.mean()), float(norm.cdf(3) - norm.cdf(-3))
        kl = modes.kl_to_uniform(counts)
        return CurveCoverage(int((counts > 0).sum()), stretches, share, ceiling, kl, len(samples))


def stretch_counts(nearest: Integer[np.ndarray, " n"], points: int, stretches: int) -> Integer[np.ndarray, " k"]:
    """How many of the places 0 .. points - 1 fall into each of so many stretches of equal length."""
    return np.bincount(np.minimum(nearest * stretches // (points - 1), stretches - 1), minlength=stretches)


def _mixture(means: np.ndarray, deviation: float, keys: jax.Array) -> jax.Array:
    """A Gaussian around one of the means, all equally likely, for each key: (n,) -> (n, 2)."""

    def one(key):
        which, noise = jax.random.split(key)
        mean = jnp.asarray(means, float)[jax.random.randint(which, (), 0, len(means))]
        return mean + deviation * jax.random.normal(noise, (2,))

    return jax.vmap(one)(keys)


def _check_positive(config: Ring | Grid | Spiral, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        check(0 < value < float("inf"), f"{name} must be above 0 and finite, not {value}")
