"""A set is prepared wholly or not at all; what is prepared is read right, from the catalog of TFDS too."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_up import idx_folder, left, picture_folder, pixels, refused, vaegan

from vaegan_jax.data import DataSpec, cards, gather, load, require
from vaegan_jax.data.builders import KNOWN
from vaegan_jax.data.images import png_file
from vaegan_jax.data.locating import INFO, ours
from vaegan_jax.data.preparing import SCRATCH, prepare
from vaegan_jax.data.sources import ArraySource, encode_caption
from vaegan_jax.errors import UserError


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """The data folder, which is not there yet."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def mine(tmp_path):
    """A prepared set: its folder."""
    return prepare("idx_images/mine", idx_folder(tmp_path / "raw"))[0]


def alone(code, **environment):
    """Runs code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, timeout=120
    )


# All or nothing


def test_preparing_killed_at_any_moment_leaves_nothing_readable_and_is_swept_away_by_the_next(tmp_path, data):
    folder = picture_folder(tmp_path / "raw", count=1500, height=64, width=64)
    command = [sys.executable, "-m", "vaegan_jax", "data", "prepare", "image_folder/mine", "--from", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (data / SCRATCH / "image_folder").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.1)
    assert "another `vaegan data prepare` is at work" in refused("data", "prepare", "idx_images/x", "--from", folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left(data)[0] == SCRATCH and not (data / "image_folder").exists()
    with pytest.raises(UserError, match="image_folder/mine is not prepared"):
        load("image_folder/mine", "train")
    prepare("idx_images/x", idx_folder(tmp_path / "idx"))
    assert not (data / SCRATCH).exists() and len(load("idx_images/x", "train")) == 20


@pytest.mark.parametrize("broken", ["vaegan_jax.data.cards.measure", "vaegan_jax.data.cards.write"])
def test_a_full_disk_at_the_end_leaves_nothing(broken, tmp_path, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, full)
    folder = idx_folder(tmp_path / "raw")
    assert "No space left on device" in refused("data", "prepare", "idx_images/mine", "--from", folder)
    assert not data.exists()


def test_preparing_twice_keeps_what_is_there(mine, tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in mine.rglob("*")}
    line = refused("data", "prepare", "idx_images/mine", "--from", tmp_path / "raw")
    assert "idx_images/mine is prepared already" in line and str(mine) in line
    assert {path: path.read_bytes() for path in mine.rglob("*")} == before
    mnist = ours("mnist").folder
    shutil.copytree(mine, mnist)
    code, out, _ = vaegan("data", "prepare", "mnist")
    assert code == 0 and "is prepared already" in out


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("a file")])
@pytest.mark.parametrize("name", ["mnist", "emoji", "glyphs", "idx_images/mine", "image_folder/mine"])
def test_raw_files_that_are_not_there_are_told_in_one_line(name, make, tmp_path, data):
    make(tmp_path / "raw")
    line = refused("data", "prepare", name, "--from", tmp_path / "raw")
    assert str(tmp_path / "raw") in line and ("no folder" in line or "is empty" in line or "is a file" in line)
    assert not data.exists()


REFUSED = {
    "no name": (["prepare"], ["prepare needs the NAME"]),
    "no folder": (["prepare", "mnist"], ["--from DIR", "`vaegan data show mnist` tells how to get it"]),
    "a folder of our own without a name": (["prepare", "image_folder", "--from", "."], ["image_folder/flowers"]),
    "a name that is a path": (["prepare", "image_folder/../x", "--from", "."], ["needs a name"]),
    "a name that is a version": (["prepare", "image_folder/1.0.0", "--from", "."], ["needs a name"]),
    "a size for what has one": (["prepare", "mnist", "--from", ".", "--size", "9"], ["--image-size N"]),
    "a size beyond all": (["prepare", "image_folder/x", "--from", ".", "--size", "-1"], ["image-size must be"]),
    "an unknown name": (["prepare", "mnits", "--from", "."], ["unknown data set 'mnits'. Did you mean 'mnist'?"]),
    "showing what is not prepared": (["show", "image_folder/x"], ["image_folder/x is not prepared", "--from DIR"]),
    "showing a folder": (["show", "."], ["not a prepared data set", "vaegan data prepare image_folder/NAME"]),
    "showing no folder": (["show", "./nowhere"], ["there is no folder nowhere"]),
    "showing one of the catalog": (["show", "cifar10"], ["cifar10 is not prepared", "vaegan data prepare cifar10"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_mistaken_command_is_told_in_one_line(what, tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.txt").write_text("")
    words, told = REFUSED[what]
    line = refused("data", *words)
    assert all(fragment in line for fragment in told), line
    assert not data.exists()


def test_training_on_what_is_not_prepared_says_how_to_prepare_it():
    line = refused("train", "--data", "mnist")
    assert "mnist is not prepared" in line and "vaegan data prepare mnist --from DIR" in line


def test_showing_a_known_set_that_is_not_prepared_gives_the_exact_commands():
    for known in KNOWN.values():
        code, out, _ = vaegan("data", "show", known.name)
        assert code == 0 and known.how_to_get() in out and known.license in out


# What has changed since


def test_a_set_of_another_version_is_refused(mine, tmp_path):
    old = mine.with_name("0.9.0")
    mine.rename(old)
    for words in (["data", "show", "idx_images/mine"], ["train", "--data", "idx_images/mine"]):
        line = refused(*words)
        assert "prepared in version 0.9.0, and this is read in version 1.0.0: vaegan data prepare" in line
    shutil.copytree(old, tmp_path / "2.0.0")
    assert "holds version 1.0.0, not 2.0.0" in refused("train", "--data", tmp_path / "2.0.0")


def damaged(mine, how):
    records = next(mine.glob("*train.array_record*"))
    if how == "records missing":
        records.unlink()
    elif how == "records cut":
        records.write_bytes(records.read_bytes()[:-100])
    elif how == "no card, records cut":
        (mine / "card.json").unlink()
        records.write_bytes(records.read_bytes()[: records.stat().st_size // 2])
    elif how == "card damaged":
        (mine / "card.json").write_text("{")
    elif how == "info damaged":
        (mine / "card.json").unlink()
        (mine / INFO).write_text("[]")
    elif how == "features missing":
        (mine / "features.json").unlink()


@pytest.mark.parametrize(
    "how",
    ["records missing", "records cut", "no card, records cut", "card damaged", "info damaged", "features missing"],
)
def test_a_damaged_set_is_told_in_one_line(how, mine):
    damaged(mine, how)
    line = refused("data", "show", "idx_images/mine")
    assert "idx_images/mine" in line and str(mine.parent) in line


def test_a_changed_record_is_found_by_the_checksum_when_it_is_shown(mine, tmp_path):
    other = prepare("idx_images/other", idx_folder(tmp_path / "other", train=255 - pixels(20)[..., 0]))[0]
    for path in other.glob("*train.array_record*"):
        shutil.copy(path, mine / path.name)
    card = json.loads((mine / "card.json").read_text())
    cards.write(mine, {key: value for key, value in card.items() if key != "files"})
    assert "the train split is not what was prepared, its sha256 differs" in refused("data", "show", "idx_images/mine")


def test_a_card_tells_what_was_measured(mine, tmp_path):
    card = cards.read(mine, "mine")
    train = pixels(20)[..., 0] / 255
    assert abs(card["mean"] - train.mean()) < 1e-6 and abs(card["deviation"] - train.std()) < 1e-6
    assert card["splits"]["train"]["classes"] == [7, 7, 6] and card["sizes"] == {"7x5": 26}
    code, out, _ = vaegan("data", "show", "idx_images/mine", "--split", "test", "--output", tmp_path / "sheet.png")
    assert code == 0 and out.count("(verified)") == 2 and card["splits"]["test"]["sha256"] in out
    plain = ArraySource({"image": pixels(20), "label": np.arange(20) % 3})
    measured = cards.measure(plain.example(index) for index in range(20))
    assert measured["sha256"] == card["splits"]["train"]["sha256"] == load("idx_images/mine", "train").sha256


# Reading


def test_many_threads_and_a_pickled_copy_read_the_same(mine):
    source = load("idx_images/mine", "train")
    right, indices = gather(source, np.arange(20)), np.arange(400).reshape(4, 100) % 20
    found = [None] * 8

    def read(at):
        found[at] = gather(source, indices)["image"]

    threads = [threading.Thread(target=read, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for images in [*found, gather(pickle.loads(pickle.dumps(source)), indices)["image"]]:
        np.testing.assert_array_equal(images, right["image"][indices])


def test_splits_and_sizes_have_their_own_checksum(mine):
    sums = [load("idx_images/mine", split, size).sha256 for split in ("train", "test") for size in (0, 4)]
    assert len(set(sums)) == 4


def test_a_prepared_folder_is_read_by_its_path(mine):
    assert len(load(str(mine), "train")) == 20
    assert str(mine) in refused("data", "show", mine.parent)


def test_tensorflow_is_never_imported_and_tfds_only_for_prepared_sets(mine):
    code = """
