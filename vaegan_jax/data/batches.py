"""The batch of round t, a pure function of (seed, t).

The records of a run are the endless concatenation of the epochs, each a permutation of the data set
(`order`), and round t takes the t-th slice of them, across the border of two epochs too. So nothing
but (seed, step) is needed to resume, every reader sees the same examples, and no iterator is saved.

The host makes the batch of indices (`batch`). A data set on the device is then gathered inside the
jitted step (`resident` once, `fetch` each time); any other is gathered on the host (`read`), and
`fetch` only converts. Both ways give the same bits:

    fetch(resident(source), batch(seed, step, shape, n)) == fetch({}, read(source, batch(seed, step, shape, n)))
"""

import functools
from typing import SupportsIndex

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Int32

from vaegan_jax.data.sources import Source, gather
from vaegan_jax.errors import UserError


@functools.lru_cache(maxsize=8)
def order(seed: int, epoch: int, n: int) -> Int32[np.ndarray, " n"]:
    """Returns the permutation of 0 .. n - 1 in which `epoch`, from 0 on, reads n examples; read-only.

    `seed` is any integer from 0 on. The legacy RandomState is used because its streams are frozen:
    a run resumed years later, with another NumPy, must read the same examples, and Generator's
    `permutation` may change from one NumPy to the next.
    """
    stream = np.random.RandomState(np.random.MT19937(np.random.SeedSequence((seed, epoch))))
    permutation = stream.permutation(n).astype(np.int32)
    permutation.flags.writeable = False  # it is shared by all callers through the cache
    return permutation


def records(
    seed: SupportsIndex, first: SupportsIndex, count: SupportsIndex, n: SupportsIndex
) -> Int32[np.ndarray, " count"]:
    """Returns records first .. first + count - 1 of the endless row of epochs over n examples.

    A record is the index of an example, in 0 .. n - 1. Raises UserError if n is 0.
    """
    if n < 1:
        raise UserError("the data set has no examples; one at least is needed")
    seed, first, count, n = map(int, (seed, first, count, n))  # NumPy's would overflow in long runs
    epoch, start = divmod(first, n)
    parts = [np.zeros(0, np.int32)]
    while count > 0:
        part = order(seed, epoch, n)[start : start + count]
        parts.append(part)
        count, epoch, start = count - len(part), epoch + 1, 0
    return np.concatenate(parts)


def batch(
    seed: SupportsIndex,
    step: SupportsIndex,
    shape: tuple[SupportsIndex, SupportsIndex, SupportsIndex],
    n: SupportsIndex,
) -> dict[str, Int32[np.ndarray, "moves micro_batches examples"]]:
    """Returns the batch of round `step`, from 0 on, over n examples, as indices.

    `shape` is (moves, micro-batches, examples), and so is that of both leaves: "index", the index
    of the example in the data set, and "position", its place in the global batch of its move,
    0 .. micro-batches * examples - 1, the same for every move. Noise is drawn by position, so cut
    both leaves alike to share a batch among hosts.
    """
    moves, micro_batches, examples = map(int, shape)  # NumPy's would overflow in long runs
    of_move = micro_batches * examples
    index = records(seed, int(step) * moves * of_move, moves * of_move, n).reshape(shape)
    position = np.arange(of_move, dtype=np.int32).reshape(1, micro_batches, examples)
    return {"index": index, "position": np.tile(position, (moves, 1, 1))}


def read(source: Source, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replaces "index" by the examples themselves: "image" and maybe "label", of shape (*index.shape, ...)."""
    rest = {name: leaf for name, leaf in batch.items() if name != "index"}
    return gather(source, batch["index"]) | rest


def resident(source: Source) -> dict[str, np.ndarray]:
    """Returns all examples of a source, each leaf (n, ...): put them on the device and give them to `fetch`."""
    return gather(source, np.arange(len(source)))


def fetch(store: dict[str, ArrayLike], batch: dict[str, ArrayLike]) -> dict[str, Array]:
    """Makes a batch ready for the losses; pure, to be called inside jit with `store` as an argument.

    `store` is what `resident` gives, and is not looked at for a batch from `read`, which has no
    "index". Returns "image" of the default float dtype in [-1, 1], "label" in int32 if there are
    labels, and "position"; all begin with the three axes of the batch.
    """
    if "index" in batch:
        index = batch["index"]
        rest = {name: leaf for name, leaf in batch.items() if name != "index"}
        batch = {name: jnp.asarray(leaf)[index] for name, leaf in store.items()} | rest
    leaves = {name: jnp.asarray(leaf) for name, leaf in batch.items()} | {"image": _pixels(batch["image"])}
    return leaves | {"label": leaves["label"].astype(jnp.int32)} if "label" in leaves else leaves


def _pixels(image: ArrayLike) -> Array:
    """Returns images in the default float dtype, uint8 ones scaled from 0 .. 255 to [-1, 1]."""
    image = jnp.asarray(image)
    scaled = image.astype(float)
    if image.dtype != jnp.uint8:
        return scaled
    # x / 127.5 - 1, written with one rounding: XLA turns that into other operations under jit than
    # outside of it, and 255 then becomes 0.99999988. The difference here is exact.
    return (scaled - 127.5) * (1 / 127.5)
