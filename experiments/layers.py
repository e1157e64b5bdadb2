"""Times the convolutions of DCGAN, their gradients and their gradient penalty beside PyTorch's, on CPU.

    python experiments/layers.py --json layers.json

Claim: with the triple of `vaegan_jax.networks.convolution` no derivative of any layer of DCGAN, of the first or the
second order, is slow, while JAX's own ones are up to 35 times slower; PyTorch (oneDNN) is somewhat faster in the first
order, and slower in the gradient penalty: the gradient, by the kernel, of the squared norm of the gradient, by the
input, of leaky_relu(layer). Two cores of an AMD EPYC (Zen 4), JAX 0.10.2, PyTorch 2.13.0, batches of 64, float32; 2.5
minutes. Sums over the 18 layers in ms, of the fastest of four runs as the machine was shared (ours, PyTorch, lax):

    forward            255    219    306
    input gradient     251    203    305
    kernel gradient    303    192   4387
    gradient penalty   844   1392   4413

On a busy machine PyTorch's times grow more than JAX's: its threads wait for each other. The results are compared with
PyTorch's, too: the script stops where one differs by more than 1e-3 of the largest entry.
"""

import argparse
import functools
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vaegan_jax.networks.convolution import LAYOUT, convolve, convolve_transposed

STRIDE, KERNEL = 2, 4
PADDING = ((1, 1), (1, 1))
SLOPE = 0.2
SECONDS_OF_REST = 0.01
CONTENDERS = ("ours", "torch", "lax")
MEASURES = ("forward", "input gradient", "kernel gradient", "gradient penalty")


class Layer(NamedTuple):
    """A layer of DCGAN, kernel 4x4, stride 2, between `size` x `size` pixels of `wide` and half that of `deep`."""

    size: int
    wide: int
    deep: int
    transposed: bool

    def __str__(self) -> str:
        ends = [f"{self.size}x{self.size}x{self.wide}", f"{self.size // 2}x{self.size // 2}x{self.deep}"]
        return " -> ".join(reversed(ends) if self.transposed else ends)


# The discriminators for 28, 32 and 64 pixels, and the generators that mirror them.
SHAPES = [(28, 1, 64), (14, 64, 128)]
SHAPES += [(32, 3, 64), (16, 64, 128), (8, 128, 256)]
SHAPES += [(64, 3, 64), (32, 64, 128), (16, 128, 256), (8, 256, 512)]
LAYERS = [Layer(*shape, transposed) for transposed in (False, True) for shape in SHAPES]


