"""From a run, or a file of samples, to scores: who is scored, against which images, by which metrics.

Data flow: `prepared` finds the metrics and the features' network; a `Subject` draws samples; `evidence.collect` passes
them, and the real images, through the network once; each metric of `metrics.METRICS` reads what it needs of that; every
reading gets a card, and a run keeps them.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaegan_jax.data import Source, load, located
from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation import features
from vaegan_jax.evaluation.cards import Protocol, Sampling, Score, keep
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.evidence import Evidence, collect, quantized, real_batches
from vaegan_jax.evaluation.features.extractor import Extractor
from vaegan_jax.evaluation.foreign import read_samples
from vaegan_jax.evaluation.metrics import METRICS, defaults
from vaegan_jax.evaluation.progress import Steps
from vaegan_jax.evaluation.searching import whole
from vaegan_jax.evaluation.view import Data, Metric, Reading, Subject, View
from vaegan_jax.games import State
from vaegan_jax.models import name_of, truncating
from vaegan_jax.training.experiment import (
    Experiment,
    classes_told,
    drawn_labels,
    generated,
    weights_for_sampling,
)
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
    sha256: dict[str, str]
    """Of the images of each split."""
    accuracy: float | None
    """Of the classifier, where its features are compared."""
    tell: Tell


def evaluate_run(run: Path | str, how: Evaluation, data: str | None = None) -> list[Score]:
    """Scores the newest good state of a run, and keeps the scores in its folder.

    `data` says where its data are now, if they have moved. Raises UserError for what the user can mend.
    """
    folder = Path(run)
    experiment, state, step = read(folder)
    with Steps() as tell:
        ready = prepared(experiment, _data(experiment, data), how, tell)
        return evaluate(folder, experiment, state, step, ready)


def evaluate(folder: Path, experiment: Experiment, state: State, step: int, ready: Ready) -> list[Score]:
    """Scores a state of a run, after `step` rounds, and keeps the scores, and what pictures they come with."""
    cut, config = ready.how.truncation, experiment.config.model
    params, stats, weights = weights_for_sampling(experiment, state, cut)

    def batches(count: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        labels, at = drawn_labels(experiment, count, ready.how.seed), 0
        for images in generated(experiment, params, stats, count, ready.how.seed, labels, cut):
            check(bool(np.isfinite(images).all()), f"samples of {folder} are not finite: the model has diverged")
            yield quantized(images), None if labels is None else labels[at : at + len(images)]
            at += len(images)

    seen = step * experiment.images_per_round
    sampling = Sampling(name_of(config), step, seen, weights, truncating.told(config, cut), seed=ready.how.seed)
    prior = truncating.truncated_prior(config, cut) if cut else None
    scores, pictures = measure(Subject(sampling, batches, experiment, params, stats, prior), ready)
    _keep(folder, scores, pictures, f"-{step:08d}" + (f"-truncated-{cut:g}" if cut else ""))
    return scores


def evaluate_truncations(
    run: Path | str, truncations: Sequence[float | None], how: Evaluation, data: str | None = None
) -> dict[float | None, list[Score]]:
    """The curve of fidelity against variety: scores of a run's newest good state at each truncation (None: whole p(z)).

    Nothing is trained for it but, once, the classifier whose features are compared. Scores are kept in the run's folder
    as those of `evaluate_run`, and raise what it raises.
    """
    folder = Path(run)
    experiment, state, step = read(folder)
    for cut in truncations:  # what cannot be truncated so is refused before anything is measured
        if cut is not None:
            truncating.truncated_prior(experiment.config.model, cut)
    with Steps() as tell:
        ready = prepared(experiment, _data(experiment, data), how, tell)
        cuts = {cut: ready._replace(how=dataclasses.replace(how, truncation=cut)) for cut in truncations}
        return {cut: evaluate(folder, experiment, state, step, each) for cut, each in cuts.items()}


def _data(experiment: Experiment, data: str | None) -> Data:
    name, size = located(data or experiment.config.data), experiment.config.image_size
    train, test = (load(name, split, size) for split in ("train", "test"))
    return Data(train, test, experiment.spec.image_shape)


def evaluate_samples(path: Path, data: str, how: Evaluation, output: Path | None = None) -> list[Score]:
    """Scores somebody's samples: FILE.npz or a folder of pictures, of the size of the data's images.

    The scores and their pictures are kept in the folder `output`, where there is one, which can be compared as a run.

    Raises UserError for files that hold none, or others than uint8 or [-1, 1] images of the data's shape.
    """
    check(how.truncation is None, "samples in a file are as they are: truncation is for a run")
    train, test = (load(located(data), split) for split in ("train", "test"))
    shape = train.spec.image_shape
    source = read_samples(path, shape, train.spec.classes)

    def batches(count: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        return real_batches(source, count, shape)

    sampling = Sampling(str(path), weights="samples from a file", samples_sha256=fingerprint(source), seed=how.seed)
    subject = Subject(sampling, batches, limit=len(source))
    with Steps() as tell:
        ready = prepared(None, Data(train, test, shape), how, tell, labeled=bool(source.spec.classes))
        scores, pictures = measure(subject, ready)
    if output:
        _keep(output, scores, pictures, "")
    return scores


def prepared(
    experiment: Experiment | None,
    data: Data,
    how: Evaluation,
    tell: Tell = lambda what, done, total: None,
    labeled: bool = False,
) -> Ready:
    """Finds the metrics and the network of an evaluation; trains the classifier where it is needed for the first time.

    `labeled` says that a file's samples have labels; a model's have where it is told classes.

    Raises UserError for a metric that the model, or the samples, or the data cannot bear, and for missing weights.
    """
    if experiment and how.truncation:
        truncating.truncated_prior(experiment.config.model, how.truncation)
    asked = {name: METRICS[name] for name in how.names or defaults(experiment)}
    labeled = labeled or (experiment is not None and classes_told(experiment) > 0)
    for name, metric in asked.items():
        reason = metric.refuse(experiment, data.train, labeled)
        check(not reason, f"{name} cannot be measured: {reason}")
        told = f"{name} needs {metric.least} samples and real images at least: raise --count"
        check(min(how.count, how.real_count or how.count) >= metric.least or not metric.needs, told)
        tested = how.real == "test" or metric.needs & {"test", "search"}
        check(data.test is not None or not tested, f"{name} cannot be measured: it needs test images")
    needs, extractor = frozenset(need for metric in asked.values() for need in metric.needs), None
    accuracy = None
    if needs & NETWORK:
        report = functools.partial(tell, "classifier")
        extractor, accuracy = features.choose(how, data.train, data.test, data.shape, report)
    splits = {"train": data.train} | ({} if data.test is None else {"test": data.test})
    sha256 = {split: fingerprint(source) for split, source in splits.items()}
    return Ready(data, how, asked, needs, extractor, sha256, accuracy, tell)


def _keep(folder: Path, scores: Sequence[Score], pictures: dict[str, bytes], suffix: str) -> None:
    try:
        for title, picture in pictures.items():
            write(folder / PICTURES / f"{title}{suffix}.png", picture)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from error
    keep(folder, scores)


def measure(subject: Subject, ready: Ready) -> tuple[list[Score], dict[str, bytes]]:
    """All scores of a subject, and pictures as PNG by title. Raises UserError for too few images for a metric."""
    view, scores, pictures = _view(subject, ready), [], {}
    for done, (name, metric) in enumerate(ready.asked.items(), 1):
        for reading in metric.score(view):
            scores.append(_score(name, metric, reading, view, ready))
            pictures |= reading.pictures
        ready.tell("metrics", done, len(ready.asked))
    return scores, pictures


def told(scores: Sequence[Score]) -> str:
    """Scores for people: what was measured once, then a line each."""
    first = scores[0]
    what = {f"{score.protocol.features} features" for score in scores if score.protocol.features}
    when = f", round {first.sampling.step:,}" if first.sampling.images else ""
    head = f"{first.sampling.model}{when}, against {first.protocol.data}"
    return "\n".join([", ".join([head, *sorted(what), first.sampling.weights]), *(score.line() for score in scores)])


def _view(subject: Subject, ready: Ready) -> View:
    """Gathers what is needed of samples and real images, and, for a search, of all training and of test images."""
    data, how, needs = ready.data, ready.how, ready.needs

    def gathered(title: str, batches: Iterator, total: int) -> Evidence:
        return collect(batches, ready.extractor, needs, lambda done: ready.tell(title, done, total))

    def of(title: str, source: Source, most: int) -> Evidence:
        count = min(most, len(source))
        return gathered(title, real_batches(source, count, data.shape), count)

    view = View(subject, data, how, ready.extractor, None, None, None, None, ready.tell)
    if needs & (NETWORK | {"images"}):
        count = min(how.count, subject.limit or how.count)
        real, most = data.train if how.real == "train" else data.test, how.real_count or how.count
        view = view._replace(
            samples=gathered("samples", subject.batches(count), count), real=of("real images", real, most)
        )
    if "search" in needs:
        tell = lambda done: ready.tell("all training images", done, len(data.train))  # noqa: E731
        view = view._replace(training=whole(data.train, data.shape, ready.extractor, tell))
        same = how.real == "test" and view.real.count == len(data.test)
        view = view._replace(test=view.real if same else of("all test images", data.test, len(data.test)))
    return view


def _score(name: str, metric: Metric, reading: Reading, view: View, ready: Ready) -> Score:
    network = view.extractor if metric.needs & NETWORK and reading.of_features else None
    compared = metric.needs & (NETWORK | {"images"})

    def count(stated: int | None, evidence: Evidence | None) -> int:
        return stated if stated is not None else evidence.count if compared else 0

    spec, split = view.data.train.spec, reading.split or view.how.real
    accuracy = {"classifier accuracy": ready.accuracy} if network and ready.accuracy is not None else {}
    protocol = Protocol(
        metric=name,
        data=Path(spec.name).name if spec.name.endswith(".npz") else spec.name,
        data_sha256=ready.sha256.get(split, ready.sha256["train"]),
        split=split,
        real_count=count(reading.real_count, view.real),
        sample_count=count(reading.sample_count, view.samples),
        features=network.name if network else "",
        features_sha256=network.sha256 if network else "",
        resizer=network.resizer if network else "",
        rounding=reading.rounding,
        dtype=reading.dtype,
        settings=reading.settings | accuracy,
    )
    better = reading.better or metric.better
    return Score(reading.name, reading.value, better, protocol, view.subject.sampling, reading.spread, reading.notes)
