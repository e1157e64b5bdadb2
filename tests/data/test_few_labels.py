"""A few labels are even over the classes, the same in every run, and reach training as -1 where they are hidden."""

import numpy as np
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.data.few_labels import FewLabels
from vaegan_jax.errors import UserError
from vaegan_jax.models import gan, presets
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import assemble
from vaegan_jax.training.feeding import feeder

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [60, 30, 10])[RNG.permutation(100)]
SOURCE = ArraySource({"image": RNG.integers(0, 256, (100, 8, 8, 1), dtype=np.uint8), "label": LABELS}, "three")


def shown(source):
    return source.examples(np.arange(len(source)))["label"]


@pytest.mark.parametrize(
    ("count", "expected"), [(3, [1, 1, 1]), (12, [4, 4, 4]), (40, [15, 15, 10]), (100, [60, 30, 10])]
)
def test_so_many_labels_are_left_evenly_over_the_classes_as_far_as_there_are_examples(count, expected):
    labels = shown(FewLabels(SOURCE, count))
    known = labels >= 0
    assert known.sum() == count
    assert np.bincount(labels[known], minlength=3).tolist() == expected
    np.testing.assert_array_equal(labels[known], LABELS[known])


def test_no_more_than_one_lies_between_the_counts_of_classes():
    for count in range(3, 31):
        labels = shown(FewLabels(SOURCE, count))
        assert np.ptp(np.bincount(labels[labels >= 0])) <= 1


def test_fewer_labels_are_some_of_the_more_and_the_rest_of_an_example_is_untouched():
    few, more = (shown(FewLabels(SOURCE, count)) >= 0 for count in (10, 50))
    assert (few <= more).all()
    source = FewLabels(SOURCE, 10)
    for index in (0, 1, 99):
        example = source.example(index)
        np.testing.assert_array_equal(example["image"], SOURCE.example(index)["image"])
        assert example["label"] == shown(source)[index]


@pytest.mark.parametrize("count", [0, 101])
def test_a_count_that_is_no_number_of_examples_is_refused(count):
    with pytest.raises(UserError, match=r"labels must be in 1 \.\. 100"):
        FewLabels(SOURCE, count)


def test_data_without_labels_are_refused():
    with pytest.raises(UserError, match="training on few labels needs labels"):
        FewLabels(ArraySource({"image": np.zeros((5, 4, 4, 1), np.uint8)}, "bare"), 2)


@pytest.mark.parametrize("feeding", ["resident", "stream"])
def test_training_is_fed_the_labels_that_are_left(feeding):
    config = RunConfig(presets.AuxiliaryClassifier(width=2), labels=10, batch_size=20, steps=5)
    config = RunConfig(config.model, labels=10, batch_size=20, steps=5, training=type(config.training)(feeding=feeding))
    fed = feeder(assemble(config, SOURCE.spec), SOURCE)
    if feeding == "resident":
        labels = fed.store["label"]
    else:
        batches = fed.feed(5)["label"]
        labels = batches[:5].ravel()  # 5 rounds of 2 moves of 20: each example twice
        labels = labels[: len(labels) // 2]
    assert (labels >= 0).sum() == 10


def test_a_model_without_an_auxiliary_classifier_is_refused():
    with pytest.raises(UserError, match=r"gan cannot learn from few labels \(acgan can\)"):
        assemble(RunConfig(gan.Config(width=2), labels=10), SOURCE.spec)
