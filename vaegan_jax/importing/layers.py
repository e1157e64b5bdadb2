"""PyTorch's layers as ours.

| | there | here |
|---|---|---|
| dense | [out, in] | [in, out] |
| convolution | [out, in, k, k] | [k, k, in, out] |
| embedding | [classes, out] | the same, of one-hot vectors |
| dense to a map | rows by channel, then pixel | by pixel, then channel |
| singular vectors of W, [out, in k k] | u (out,), v (in k k,) | u (out,), v (k k in,) |

An embedding that is normalized has its u on the side of the classes, where ours, of the transpose, has v.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.importing.tensors import Tensors
from vaegan_jax.networks import spectral
from vaegan_jax.networks.network import Network

Vectors = Callable[[str, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(name of a layer there, its matrix [out, rest]) -> u (out,) and v (rest,) of the norm u'W v."""


class Layers:
    """The layers of a network of ours, filled one by one: `here` is a path in it, `there` a name in the checkpoint."""

    def __init__(self, tensors: Tensors, network: Network, vectors: Vectors, weight: str = "weight"):
        """`weight` is what their normalized layers call their kernel."""
        self.tensors, self._vectors, self._weight = tensors, vectors, weight
        params, stats = jax.eval_shape(network.init, jax.random.key(0))
        self._shapes = {name: leaf.shape for name, leaf in _flat({"params": params, **stats}).items()}
        self._filled: dict[str, np.ndarray] = {}

    def shape(self, here: str) -> tuple[int, ...]:
        """Of one of our parameters."""
        return self._shapes[f"params.{here}"]

    def stat_shape(self, here: str) -> tuple[int, ...]:
        """Of one of our statistics, by its path in the stats."""
        return self._shapes[here]

    def dense(self, here: str, there: str, bias: bool = True) -> None:
        """A dense layer with spectral norm."""
        inputs, outputs = self.shape(f"{here}.kernel")
        matrix = self.tensors.take(f"{there}.{self._weight}", (outputs, inputs))
        self._normalized(here, matrix.T, *self._vectors(there, matrix))
        if bias:
            self.vector(f"{here}.bias", f"{there}.bias")

    def dense_map(self, here: str, there: str, pixels: int, channels_first: bool) -> None:
        """The dense layer whose outputs become a map of so many pixels."""
        inputs, outputs = self.shape(f"{here}.kernel")
        matrix, bias = (
            self.tensors.take(f"{there}.{name}", shape)
            for name, shape in ((self._weight, (outputs, inputs)), ("bias", (outputs,)))
        )
        u, v = self._vectors(there, matrix)
        rows = np.arange(outputs)
        rows = rows.reshape(-1, pixels).T.ravel() if channels_first else rows
        self._normalized(here, matrix[rows].T, u[rows], v)
        self._put(f"params.{here}.bias", bias[rows])

    def convolution(self, here: str, there: str, bias: bool = True) -> None:
        """A convolution with spectral norm."""
        height, width, inputs, outputs = self.shape(f"{here}.kernel")
        kernel = self.tensors.take(f"{there}.{self._weight}", (outputs, inputs, height, width))
        u, v = self._vectors(there, kernel.reshape(outputs, -1))
        by_pixel = v.reshape(inputs, height, width).transpose(1, 2, 0).ravel()
        self._normalized(here, kernel.transpose(2, 3, 1, 0), u, by_pixel)
        if bias:
            self.vector(f"{here}.bias", f"{there}.bias")

    def projection(self, here: str, there: str) -> None:
        """An embedding with spectral norm."""
        matrix = self.tensors.take(f"{there}.{self._weight}", self.shape(f"{here}.kernel"))
        of_classes, of_features = self._vectors(there, matrix)
        self._normalized(here, matrix, of_features, of_classes)

    def embedding(self, here: str, there: str, transposed: bool) -> None:
        """An embedding without a norm; transposed where it is stored as a dense layer."""
        shape = self.shape(f"{here}.kernel")
        matrix = self.tensors.take(there, shape[::-1] if transposed else shape)
        self._put(f"params.{here}.kernel", matrix.T if transposed else matrix)

    def vector(self, here: str, there: str) -> None:
        """A parameter of one dimension, as it is."""
        self._put(f"params.{here}", self.tensors.take(there, self.shape(here)))

    def number(self, here: str, there: str) -> None:
        """A parameter without dimensions, which some keep as one of one element."""
        shape = self.tensors.shape(there)
        self._put(f"params.{here}", self.tensors.take(there, shape if shape == (1,) else ()).reshape(()))

    def attention(self, here: str, there: str, names: dict[str, str]) -> None:
        """Self-attention; `names` are theirs for f (of the keys), g (queries), h (values) and output."""
        for own, name in names.items():
            self.convolution(f"{here}.{own}", f"{there}.{name}", bias=False)
        self.number(f"{here}.gamma", f"{there}.gamma")

    def statistic(self, here: str, values: np.ndarray) -> None:
        """Fills one of our statistics."""
        self._put(here, values)

    def trees(self) -> tuple[dict, dict]:
        """Parameters and stats. ValueError where a layer was forgotten."""
        if forgotten := sorted(self._shapes.keys() ^ self._filled.keys()):
            raise ValueError(f"these layers were not filled, or are none: {', '.join(forgotten)}")
        tree: dict = {}
        for name, array in self._filled.items():
            *folders, leaf = name.split(".")
            node = tree
            for folder in folders:
                node = node.setdefault(folder, {})
            node[leaf] = jnp.asarray(array)
        return tree.pop("params"), tree

    def _normalized(self, here: str, kernel: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
        self._put(f"params.{here}.kernel", kernel)
        for name, vector in (("u", u), ("v", v)):
            self._put(f"{spectral.COLLECTION}.{here}.{name}", vector)

    def _put(self, name: str, array: np.ndarray) -> None:
        if array.shape != self._shapes[name]:
            raise ValueError(f"{name} is {self._shapes[name]}, not {array.shape}")
        self._filled[name] = np.ascontiguousarray(array, np.float32).reshape(array.shape)


def _flat(tree: dict) -> dict[str, jax.ShapeDtypeStruct]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