import sys
from vaegan_jax.data import load
load("fashion_mnist_small", "train")
assert not {"tensorflow_datasets", "grain"} & set(sys.modules)
from vaegan_jax.data.preparing import prepare
from pathlib import Path
prepare("idx_images/again", Path(RAW))
load("idx_images/again", "train").example(0)
assert "tensorflow" not in sys.modules
""".replace("RAW", repr(str(mine.parents[3] / "raw")))
    done = alone(code)
    assert done.returncode == 0, done.stderr


def test_without_tfds_the_rest_works_and_prepared_sets_say_what_to_install(mine):
    code = """
import sys
sys.modules.update(tensorflow_datasets=None, grain=None)
from vaegan_jax.data import load
from vaegan_jax.errors import UserError
load("fashion_mnist_small", "train")
for name in ("idx_images/mine", "unknown"):
    try:
        load(name, "train")
    except UserError as error:
        print(error)
"""
    first, second = alone(code).stdout.splitlines()
    assert "pip install tensorflow-datasets" in first and "unknown data set 'unknown'" in second


# The catalog of TFDS


class MadeUpFaces(tfds.core.GeneratorBasedBuilder):
    """As CelebA is: attributes, no test split but a validation one, or none."""

    VERSION = tfds.core.Version("2.0.1")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=name) for name in ("whole", "valid", "hungry")]

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "attributes": {"Smiling": np.bool_, "Hair": tfds.features.ClassLabel(names=["dark", "fair", "none"])},
            "caption": tfds.features.Text(),
            "landmarks": {"nose": np.int64},
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        if self.builder_config.name == "hungry":
            import tensorflow  # noqa: F401
        splits = ["train"] + ["validation"] * (self.builder_config.name == "valid")
        return {split: self._generate_examples() for split in splits}

    def _generate_examples(self):
        for index, image in enumerate(pixels(30, channels=3)):
            attributes = {"Smiling": index % 2 == 0, "Hair": index % 3}
            yield (
                index,
                {"image": png_file(image), "attributes": attributes, "caption": "é" * index, "landmarks": {"nose": 1}},
            )


def test_a_set_of_the_catalog_is_prepared_by_its_name_and_its_last_tenth_held_out(data):
    folder, made = prepare("made_up_faces/whole")
    assert made and folder == data / "made_up_faces" / "whole" / "2.0.1" and left(data)[0] == "made_up_faces"
    train, test = (load("made_up_faces/whole", split) for split in ("train", "test"))
    assert (len(train), len(test), train.spec.classes) == (27, 3, 0)
    assert train.spec.attributes == (("Hair", 3), ("Smiling", 2)) and train.spec.caption_length == 58
    leaves = gather(test, np.arange(3))
    np.testing.assert_array_equal(leaves["image"], pixels(30, channels=3)[27:])
    assert leaves["attributes"].tolist() == [[0, 0], [1, 1], [2, 0]]
    assert bytes(leaves["caption"][0]).rstrip(b"\0").decode() == "é" * 27
    assert prepare("made_up_faces/whole") == (folder, False)


def test_a_validation_split_stands_in_for_the_test_and_a_set_without_a_card_is_read(data):
    folder, _ = prepare("made_up_faces/valid")
    (folder / "card.json").unlink()
    assert [len(load("made_up_faces/valid", split)) for split in ("train", "test")] == [30, 30]
    assert load("made_up_faces:2.0.1", "test").spec.image_shape == (7, 5, 3)
    code, out, _ = vaegan("data", "show", "made_up_faces/valid", "--output", data / "sheet.png")
    assert code == 0 and "train sha256" in out


def test_a_set_that_needs_tensorflow_says_what_to_install(data):
    line = refused("data", "prepare", "made_up_faces/hungry")
    assert "needs TensorFlow" in line and "pip install 'vaegan_jax[prepare]'" in line
    assert not data.exists()


def test_a_configuration_that_does_not_exist_is_told(data):
    assert "made_up_faces/nowhere cannot be prepared" in refused("data", "prepare", "made_up_faces/nowhere")
    assert not data.exists()


def test_files_of_plain_tfds_that_cannot_be_read_at_random_are_refused(mine):
    info = json.loads((mine / INFO).read_text())
    (mine / "card.json").unlink()
    (mine / INFO).write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    for path in mine.glob("*array_record*"):
        path.rename(mine / path.name.replace("array_record", "tfrecord"))
    assert "tfrecord files, which cannot be read at random" in refused("train", "--data", "idx_images/mine")


# Labels, attributes and captions


def test_arrays_have_attributes_and_captions(tmp_path):
    image, attributes = pixels(20), np.stack([np.arange(20) % 2, np.arange(20) % 7], 1)
    source = ArraySource({"image": image, "attributes": attributes, "caption": ["ab", "é"] * 10})
    assert source.spec.attributes == (("attribute_0", 2), ("attribute_1", 7)) and source.spec.caption_length == 2
    example = source.example(1)
    assert example["attributes"].tolist() == [1, 1] and bytes(example["caption"]) == "é".encode()
    named = ArraySource({"image": image, "attributes": attributes}, attributes=(("even", 2), ("day", 7)))
    assert named.part(slice(3)).spec.attributes == (("even", 2), ("day", 7))
    np.savez(
        tmp_path / "a.npz", train_image=image, test_image=image, train_caption=["a"] * 20, test_caption=["abc"] * 20
    )
    assert load(str(tmp_path / "a.npz"), "train").spec.caption_length == 3


@pytest.mark.parametrize(
    "arrays, told",
    [
        ({"attributes": np.zeros(20, int)}, "attributes have shape (20,)"),
        ({"attributes": np.zeros((19, 2), int)}, "attributes have shape (19, 2)"),
        ({"attributes": np.full((20, 2), -1)}, "attribute attribute_0: the label of image 0 is -1"),
        ({"attributes": np.zeros((20, 2))}, "labels have dtype float64"),
        ({"caption": np.zeros(20)}, "captions have dtype float64"),
        ({"caption": ["a"] * 19}, "shape (19,)"),
    ],
)
def test_wrong_attributes_and_captions_are_told_in_one_line(arrays, told):
    with pytest.raises(UserError) as caught:
        ArraySource({"image": pixels(20), **arrays}, "mine")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_caption_is_cut_at_the_border_of_a_character():
    assert bytes(encode_caption("aéé".encode(), 4)) == "aé\0".encode()
    assert bytes(encode_caption(b"ab", 4)) == b"ab\0\0"


def test_a_model_that_needs_what_the_data_lack_says_so():
    spec = DataSpec("mine", (8, 8, 1), classes=3)
    require(spec, "label", "the conditional GAN")
    for leaf, word in (("attributes", "attributes"), ("caption", "captions")):
        with pytest.raises(UserError, match=f"the conditional GAN needs {word}, and mine has none"):
            require(spec, leaf, "the conditional GAN")
    with pytest.raises(UserError, match="needs labels"):
        require(DataSpec("mine", (8, 8, 1)), "label", "it")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_source_is_resized_when_it_is_loaded(dtype, tmp_path):
    image = pixels(20, 12, 8, 3) if dtype == np.uint8 else (pixels(20, 12, 8, 3) / 127.5 - 1).astype(np.float32)
    np.savez(tmp_path / "a.npz", image=image)
    for size in (4, 8, 16):
        resized = gather(load(str(tmp_path / "a.npz"), "train", size), np.arange(18))["image"]
        assert resized.shape == (18, size, size, 3) and resized.dtype == dtype
        assert dtype == np.uint8 or np.abs(resized).max() <= 1
    same = load(str(tmp_path / "a.npz"), "train", 8).arrays["image"]
    np.testing.assert_array_equal(same, image[:18, 2:10])  # the middle, not one pixel changed
    assert load("fashion_mnist_small", "test", 32).spec.image_shape == (32, 32, 1)


# The whole sets, where they are prepared


def known_or_skip(name, monkeypatch):
    monkeypatch.undo()  # the data folder of this machine
    if not (ours(name).folder / INFO).is_file():
        pytest.skip(f"{name} is not prepared here: python experiments/fetch_data.py {name}")
    return load(name, "train"), load(name, "test")


@pytest.mark.parametrize("name", [known.name for known in KNOWN.values() if known.packages])
def test_a_known_set_is_what_is_stated_of_it(name, monkeypatch):
    known, splits = KNOWN[name], known_or_skip(name, monkeypatch)
    assert [len(split) for split in splits] == [known.train, known.test]
    assert splits[0].spec.image_shape == known.image_shape
    assert abs(splits[0].card["mean"] - known.mean) < known.tolerance


def test_the_first_digits_of_mnist_are_the_well_known_ones(monkeypatch):
    train, test = known_or_skip("mnist", monkeypatch)
    assert gather(train, np.arange(10))["label"].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert gather(test, np.arange(10))["label"].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_the_embedded_clothes_are_among_all_of_them(monkeypatch):
    train, _ = known_or_skip("fashion_mnist", monkeypatch)
    some = load("fashion_mnist_small", "train")
    first = gather(train, np.arange(2000))["image"]
    assert {image.tobytes() for image in some.arrays["image"][:1500]} <= {image.tobytes() for image in first}


def test_no_font_is_in_both_splits(monkeypatch):
    train, test = known_or_skip("glyphs", monkeypatch)
    fonts = [set(gather(split, np.arange(0, len(split), 7))["attributes"][:, 0].tolist()) for split in (train, test)]
    assert not fonts[0] & fonts[1] and len(fonts[0] | fonts[1]) == train.spec.attributes[0][1]
