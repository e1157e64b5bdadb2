"""What is watched of a run, besides losses and norms: spectra of layers, variance of samples, memory, utilization.

Nothing here touches the training: numbers are functions of a state, drawn by keys of their own, so that a resumed run
tells the same ones. A few of them tell of a collapse (`collapse`).
"""

import functools
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vaegan_jax.data import Source
from vaegan_jax.data.augmentation import middle
from vaegan_jax.data.batches import order
from vaegan_jax.dynamics.instruments import as_matrix
from vaegan_jax.games import Params, State, Stats
from vaegan_jax.networks.spectral import COLLECTION
from vaegan_jax.planning import chips
from vaegan_jax.training.collapse import SIGMA
from vaegan_jax.training.experiment import Experiment, generate
from vaegan_jax.training.showing import grid_plan, images

EXACT = 64
"""Kernels whose matrix has a shorter side up to this are decomposed exactly, on the host."""
BLOCK, DEPTH = 4, 10
"""Of the Krylov spaces for larger ones: vectors at first, and products with W' W. More than three values stand out
from them to 0.5 %, even of Gaussian matrices, whose values lie close together."""
DATA = 512
"""Images, at most, of which the variance of the data is estimated."""
GIB = 2**30


class Watch:
    """Measures states of a run; `source` holds the training images."""

    def __init__(self, experiment: Experiment, source: Source):
        self._experiment, self._source, self._begun = experiment, source, False
        self.seconds = 0.0
        """What the last measurement took; 0 for the first, which compiles."""
        self.told = False
        """Whether it was said that this is much."""

    def __call__(self, state: State) -> dict[str, float]:
        """The spectra of all layers (`spectra`), and `samples/variance`.

        That is the variance of the images of a sample grid by the last weights, with running statistics, as a share of
        the data's; of a conditional model within classes.
        """
        begun, experiment, (count, columns, labels) = time.monotonic(), self._experiment, grid_plan(self._experiment)
        count = max(count, 2 * (columns or 1))  # a variance is one of two images at least
        labels = None if labels is None else np.resize(labels, count)
        samples = generate(experiment, state.params, state.stats, count, experiment.config.seed, labels)
        found = spectra(state.params, state.stats)
        found["samples/variance"] = pixel_variance(samples, labels) / self._spread
        self.seconds, self._begun = self._begun * (time.monotonic() - begun), True
        return found

    @functools.cached_property
    def _spread(self) -> float:
        """The variance of the data."""
        seen = order(self._experiment.config.seed, 0, len(self._source))[:DATA]
        real = middle(images(self._source, seen), self._experiment.spec.image_shape)
        return pixel_variance(np.asarray(real)) or 1.0


def spectra(params: Params, stats: Stats) -> dict[str, float]:
    """Of each kernel W, by its path: `sigma/PATH`, its largest singular value, and `sigma_ratio/PATH`, s1 / s2.

    Brock et al. 2018 (arXiv 1809.11096), section 4.1, look at these. Of a spectrally normalized layer W is the raw
    weight; `sigma_normalized/PATH` is the largest singular value of what the network really uses, W / (v' W u): about
    1, and above it where the power iteration lags behind. Kernels are matrices as in `instruments.singular_values`.
    """
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if np.ndim(leaf) < 2:
            continue
        largest, second = (*leading(name, leaf), 0.0)[:2]
        found[f"{SIGMA}{name}"] = largest
        if second:
            found[f"sigma_ratio/{name}"] = largest / second
        if vectors := _vectors(stats, path):
            matrix = as_matrix(name, np.asarray(leaf, np.float64))
            used = float(np.asarray(vectors["v"], np.float64) @ matrix @ np.asarray(vectors["u"], np.float64))
            found |= {f"sigma_normalized/{name}": largest / used} if used > 0 else {}
    return found


def leading(name: str, kernel: Any) -> list[float]:
    """The three largest singular values of a kernel by the name of its layer, fewer where it has fewer.

    Of large ones by a block Krylov space of W' W (Golub & Underwood 1977; Musco & Musco 2015, arXiv 1504.05477) on the
    device that the kernel is on; it begins with the same random vectors each time, so that the same weights have the
    same values.
    """
    matrix = as_matrix(name, kernel)
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    if tall.shape[1] > EXACT:
        return [float(value) for value in _krylov(jnp.asarray(tall, jnp.float32))[:3]]
    wide = np.asarray(tall, np.float64)
    squares = np.linalg.eigvalsh(wide.T @ wide)[::-1][:3]  # 50 times as fast as an SVD, and as good for large values
    return [float(value) for value in np.sqrt(np.maximum(squares, 0))]


