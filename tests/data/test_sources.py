"""The embedded set is what its card says, and what is wrong with a user's data is told in one line."""

import dataclasses
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

import vaegan_jax.data
from vaegan_jax.data import DATASETS, ArraySource, Source, load
from vaegan_jax.errors import UserError

CARD = DATASETS["fashion_mnist_small"]
FILE = Path(vaegan_jax.data.__file__).with_name("fashion_mnist_small.npz")
BYTES = np.zeros((20, 4, 4, 1), np.uint8)
FLOATS = np.zeros((20, 4, 4, 1), np.float32)
LABELS = np.arange(20) % 5


def told(call, *fragments):
    """Asserts that `call` raises a UserError of one line that holds all of `fragments`."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    for fragment in fragments:
        assert fragment in message, message


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return str(tmp_path / "mine.npz")

    return write


# The embedded set


@pytest.mark.parametrize("split, count", [("train", 1000), ("test", 200)])
def test_each_class_has_as_many_examples_as_stated(split, count):
    source = load("fashion_mnist_small", split)
    assert np.bincount(source.arrays["label"]).tolist() == [count] * 10
    assert len(source) == getattr(CARD, split) == 10 * count
    assert source.arrays["image"].shape == (len(source), *CARD.image_shape)
    assert source.spec.classes == 10 and source.spec.class_names == CARD.class_names
    assert isinstance(source, Source)


def test_training_pixels_have_the_stated_mean_and_deviation():
    pixels = load("fashion_mnist_small", "train").arrays["image"] / 255
    assert abs(pixels.mean() - CARD.mean) < 1e-6
    assert abs(pixels.std() - CARD.deviation) < 1e-6


def test_pixels_are_close_to_those_of_the_whole_set():
    assert abs(CARD.mean - 0.2860) < 0.002 and abs(CARD.deviation - 0.3530) < 0.002  # published for 60,000


def test_no_test_image_is_a_training_image():
    train, test = (
        {image.tobytes() for image in load("fashion_mnist_small", split).arrays["image"]} for split in ("train", "test")
    )
    assert not train & test


def test_images_of_known_classes_look_as_they_must():
    train = load("fashion_mnist_small", "train").arrays
    share = [(train["image"][train["label"] == c, :, :, 0] > 20).mean(axis=0) for c in range(10)]
    trouser, sandal, pullover = share[1], share[5], share[2]
    assert trouser[-4:, 13:15].mean() < 0.5 < trouser[:4, 13:15].mean()  # two legs below one waist
    assert sandal[:6].mean() < 0.2 < sandal[15:20].mean()  # lies low in the picture
    assert pullover[14, 2:26].mean() > 0.8  # sleeves from side to side


def test_loading_is_quick():
    start = time.perf_counter()
    load("fashion_mnist_small", "train")
    assert time.perf_counter() - start < 0.5


def test_the_license_lies_beside_the_file():
    notice = FILE.with_name("FASHION_MNIST_LICENSE.txt").read_text()
    assert "Copyright (c) 2017 Zalando SE" in notice and "WITHOUT WARRANTY OF ANY KIND" in notice
    assert FILE.stat().st_size < 6e6


def test_a_flipped_bit_is_detected(tmp_path):
    content = bytearray(FILE.read_bytes())
    copy = tmp_path / "copy.npz"
    copy.write_bytes(content)
    assert vaegan_jax.data._verified(copy, CARD.sha256) == content
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    told(lambda: vaegan_jax.data._verified(copy, CARD.sha256), "damaged installation", str(copy), "reinstall")


def test_a_missing_embedded_file_is_a_damaged_installation(tmp_path):
    told(lambda: vaegan_jax.data._verified(tmp_path / "gone.npz", CARD.sha256), "damaged installation", "reinstall")


@pytest.mark.parametrize(
    "name, nearest",
    [("fashion_mnist_smal", "Did you mean 'fashion_mnist_small'"), ("qqq", "There are: emoji, fashion_mnist")],
)
def test_an_unknown_name_is_told_with_the_names_there_are(name, nearest):
    told(lambda: load(name, "train"), repr(name), nearest, "fashion_mnist_small", ".npz")


def test_an_unknown_split_is_told_with_the_splits_there_are():
    told(lambda: load("fashion_mnist_small", "valid"), "'valid'", "train and test")


# Arrays


def test_a_spec_is_fit_for_json():
    spec = load("fashion_mnist_small", "test").spec
    assert json.loads(json.dumps(dataclasses.asdict(spec)))["image_shape"] == [28, 28, 1]
    assert dataclasses.replace(spec, batch_size=64).batch_size == 64


def test_an_example_is_an_image_and_an_int32_scalar():
    example = ArraySource({"image": BYTES, "label": LABELS.astype(np.uint8)}).example(7)
    assert example["image"].shape == (4, 4, 1) and example["image"].dtype == np.uint8
    assert example["label"].shape == () and example["label"].dtype == np.int32 and example["label"] == 2
    assert set(ArraySource({"image": FLOATS}).example(0)) == {"image"}


def test_images_without_channels_get_one():
    assert ArraySource({"image": BYTES[..., 0]}).spec.image_shape == (4, 4, 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_images_are_kept_as_float32(dtype):
    image = changed(changed(FLOATS, 0, -1), 1, 1).astype(dtype)
    assert ArraySource({"image": image}).arrays["image"].dtype == np.float32


def test_the_number_of_classes_comes_from_labels_names_or_the_caller():
    arrays = {"image": BYTES, "label": LABELS}
    assert ArraySource({"image": BYTES}).spec.classes == 0
    assert ArraySource(arrays).spec.classes == 5
    assert ArraySource(arrays, classes=9).spec.classes == 9
    assert ArraySource(arrays, class_names=tuple("abcdef")).spec.classes == 6


WRONG = {
    "no images": ({}, "no images", '"image"'),
    "an empty array": ({"image": BYTES[:0]}, "no images", "(0, 4, 4, 1)"),
    "rank 2": ({"image": BYTES[:, :, 0, 0]}, "(20, 4)", "(n, height, width, channels)"),
    "rank 5": ({"image": BYTES[None]}, "(1, 20, 4, 4, 1)"),
    "int64 images": ({"image": BYTES.astype(np.int64)}, "int64", "uint8", "float32 in [-1, 1]"),
    "bool images": ({"image": BYTES > 0}, "bool", "uint8"),
    "objects": ({"image": BYTES.astype(object)}, "object", "uint8"),
    "two channels": ({"image": np.zeros((2, 4, 4, 2), np.uint8)}, "2 channels", "not 1 or 3"),
    "channels first": ({"image": np.zeros((2, 3, 8, 8), np.uint8)}, "8 channels", "transpose(0, 2, 3, 1)"),
    "NaN": ({"image": changed(changed(FLOATS, 17, np.nan), 18, np.nan)}, "image 17 ", "NaN or Inf", "first of 2"),
    "Inf": ({"image": changed(FLOATS, (3, 0, 0, 0), -np.inf)}, "image 3 ", "NaN or Inf"),
    "0 to 255": ({"image": changed(FLOATS, 2, 255)}, "[0, 255]", "[-1, 1]", "127.5"),
    "just outside": ({"image": changed(FLOATS, 2, np.nextafter(np.float32(-1), -2))}, "[-1.00000012, 0]"),
    "too few labels": ({"image": BYTES, "label": LABELS[1:]}, "(19,)", "20 images"),
    "column of labels": ({"image": BYTES, "label": LABELS[:, None]}, "(20, 1)", "(20,)"),
    "floating labels": ({"image": BYTES, "label": LABELS * 1.0}, "float64", "int32"),
    "negative label": ({"image": BYTES, "label": changed(LABELS, 4, -1)}, "image 4 is -1", "from 0 on"),
    "huge label": ({"image": BYTES, "label": changed(LABELS, 4, 2**40)}, "image 4 is 1099511627776"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_array_is_told_in_one_line_that_names_it(kind):
    arrays, *fragments = WRONG[kind]
    told(lambda: ArraySource(arrays, "holiday.npz"), "holiday.npz: ", *fragments)


def test_a_label_beyond_the_stated_classes_is_refused():
    told(lambda: ArraySource({"image": BYTES, "label": LABELS}, classes=4), "image 4 is 4", "0 .. 3")


def test_classes_without_labels_are_refused():
    told(lambda: ArraySource({"image": BYTES}, classes=4), 'no array "label"')


# The user's own file


@pytest.mark.parametrize("n, kept", [(20, 18), (11, 9), (2, 1)])
def test_the_last_tenth_of_an_undivided_file_is_the_test_set(save, n, kept):
    image = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8)
    path = save(image=image, label=np.arange(n))
    train, test = load(path, "train"), load(path, "test")
    np.testing.assert_array_equal(train.arrays["label"], np.arange(kept))
    np.testing.assert_array_equal(test.arrays["label"], np.arange(kept, n))
    np.testing.assert_array_equal(test.arrays["image"][:, 0, 0, 0], np.arange(kept, n))
    assert train.spec == test.spec and train.spec.classes == n and train.spec.name == path


def test_named_splits_are_taken_as_they_are_and_share_their_classes(save):
    path = save(train_image=BYTES, train_label=LABELS, test_image=BYTES[:3], test_label=np.array([0, 1, 6]))
    assert len(load(path, "train")) == 20 and len(load(path, "test")) == 3
    assert load(path, "train").spec == load(path, "test").spec
    assert load(path, "train").spec.classes == 7


def test_files_without_labels_are_unlabeled(save):
    assert load(save(image=FLOATS), "train").spec.classes == 0
    assert load(save(train_image=FLOATS), "train").spec.classes == 0


FILES = {
    "no image": ({"x": BYTES}, 'no array "image"', "it has: x"),
    "only the other split": ({"test_image": BYTES}, 'no array "train_image"', "it has: test_image"),
    "labels on one split": (
        {"train_image": BYTES, "test_image": BYTES, "test_label": LABELS},
        '"test_label"',
        "neither",
    ),
    "objects": ({"image": np.array([BYTES, None], object)}, '"image" cannot be read', "Python objects"),
    "one image": ({"image": BYTES[:1]}, "two at least"),
    "NaN in the held-out part": ({"image": changed(FLOATS, 19, np.nan)}, "image 19 ", "NaN or Inf"),
    "negative labels": ({"train_image": BYTES, "train_label": LABELS - 9}, "labels must be", "from 0 on"),
    "floating labels": ({"train_image": BYTES, "train_label": LABELS / 2}, "float64"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_wrong_file_is_told_in_one_line_that_names_it(save, kind):
    arrays, *fragments = FILES[kind]
    path = save(**arrays)
    told(lambda: load(path, "train"), path, *fragments)


def test_a_missing_file_is_told(tmp_path):
    told(lambda: load(str(tmp_path / "gone.npz"), "train"), "no file", "gone.npz")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"\x80\x04N."])
def test_a_file_that_is_no_npz_is_told(tmp_path, content):
    (tmp_path / "text.npz").write_bytes(content)
    told(lambda: load(str(tmp_path / "text.npz"), "train"), "text.npz", "not an .npz file")


def test_a_cut_file_and_a_flipped_bit_are_told(save):
    path = Path(save(image=np.random.RandomState(0).randint(0, 256, (20, 8, 8)).astype(np.uint8)))
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-30])
    told(lambda: load(str(path), "train"), "mine.npz", "not an .npz file")
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    told(lambda: load(str(path), "train"), "mine.npz", '"image" cannot be read')


def test_all_messages_are_free_of_doubled_spaces():
    for arrays, *_ in WRONG.values():
        with pytest.raises(UserError) as caught:
            ArraySource(arrays)
        assert not re.search(r"  |,,|\.\.\.", str(caught.value))
