"""Arrays come out of pickles and PyTorch's files as they went in, and nothing that a file holds is run."""

import collections
import os
import pickle
import zipfile

import numpy as np
import pytest
from weight_files import Evil, same, told

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.pickles import ALLOWED, read_arrays, read_file

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture
def saved(tmp_path):
    """Writes what is given with torch.save, and returns the bytes."""
    torch = pytest.importorskip("torch")

    def write(found, zipped):
        torch.save(found, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        content = (tmp_path / "a.pth").read_bytes()
        assert content.startswith(b"PK") == zipped
        return content

    return write


# PyTorch's files


@FORMATS
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_every_type_comes_out_bit_by_bit(saved, zipped, kind):
    torch = pytest.importorskip("torch")
    tensor = (torch.randn(3, 5, generator=torch.manual_seed(0)) * 50).to(getattr(torch, kind))
    same(read_arrays(saved({"a": tensor}, zipped), "x"), {"a": tensor.numpy()})


@FORMATS
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_becomes_float32_without_loss(saved, zipped, kind):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([1.0, -2.5, 3e-3, 6e4, 0.0, float("inf")]).to(getattr(torch, kind))
    same(read_arrays(saved({"a": tensor}, zipped), "x"), {"a": tensor.float().numpy()})


@FORMATS
def test_views_come_out_as_they_are_seen(saved, zipped):
    torch = pytest.importorskip("torch")
    base = torch.arange(60.0).reshape(3, 4, 5)
    views = {
        "base": base,
        "transposed": base.transpose(0, 2),
        "part": base[1:, ::2, 3:],
        "column": base[:, 1, 2],
        "expanded": base[0, 0, :1].expand(4, 3),
        "one": base[2, 3, 4],
        "empty": base[:0],
        "shared": base.reshape(-1)[7:9],
    }
    same(read_arrays(saved(views, zipped), "x"), {name: view.numpy() for name, view in views.items()})


@FORMATS
def test_a_state_dict_has_the_names_of_its_module(saved, zipped):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    expected = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    same(read_arrays(saved(module.state_dict(), zipped), "x"), expected)
    wrapped = read_arrays(saved({"state_dict": module.state_dict(), "epoch": 3, "note": "x"}, zipped), "x")
    same(wrapped, {f"state_dict/{name}": array for name, array in expected.items()})


@FORMATS
def test_parameters_are_tensors(saved, zipped):
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.arange(3.0))
    same(read_arrays(saved({"a": parameter}, zipped), "x"), {"a": np.arange(3, dtype=np.float32)})


@FORMATS
def test_numpy_arrays_in_a_torch_file_are_read(saved, zipped):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    same(read_arrays(saved({"a": array, "b": array.T}, zipped), "x"), {"a": array, "b": array.T})


@FORMATS
def test_a_whole_module_is_refused_by_the_name_of_its_class(saved, zipped):
    torch = pytest.importorskip("torch")
    told(lambda: read_arrays(saved(torch.nn.Linear(2, 2), zipped), "f.pth"), "f.pth", "torch.nn.modules.linear.Linear")


@FORMATS
def test_wherever_a_file_is_cut_it_is_told_in_one_line(saved, zipped):
    torch = pytest.importorskip("torch")
    content = saved({"a": torch.arange(40.0), "b": torch.ones(3, 2).T}, zipped)
    for end in range(0, len(content) - 1, 7):
        told(lambda end=end: read_arrays(content[:end], "f.pth"), "f.pth")


def test_a_storage_shorter_than_its_tensor_is_told(saved, tmp_path):
    torch = pytest.importorskip("torch")
    whole = tmp_path / "a.pth"
    whole.write_bytes(saved({"a": torch.arange(40.0)}, True))
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "b.pth", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[: 64 if name.endswith("data/0") else None])
    told(lambda: read_file(tmp_path / "b.pth"), "b.pth", "a storage of 40 elements has 16")


# Pickles of NumPy arrays


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numpy_arrays_are_read_in_every_protocol(protocol):
    rng = np.random.default_rng(0)
    arrays = {
        "plain": rng.normal(size=(3, 4)).astype(np.float32),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "big-endian": np.arange(5, dtype=">i4"),
        "bytes": np.frombuffer(b"\x00\x80\xff\n\r", np.uint8),
        "scalar": np.array(3.5),
        "half": np.float16([1, 2.5]),
        "empty": np.zeros((0, 3), np.float32),
        "bool": np.array([True, False]),
    }
    wider = {"big-endian": np.arange(5, dtype=np.int32), "half": np.float32([1, 2.5])}
    same(read_arrays(pickle.dumps(arrays, protocol), "x"), arrays | wider)


def test_inner_dictionaries_become_paths_and_what_is_no_array_is_left_out():
    one = np.ones(1, np.float32)
    content = pickle.dumps({"a": {"b": one, "c": collections.OrderedDict(d=one)}, "step": 3, 5: one, "none": None})
    same(read_arrays(content, "x"), {"a/b": one, "a/c/d": one, "5": one})


def test_the_old_name_of_numpys_modules_is_known():
    content = pickle.dumps({"a": np.arange(3.0)}, 2)
    assert b"numpy._core" in content
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    same(read_arrays(old, "x"), {"a": np.arange(3.0)})


