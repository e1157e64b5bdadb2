"""What is prepared is read right: by threads, by its path, without TensorFlow, and from the catalog of TFDS too."""

import json
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from commands import refused, vaegan
from made_up import left, pixels

from vaegan_jax.data import gather, load
from vaegan_jax.data.images import png_file
from vaegan_jax.data.locating import INFO
from vaegan_jax.data.preparing import prepare

pytestmark = pytest.mark.usefixtures("data")


def alone(code, **environment):
    """Runs code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, timeout=120
    )


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
