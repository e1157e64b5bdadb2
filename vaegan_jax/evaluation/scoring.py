"""From a run, or a file of samples, to scores: who is scored, against which images, by which metrics.

Data flow: `prepared` finds the metrics and the features' network; a `Subject` draws samples; `evidence.collect` passes
them, and the real images, through the network once; each metric of `metrics.METRICS` reads what it needs of that; every
reading gets a card, and a run keeps them.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaegan_jax.data import Source, load, located
from vaegan_jax.errors import check
from vaegan_jax.evaluation import features
from vaegan_jax.evaluation.cards import Protocol, Sampling, Score, keep
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.evidence import Evidence, collect, quantized, real_batches
from vaegan_jax.evaluation.features.extractor import Extractor
from vaegan_jax.evaluation.foreign import read_samples
from vaegan_jax.evaluation.metrics import METRICS, defaults
from vaegan_jax.evaluation.progress import Steps
from vaegan_jax.evaluation.view import Data, Metric, Reading, Subject, View
from vaegan_jax.games import State
from vaegan_jax.models import name_of
from vaegan_jax.training.experiment import Experiment, generated, weights_for_sampling
from vaegan_jax.training.feeding import fingerprint
from vaegan_jax.training.reading import read
from vaegan_jax.training.run import write

PICTURES = "evaluations"
"""Folder in a run for the pictures that metrics draw."""
NETWORK = frozenset({"moments", "features", "logits"})
"""Needs that only a network's features meet."""
Tell = Callable[[str, int, int], None]


class Ready(NamedTuple):
    """An evaluation that has all it needs but a subject."""

    data: Data
    how: Evaluation
    asked: dict[str, Metric]
    needs: frozenset[str]
    extractor: Extractor | None
    sha256: str
    """Of the training images."""
    tell: Tell


def evaluate_run(run: Path | str, how: Evaluation, data: str | None = None) -> list[Score]:
    """Scores the newest good state of a run, and keeps the scores in its folder.

    `data` says where its data are now, if they have moved. Raises UserError for what the user can mend.
    """
    folder = Path(run)
    experiment, state, step = read(folder)
    name, size = located(data or experiment.config.data), experiment.config.image_size
    train, test = (load(name, split, size) for split in ("train", "test"))
    with Steps() as tell:
        ready = prepared(experiment, Data(train, test, experiment.spec.image_shape), how, tell)
        return evaluate(folder, experiment, state, step, ready)


def evaluate(folder: Path, experiment: Experiment, state: State, step: int, ready: Ready) -> list[Score]:
    """Scores a state of a run, after `step` rounds, and keeps the scores, and what pictures they come with."""
    params, stats, weights = weights_for_sampling(experiment, state)

    def batches(count: int) -> Iterator[tuple[np.ndarray, None]]:
        for images in generated(experiment, params, stats, count, ready.how.seed):
            check(bool(np.isfinite(images).all()), f"samples of {folder} are not finite: the model has diverged")
            yield quantized(images), None

    seen = step * experiment.images_per_round
    sampling = Sampling(name_of(experiment.config.model), step, seen, weights, seed=ready.how.seed)
    scores, pictures = measure(Subject(sampling, batches, experiment, params, stats), ready)
    for title, picture in pictures.items():
        write(folder / PICTURES / f"{title}-{step:08d}.png", picture)
    keep(folder, scores)
    return scores


