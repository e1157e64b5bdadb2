"""Reads arrays out of pickles, PyTorch's .pth files among them, without PyTorch and without running what they hold.

A pickle is a program: it names functions and calls them. Here it can name those few alone that put arrays together,
and gets stand-ins of our own for them, so that not even NumPy's or PyTorch's own code sees a stranger's bytes before
their number, type and strides were checked. A .pth file is a zip archive with one pickle and one member per storage,
or, before PyTorch 1.6, a row of pickles with the storages behind them.
"""

import collections
import io
import math
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vaegan_jax.errors import UserError, check

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What the first two pickles of a .pth file that is no zip archive hold."""
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<b1",
}
"""PyTorch's classes of storage and the NumPy type of their bytes."""
MOST = 2**28
"""Elements that one tensor may have: a stride of 0 makes a small file as large as it likes."""
BROKEN = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, ImportError),
    *(ArithmeticError, MemoryError, RuntimeError, OSError, struct.error, zipfile.BadZipFile, zlib.error),
)
"""What reading damaged bytes may raise."""


def read_arrays(content: bytes, name: str) -> dict[str, np.ndarray]:
    """The arrays of a .pth file or of a pickle of NumPy arrays, by their keys; those of inner dictionaries as "a/b".

    float16 and bfloat16 become float32, other types stay; what is no array is left out. `name` is what messages call
    the file. Raises UserError where it is no such file, is damaged, or names anything but arrays.
    """
    try:
        arrays = dict(_flattened(_read(content, name), ""))
    except BROKEN as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name} is not a file of weights, or is damaged or cut short ({said:.80})") from None
    check(bool(arrays), f"{name} holds no arrays by name; a state_dict or a dictionary of arrays is needed")
    return arrays


def read_plain(content: bytes, name: str) -> dict[str, Any]:
    """The numbers, texts and dictionaries of them that a pickled dictionary holds; of all else, empty stand-ins.

    For settings that are stored beside weights, among objects of which nothing is read and nothing run. Raises
    UserError where it is no such file, or is damaged.
    """
    try:
        found = _read(content, name, lenient=True)
    except BROKEN as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name} is not a file of settings, or is damaged or cut short ({said:.80})") from None
    check(isinstance(found, dict), f"{name} holds no settings by name")
    return found


