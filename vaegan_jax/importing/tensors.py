"""The tensors of a checkpoint, asked for one by one: whatever is missing, misshapen or left over is named."""

import re
from pathlib import Path

import numpy as np

from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation.tensor_files import read_tensors

IDLE = re.compile(r"(^|\.)(sv\d+|u[1-9]\d*|num_batches_tracked|accumulation_counter)$")
"""Names of what is kept beside the weights and no sample depends on."""
WRAPPER = "module."
"""What parallel training puts before all names."""


class Tensors:
    """Arrays by name, and which of them were asked for."""

    def __init__(self, arrays: dict[str, np.ndarray], path: Path):
        """`path` is what messages call the file."""
        inner = {name.removeprefix(WRAPPER): array for name, array in arrays.items() if name.startswith(WRAPPER)}
        self.arrays, self.path, self._asked = inner or arrays, path, set()

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor that must be there."""
        check(name in self.arrays, f"{self.path} is no checkpoint of this kind: there is no tensor {name}")
        return self.arrays[name].shape

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A tensor as float32. UserError where it is missing, has another shape, or holds what is no finite number."""
        found, array = self.shape(name), self.arrays[name]
        told = f"{self.path}: the tensor {name} has the shape {found}, and must have {tuple(shape)}"
        check(found == tuple(shape), told)
        finite = array.dtype.kind in "fiu" and bool(np.isfinite(array).all())
        check(finite, f"{self.path}: the tensor {name} holds what is no finite number")
        self._asked.add(name)
        return array.astype(np.float32)

    def indices(self, pattern: str) -> list[tuple[int, ...]]:
        """The numbers in all names that a regular expression with groups of digits matches, sorted, each once."""
        found = (re.match(pattern, name) for name in self.arrays)
        return sorted({tuple(map(int, match.groups())) for match in found if match})

    def finish(self) -> None:
        """UserError for a tensor that nobody asked for: there is more to the network than was understood."""
        left = [name for name in self.arrays if name not in self._asked and not IDLE.search(name)]
        if left:
            raise UserError(f"{self.path} is no checkpoint of this kind: no network of it has a tensor {min(left)}")


def read(path: Path) -> Tensors:
    """The tensors of a file. UserError where it cannot be read, is damaged, or holds none."""
    return Tensors(read_tensors(path), path)