def evaluate_samples(path: Path, data: str, how: Evaluation) -> list[Score]:
    """Scores somebody's samples: FILE.npz or a folder of pictures, of the size of the data's images.

    Raises UserError for files that hold none, or others than uint8 or [-1, 1] images of the data's shape.
    """
    train, test = (load(located(data), split) for split in ("train", "test"))
    shape = train.spec.image_shape
    source = read_samples(path, shape, train.spec.classes)

    def batches(count: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        return real_batches(source, count, shape)

    sampling = Sampling(str(path), weights="samples from a file", seed=how.seed)
    subject = Subject(sampling, batches, limit=len(source))
    with Steps() as tell:
        ready = prepared(None, Data(train, test, shape), how, tell, labeled=bool(source.spec.classes))
        return measure(subject, ready)[0]


def prepared(
    experiment: Experiment | None,
    data: Data,
    how: Evaluation,
    tell: Tell = lambda what, done, total: None,
    labeled: bool = False,
) -> Ready:
    """Finds the metrics and the network of an evaluation; trains the classifier where it is needed for the first time.

    Raises UserError for a metric that the model, or the samples, or the data cannot bear, and for missing weights.
    """
    asked = {name: METRICS[name] for name in how.names or defaults(experiment)}
    for name, metric in asked.items():
        reason = metric.refuse(experiment, data.train, labeled)
        check(not reason, f"{name} cannot be measured: {reason}")
    needs, extractor = frozenset(need for metric in asked.values() for need in metric.needs), None
    if needs & NETWORK:
        report = functools.partial(tell, "classifier")
        extractor = features.choose(how, data.train, data.test, data.shape, report)
    return Ready(data, how, asked, needs, extractor, fingerprint(data.train), tell)


def measure(subject: Subject, ready: Ready) -> tuple[list[Score], dict[str, bytes]]:
    """All scores of a subject, and pictures as PNG by title. Raises UserError for too few images for a metric."""
    view, scores, pictures = _view(subject, ready), [], {}
    for name, metric in ready.asked.items():
        for reading in metric.score(view):
            scores.append(_score(name, metric, reading, view, ready.sha256))
            pictures |= reading.pictures
    return scores, pictures


def told(scores: Sequence[Score]) -> str:
    """Scores for people: what was measured once, then a line each."""
    first = scores[0]
    what = {f"{score.protocol.features} features" for score in scores if score.protocol.features}
    head = f"{first.sampling.model}, round {first.sampling.step:,}, against {first.protocol.data}"
    return "\n".join([", ".join([head, *sorted(what), first.sampling.weights]), *(score.line() for score in scores)])


def _view(subject: Subject, ready: Ready) -> View:
    """Gathers what is needed of the samples, of the real images, and of the other split where that is needed, too."""
    data, how, needs = ready.data, ready.how, ready.needs

    def gathered(title: str, batches: Iterator, total: int) -> Evidence:
        return collect(batches, ready.extractor, needs, lambda done: ready.tell(title, done, total))

    def of(title: str, source: Source) -> Evidence:
        return gathered(title, real_batches(source, how.count, data.shape), min(how.count, len(source)))

    view = View(subject, data, how, ready.extractor, None, None, None, ready.tell)
    if needs & (NETWORK | {"images"}):
        count = min(how.count, subject.limit or how.count)
        real, other = (data.train, data.test) if how.real == "train" else (data.test, data.train)
        view = view._replace(samples=gathered("samples", subject.batches(count), count), real=of("real images", real))
        view = view._replace(other=of("the other split", other)) if "both splits" in needs else view
    return view


def _score(name: str, metric: Metric, reading: Reading, view: View, sha256: str) -> Score:
    network = view.extractor if metric.needs & NETWORK and reading.of_features else None
    compared = metric.needs & (NETWORK | {"images"})

    def count(stated: int | None, evidence: Evidence | None) -> int:
        return stated if stated is not None else evidence.count if compared else 0

    protocol = Protocol(
        metric=name,
        data=view.data.train.spec.name,
        data_sha256=sha256,
        split=reading.split or view.how.real,
        real_count=count(reading.real_count, view.real),
        sample_count=count(reading.sample_count, view.samples),
        features=network.name if network else "",
        features_sha256=network.sha256 if network else "",
        resizer=network.resizer if network else "",
        rounding=reading.rounding,
        dtype=reading.dtype,
        settings=reading.settings,
    )
    better = reading.better or metric.better
    return Score(reading.name, reading.value, better, protocol, view.subject.sampling, reading.spread, reading.notes)
