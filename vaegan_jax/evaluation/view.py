"""What passes between scoring and its metrics: who is scored, what was gathered, and what a metric reads off it."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from vaegan_jax.data import Source
from vaegan_jax.evaluation.cards import Sampling
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.evidence import Evidence
from vaegan_jax.evaluation.features.extractor import Extractor
from vaegan_jax.evaluation.searching import Whole
from vaegan_jax.games import Params, Stats
from vaegan_jax.latents import Prior
from vaegan_jax.training.experiment import Experiment


class Subject(NamedTuple):
    """Who is scored: a model, or a file of samples, which has no experiment."""

    sampling: Sampling
    batches: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray | None]]]
    """`batches(count)`: that many samples, uint8, in batches, with their labels where there are any."""
    experiment: Experiment | None = None
    params: Params | None = None
    """Those that samples are drawn with."""
    stats: Stats | None = None
    prior: Prior | None = None
    """What they are drawn from, where it is truncated; None: the model's own."""
    limit: int = 0
    """How many samples there are; 0: as many as one asks for."""


class Data(NamedTuple):
    """What samples are compared with."""

    train: Source
    test: Source | None
    """None where the data were handed over without any."""
    shape: tuple[int, int, int]
    """Of the images that the model makes."""


class View(NamedTuple):
    """All that a metric may look at."""

    subject: Subject
    data: Data
    how: Evaluation
    extractor: Extractor | None
    samples: Evidence | None
    real: Evidence | None
    """Of the split that samples are compared with."""
    test: Evidence | None
    """Of all test images, where a metric sets them against the training images."""
    training: Whole | None
    """All training images, where a metric searches them."""
    tell: Callable[[str, int, int], None]

    def key(self, meaning: int) -> jax.Array:
        """A key for a metric's own draws."""
        return jax.random.fold_in(jax.random.key(self.how.seed), meaning)

    def name(self, title: str, inception: str = "") -> str:
        """What people call a score of features: by its network, and as papers do only for Inception's."""
        return inception if inception and self.extractor.name == "inception" else f"{title}-{self.extractor.name}"


class Reading(NamedTuple):
    """A number that a metric gives, and what of its card the metric alone knows."""

    name: str
    value: float
    spread: float | None = None
    notes: dict[str, float | str] = {}
    settings: dict[str, Any] = {}
    split: str = ""
    """Of the data, where it is not the one that samples are compared with."""
    real_count: int | None = None
    sample_count: int | None = None
    """Where they differ from what was gathered."""
    rounding: str = "uint8"
    dtype: str = "float64"
    pictures: dict[str, bytes] = {}
    """PNG files by title."""
    of_features: bool = True
    """Whether the network's features had a part in it, where the metric looks at them."""
    better: Literal["lower", "higher", "neither", ""] = ""
    """Where one metric's readings differ in this."""


class Metric(NamedTuple):
    """A row of the table of metrics."""

    score: Callable[[View], list[Reading]]
    better: Literal["lower", "higher", "neither"]
    needs: frozenset[str] = frozenset()
    """Fields of `Evidence`; "test" where the data's test images take part, and "search" where all training images."""
    refuse: Callable[[Experiment | None, Source, bool], str] = lambda experiment, train, labeled: ""
    """(experiment, training data, are samples labeled?) -> why they cannot be scored, in words; empty if they can."""
    least: int = 2
    """Samples that it needs."""
