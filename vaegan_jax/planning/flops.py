"""Operations of floating point in a program, counted from its shapes.

A multiplication and an addition are two. Counted are products of matrices and convolutions, without what falls on their
padding or on the zeros of a dilated input; these are what matrix units do, and `products` tells them alone. `all` has
one more for each element of what is computed by element or summed up. Not counted: sorting, gathering, random bits,
integers, copies and changes of shape. A loop of unknown length counts once, of branches the costliest.
"""

import functools
import math
from typing import NamedTuple

from vaegan_jax.planning.program import Operation, Program, Value

REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin", "cumsum", "cumlogsumexp")
FREE = (
    *("broadcast_in_dim", "transpose", "slice", "pad", "concatenate", "rev", "select_n", "convert_element_type"),
    *("iota", "gather", "scatter", "sort", "dynamic_slice", "dynamic_update_slice", "split", "barrier"),
    *("psum", "psum_invariant", "all_gather", "ppermute", "axis_index", "random_bits", "random_fold_in"),
)
"""What moves numbers and computes none."""


class Flops(NamedTuple):
    """Operations of floating point: of products, that is of matrices and convolutions, and all together."""

    products: int
    all: int


def count(program: Program) -> Flops:
    """What one play of a program takes."""
    counted = [of(operation, program) for operation in program.operations]
    return Flops(sum(each.products for each in counted), sum(each.all for each in counted))


def of(operation: Operation, program: Program) -> Flops:
    """What an operation takes, as often as it is played."""
    if operation.bodies:
        costliest = max((count(body) for body in operation.bodies), key=lambda flops: flops.all)
        return Flops(operation.times * costliest.products, operation.times * costliest.all)
    inputs = [program.values[number] for number in operation.inputs]
    outputs = [program.values[number] for number in operation.outputs]
    if operation.name == "dot_general":
        products = 2 * _dot(operation, inputs)
        return Flops(products, products)
    if operation.name == "conv_general_dilated":
        products = 2 * _convolution(operation, inputs, outputs[0])
        return Flops(products, products)
    if operation.name in FREE:
        return Flops(0, 0)
    if operation.name in REDUCTIONS:
        return Flops(0, max(inputs[0].size - outputs[0].size, 0) * inputs[0].floating)
    return Flops(0, sum(output.size for output in outputs if output.floating))


def _dot(operation: Operation, inputs: list[Value]) -> int:
    """Multiplications of a product of matrices, in batches: the left one's elements times the right one's free rows."""
    (_, contracted), (_, together) = operation.params["dimension_numbers"]
    left, right = inputs
    free = [side for axis, side in enumerate(right.shape) if axis not in (*contracted, *together)]
    return left.size * math.prod(free)


def _convolution(operation: Operation, inputs: list[Value], output: Value) -> int:
    """Multiplications of a convolution by what is there, neither padding nor the zeros of a dilated input."""
    params, (image, kernel) = operation.params, inputs
    numbers = params["dimension_numbers"]
    (_, _, *image_axes), (_, in_axis, *kernel_axes) = numbers.lhs_spec, numbers.rhs_spec
    batch_axis, channel_axis, *output_axes = numbers.out_spec
    products = output.shape[batch_axis] * output.shape[channel_axis] * kernel.shape[in_axis]
    for place, axis in enumerate(image_axes):
        products *= _hits(
            image.shape[axis],
            kernel.shape[kernel_axes[place]],
            output.shape[output_axes[place]],
            params["window_strides"][place],
            params["padding"][place][0],
            params["lhs_dilation"][place],
            params["rhs_dilation"][place],
        )
    return products // params["batch_group_count"] if params["batch_group_count"] > 1 else products


@functools.cache
def _hits(length: int, taps: int, out: int, stride: int, low: int, spread: int, dilation: int) -> int:
    """Pairs of an output and a tap that read an element of the input, along one axis."""
    last = (length - 1) * spread
    return sum(
        0 <= (at := place * stride - low + tap * dilation) <= last and at % spread == 0
        for place in range(out)
        for tap in range(taps)
    )