def read_file(path: Path) -> dict[str, np.ndarray]:
    """The same for a file. Raises UserError, too, where it cannot be read."""
    try:
        return read_arrays(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def widen(raw: bytes, kind: str) -> np.ndarray:
    """Little-endian bytes as a flat array of `kind`, a NumPy type or "bfloat16"; half precision as float32."""
    if kind == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    array = np.frombuffer(raw, kind)
    return array.astype(np.float32 if array.dtype == np.float16 else array.dtype.newbyteorder("="))


class _Storage:
    """Bytes that tensors are views of; in old files they come only after the pickle that names them."""

    def __init__(self, kind: str, count: int):
        self.kind, self.count, self.array = kind, count, None

    def fill(self, raw: bytes) -> None:
        self.array = widen(raw, self.kind)
        if len(self.array) != self.count:
            raise ValueError(f"a storage of {self.count} elements has {len(self.array)}")

    def __setstate__(self, state: Any):
        raise ValueError("a storage has no state")


class _Tensor:
    """A view of a storage, made when the storage is there."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple, *others: Any):
        # others: whether it requires a gradient, hooks and metadata, of no use to us
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def __setstate__(self, state: Any):
        raise ValueError("a tensor has no state")

    def array(self) -> np.ndarray:
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(type(number) is int and number >= 0 for number in numbers) or len(self.shape) != len(self.strides):
            raise ValueError(f"a tensor has offset {self.offset}, shape {self.shape} and strides {self.strides}")
        size = math.prod(self.shape)
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if size > MOST or (size and last >= len(self.storage.array)):
            raise ValueError(f"a tensor of shape {self.shape} does not fit in its storage")
        if not size:
            return np.zeros(self.shape, self.storage.array.dtype)
        base = self.storage.array[self.offset :]
        strides = [stride * base.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(base, self.shape, strides).copy()


class _Type:
    """A NumPy type: only plain numbers."""

    def __init__(self, code: str, *others: Any):
        self.code, self.order = code, "<"
        if code not in {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}:
            raise ValueError(f"an array is of type {code!r:.20}")

    def __setstate__(self, state: tuple):
        self.order = ">" if state[1] == ">" else "<"


class _Array:
    """A NumPy array: its bytes, type and shape."""

    def __init__(self, *others: Any):  # NumPy makes an empty one, and then says what it is
        self.made = None

    def __setstate__(self, state: tuple):
        _, shape, kind, fortran, raw = state
        self.made = _numpy(raw, kind, shape, "F" if fortran else "C")

    def array(self) -> np.ndarray:
        if self.made is None:
            raise ValueError("an array without contents")
        return self.made


def _numpy(raw: bytes | bytearray | str, kind: _Type, shape: tuple, order: str) -> np.ndarray:
    raw = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)  # str: written by Python 2
    array = widen(np.frombuffer(raw, kind.order + kind.code).astype("<" + kind.code).tobytes(), "<" + kind.code)
    return np.ascontiguousarray(array.reshape(shape, order=order)).reshape(shape)


def _from_buffer(raw: bytes | bytearray, kind: _Type, shape: tuple, order: str) -> _Array:
    made = _Array()
    made.made = _numpy(raw, kind, shape, order)
    return made


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _parameter(tensor: _Tensor, *others: Any) -> _Tensor:
    return tensor


ALLOWED = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "numpy.ndarray": "numpy.ndarray",  # named as what to reconstruct, and never called
    "numpy.dtype": _Type,
    "_codecs.encode": _encode,  # how bytes are written in protocols 0 to 2
    "__builtin__.bytes": _no_bytes,  # how no bytes are
}
"""All that a pickle may name, and what it gets for it."""


class _Inert:
    """In place of an object of which nothing is read: takes whatever it is given, and keeps none of it."""

    def __new__(cls, *arguments: Any, **settings: Any):
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **settings: Any):
        pass

    def __call__(self, *arguments: Any, **settings: Any) -> "_Inert":
        return self

    def __setstate__(self, state: Any):
        pass

    def __setitem__(self, key: Any, value: Any):
        pass

    def extend(self, items: Any):
        pass

    append = add = extend


class _Unpickler(pickle.Unpickler):
    """An unpickler that finds nothing but what is allowed, and knows PyTorch's storages.

    Where it is `lenient`, all else is not refused but has a stand-in, which is not run either.
    """

    def __init__(self, file: io.BytesIO, name: str, lenient: bool = False):
        super().__init__(file, encoding="latin1")
        self.name, self.lenient, self.storages = name, lenient, {}

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if f"{module}.{name}" not in ALLOWED:
            if self.lenient:
                return type("_Inert", (_Inert,), {})  # of its own, as a pickle can set attributes of what it names
            raise UserError(f"{self.name} names {module}.{name:.60}, which no file of weights needs; it was not run")
        made = ALLOWED[f"{module}.{name}"]
        # A function of its own for each: a pickle can set attributes of what it names, and so change our classes.
        return (lambda *arguments: made(*arguments)) if callable(made) else made

    def persistent_load(self, identity: tuple) -> _Storage:
        what, kind, key, _, count, *view = identity
        if what != "storage" or kind not in STORAGES.values() or type(count) is not int or (view and view[0]):
            raise ValueError("an unknown kind of storage")
        return self.storages.setdefault(str(key), _Storage(kind, count))


def _read(content: bytes, name: str, lenient: bool = False) -> Any:
    if content.startswith(b"PK\x03\x04"):
        return _read_zip(content, name, lenient)
    unpickler = _Unpickler(file := io.BytesIO(content), name, lenient)
    first = unpickler.load()
    if first != MAGIC:
        return first
    if _Unpickler(file, name).load() != PROTOCOL or not _Unpickler(file, name).load().get("little_endian"):
        raise ValueError("an unknown version of PyTorch's format")
    unpickler = _Unpickler(file, name, lenient)
    found = unpickler.load()
    for key in _Unpickler(file, name).load():
        storage, (count,) = unpickler.storages[key], struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise ValueError(f"a storage of {storage.count} elements has {count}")
        storage.fill(file.read(count * (2 if storage.kind == "bfloat16" else np.dtype(storage.kind).itemsize)))
    return found


def _read_zip(content: bytes, name: str, lenient: bool) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [member for member in archive.namelist() if member.endswith("/data.pkl")]
        check(len(members) == 1, f"{name} is a zip archive, but not one of PyTorch's: it has no data.pkl")
        folder = members[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("written by a big-endian machine")
        unpickler = _Unpickler(io.BytesIO(archive.read(members[0])), name, lenient)
        found = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"))
    return found


def _flattened(found: Any, prefix: str):
    """Pairs of name and array, in inner dictionaries too; numbers, texts and the like are left out."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from _flattened(value, f"{prefix}/{key}" if prefix else str(key))
    elif isinstance(found, _Tensor | _Array):
        yield prefix, found.array()
