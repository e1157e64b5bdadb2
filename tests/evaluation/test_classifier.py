"""The classifier of a data set's own labels, its features, and the scores of samples that are made with it."""

import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from vaegan_jax.data import ArraySource, load
from vaegan_jax.errors import Caution, UserError
from vaegan_jax.evaluation import classification_accuracy as cas
from vaegan_jax.evaluation.features import classifier as own
from vaegan_jax.evaluation.features.extractor import extract

SMALL = own.Config(width=2, features=6, batch_size=16, kimg=0.8, learning_rate=0.03)
pytestmark = pytest.mark.usefixtures("compiled_quickly")


def stripes(count, seed=0, classes=3, labels=True, noise=60):
    """Gray images of which one of three rows of blocks is light: class by row, so that it can be learned."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
    image = rng.integers(0, noise, (count, 8, 6, 1))
    image[np.arange(count)[:, None], 2 * label[:, None] + np.arange(2)] += 120
    arrays = {"image": image.astype(np.uint8)} | ({"label": label} if labels else {})
    return ArraySource(arrays, "stripes", classes if labels else 0)


TRAIN, TEST = stripes(200), stripes(70, seed=1)


@pytest.fixture(scope="module")
def fitted(compiled_quickly):
    return own.fit(TRAIN, 0, SMALL)


@pytest.fixture(scope="module")
def made(fitted):
    return own.Classifier(fitted, 0.0, "", TRAIN.spec, SMALL, 0)


def images(source):
    return source.arrays["image"]


def test_it_learns_classes_that_can_be_told(made):
    assert own.accuracy(made, TEST) > 0.95
    np.testing.assert_array_equal(own.classify(made, images(TEST)), own.logits(made, images(TEST)).argmax(1))
    assert own.accuracy(made, TEST) == (own.classify(made, images(TEST)) == TEST.arrays["label"]).mean()


def test_its_features_and_logits_are_what_numpy_makes_of_its_arrays(made):
    """A convolution of stride 2, running statistics, and two dense layers, in float64."""
    at = {name.split("/", 2)[2]: array.astype(np.float64) for name, array in made.arrays.items()}

    def norm(x, name):
        gain = at[f"{name}/scale"] / np.sqrt(at[f"batch_stats/{name}/variance"] + 1e-5)
        return np.maximum((x - at[f"batch_stats/{name}/mean"]) * gain + at[f"{name}/bias"], 0)

    padded = np.pad(images(TEST) / 127.5 - 1, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2))[:, ::2, ::2]
    x = norm(np.einsum("nhwcij,ijcf->nhwf", windows, at["Convolution_0/kernel"]), "BatchNorm_0")
    x = norm(x.reshape(len(x), -1) @ at["Dense_0/kernel"] + at["Dense_0/bias"], "BatchNorm_1")
    (found,) = _joined(extract(own.extractor(made), [images(TEST)]))
    np.testing.assert_allclose(found["features"], x, rtol=1e-4, atol=1e-4)
    logits = x @ at["Dense_1/kernel"] + at["Dense_1/bias"]
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(own.logits(made, images(TEST)), logits, rtol=1e-4, atol=1e-4)


def _joined(outputs):
    outputs = list(outputs)
    return [{name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}]


def test_an_extractor_is_named_after_its_weights_and_compiled_once(made):
    first, second = own.extractor(made._replace(sha256="ab")), own.extractor(made)
    assert (first.name, first.sha256, first.resizer, first.size, first.channels) == (
        "classifier",
        "ab",
        "none",
        None,
        None,
    )
    assert first.apply is second.apply


def test_an_image_is_classified_alike_whatever_is_beside_it_and_whatever_its_type(made):
    whole = own.logits(made, images(TEST))
    np.testing.assert_array_equal(own.logits(made, images(TEST)[3:9]), whole[3:9])
    floats = (images(TEST).astype(np.float32) - 127.5) / 127.5
    np.testing.assert_allclose(own.logits(made, floats), whole, rtol=1e-4, atol=1e-4)


def test_the_seed_decides_every_bit(fitted):
    again, other = own.fit(TRAIN, 0, SMALL), own.fit(TRAIN, 1, SMALL)
    assert fitted.keys() == again.keys()
    assert all((fitted[name] == again[name]).all() for name in fitted)
    assert any((fitted[name] != other[name]).any() for name in fitted)


def test_the_seed_decides_the_first_weights_not_the_order_of_the_data_alone():
    still = replace(SMALL, learning_rate=1e-30, weight_decay=0.0)
    first, other = (own.fit(TRAIN, seed, still)["params/classifier/Dense_0/kernel"] for seed in (0, 1))
    assert abs(first - other).max() > 0.1


def test_data_that_do_not_fit_the_device_are_streamed_to_the_same_end(fitted, monkeypatch):
    monkeypatch.setattr(own, "fits", lambda source: False)
    streamed = own.fit(TRAIN, 0, SMALL)
    assert all((fitted[name] == streamed[name]).all() for name in fitted)


@pytest.mark.parametrize("shape,widths", [
    ((28, 28, 1), [24, 48, 96]),
    ((33, 47, 3), [12, 24, 48, 96]),
    ((64, 64, 3), [12, 24, 48, 96]),
    ((128, 128, 3), [8, 12, 24, 48, 96]),
])  # fmt: skip
def test_images_of_any_size_are_halved_to_4_pixels_at_most(shape, widths):
    network = own._network(own.Config(), shape, 7)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    assert [params[f"Convolution_{level}"]["kernel"].shape[-1] for level in range(len(widths))] == widths
    assert params["Dense_0"]["kernel"].shape[0] <= 16 * 96 and params["Dense_1"]["kernel"].shape == (128, 7)


def test_small_sets_are_seen_a_limited_number_of_times():
    config = own.Config()
    assert config.rounds(10_000) == config.rounds(10**6) == 391  # 50,000 images in batches of 128
    assert config.rounds(100) == 24 and config.rounds(1) == 1


@pytest.fixture
def counted(monkeypatch, fitted):
    """Trainings are counted, and not done."""
    calls = []

    def fit(source, seed, config, report):
        calls.append(seed)
        return fitted

    monkeypatch.setattr(own, "fit", fit)
    return calls


def test_it_is_trained_once_and_then_kept_with_its_accuracy(tmp_path):
    told = []
    first = own.trained(TRAIN, TEST, 3, SMALL, tmp_path, report=lambda done, rounds: told.append((done, rounds)))
    assert told == [(done, 50) for done in range(1, 51)]
    second = own.trained(TRAIN, TEST, 3, SMALL, tmp_path, report=lambda *_: pytest.fail("trained again"))
    assert first.accuracy == second.accuracy == own.accuracy(first, TEST) > 0.9
    assert first.sha256 == second.sha256 == own.weights.digest(first.arrays)
    assert all((first.arrays[name] == second.arrays[name]).all() for name in first.arrays)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_the_folder_is_that_of_all_weights(counted, tmp_path, monkeypatch):
    monkeypatch.setenv("VAEGAN_WEIGHTS", str(tmp_path / "new"))
    own.trained(TRAIN, TEST, 0, SMALL)
    assert len(list((tmp_path / "new").glob("classifier-*.npz"))) == 1


def test_other_data_seeds_settings_versions_and_held_out_sets_have_classifiers_of_their_own(
    counted, tmp_path, monkeypatch
):
    def trained(source=TRAIN, held_out=TEST, seed=0, config=SMALL):
        return own.trained(source, held_out, seed, config, tmp_path)

    for others in (
        {},
        {"source": stripes(199)},
        {"held_out": stripes(69)},
        {"seed": 1},
        {"config": replace(SMALL, kimg=2.0)},
    ):
        trained(**others)
    monkeypatch.setattr(own.vaegan_jax, "__version__", "9")
    trained()
    assert len(counted) == len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-100], lambda b: b[:600] + bytes([b[600] ^ 1]) + b[601:], lambda b: b""]
)
def test_a_damaged_file_is_told_and_replaced(counted, tmp_path, damage):
    own.trained(TRAIN, TEST, 0, SMALL, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(Caution, match="damaged; the classifier is trained again"):
        own.trained(TRAIN, TEST, 0, SMALL, tmp_path)
    assert len(counted) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.trained(TRAIN, TEST, 0, SMALL, tmp_path)


def test_a_whole_file_with_other_arrays_is_told_too(counted, tmp_path):
    own.trained(TRAIN, TEST, 0, SMALL, tmp_path)
    (path,) = tmp_path.iterdir()
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"params/classifier/Dense_0/bias": arrays["params/classifier/Dense_0/bias"] + 1})
    with pytest.warns(Caution, match="damaged"):
        own.trained(TRAIN, TEST, 0, SMALL, tmp_path)
    assert len(counted) == 2


def test_where_it_cannot_be_kept_it_is_told_and_works_all_the_same(counted, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(Caution, match="cannot be kept"):
        made = own.trained(TRAIN, TEST, 0, SMALL, tmp_path / "file" / "folder")
    assert made.accuracy > 0.9


@pytest.mark.parametrize("train,test", [(stripes(9, labels=False), TEST), (TRAIN, stripes(9, labels=False))])
def test_without_labels_it_says_which_features_will_do(train, test, tmp_path):
    with pytest.raises(UserError, match="stripes has none: choose other features.*pixels.*efficientnet_lite0"):
        own.trained(train, test, folder=tmp_path)


def test_held_out_images_of_another_kind_are_refused(made, tmp_path):
    others = (stripes(9, classes=4), ArraySource({"image": np.zeros((3, 8, 8, 1), np.uint8), "label": [0, 1, 2]}))
    for other in others:
        with pytest.raises(UserError, match="of the kind that it was trained on"):
            own.trained(TRAIN, other, folder=tmp_path)
    with pytest.raises(UserError, match=r"trained on images of \(8, 6, 1\)"):
        own.logits(made, np.zeros((2, 8, 8, 1), np.uint8))


def test_a_divergence_is_told():
    with pytest.raises(UserError, match="diverged: lower its learning-rate"):
        own.fit(TRAIN, 0, replace(SMALL, learning_rate=1e38))


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"kimg": 0.0}, {"learning_rate": -1.0}, {"weight_decay": float("nan")}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError):
        own.Config(**wrong)


def test_the_score_of_the_real_training_images_is_the_accuracy_of_the_classifier_itself(made):
    score = cas.classification_accuracy(TRAIN, TEST, 0, SMALL)
    assert score.accuracy == own.accuracy(made, TEST)
    assert (score.top5, score.trained_on, score.tested_on) == (1.0, 200, 70)
    counts = np.bincount(TEST.arrays["label"]) / 70
    assert sum(counts[k] * score.by_class[k] for k in range(3)) == pytest.approx(score.accuracy)


def test_a_class_that_the_samples_lack_is_never_named():
    lacking = images(TRAIN)[TRAIN.arrays["label"] < 2]
    samples = ArraySource({"image": lacking, "label": TRAIN.arrays["label"][TRAIN.arrays["label"] < 2]}, classes=3)
    score = cas.classification_accuracy(samples, TEST, 0, SMALL)
    assert score.by_class[2] == 0 and min(score.by_class[0], score.by_class[1]) > 0.9


def test_samples_under_wrong_labels_score_worse_than_chance():
    swapped = ArraySource(TRAIN.arrays | {"label": (TRAIN.arrays["label"] + 1) % 3}, classes=3)
    assert cas.classification_accuracy(swapped, TEST, 0, SMALL).accuracy < 0.1


def test_top_5_counts_the_true_class_among_the_five_most_probable(made, monkeypatch):
    logits = np.array([[7, 6, 5, 4, 3, 2.0]] * 4)
    monkeypatch.setattr(cas, "predict", lambda *_: (logits, np.array([0, 0, 4, 5], np.int32)))
    score = cas._score(made, TEST, 1)
    assert score[:2] == (1 / 2, 3 / 4) and score.by_class == {0: 1.0, 4: 0.0, 5: 0.0}


def test_naive_augmentation_trains_on_real_images_and_samples(monkeypatch):
    seen = []
    monkeypatch.setattr(cas, "fit", lambda source, *_: seen.append(source) or own.fit(TRAIN, 0, SMALL))
    score = cas.naive_augmentation(stripes(30, seed=5), TRAIN, TEST, 0, SMALL)
    assert score.trained_on == len(seen[0]) == 230
    np.testing.assert_array_equal(images(seen[0]), np.concatenate([images(TRAIN), images(stripes(30, seed=5))]))
    assert seen[0].spec.classes == 3


@pytest.mark.parametrize(
    "samples,told",
    [
        (stripes(9, classes=4), "classes 3"),
        (stripes(9, labels=False), "labels"),
        (ArraySource({"image": np.zeros((3, 8, 6, 1), np.float32), "label": [0, 1, 2]}), "floating"),
        (ArraySource({"image": np.zeros((3, 8, 8, 1), np.uint8), "label": [0, 1, 2]}), "image shape"),
    ],
)
def test_sets_that_cannot_be_mixed_are_refused(samples, told):
    with pytest.raises(UserError, match=told):
        cas.naive_augmentation(samples, TRAIN, TEST, 0, SMALL)


@pytest.mark.slow
def test_on_fashion_mnist_it_classifies_87_percent_rightly(tmp_path):
    """0.894, in 20 s on two cores; a linear classifier of the pixels has 0.82."""
    data = [load("fashion_mnist_small", split) for split in ("train", "test")]
    assert own.trained(*data, folder=tmp_path).accuracy >= 0.87