# Strangers' files


@pytest.mark.parametrize("depth", ["top", "inside"])
def test_a_malicious_pickle_is_refused_by_name_and_does_not_run(tmp_path, depth):
    evil = Evil(os.system, f"touch {tmp_path / 'ran'}")
    content = pickle.dumps(evil if depth == "top" else {"a": np.ones(2), "b": [evil]})
    told(lambda: read_arrays(content, "f.ckpt"), "f.ckpt", f"{os.name}.system", "not run")
    assert not (tmp_path / "ran").exists()
    pickle.loads(content)  # with Python's own it does run: the test can fail
    assert (tmp_path / "ran").exists()


@FORMATS
def test_a_malicious_torch_file_does_not_run(saved, tmp_path, zipped):
    told(lambda: read_arrays(saved({"a": Evil(os.system, f"touch {tmp_path / 'ran'}")}, zipped), "f"), ".system")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content, name",
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cbuiltins\ngetattr\n.", "builtins.getattr"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"cnumpy.core.multiarray\nscalar\n.", "numpy._core.multiarray.scalar"),
        (b"ctorch.hub\nload\n.", "torch.hub.load"),
        (b"ctorch\nFloatStorage.__class__\n.", "torch.FloatStorage.__class__"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "collections.OrderedDict.__init__"),
    ],
)
def test_no_other_global_is_found(content, name):
    told(lambda: read_arrays(content, "f"), name)


@pytest.mark.parametrize("name", [name for name, made in ALLOWED.items() if callable(made)])
def test_a_pickle_cannot_set_attributes_of_what_it_names(name):
    module, _, function = name.rpartition(".")
    with pytest.raises(UserError):
        read_arrays(f"c{module}\n{function}\n(N(S'poison'\nNdtb.".encode(), "f")
    assert not hasattr(ALLOWED[name], "poison")


def forged(offset, shape, strides, count=4):
    """A .pth file with one tensor of the view that is given, on a storage of `count` floats."""
    identity = f"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI{count}\ntQ"
    numbers = ["(" + "".join(f"I{number}\n" for number in numbers) + "t" for numbers in (shape, strides)]
    tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({identity}I{offset}\n{numbers[0]}{numbers[1]}I00\nNtR"
    return f"(S'a'\n{tensor}d.".encode()


@pytest.fixture
def forge(tmp_path):
    def write(*arguments):
        with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
            archive.writestr("a/data.pkl", forged(*arguments))
            archive.writestr("a/data/0", np.arange(4, dtype=np.float32).tobytes())
        return tmp_path / "a.pth"

    return write


def test_a_forged_file_can_be_good(forge):
    same(read_file(forge(1, (3,), (1,))), {"a": np.float32([1, 2, 3])})


@pytest.mark.parametrize(
    "view",
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 2)),
        (-1, (2,), (1,)),
        (3, (3,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (-2,), (1,)),
        (0, (2**40,), (0,)),
        (0, (4,), (1,), 10**15),
    ],
)
def test_no_tensor_reaches_beyond_its_storage(forge, view):
    told(lambda: read_file(forge(*view)), "a.pth", "damaged")


@pytest.mark.parametrize(
    "array",
    [np.array(["text"]), np.array([object()]), np.zeros(2, [("a", "f4")]), np.array(["2020-01-01"], "M8[D]")],
    ids=["text", "objects", "structured", "dates"],
)
def test_arrays_of_anything_but_numbers_are_refused(array):
    with pytest.raises(UserError):
        read_arrays(pickle.dumps({"a": array}, 4), "f")


def test_objects_in_arrays_do_not_run_either(tmp_path):
    array = np.array([Evil(os.system, f"touch {tmp_path / 'ran'}")])
    told(lambda: read_arrays(pickle.dumps({"a": array}), "f"), "f")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 100, b"hello, world\n", b"PK\x03\x04" + b"\x01" * 50, b"\x89PNG\r\n\x1a\n" + b"\x00" * 99, b"}}}}"],
    ids=["empty", "zeros", "text", "no zip", "picture", "junk"],
)
def test_foreign_files_are_told_in_one_line(tmp_path, content):
    (tmp_path / "f.pth").write_bytes(content)
    told(lambda: read_file(tmp_path / "f.pth"), "f.pth")


def test_flipped_bytes_never_do_more_than_a_user_error():
    content = bytearray(pickle.dumps({"a": np.arange(30.0), "b": {"c": np.ones((2, 3), np.float32)}}, 2))
    for place in range(len(content)):
        for value in (0, content[place] ^ 1, 0x52, 0xFF):
            damaged = content.copy()
            damaged[place] = value
            try:
                read_arrays(bytes(damaged), "f")
            except UserError as error:
                assert "\n" not in str(error)


def test_files_without_arrays_and_files_that_are_not_there_are_told(tmp_path):
    told(lambda: read_arrays(pickle.dumps({"a": 3}), "f.ckpt"), "f.ckpt", "no arrays")
    told(lambda: read_arrays(pickle.dumps([np.ones(2)]), "f.ckpt"), "f.ckpt", "no arrays")
    told(lambda: read_file(tmp_path / "gone.pth"), "gone.pth", "No such file")
