"""Strided convolution and its two transposes, a triple closed under differentiation.

The convolution C(x, K) is linear in the image x and linear in the kernel K, so it has two transposes,
T in the image and W in the kernel, which one identity defines:

    <C(x, K), y> = <x, T(y, K)> = <K, W(x, y)>.

Every derivative of any of the three is another of the three:

    dC* : x <- T(y, K),  K <- W(x, y)
    dT* : y <- C(x, K),  K <- W(x, y)
    dW* : x <- T(y, K),  y <- C(x, K)

Each is therefore a `jax.custom_vjp` whose backward pass calls the other two, at any order of
differentiation. This matters on CPU, where JAX's own derivatives of derivatives arrive at convolutions for
which XLA has only a naive loop, 10 to 100 times slower than its library. `custom_vjp` refuses forward mode:
take J v as the vjp of a vjp.

Images are (n, h, w, c), kernels (k, k, c_in, c_out), for all three functions: a layer that applies T stores
its kernel as (k, k, out, in). The operations follow Dumoulin and Visin, "A guide to convolution arithmetic
for deep learning", 2016 (arXiv:1603.07285): no kernel is flipped in C.
"""

import contextlib
import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]

LAYOUT = ("NHWC", "HWIO", "NHWC")


def same_padding(size: tuple[int, int], kernel: int, stride: int) -> Padding:
    """The padding ((top, bottom), (left, right)), in pixels, for which C gives ceil(size / stride) pixels.

    An odd total puts its extra pixel at the end, as TensorFlow's and JAX's "SAME" do.
    """
    totals = (max((-(-length // stride) - 1) * stride + kernel - length, 0) for length in size)
    return tuple((total // 2, total - total // 2) for total in totals)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    x: Float[Array, "n h w c_in"], kernel: Float[Array, "k k c_in c_out"], stride: int, padding: Padding
) -> Float[Array, "n h_out w_out c_out"]:
    """C(x, K)[u] = sum_i x[stride u + i - low] K[i], with zeros outside of x (both dimensions alike)."""
    return (_native if _on_cpu() else _plain)(x, kernel, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve_transposed(
    y: Float[Array, "n h_out w_out c_out"],
    kernel: Float[Array, "k k c_in c_out"],
    stride: int,
    padding: Padding,
    size: tuple[int, int],
) -> Float[Array, "n h w c_in"]:
    """T(y, K)[u] = sum_{v, i: stride v + i - low = u} y[v] K[i], the transpose of `convolve` in x.

    `size` = (h, w) is the size of the convolution's input, which the size of y leaves open when stride > 1.
    """
    _check(size, kernel.shape[0], stride, padding, y.shape[1:3])
    if _on_cpu():
        return _subpixel(y, kernel, stride, padding, size)
    x = jax.ShapeDtypeStruct((y.shape[0], *size, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _plain(x, kernel, stride, padding), x)(y)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def kernel_gradient(
    x: Float[Array, "n h w c_in"],
    y: Float[Array, "n h_out w_out c_out"],
    stride: int,
    padding: Padding,
    shape: tuple[int, int, int, int],
) -> Float[Array, "k k c_in c_out"]:
    """W(x, y)[i] = sum_u x[stride u + i - low] y[u], summed over the batch: the transpose of `convolve` in K.

    `shape` is the shape of the kernel, (k, k, c_in, c_out).
    """
    _check(x.shape[1:3], shape[0], stride, padding, y.shape[1:3])
    if _on_cpu():
        return _correlate(x, y, stride, padding, shape[0])
    kernel = jax.ShapeDtypeStruct(shape, y.dtype)
    return jax.linear_transpose(lambda kernel: _plain(x, kernel, stride, padding), kernel)(y)[0]


def _convolve_backward(stride, padding, saved, y):
    x, kernel = saved
    to_x = convolve_transposed(y, kernel, stride, padding, x.shape[1:3])
    return to_x, kernel_gradient(x, y, stride, padding, kernel.shape)


def _convolve_transposed_backward(stride, padding, size, saved, x):
    y, kernel = saved
    return convolve(x, kernel, stride, padding), kernel_gradient(x, y, stride, padding, kernel.shape)


def _kernel_gradient_backward(stride, padding, shape, saved, kernel):
    x, y = saved
    return convolve_transposed(y, kernel, stride, padding, x.shape[1:3]), convolve(x, kernel, stride, padding)


# Each is linear in either of its two arrays: the other one is all that its backward pass needs.
convolve.defvjp(lambda x, kernel, *static: (convolve(x, kernel, *static), (x, kernel)), _convolve_backward)
convolve_transposed.defvjp(
    lambda y, kernel, *static: (convolve_transposed(y, kernel, *static), (y, kernel)), _convolve_transposed_backward
)
kernel_gradient.defvjp(lambda x, y, *static: (kernel_gradient(x, y, *static), (x, y)), _kernel_gradient_backward)


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Within it, what is traced is what would run on a "cpu", "gpu" or "tpu", whichever of them is here."""
    _platforms.append(platform)
    try:
        yield
    finally:
        _platforms.pop()


_platforms: list[str] = []


def _on_cpu() -> bool:
    """Which formulation to trace. Both are right everywhere; they differ in speed only."""
    return (_platforms[-1] if _platforms else jax.default_backend()) == "cpu"


def _check(size, kernel: int, stride: int, padding: Padding, out) -> None:
    """Refuse an output size that a convolution of an image of this size does not have."""
    expected = tuple((length + sum(pad) - kernel) // stride + 1 for length, pad in zip(size, padding, strict=True))
    if expected != tuple(out):
        raise ValueError(f"an image of size {tuple(size)} gives an output of size {expected}, not {tuple(out)}")


def _plain(x, kernel, stride, padding):
    """C for accelerators, whose compilers recognize this convolution and JAX's transposes of it."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=LAYOUT)


# The rest is for XLA:CPU (measured with JAX 0.10.2 and 0.12.0 on two cores, batches of 64). It has a fast library
# for convolutions in LAYOUT and a naive loop for all others. At the top level of a program it rewrites the others
# into LAYOUT, but not inside of `lax.scan` and `lax.while_loop`: there the kernel gradient of a layer 16x16x64 ->
# 8x8x128 took 1700 to 2700 ms as JAX transposes it. With arrays transposed into LAYOUT by hand, as below, it takes
# 8 to 10 ms there as elsewhere. Products of im2col patches are as fast for some layers, and 2 to 4 times slower for
# the large ones (C and W of 32x32x64 -> 16x16x128: 58 ms against 26, 60 against 33).


def _native(x, kernel, stride, padding, dilation=1):
    """The convolution in XLA:CPU's native layout, with a kernel dilated by `dilation`.

    XLA swaps image and kernel where the kernel has more pixels, which costs it the library (but for images of
    one pixel): 4x4 images and 5x5 kernels, 256 -> 256 channels, take 830 to 910 ms, and 20 to 40 ms if the image
    is padded first, behind XLA's back.
    """
    if 1 < math.prod(x.shape[1:3]) < math.prod(kernel.shape[:2]):
        x = lax.optimization_barrier(_pad(x, padding))
        padding = ((0, 0), (0, 0))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, rhs_dilation=(dilation, dilation), dimension_numbers=LAYOUT
    )


def _pad(x, padding):
    """Pad an image with zeros, or crop it where `padding` is negative."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*pad, 0) for pad in padding), (0, 0, 0)))


def _subpixel(y, kernel, stride, padding, size):
    """T as one convolution with stride 1 whose channels are the stride^2 phases of the output's pixels.

    Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016 (arXiv:1609.07009).
    Dilating y with zeros instead multiplies by them: for 16x16x128 -> 32x32x64 and k = 4 this takes 26 ms and that
    72, for 2x2x512 -> 4x4x256 it is 20 against 230; most is lost for 4x4x512 -> 8x8x256, 37 against 27.
    """
    n, c_in, taps = y.shape[0], kernel.shape[2], -(-kernel.shape[0] // stride)
    # Pixel stride v + phase of the padded output reads y[v - t] through the tap i = stride t + phase.
    fill = (0, taps * stride - kernel.shape[0])
    phases = jnp.pad(kernel, (fill, fill, (0, 0), (0, 0))).reshape(taps, stride, taps, stride, c_in, -1)
    phases = phases[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(taps, taps, -1, stride * stride * c_in)
    # The first and the last v of which a pixel remains once the padding is cropped.
    spans = [(low // stride, (low + length - 1) // stride) for (low, _), length in zip(padding, size, strict=True)]
    window = tuple((taps - 1 - first, last - m + 1) for (first, last), m in zip(spans, y.shape[1:3], strict=True))
    x = _native(y, phases, 1, window)
    h, w = x.shape[1:3]
    x = x.reshape(n, h, w, stride, stride, c_in).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * stride, w * stride, c_in)
    top, left = (low % stride for low, _ in padding)
    return x[:, top : top + size[0], left : left + size[1]]


def _correlate(x, y, stride, padding, k):
    """W as a convolution of x with y, dilated by the stride, that sums over the batch as if over channels."""
    window = tuple(
        (low, stride * (m - 1) + k - length - low)
        for (low, _), m, length in zip(padding, y.shape[1:3], x.shape[1:3], strict=True)
    )
    return _native(x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3), 1, window, dilation=stride).transpose(1, 2, 0, 3)
