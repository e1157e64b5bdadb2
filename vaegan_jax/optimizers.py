"""Optimizers as configuration: a frozen dataclass that makes an optax transformation."""

from dataclasses import dataclass

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
        check(
            0 < self.learning_rate < float("inf"), f"learning-rate must be above 0 and finite, not {self.learning_rate}"
        )
        check(0 <= self.b1 < 1 and 0 <= self.b2 < 1, f"b1 and b2 must be in [0, 1), not {self.b1} and {self.b2}")
        check(0 < self.epsilon < float("inf"), f"epsilon must be above 0 and finite, not {self.epsilon}")

    def transformation(self) -> optax.GradientTransformation:
        """The optax transformation of these settings."""
        return optax.adam(self.learning_rate, self.b1, self.b2, self.epsilon)
