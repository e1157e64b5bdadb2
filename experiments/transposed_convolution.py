"""Draws the matrix of a transposed convolution beside the matrix of the convolution that it is the transpose of.

    python experiments/transposed_convolution.py

Claim: the convolution of a 4x4 image with a 3x3 kernel (stride 1, no padding, output 2x2) is a 4x16 matrix C, and
`convolve_transposed` is the 16x4 matrix C^T: each row is a pixel of its 4x4 output, each column a pixel of its 2x2
input. (The 16x4 matrix in the lecture notes is that one already, the transpose, not the convolution's.) Every cell
drawn is read off the library's functions, applied to one basis vector at a time, and the script stops if the two
matrices are not each other's transpose. Writes figures/transposed_convolution.png. Any hardware, 5 s.
"""

import argparse
import math
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from vaegan_jax.networks.convolution import convolve, convolve_transposed

PADDING = ((0, 0), (0, 0))
IMAGE, KERNEL, OUTPUT = 4, 3, 2
INK, FAINT = "#22262b", "#d9dce1"
# One hue for each row of the kernel, one lightness for each of its columns.
COLORS = [["#8fb8e0", "#4f8cc9", "#1f5f9f"], ["#f6c48b", "#ee9a3f", "#c66d10"], ["#a5d6a0", "#5fb35a", "#2f7f38"]]


def matrices() -> tuple[np.ndarray, np.ndarray]:
    """C, (4, 16), and its transpose, (16, 4), for the kernel 1 ... 9, whose entries then name themselves."""
    kernel = jnp.arange(1.0, 1 + KERNEL**2).reshape(KERNEL, KERNEL, 1, 1)
    images = jnp.eye(IMAGE**2).reshape(-1, IMAGE, IMAGE, 1)
    outputs = jnp.eye(OUTPUT**2).reshape(-1, OUTPUT, OUTPUT, 1)
    forward = convolve(images, kernel, 1, PADDING).reshape(IMAGE**2, OUTPUT**2).T
    backward = convolve_transposed(outputs, kernel, 1, PADDING, (IMAGE, IMAGE)).reshape(OUTPUT**2, IMAGE**2).T
    return np.asarray(forward), np.asarray(backward)


def pixels(name: str, size: int) -> list[str]:
    """The names of the pixels of a square image, row by row."""
    return [f"${name}_{{{row}{column}}}$" for row in range(size) for column in range(size)]


def draw(axes: plt.Axes, matrix: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """Draws a matrix whose entries are the numbers 1 ... 9 of kernel entries, or 0."""
    for (row, column), entry in np.ndenumerate(matrix):
        color, text = "white", "0"
        if entry:
            i, j = divmod(int(entry) - 1, KERNEL)
            color, text = COLORS[i][j], f"$w_{{{i}{j}}}$"
        axes.add_patch(plt.Rectangle((column, row), 1, 1, facecolor=color, edgecolor=FAINT, linewidth=0.8))
        dark = entry and (int(entry) - 1) % KERNEL == KERNEL - 1
        axes.text(
            column + 0.5,
            row + 0.52,
            text,
            ha="center",
            va="center",
            fontsize=13 if entry else 9,
            color="white" if dark else INK if entry else "#b4b9c0",
        )
    height, width = matrix.shape
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=12, color=INK)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=12, color=INK)
    axes.tick_params(length=0, top=bool(columns), labeltop=bool(columns), bottom=False, labelbottom=False)
    axes.xaxis.set_label_position("top")
    for spine in axes.spines.values():
        spine.set(color=INK, linewidth=1.2)
    # Lines between the rows of the two-dimensional images that the vectors were.
    for names, line in ((columns, axes.axvline), (rows, axes.axhline)):
        side = math.isqrt(len(names))
        for position in range(side, len(names), side or 1):
            line(position, color=INK, linewidth=1.2)


def figure() -> plt.Figure:
    """The kernel, C and its transpose, side by side."""
    forward, backward = matrices()
    if not np.array_equal(forward.T, backward):
        raise SystemExit("transposed_convolution: the two matrices are not each other's transpose")
    drawing = plt.figure(figsize=(13.4, 8.4), facecolor="white")
    kernel_axes = drawing.add_axes((0.06, 0.56, 0.16, 0.255))
    forward_axes = drawing.add_axes((0.06, 0.045, 0.62, 0.34))
    backward_axes = drawing.add_axes((0.765, 0.045, 0.21, 0.80))

    image, output = pixels("x", IMAGE), pixels("y", OUTPUT)
    draw(kernel_axes, np.arange(1, 1 + KERNEL**2).reshape(KERNEL, KERNEL), [], [])
    draw(forward_axes, forward, output, image)
    draw(backward_axes, backward, image, output)
    label = {"fontsize": 12, "color": INK, "labelpad": 8}
    forward_axes.set_xlabel("input: pixels of the 4×4 image", **label)
    forward_axes.set_ylabel("output: 2×2", **label)
    backward_axes.set_xlabel("input: 2×2", **label)
    backward_axes.set_ylabel("output: pixels of the 4×4 image", **label)
    title = {"fontsize": 14, "fontweight": "bold", "color": INK, "pad": 14}
    kernel_axes.set_title("kernel $w$, 3×3", **title)
    forward_axes.set_title("convolution $C$, 4×16", **title)
    backward_axes.set_title("transposed\nconvolution $C^T$, 16×4", **title)
    explanation = (
        "Written as vectors, row by row, a 4×4 image $x$ has 16 pixels\n"
        "and its convolution $y$ with a 3×3 kernel has 4.\n\n"
        "Each row of $C$ holds the kernel at one place of the image.\n"
        "The transpose sends each pixel of $y$ back, through the same\n"
        "nine weights, to the nine pixels it was computed from."
    )
    drawing.text(0.265, 0.6875, explanation, fontsize=12.5, color=INK, va="center", linespacing=1.5)
    drawing.suptitle(
        "A transposed convolution is the transpose of a matrix", fontsize=20, color=INK, x=0.06, y=0.94, ha="left"
    )
    return drawing


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the matrix of a transposed convolution.")
    drawn = Path(__file__).parent / "figures" / "transposed_convolution.png"
    parser.add_argument("--output", default=drawn, metavar="FILE", help="(default: %(default)s)")
    options = parser.parse_args()
    figure().savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
