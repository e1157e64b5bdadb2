"""Features of images, streamed through a network on all devices: what every metric on features starts from."""

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaegan_jax.errors import check
from vaegan_jax.evaluation.resizing import RESIZERS

PyTree = Any
Outputs = dict[str, np.ndarray]

CHUNK_PIXELS = {"cpu": 8 * 299 * 299}
"""Pixels that a device takes at once, by platform: on a CPU larger chunks leave its caches and are no faster."""
MANY_PIXELS = 64 * 299 * 299
"""The same on accelerators."""
LARGEST_CHUNK = 128


class Extractor(NamedTuple):
    """A network with all that decides on its numbers; its parameters are an argument, so that they are no constants."""

    name: str
    """"inception", "vgg16", "classifier", "pixels", ...; a score is named after it."""
    sha256: str
    """Of the weights, "" where there are none."""
    resizer: str
    """A key of `RESIZERS`, or "none"."""
    size: tuple[int, int] | None
    """Images are resized to this (height, width); None leaves them as they come."""
    params: PyTree
    """Handed to apply."""
    apply: Callable[[PyTree, jax.Array], dict[str, jax.Array]]
    """(params, images float32 (n, h, w, channels) in 0 .. 255, resized) -> "features" (n, d), and, if the network
    has them, "logits" (n, classes)."""
    channels: int | None = 3
    """Grey images are repeated to so many; None leaves them as they come."""


def extract(
    extractor: Extractor, batches: Iterable[np.ndarray], devices: Sequence[jax.Device] | None = None
) -> Iterator[Outputs]:
    """The outputs, float32, of uint8 images (n, h, w, c) that come in batches of any size; in the same order.

    They are cut anew into chunks whose size the images' alone decides (`chunk_size`), the last one padded, and come
    out chunk by chunk: no bit, neither of an output nor of a sum over what is yielded, depends on the batch size or on
    the number of `devices` (those of this process by default), which take turns. Each device works on one chunk while
    the next ones are read.

    Raises UserError for images that are not uint8, not of rank 4, of channels that the network does not take or of
    unequal shapes, and where there are none.
    """
    devices = tuple(devices or jax.local_devices())
    run = _compiled(extractor.apply, extractor.resizer, extractor.size, extractor.channels)
    placed = functools.cache(lambda device: jax.device_put(extractor.params, device))
    given = _checked(extractor, batches)
    first = next(given, None)
    check(first is not None, f"there are no images to take the {extractor.name} features of")
    size = chunk_size(extractor.size or first.shape[1:3], devices[0].platform)
    waiting: collections.deque[tuple[dict[str, jax.Array], int]] = collections.deque()
    # One program for one device, sent to each in turn: a program over a mesh is simplified in another order by XLA
    # than that of a single device, and gave Inception features that differed by 1e-6.
    chunks = _chunks(itertools.chain([first], given), size)
    for device, (images, count) in zip(itertools.cycle(devices), chunks, strict=False):
        waiting.append((run(placed(device), jax.device_put(images, device)), count))
        if len(waiting) > len(devices):
            yield _fetched(*waiting.popleft())
    while waiting:
        yield _fetched(*waiting.popleft())


def chunk_size(size: tuple[int, int], platform: str) -> int:
    """Images of (height, width) that a device takes at once."""
    height, width = size
    return min(max(CHUNK_PIXELS.get(platform, MANY_PIXELS) // (height * width), 1), LARGEST_CHUNK)


def _checked(extractor: Extractor, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The batches that hold images; raises UserError for what no network could take."""
    shape = None
    for batch in batches:
        batch = np.asarray(batch)
        mend = "quantize them once, from [-1, 1] with vaegan_jax.pictures.to_uint8"
        check(batch.dtype == np.uint8, f"images must be uint8 in 0 .. 255, not {batch.dtype}: {mend}")
        check(batch.ndim == 4, f"images must be (n, height, width, channels), not of the shape {batch.shape}")
        shape = shape or batch.shape[1:]
        check(batch.shape[1:] == shape, f"images must all have one shape, not {shape} and then {batch.shape[1:]}")
        check(min(shape) > 0, f"images cannot have the shape {shape}")
        wanted, channels = extractor.channels, shape[2]
        told = f"the {extractor.name} features are those of images of {wanted} channels, and these have {channels}"
        check(wanted is None or channels in (1, wanted), told)
        if len(batch):
            yield batch


def _chunks(batches: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Chunks of exactly `size` images, the last one filled up with black, each with the number that count.

    Each is new memory: a device may read it later than the caller fills his own anew.
    """
    chunk, filled = None, 0
    for batch in batches:
        while len(batch):
            chunk = np.zeros((size, *batch.shape[1:]), np.uint8) if chunk is None else chunk
            taken = batch[: size - filled]
            chunk[filled : filled + len(taken)] = taken
            batch, filled = batch[len(taken) :], filled + len(taken)
            if filled == size:
                yield chunk, size
                chunk, filled = None, 0
    if chunk is not None:
        yield chunk, filled


def _fetched(outputs: dict[str, jax.Array], count: int) -> Outputs:
    """The first `count` rows, as arrays of the host."""
    return {name: np.asarray(output, np.float32)[:count] for name, output in outputs.items()}


@functools.lru_cache(maxsize=8)
def _compiled(
    apply: Callable[[PyTree, jax.Array], dict[str, jax.Array]],
    resizer: str,
    size: tuple[int, int] | None,
    channels: int | None,
) -> Callable[[PyTree, jax.Array], dict[str, jax.Array]]:
    """From bytes to outputs, compiled once for all uses of an extractor (and once for each device)."""

    def forward(params: PyTree, images: jax.Array) -> dict[str, jax.Array]:
        images = images.astype(jnp.float32)
        if size is not None and images.shape[1:3] != tuple(size):
            images = RESIZERS[resizer](images, size)
        if channels is not None and images.shape[3] != channels:
            images = jnp.repeat(images, channels, axis=3)
        return apply(params, images)

    return jax.jit(forward)
