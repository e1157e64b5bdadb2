"""A whole data set to be searched for copies, in bounded memory: features on the disk, images read block by block."""

import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from vaegan_jax.data.augmentation import middle
from vaegan_jax.data.sources import Source, gather
from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.evidence import quantized, real_batches
from vaegan_jax.evaluation.features.extractor import Extractor, extract


class Pixels:
    """All images of a source as rows of bytes: `len`, `shape` and `[indices or slice]` as an array (n, pixels) has."""

    def __init__(self, source: Source, image_shape: tuple[int, int, int]):
        """Images are brought to `image_shape`, as a model sees them."""
        self._source, self._image_shape = source, image_shape
        self.shape = (len(source), int(np.prod(image_shape)))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice | np.ndarray) -> UInt8[np.ndarray, "m pixels"]:
        return self.images(chosen).reshape(-1, self.shape[1])

    def images(self, chosen: slice | np.ndarray) -> UInt8[np.ndarray, "m h w c"]:
        """The chosen ones, not flattened."""
        examples = gather(self._source, np.arange(len(self))[chosen])
        return quantized(middle(examples["image"], self._image_shape))


class Whole(NamedTuple):
    """All images of a data set."""

    features: np.ndarray
    """(n, d) float32, mapped from a file without a name, which goes with the array."""
    pixels: Pixels


def whole(
    source: Source, shape: tuple[int, int, int], extractor: Extractor, tell: Callable[[int], None] = lambda count: None
) -> Whole:
    """Takes the features of all images of a source; `tell` hears how many have been read.

    Raises UserError where the temporary files' folder cannot hold them.
    """

    def images() -> Iterator[np.ndarray]:
        count = 0
        for batch, _ in real_batches(source, len(source), shape):
            tell(count := count + len(batch))
            yield batch

    try:
        with tempfile.TemporaryFile(prefix="vaegan-") as file:
            width = 0
            for outputs in extract(extractor, images()):
                width = outputs["features"].shape[1]
                file.write(outputs["features"].tobytes())
            file.flush()
            return Whole(np.memmap(file, np.float32, "r", shape=(len(source), width)), Pixels(source, shape))
    except OSError as error:
        told = f"cannot hold the features of {len(source):,} images in {tempfile.gettempdir()}"
        raise UserError(f"{told}: {error.strerror or error}; set TMPDIR to a larger folder") from error
