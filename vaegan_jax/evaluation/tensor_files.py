"""Files of weights, whatever wrote them: .npz, .safetensors, .pth and pickles, told apart by their contents."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation import pickles

SAFETENSORS = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "<b1"},
}
"""Types of the format and NumPy's."""
COUNTER = "num_batches_tracked"
"""How the names of batch normalization's counters end, which no network needs."""


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name; half precision becomes float32. Runs nothing that the file holds.

    Raises UserError, one line, where the file cannot be read, is damaged, or is no file of weights.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if content.startswith(b"PK\x03\x04") and _is_npz(content):
            return read_npz(content)
        if (header := _safetensors_header(content)) is not None:
            return _read_safetensors(content, header)
    except pickles.BROKEN as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged or cut short, or holds no plain arrays ({said:.80})") from None
    return pickles.read_arrays(content, str(path))


def read_npz(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; never unpickles. Raises what `pickles.BROKEN` names where it is damaged."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: np.asarray(file[name]) for name in file.files}


def checked(tensors: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], network: str) -> dict[str, np.ndarray]:
    """Returns the tensors where they have exactly these names and shapes, counters aside, and are finite numbers.

    Raises UserError with the first one, in the order of `shapes`, that does not match.
    """
    for name, shape in shapes.items():
        check(name in tensors, f"these are not the weights of {network}: there is no tensor {name}")
        found = tensors[name]
        told = f"the tensor {name} has the shape {found.shape}, and must have {shape}"
        check(found.shape == tuple(shape), f"these are not the weights of {network}: {told}")
        number = found.dtype.kind in "fiu" and bool(np.isfinite(found).all())
        check(number, f"these are not the weights of {network}: the tensor {name} holds what is no finite number")
    others = [name for name in tensors if name not in shapes and not name.endswith(COUNTER)]
    check(not others, f"these are not the weights of {network}: it has no tensor {min(others, default='')}")
    return {name: tensors[name] for name in shapes}


def _is_npz(content: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        return bool(names) and all(name.endswith(".npy") for name in names)


def _safetensors_header(content: bytes) -> dict | None:
    """The header, if that is what the file begins with: its length in eight bytes, and then JSON."""
    length = int.from_bytes(content[:8], "little")
    if content[8:9] != b"{" or length > len(content) - 8:
        return None
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return header


def _read_safetensors(content: bytes, header: dict) -> dict[str, np.ndarray]:
    """Each tensor lies, in C order and little-endian, between two offsets that count from the end of the header."""
    start, arrays = 8 + int.from_bytes(content[:8], "little"), {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        if not 0 <= first <= last <= len(content) - start:
            raise ValueError(f"{name} lies beyond the end of the file")
        flat = pickles.widen(content[start + first : start + last], SAFETENSORS[entry["dtype"]])
        arrays[name] = flat.reshape(entry["shape"])
    return arrays
