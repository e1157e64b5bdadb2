"""Files of weights are told apart by their contents, and read without running what they hold."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from weight_files import Evil, same, told

from vaegan_jax.evaluation.tensor_files import read_tensors


def test_the_name_of_a_file_does_not_matter(tmp_path):
    array = np.arange(3, dtype=np.float32)
    with open(tmp_path / "a.bin", "wb") as file:
        np.savez(file, a=array)
    same(read_tensors(tmp_path / "a.bin"), {"a": array})
    (tmp_path / "a.bin").write_bytes(pickle.dumps({"a": array}))
    same(read_tensors(tmp_path / "a.bin"), {"a": array})
    (tmp_path / "a.bin").write_bytes(safetensors({"a": entry("F32", [3], 0, 12)}, array.tobytes()))
    same(read_tensors(tmp_path / "a.bin"), {"a": array})


@pytest.mark.parametrize(
    "content", [b"", b"hello, world\n", b"PK\x03\x04" + b"\x01" * 50], ids=["empty", "text", "zip"]
)
def test_foreign_files_are_told_in_one_line(tmp_path, content):
    (tmp_path / "f.bin").write_bytes(content)
    told(lambda: read_tensors(tmp_path / "f.bin"), "f.bin")
    told(lambda: read_tensors(tmp_path), str(tmp_path), "directory")


def test_a_zip_archive_of_something_else_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    told(lambda: read_tensors(tmp_path / "a.zip"), "a.zip", "no data.pkl")


def test_npz_files_are_read_and_objects_in_them_refused(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "a.npz", **{"x/y": array, "z.w": array.T})
    same(read_tensors(tmp_path / "a.npz"), {"x/y": array, "z.w": array.T})
    np.savez(tmp_path / "b.npz", x=np.array([Evil(os.system, f"touch {tmp_path / 'ran'}")]))
    told(lambda: read_tensors(tmp_path / "b.npz"), "b.npz", "damaged")
    assert not (tmp_path / "ran").exists()
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(content[:-30])
    told(lambda: read_tensors(tmp_path / "c.npz"), "c.npz")


def entry(kind, shape, first, last):
    return {"dtype": kind, "shape": shape, "data_offsets": [first, last]}


def safetensors(header, data):
    header = json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def test_safetensors_are_read(tmp_path):
    first, second = np.arange(6, dtype="<f4").reshape(2, 3), np.float16([1.5, -2])
    third = np.float32([1, -2.5, 3])
    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": entry("F32", [2, 3], 0, 24),
        "b": entry("F16", [2], 24, 28),
        "c": entry("BF16", [3], 28, 34),
    }
    upper = (third.view(np.uint32) >> 16).astype("<u2").tobytes()
    content = safetensors(header, first.tobytes() + second.tobytes() + upper)
    (tmp_path / "a.safetensors").write_bytes(content)
    same(read_tensors(tmp_path / "a.safetensors"), {"a.weight": first, "b": np.float32(second), "c": third})
    for end in (len(content) - 1, 40, 9):
        (tmp_path / "cut.safetensors").write_bytes(content[:end])
        told(lambda: read_tensors(tmp_path / "cut.safetensors"), "cut.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        entry("F32", [3], 0, 8),
        entry("F32", [2], 4, 12),
        entry("F32", [2], -8, 0),
        entry("F5", [2], 0, 8),
        {"shape": [2]},
        3,
    ],
)
def test_wrong_headers_of_safetensors_are_told(tmp_path, header):
    (tmp_path / "a.safetensors").write_bytes(safetensors({"a": header}, bytes(8)))
    told(lambda: read_tensors(tmp_path / "a.safetensors"), "a.safetensors", "damaged")


def test_safetensors_own_writer_is_understood(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3)}
    numpy.save_file(arrays, tmp_path / "a.safetensors")
    same(read_tensors(tmp_path / "a.safetensors"), arrays)