def arrays(layer: Layer, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The layer's input (n, h, w, c), kernel (4, 4, wide, deep) and a cotangent of its output, float32."""
    generator = np.random.default_rng(0)
    half = layer.size // STRIDE
    image = generator.normal(size=(batch_size, layer.size, layer.size, layer.wide)).astype(np.float32)
    features = generator.normal(size=(batch_size, half, half, layer.deep)).astype(np.float32)
    kernel = generator.normal(size=(KERNEL, KERNEL, layer.wide, layer.deep), scale=0.02).astype(np.float32)
    return (features, kernel, image) if layer.transposed else (image, kernel, features)


def ours(layer: Layer) -> Callable:
    """The layer (x, kernel) -> y by this library."""
    if layer.transposed:
        return lambda x, kernel: convolve_transposed(x, kernel, STRIDE, PADDING, (layer.size, layer.size))
    return lambda x, kernel: convolve(x, kernel, STRIDE, PADDING)


def plain(layer: Layer) -> Callable:
    """The layer by `jax.lax`, with JAX's own derivatives."""
    strides = (STRIDE, STRIDE)
    if layer.transposed:
        return lambda x, kernel: lax.conv_transpose(
            x, kernel, strides, "SAME", dimension_numbers=LAYOUT, transpose_kernel=True
        )
    return lambda x, kernel: lax.conv_general_dilated(x, kernel, strides, PADDING, dimension_numbers=LAYOUT)


def in_jax(apply: Callable, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray) -> list[Callable]:
    """One function without arguments per measure, each compiled here and giving a finished array."""

    def penalty(kernel, x):
        gradient = jax.grad(lambda x: jax.nn.leaky_relu(apply(x, kernel), SLOPE).sum())(x)
        return (gradient**2).sum()

    measures = (
        lambda x, kernel, ct: apply(x, kernel),
        lambda x, kernel, ct: jax.vjp(lambda x: apply(x, kernel), x)[1](ct)[0],
        lambda x, kernel, ct: jax.vjp(lambda kernel: apply(x, kernel), kernel)[1](ct)[0],
        lambda x, kernel, ct: jax.grad(penalty)(kernel, x),
    )
    inputs = [jnp.asarray(array) for array in (x, kernel, cotangent)]
    compiled = [jax.jit(measure).lower(*inputs).compile() for measure in measures]
    return [lambda run=run: run(*inputs).block_until_ready() for run in compiled]


def layer_in_torch(layer: Layer, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray) -> list[Callable]:
    """The layer's measures in PyTorch, in its own layout: images (n, c, h, w), kernels (deep, wide, 4, 4)."""
    from torch.nn import functional

    convolution = functional.conv_transpose2d if layer.transposed else functional.conv2d
    images = [np.ascontiguousarray(array.transpose(0, 3, 1, 2)) for array in (x, cotangent)]
    kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    return in_torch(
        lambda x, kernel: convolution(x, kernel, stride=STRIDE, padding=PADDING[0][0]), images[0], kernel, images[1]
    )


def in_torch(apply: Callable, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray) -> list[Callable]:
    """The measures of `in_jax` in PyTorch, for `apply(x, kernel)` on its tensors; on its accelerator, if it has one."""
    import torch
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, kernel, cotangent = (torch.tensor(array, device=device) for array in (x, kernel, cotangent))
    free_x, free_kernel = (array.clone().requires_grad_() for array in (x, kernel))
    from_x, from_kernel = apply(free_x, kernel), apply(x, free_kernel)

    def forward():
        with torch.no_grad():
            return apply(x, kernel)

    def penalty():
        y = functional.leaky_relu(apply(free_x, free_kernel), SLOPE).sum()
        (gradient,) = torch.autograd.grad(y, free_x, create_graph=True)
        return torch.autograd.grad((gradient**2).sum(), free_kernel)[0]

    measures = (
        forward,
        lambda: torch.autograd.grad(from_x, free_x, cotangent, retain_graph=True)[0],
        lambda: torch.autograd.grad(from_kernel, free_kernel, cotangent, retain_graph=True)[0],
        penalty,
    )

    def finished(measure):
        result = measure()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return [functools.partial(finished, measure) for measure in measures]


def compare(results: list, reference: list) -> None:
    """Stops where PyTorch's arrays, (n, c, h, w) and (deep, wide, 4, 4), differ from ours by more than 1e-3."""
    for measure, result, expected in zip(MEASURES, results, reference, strict=True):
        axes = (2, 3, 1, 0) if "kernel" in measure or "penalty" in measure else (0, 2, 3, 1)
        expected = expected.cpu().numpy().transpose(axes)
        if np.abs(result - expected).max() > 1e-3 * np.abs(expected).max():
            raise SystemExit(f"layers: the {measure} differs from PyTorch's")


def medians(contenders: dict[str, Callable], repeats: int) -> dict[str, float]:
    """The median time of each contender, in ms, all taking turns, so that a noisy neighbor hits all alike."""
    times = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            time.sleep(SECONDS_OF_REST)  # The threads of the one before may still spin, on the cores of the next.
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def measure(layer: Layer, batch_size: int, repeats: int) -> list[dict]:
    """One row per measure: the layer, the measure, and the milliseconds of each contender."""
    inputs = arrays(layer, batch_size)
    contenders = {
        "ours": in_jax(ours(layer), *inputs),
        "torch": layer_in_torch(layer, *inputs),
        "lax": in_jax(plain(layer), *inputs),
    }
    # This first call also takes the cost of allocation and of PyTorch's choice of algorithm out of the times.
    results = {name: [run() for run in runs] for name, runs in contenders.items()}
    compare(results["ours"], results["torch"])
    rows = []
    for index, name in enumerate(MEASURES):
        turns = {contender: runs[index] for contender, runs in contenders.items()}
        rows.append({"layer": str(layer), "measure": name, **medians(turns, repeats)})
    return rows


def line(row: dict) -> str:
    """The row as a line of the table."""
    times = "".join(f"{row[name]:>8.1f}" for name in CONTENDERS)
    ratios = f"{row['ours'] / row['torch']:>12.2f}{row['ours'] / row['lax']:>10.2f}"
    return f"{row['layer']:<27}{row['measure']:<17}{times}{ratios}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Times convolutions beside PyTorch's.")
    parser.add_argument("--batch-size", type=int, default=64, help="images (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=11, help="timings per median (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here too")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        raise SystemExit("layers: PyTorch is missing; install it with: pip install 'vaegan_jax[peers]'") from None

    setting = {"jax": jax.__version__, "torch": torch.__version__, "device": str(jax.devices()[0])}
    setting |= {"cores": os.cpu_count(), "batch_size": options.batch_size, "repeats": options.repeats}
    print(", ".join(f"{key} {value}" for key, value in setting.items()))
    print(f"{'ms':<27}{'':<17}{'ours':>8}{'torch':>8}{'lax':>8}{'ours/torch':>12}{'ours/lax':>10}")
    rows = []
    for layer in LAYERS:
        rows += measure(layer, options.batch_size, options.repeats)
        for row in rows[-len(MEASURES) :]:
            print(line(row), flush=True)
    for name in MEASURES:
        chosen = [row for row in rows if row["measure"] == name]
        sums = {contender: sum(row[contender] for row in chosen) for contender in CONTENDERS}
        print(line({"layer": "sum of all layers", "measure": name, **sums}))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"setting": setting, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