def pixel_variance(images: Float[np.ndarray, "n h w c"], labels: Int[np.ndarray, " n"] | None = None) -> float:
    """Mean over pixels of the unbiased variance over the images; with labels, of that within classes."""
    groups = [np.arange(len(images))] if labels is None else [np.flatnonzero(labels == k) for k in np.unique(labels)]
    squares = sum(np.square(images[at] - images[at].mean(0, dtype=np.float64)).mean((1, 2, 3)).sum() for at in groups)
    free = len(images) - len(groups)
    return float(squares / free) if free else 0.0


def memory(devices: Sequence[Any]) -> dict[str, float]:
    """What is in use, and was at most, in GiB: of the fullest of this process's devices, or of the process itself.

    CPUs tell nothing of themselves: `host_rss_gib` is the resident set of the whole process, data and Python included.
    """
    told = [stats for device in devices if device.process_index == jax.process_index() and (stats := _stats(device))]
    if not told:
        now, peak = _resident()
        return {"memory/host_rss_gib": now / GIB, "memory/host_rss_peak_gib": peak / GIB}
    names = {"memory/device_gib": "bytes_in_use", "memory/device_peak_gib": "peak_bytes_in_use"}
    return {name: max(stats.get(what, 0) for stats in told) / GIB for name, what in names.items()}


class Utilization(NamedTuple):
    """From images a second to operations a second."""

    flops: Callable[[], int]
    """Floating point operations of products in a round, over all devices; 0 before the first one."""
    images: int
    """Of a round."""
    peak: float | None
    """Operations a second that all devices together could do; None where it is not known."""

    def told(self, images_per_second: float) -> dict[str, float]:
        """`flops_per_second` and, where the chips are known, `mfu`, its share of what they could do."""
        rate = self.flops() * images_per_second / self.images
        return {"flops_per_second": rate} | ({"mfu": rate / self.peak} if self.peak else {})


def peak(devices: Sequence[Any]) -> float | None:
    """Operations a second that the devices can do together, in bfloat16 as their makers tell; None where unknown."""
    chip = chips.known(devices[0].device_kind)
    return len(devices) * float(chip.bfloat16) if chip else None


@jax.jit
def _krylov(matrix: Float[Array, "m n"]) -> Float[Array, " k"]:
    """Singular values, the largest first, of a matrix on the Krylov space of its W' W; m >= n >= BLOCK (DEPTH + 1)."""
    multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    scale = jnp.maximum(jnp.abs(matrix).max(), jnp.finfo(matrix.dtype).tiny)  # squares must stay within range
    matrix = matrix / scale
    first = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (matrix.shape[1], BLOCK), matrix.dtype))[0]

    def body(block, _):
        block = jnp.linalg.qr(multiply(matrix.T, multiply(matrix, block)))[0]
        return block, block

    _, blocks = jax.lax.scan(body, first, length=DEPTH)
    space = jnp.concatenate([first[None], blocks]).transpose(1, 0, 2).reshape(matrix.shape[1], -1)
    inside = multiply(matrix, jnp.linalg.qr(space)[0])
    return scale * jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(multiply(inside.T, inside)), 0))[::-1]


def _vectors(stats: Stats, path: tuple) -> dict[str, Any] | None:
    """u and v of a spectrally normalized kernel: stats mirror params, below the collection's name."""
    network, *modules, _ = (part.key for part in path)
    node = stats.get(network, {}).get(COLLECTION, {})
    for module in modules:
        node = node.get(module, {}) if isinstance(node, dict) else {}
    return node if "u" in node else None


def _stats(device: Any) -> dict[str, int] | None:
    try:
        return device.memory_stats()
    except jax.errors.JaxRuntimeError:  # a platform that has none
        return None


def _resident() -> tuple[int, int]:
    """Bytes that the process holds in memory, and held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no Linux
        return peak, peak
    now = pages * resource.getpagesize()
    return now, max(now, peak)
