"""Why training stops before its end: a signal, a collapse, or numbers that are no longer finite."""

import itertools
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from vaegan_jax.dynamics.settings import CONSTANTS
from vaegan_jax.training.experiment import Experiment

NORMS = ("gradient", "parameters")
"""Metrics of each player that must be finite, as its loss must, in the last round of a dispatch: the only measured."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM, after the round was finished and saved. `signal` is its number."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.signal = number


class Diverged(Exception):
    """A loss, gradient or parameter is NaN or infinite; the message names player and round and says what to try."""


class Collapsed(Exception):
    """What was watched shows that the training has collapsed (`collapse`), and it was to stop then; it is saved."""


class Cut(BaseException):
    """A signal came during what need not be finished (no Exception, which others might catch on its way)."""


class Received(list[int]):
    """Numbers of the signals that came."""

    _cutting = False

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """Within it a signal raises Cut at once, even one that came before; outside, the round is finished first."""
        self._cutting = True
        try:
            self.cut()
            yield
        finally:
            self._cutting = False

    def cut(self) -> None:
        """Raises Cut if a signal came, and now is the time."""
        if self and self._cutting:
            raise Cut


@contextmanager
def signals() -> Iterator[Received]:
    """What the first Ctrl-C or SIGTERM puts its number in; the second one acts as it always does."""
    received, before = Received(), {}

    def note(number: int, frame) -> None:
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        received.cut()

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finite_values(experiment: Experiment, first: int, count: int, metrics: dict[str, jax.Array]) -> dict[str, float]:
    """The last of `count` rows of a dispatch's metrics, the rounds from `first` on; waits for the device.

    Raises Diverged for the first round in which a player's loss is not finite; its gradient or parameters, in the last.
    """
    rows = {name: np.asarray(column)[:count] for name, column in metrics.items()}
    for row in range(count):
        watched = ("loss", *NORMS) if row == count - 1 else ("loss",)
        for player, what in itertools.product(experiment.game, watched):
            if not math.isfinite(value := rows[f"{player}/{what}"][row]):
                solver = experiment.config.solver.name
                raise Diverged(
                    f"the {what} of {player} became {value} in round {first + row + 1:,}. Try a smaller learning rate "
                    f"(--model.{_optimizer(experiment, player)}.learning-rate), "
                    f"{'a smaller --solver.step, ' * ('step' in CONSTANTS[solver])}a larger batch, or another seed"
                )
    return {name: float(column[-1]) for name, column in rows.items()}


def _optimizer(experiment: Experiment, player: str) -> str:
    name = f"{player}_optimizer"
    return name.replace("_", "-") if hasattr(experiment.config.model, name) else "optimizer"
