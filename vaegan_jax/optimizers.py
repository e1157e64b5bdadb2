"""Optimizers as configuration: a frozen dataclass that makes an optax transformation; and bounds on parameters."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from vaegan_jax.errors import check, check_fields


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015)."""

    learning_rate: float = 1e-3
    """Step size."""
    b1: float = 0.9
    """Decay of the mean of gradients, in [0, 1)."""
    b2: float = 0.999
    """Decay of the mean of squared gradients, in [0, 1)."""
    epsilon: float = 1e-8
    """Added to the root of the mean square."""

    def __post_init__(self):
        check_fields(self)
        _check_positive("learning-rate", self.learning_rate)
        check(0 <= self.b1 < 1 and 0 <= self.b2 < 1, f"b1 and b2 must be in [0, 1), not {self.b1} and {self.b2}")
        _check_positive("epsilon", self.epsilon)

    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation of these settings."""
        return optax.adam(self.learning_rate, self.b1, self.b2, self.epsilon)


@dataclass(frozen=True)
class RMSProp:
    """RMSProp (Tieleman & Hinton 2012, lecture 6.5)."""

    learning_rate: float = 5e-5
    """Step size."""
    decay: float = 0.99
    """Decay of the mean of squared gradients, in [0, 1)."""
    epsilon: float = 1e-8
    """Added to the root of the mean square."""

    def __post_init__(self):
        check_fields(self)
        _check_positive("learning-rate", self.learning_rate)
        check(0 <= self.decay < 1, f"decay must be in [0, 1), not {self.decay}")
        _check_positive("epsilon", self.epsilon)

    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation of these settings."""
        return optax.rmsprop(self.learning_rate, self.decay, self.epsilon, eps_in_sqrt=False)


@dataclass(frozen=True)
class SGD:
    """Gradient descent, with Polyak's momentum where it is above 0."""

    learning_rate: float = 1e-2
    """Step size."""
    momentum: float = 0.0
    """Share of the last step that is taken again, in [0, 1)."""

    def __post_init__(self):
        check_fields(self)
        _check_positive("learning-rate", self.learning_rate)
        check(0 <= self.momentum < 1, f"momentum must be in [0, 1), not {self.momentum}")

    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation of these settings."""
        return optax.sgd(self.learning_rate, self.momentum or None)


@dataclass(frozen=True)
class Optimizer:
    """One of the above by name, for players whose papers differ in it."""

    rule: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Which."""
    learning_rate: float = 2e-4
    """Step size."""
    b1: float = 0.9
    """Decay of the mean of gradients (adam), or momentum (sgd), in [0, 1)."""
    b2: float = 0.999
    """Decay of the mean of squared gradients (adam, rmsprop), in [0, 1)."""
    epsilon: float = 1e-8
    """Added to the root of the mean square (adam, rmsprop)."""

    def __post_init__(self):
        check_fields(self)
        Adam(self.learning_rate, self.b1, self.b2, self.epsilon)  # the numbers have the same bounds in all three

    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation of these settings."""
        chosen = {
            "adam": Adam(self.learning_rate, self.b1, self.b2, self.epsilon),
            "rmsprop": RMSProp(self.learning_rate, self.b2, self.epsilon),
            "sgd": SGD(self.learning_rate, self.b1),
        }[self.rule]
        return chosen.transformation()


class Bounded(optax.GradientTransformation):
    """Steps of `inner` that `confine` shortens to `bounds`. What a solver puts around these steps goes inside."""

    inner: optax.GradientTransformation
    bounds: tuple[float | int, float | int]


class Kept(optax.GradientTransformation):
    """Steps that are a rule of their own, of k or of an average: no solver puts anything around them."""


def bounded(inner: optax.GradientTransformation, low: float | int, high: float | int) -> Bounded:
    """`inner`, such that parameters land in [low, high]. Weights in [-c, c]: Arjovsky et al. 2017, algorithm 1."""
    made = Bounded(*optax.chain(inner, confine(low, high)))
    made.inner, made.bounds = inner, (low, high)
    return made


def kept(inner: optax.GradientTransformation) -> Kept:
    """The same steps, marked as those of a rule."""
    return Kept(*inner)


def confine(low: float | int, high: float | int) -> optax.GradientTransformation:
    """Shortens updates so that parameters land in [low, high], up to rounding; the last transformation of a chain.

    Parameters that start outside are inside after one step. Raises ValueError unless low < high.
    """
    if not low < high:
        raise ValueError(f"the bounds of parameters must have low < high, got {low} and {high}")

    def update(updates, state, params):
        return jax.tree.map(lambda u, p: jnp.clip(p + u, low, high) - p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _check_positive(title: str, value: float) -> None:
    check(0 < value < float("inf"), f"{title} must be above 0 and finite, not {value}")
