"""What is measured of a run's game while it trains: how much it rotates, and what its curvatures are."""

import math
import time

import jax
import numpy as np

from vaegan_jax.data import Source
from vaegan_jax.data.few_labels import FewLabels
from vaegan_jax.dynamics.instruments import moving, operator, point_of, rotation_share, run_field, singular_values
from vaegan_jax.dynamics.ritz import Ritz, arnoldi
from vaegan_jax.dynamics.spectra import alone
from vaegan_jax.games import State
from vaegan_jax.training.experiment import Experiment

PROBES = 10
"""Random vectors for the rotation share: five evaluations of the field each, itself and two products."""
PRODUCTS = 20
"""Products with the Jacobian, and as many with each player's Hessian: three evaluations each, itself and a product."""


class Instruments:
    """Measures states of a run, each on the data of the round that comes next; draws nothing from the run's keys."""

    def __init__(self, experiment: Experiment, source: Source):
        """`source` holds the training images."""
        labels = experiment.config.labels  # the data that training sees
        self._experiment, self._source = experiment, FewLabels(source, labels) if labels else source
        self.evaluations = 5 * PROBES + 2 * 3 * PRODUCTS
        """Of the field of all players, at most, that a measurement costs; a Hessian is one player's part of it."""

    def told(self, state: State) -> str:
        """What it is going to cost, in a line; how long a product takes is measured at this state."""
        field, point = self._field(state)
        made = operator(field, point)
        made.jacobian(np.ones(made.size))  # compiles
        begun = time.monotonic()
        made.jacobian(np.ones(made.size))
        products = 5 * PROBES / 3 + PRODUCTS * (1 + len(moving(self._experiment)))
        seconds = (time.monotonic() - begun) * products
        rounds = self.evaluations / self._experiment.solved.evaluations
        return (
            f"dynamics every {self._experiment.config.dynamics_every:,} rounds: {self.evaluations} of the field's "
            f"evaluations each, as many as in {rounds:,.0f} rounds, about {seconds:.2g} s, the first more to compile"
        )

    def __call__(self, state: State) -> dict[str, float]:
        """Numbers by name, each as "dynamics/..."; those that are not finite are left out.

        `rotation` is |A|^2 / |J|^2 of the game's Jacobian J and its antisymmetric part A, `leading` J's eigenvalue of
        the greatest modulus, `leftmost` the one of the least real part (below 0 it repels), each with its residual as
        a share of that modulus; by player the ends of its own Hessian's spectrum, by network the largest singular
        value of its weights. Raises UserError where the Jacobian is not finite.
        """
        begun = time.monotonic()
        field, point = self._field(state)
        game, found = moving(self._experiment), {}
        share = rotation_share(field, point, jax.random.key(0), PROBES)
        found |= {"rotation": share.share, "rotation_error": share.error}
        made = operator(field, point)
        found |= _outermost(arnoldi(made.jacobian, made.size, PRODUCTS, dtype=made.dtype))
        for name, player in game.items():
            own = operator(*alone(field, point, player.owns))
            values = arnoldi(own.jacobian, own.size, PRODUCTS, symmetric=True, dtype=own.dtype).values
            found |= {f"{name}/hessian_smallest": values.min(), f"{name}/hessian_largest": values.max()}
        for network in point:
            sizes = singular_values({network: point[network]}).values()
            found |= {f"{network}/singular_value": max(value[0] for value in sizes)} if sizes else {}
        found |= {"seconds": time.monotonic() - begun, "field_evaluations": self.evaluations}
        return {f"dynamics/{name}": float(value) for name, value in found.items() if math.isfinite(value)}

    def _field(self, state: State):
        return run_field(self._experiment, state, self._source), point_of(moving(self._experiment), state.params)


def _outermost(spectrum: Ritz) -> dict[str, float]:
    """The eigenvalue of the greatest modulus, and the leftmost; of a pair the one above the real axis."""
    modulus = max(abs(spectrum.values[0]), np.finfo(float).tiny)
    found = {}
    for name, at in (("leading", 0), ("leftmost", int(np.argmin(spectrum.values.real)))):
        value = spectrum.values[at]
        found |= {f"{name}_real": value.real, f"{name}_imaginary": abs(value.imag)}
        found |= {f"{name}_residual": spectrum.residuals[at] / modulus}
    return found
