"""Weights in a user's file are kept under the network that they are of, or what does not match is told."""

import dataclasses
import hashlib

import numpy as np
import pytest
from weight_files import left, told

from vaegan_jax.evaluation import weights
from vaegan_jax.evaluation.features import alexnet
from vaegan_jax.evaluation.weights import WEIGHTS

pytestmark = pytest.mark.usefixtures("kept")


@pytest.fixture
def written(tmp_path, tensors, checkpoint):
    def write(kind):
        path = tmp_path / f"mine.{kind}"
        if kind == "npz":
            np.savez(path, **tensors)
        elif kind == "pth":
            torch = pytest.importorskip("torch")
            torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, path)
        elif kind == "safetensors":
            pytest.importorskip("safetensors.numpy").save_file(tensors, path)
        else:
            path.write_bytes(checkpoint)
        return path

    return write


@pytest.mark.parametrize("kind", ["npz", "pth", "safetensors", "ckpt"])
def test_the_network_in_a_file_is_found_by_its_tensors(written, kept, tensors, kind):
    assert weights.import_file(written(kind)) == ("alexnet", kept / "alexnet.npz")
    assert weights.load("alexnet")[1] == weights.digest(alexnet.convert(tensors))


def test_names_with_something_before_them_are_known(tmp_path, tensors):
    np.savez(tmp_path / "a.npz", **{f"module.{name}": array for name, array in tensors.items()})
    assert weights.import_file(tmp_path / "a.npz", "alexnet")[0] == "alexnet"


def test_a_kept_file_can_be_imported_elsewhere_if_it_is_whole(written, monkeypatch, tmp_path):
    _, path = weights.import_file(written("ckpt"))
    monkeypatch.setenv("VAEGAN_WEIGHTS", str(tmp_path / "others"))
    assert weights.import_file(path) == ("alexnet", tmp_path / "others" / "alexnet.npz")
    told(lambda: weights.import_file(path, "vgg16"), "holds the weights of alexnet, not of vgg16")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **arrays | {"head1": np.zeros(64, np.float32)})
    told(lambda: weights.import_file(path), str(path), "is damaged")


def changed(name, value):
    return lambda tensors: tensors | {name: value}


@pytest.mark.parametrize(
    "change, fragments",
    [
        (changed("AlexNet_0/Conv_1/bias", np.zeros((192, 1), np.float32)), ["Conv_1/bias", "(192, 1)", "(192,)"]),
        (changed("AlexNet_0/Conv_1/bias", np.full(192, np.nan, np.float32)), ["Conv_1/bias", "no finite number"]),
        (changed("AlexNet_0/Conv_9/bias", np.zeros(1, np.float32)), ["no tensor AlexNet_0/Conv_9/bias"]),
        (lambda tensors: {name: array for name, array in tensors.items() if "Conv_4/b" not in name}, ["Conv_4/bias"]),
    ],
)
def test_a_file_that_almost_matches_is_told_with_the_tensor(tmp_path, tensors, kept, change, fragments):
    np.savez(tmp_path / "a.npz", **change(tensors))
    told(lambda: weights.import_file(tmp_path / "a.npz"), "a.npz", "not the weights of alexnet", *fragments)
    assert left(kept) == []


def test_a_file_of_no_network_is_told_with_the_networks_and_what_it_has(tmp_path):
    np.savez(tmp_path / "a.npz", weight=np.zeros(3))
    told(lambda: weights.import_file(tmp_path / "a.npz"), "holds none of inception, efficientnet_lite0", "weight")
    told(lambda: weights.import_file(tmp_path / "a.npz", "vgg16"), "not the weights of vgg16", "there is no tensor")
    told(lambda: weights.import_file(tmp_path / "gone.npz"), "gone.npz cannot be read")


def test_a_network_that_scores_are_known_by_is_its_very_file(written, monkeypatch, kept):
    path = written("ckpt")
    record = dataclasses.replace(WEIGHTS["alexnet"], file="original.ckpt", file_sha256="6726825d")
    monkeypatch.setitem(WEIGHTS, "alexnet", record)
    told(lambda: weights.import_file(path), "begins with", "not 6726825d", "import original.ckpt itself")
    assert left(kept) == []
    begins = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(WEIGHTS, "alexnet", dataclasses.replace(record, file_sha256=begins))
    assert weights.import_file(path)[0] == "alexnet"
