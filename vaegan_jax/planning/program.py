"""A traced computation as a flat list of operations on numbered values: what is counted and what takes memory.

Calls, custom derivatives and rematerialized parts are opened where they stand; loops and branches keep their bodies. As
XLA does, operations whose results nobody needs are dropped, and equal ones on equal inputs become one. What
rematerialization computes again stays twice: its inputs pass a barrier.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
"""Primitives that are what is in them."""
REMATERIALIZED = ("checkpoint", "remat", "remat2")
RENAMINGS = (
    *("reshape", "squeeze", "expand_dims", "copy", "copy_p", "stop_gradient", "bitcast_convert_type"),
    *("random_wrap", "random_unwrap", "random_clone", "pvary", "sharding_constraint", "optimization_barrier"),
)
"""Primitives whose result is their input in other words: no operation, and no memory."""


class Value(NamedTuple):
    """An array: its shape, and the bytes of an element."""

    shape: tuple[int, ...]
    itemsize: int
    floating: bool

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self.size * self.itemsize


class Operation(NamedTuple):
    """What is done: values in, values out, by their numbers."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: Mapping[str, Any]
    bodies: tuple["Program", ...] = ()
    """Of a loop or of branches; their inputs are this operation's last ones, in order."""
    times: int = 1
    """How often the body is played: the length of a loop; 1 where that is not known."""


class Program(NamedTuple):
    """Operations in the order of the trace; values are numbered."""

    operations: tuple[Operation, ...]
    values: Mapping[int, Value]
    roots: Mapping[int, int]
    """Of a value that is another one in other words, that one's number."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def root(self, number: int) -> int:
        """The value that this one is, as it was computed."""
        return self.roots.get(number, number)


def flat(closed: core.ClosedJaxpr) -> Program:
    """The program of a jaxpr, without what nobody needs and with nothing twice."""
    writer = _Writer()
    inputs = tuple(writer.value(var.aval) for var in closed.jaxpr.invars)
    outputs = writer.play(closed.jaxpr, closed.consts, inputs)
    kept, roots = _once(_needed(writer, outputs), writer)
    return Program(tuple(kept), writer.values, roots, inputs, outputs)


class _Writer:
    def __init__(self):
        self.operations: list[Operation] = []
        self.values: dict[int, Value] = {}
        self.roots: dict[int, int] = {}
        self._literals: dict[Any, int] = {}

    def value(self, aval: Any) -> int:
        return self._made(_value(aval))

    def _literal(self, atom: Any) -> int:
        key = (str(atom.aval), repr(atom.val))
        if key not in self._literals:
            self._literals[key] = self.value(atom.aval)
        return self._literals[key]

    def play(self, jaxpr: core.Jaxpr, consts: Any, inputs: tuple[int, ...]) -> tuple[int, ...]:
        known: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        for var in jaxpr.constvars:
            known[var] = self.value(var.aval)

        def read(atom: Any) -> int:
            return self._literal(atom) if isinstance(atom, core.Literal) else known[atom]

        for eqn in jaxpr.eqns:
            results = self._equation(eqn, tuple(read(atom) for atom in eqn.invars))
            known |= dict(zip(eqn.outvars, results, strict=True))
        return tuple(read(atom) for atom in jaxpr.outvars)

    def _equation(self, eqn: Any, inputs: tuple[int, ...]) -> tuple[int, ...]:
        name, params = eqn.primitive.name, eqn.params
        if name in CALLS:
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            return self._open(inner, inputs)
        if name in REMATERIALIZED:
            return self._open(params["jaxpr"], self._behind(inputs))
        if name in RENAMINGS and len(inputs) == len(eqn.outvars):
            return tuple(self._renamed(number, var.aval) for number, var in zip(inputs, eqn.outvars, strict=True))
        outputs = tuple(self.value(var.aval) for var in eqn.outvars)
        bodies, times = _bodies(name, params)
        self.operations.append(Operation(name, inputs, outputs, params, bodies, times))
        return outputs

    def _renamed(self, number: int, aval: Any) -> int:
        new = self.value(aval)
        self.roots[new] = self.roots.get(number, number)
        return new

    def _made(self, value: Value) -> int:
        self.values[len(self.values)] = value
        return len(self.values) - 1

    def _open(self, inner: Any, inputs: tuple[int, ...]) -> tuple[int, ...]:
        return self.play(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)

    def _behind(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The same values where nothing computed of them is known, and once all are there: so JAX has it lowered."""
        new = tuple(self._made(self.values[number]) for number in numbers)
        self.operations.append(Operation("barrier", numbers, new, {"place": new}))
        return new


def _value(aval: Any) -> Value:
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return Value((*aval.shape, 2), 4, False)  # threefry's two words
    return Value(tuple(aval.shape), aval.dtype.itemsize, bool(jax.numpy.issubdtype(aval.dtype, np.inexact)))


def _bodies(name: str, params: Mapping[str, Any]) -> tuple[tuple[Program, ...], int]:
    if name == "scan":
        return (flat(params["jaxpr"]),), params["length"]
    if name == "while":
        return (flat(params["body_jaxpr"]),), 1
    if name == "cond":
        return tuple(flat(branch) for branch in params["branches"]), 1
    return (), 1


def _needed(writer: _Writer, outputs: tuple[int, ...]) -> list[Operation]:
    """Those that an output is made of."""
    wanted, kept = {writer.roots.get(number, number) for number in outputs}, []
    for operation in reversed(writer.operations):
        if not wanted.isdisjoint(operation.outputs):
            wanted.update(writer.roots.get(number, number) for number in operation.inputs)
            kept.append(operation)
    return kept[::-1]


def _once(operations: list[Operation], writer: _Writer) -> tuple[list[Operation], dict[int, int]]:
    """Operations of which no two are equal, and what each value is, in other words."""
    same: dict[int, int] = {}
    seen: dict[Any, tuple[int, ...]] = {}
    kept = []

    def root(number: int) -> int:
        number = writer.roots.get(number, number)
        return same.get(number, number)

    for operation in operations:
        shapes = tuple(writer.values[number] for number in (*operation.inputs, *operation.outputs))
        told = str(sorted(operation.params.items(), key=lambda item: item[0])) if not operation.bodies else ""
        key = (operation.name, tuple(map(root, operation.inputs)), shapes, told)
        if not operation.bodies and key in seen:
            same |= dict(zip(operation.outputs, seen[key], strict=True))
        else:
            seen[key] = operation.outputs
            kept.append(operation)
    return kept, {number: root(number) for number in writer.values if root(number) != number}
