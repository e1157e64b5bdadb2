"""Classification accuracy score: what a classifier that has seen samples only knows of real images.

Ravuri & Vinyals 2019 (arXiv 1905.10887). CAS trains on samples of a conditional generator and tests on real images; the
naive augmentation score, NAS, trains on real images and samples together. Theirs is a ResNet-50; this is the
library's small classifier, so compare with its own accuracy on real training data, not with the paper's numbers.
"""

from typing import NamedTuple

import numpy as np

from vaegan_jax.data.sources import ArraySource, Source, gather
from vaegan_jax.errors import check
from vaegan_jax.evaluation import weights
from vaegan_jax.evaluation.features.classifier import Classifier, Config, Report, fit, predict, require_labels

TOP = 5


class Score(NamedTuple):
    """Shares of real, held-out images."""

    accuracy: float
    top5: float
    """The true class is among the five most probable ones."""
    by_class: dict[int, float]
    """Accuracy within each class that is held out: low where the generator draws it badly or not at all."""
    trained_on: int
    """Examples that the classifier was trained on."""
    tested_on: int


def classification_accuracy(
    samples: Source,
    held_out: Source,
    seed: int = 0,
    config: Config = Config(),  # noqa: B008
    report: Report | None = None,
) -> Score:
    """CAS: trains on labelled samples only, tests on held-out real images.

    With real training images as `samples` it is the accuracy that a perfect generator reaches: the same, to the bit, as
    that of `features.classifier.trained` with the same seed and configuration. To compare with it, draw as many samples
    as there are real images, with their labels. Raises UserError for missing labels, other classes or image sizes.
    """
    require_labels(samples.spec)
    require_labels(held_out.spec)
    arrays = fit(samples, seed, config, report)
    return _score(Classifier(arrays, 0.0, weights.digest(arrays), samples.spec, config, seed), held_out, len(samples))


def naive_augmentation(
    samples: Source,
    real: Source,
    held_out: Source,
    seed: int = 0,
    config: Config = Config(),  # noqa: B008
    report: Report | None = None,
) -> Score:
    """NAS: trains on real images and samples together, in one random order, tests on held-out real images.

    Above the accuracy with real images alone, the samples have taught something. UserError as above.
    """
    for source in (samples, real):
        require_labels(source.spec)
    return classification_accuracy(together(real, samples), held_out, seed, config, report)


def together(first: Source, last: Source) -> ArraySource:
    """The labelled images of two sources as one, in memory. Raises UserError where images or classes differ."""
    for title in ("image_shape", "classes"):
        one, two = getattr(first.spec, title), getattr(last.spec, title)
        words = f"{first.spec.name} has {title.replace('_', ' ')} {one}, {last.spec.name} has {two}"
        check(one == two, f"{words}: they cannot be mixed")
    parts = [gather(source, np.arange(len(source))) for source in (first, last)]
    kinds = {part["image"].dtype for part in parts}
    check(len(kinds) == 1, f"{first.spec.name} and {last.spec.name}: one has uint8 images, the other floating ones")
    arrays = {leaf: np.concatenate([part[leaf] for part in parts]) for leaf in ("image", "label")}
    return ArraySource(arrays, f"{first.spec.name} with {last.spec.name}", first.spec.classes)


def _score(classifier: Classifier, held_out: Source, trained_on: int) -> Score:
    found, labels = predict(classifier, held_out)
    right = found.argmax(1) == labels
    best = np.argsort(-found, axis=1, kind="stable")[:, :TOP]
    by_class = {int(k): float(right[labels == k].mean()) for k in np.unique(labels)}
    top = float((best == labels[:, None]).any(1).mean())
    return Score(float(right.mean()), top, by_class, trained_on, len(labels))
