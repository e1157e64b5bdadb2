"""Which values of a program are written to memory, and how much they take at once.

XLA computes what is by element, broadcast, cut out, padded or turned inside the operation that reads it, again for each
reader, and writes it down only where a product, a convolution, a loop or the result of the program needs it whole. So a
value here is *written*, or it is computed on the fly from the written ones that it is made of, which then have to stay.
A written value lives from the operation that makes it to the last one that reads it, in XLA's order (`scheduling`).

On a CPU, sums too read what is written: XLA hands them to a library, which squares and multiplies by itself.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vaegan_jax.planning.program import Operation, Program
from vaegan_jax.planning.scheduling import Graph, Node, depth_first, greedy

ON_THE_FLY = (
    *("add", "sub", "mul", "div", "neg", "abs", "sign", "max", "min", "rem", "add_any", "integer_pow", "square"),
    *("exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "sin", "cos", "pow", "sqrt", "rsqrt", "cbrt"),
    *("erf", "erfc", "erf_inv", "floor", "ceil", "round", "is_finite", "clamp", "nextafter", "conj", "real", "imag"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "select_n", "convert_element_type"),
    *("shift_left", "shift_right_logical", "shift_right_arithmetic", "reduce_precision", "atan2", "zeros_like"),
    *("broadcast_in_dim", "transpose", "slice", "pad", "concatenate", "rev", "iota", "split", "barrier"),
)
"""Primitives whose results need not be written."""
FUSING = (
    *("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax", "argmin"),
    *("random_bits", "random_fold_in", "random_split", "random_seed", "threefry2x32", "gather", "dynamic_slice"),
    *("psum_invariant",),
)
"""Primitives whose results are written, and whose inputs need not be."""


class Step(NamedTuple):
    """An operation that writes: the written values that it reads, those that it waits for, and those that it writes."""

    operation: Operation
    reads: frozenset[int]
    waits: frozenset[int]
    writes: tuple[int, ...]


def peak(program: Program, cpu: bool = False) -> int:
    """Bytes of written values that live at once, at most, besides the program's inputs.

    Its results are written where its inputs were (`donate_argnums`) and count nothing. The order is XLA's: on a CPU,
    asked to save memory, that of `depth_first`; elsewhere the better one of that and `greedy`.
    """
    steps = list(written(program, cpu))
    kept = {program.root(number) for number in (*program.inputs, *program.outputs)}
    sizes = {n: 0 if n in kept else program.values[n].bytes for step in steps for n in step.writes}
    results = [program.root(number) for number in program.outputs]
    graph = Graph([Node(step.reads, step.reads | step.waits, step.writes) for step in steps], sizes, results)
    inner = [max((peak(body, cpu) for body in step.operation.bodies), default=0) for step in steps]
    orders = [depth_first(graph)] if cpu else [depth_first(graph), greedy(graph)]
    return min(_most(steps, sizes, inner, order) for order in orders)


def _most(steps: Sequence[Step], sizes: dict[int, int], inner: Sequence[int], order: Sequence[int]) -> int:
    last = {number: place for place in order for number in steps[place].reads}
    live, most = 0, 0
    for place in order:
        step = steps[place]
        made = sum(sizes[number] for number in step.writes)
        freed = sum(sizes.get(number, 0) for number in step.reads if last[number] == place)
        reused = min(made, freed) if step.operation.name in (*ON_THE_FLY, "scan", "while") else 0
        most = max(most, live + made - reused + inner[place])
        live += made - freed - sum(sizes[number] for number in step.writes if number not in last)
    return most


def written(program: Program, cpu: bool = False) -> Iterator[Step]:
    """The operations that write, in order."""
    whole = {program.root(number) for number in program.outputs}
    makers = {number: operation for operation in program.operations for number in operation.outputs}
    for operation in program.operations:
        inputs = tuple(map(program.root, operation.inputs))
        if cpu and operation.name.startswith("reduce_"):
            maker = makers.get(inputs[0])
            if maker and maker.name in ("mul", "square", "max"):
                inputs = tuple(map(program.root, maker.inputs))
            whole.update(inputs)
        elif operation.name not in ON_THE_FLY + FUSING or operation.name == "barrier":
            whole.update(inputs)
    made_of: dict[int, _Source] = {}
    for operation in program.operations:
        sources = [made_of.get(n, _Source(frozenset({n}), frozenset())) for n in map(program.root, operation.inputs)]
        reads, waits = (frozenset().union(*parts) for parts in zip(*sources, strict=True)) if sources else _NOTHING
        if operation.name == "barrier":
            for number, source in zip(operation.outputs, sources, strict=True):
                made_of[number] = _Source(source.values, reads | waits)
        elif operation.name in ON_THE_FLY and whole.isdisjoint(operation.outputs):
            made_of |= dict.fromkeys(operation.outputs, _Source(reads, waits))
        else:
            yield Step(operation, reads, waits, operation.outputs)


class _Source(NamedTuple):
    """What a value is made of when it is read, and what has to be there before it may be."""

    values: frozenset[int]
    waits: frozenset[int]


_NOTHING = _Source(frozenset(), frozenset())
