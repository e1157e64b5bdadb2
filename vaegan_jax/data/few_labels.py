"""A data set of which only a few examples keep their labels: what semi-supervised learning starts from."""

from typing import SupportsIndex

import numpy as np
from jaxtyping import Integer

from vaegan_jax.data.batches import order
from vaegan_jax.data.sources import Source, gather, require
from vaegan_jax.errors import check

CHUNK = 1024
"""Examples read at once, in search of their labels."""


class FewLabels:
    """The source with the label -1 on all but `count` examples: as many of each class as of any other, up to one.

    Which examples these are depends on the data and on `count` alone, not on the seed of a run. Raises UserError for
    data without labels and for a `count` that is no number of their examples.
    """

    def __init__(self, source: Source, count: int):
        require(source.spec, "label", "training on few labels")
        check(0 < count <= len(source), f"labels must be in 1 .. {len(source):,}, the examples, not {count}")
        self.spec, self._source = source.spec, source
        places = np.split(np.arange(len(source)), range(CHUNK, len(source), CHUNK))
        labels = np.concatenate([gather(source, part)["label"] for part in places])
        shuffled = order(0, 0, len(source))
        # The k-th example of its class, in shuffled order: the first `count` by k are even over the classes.
        turn = np.zeros(len(source), np.int64)
        for label in range(source.spec.classes):
            members = shuffled[labels[shuffled] == label]
            turn[members] = np.arange(len(members))
        chosen = shuffled[np.argsort(turn[shuffled], kind="stable")[:count]]
        self._known = np.zeros(len(source), bool)
        self._known[chosen] = True

    def __len__(self) -> int:
        return len(self._source)

    def example(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Returns example `index`: see `Source.example`; its label may be -1."""
        example = self._source.example(index)
        return example if self._known[index] else example | {"label": np.int32(-1)}

    def examples(self, indices: Integer[np.ndarray, "..."]) -> dict[str, np.ndarray]:
        """Returns the examples at `indices`, stacked."""
        leaves = gather(self._source, np.asarray(indices))
        return leaves | {"label": np.where(self._known[indices], leaves["label"], -1).astype(np.int32)}
