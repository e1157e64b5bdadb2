"""How long a round takes on a chip: each operation the longer of its arithmetic and its traffic (Williams et al. 2009).

An operation that writes reads its written sources once and writes its result; all that is computed on the fly in it is
free. Products run at a stated share of the peak, memory and links at their full bandwidth; collectives overlap with the
rest, so that the longer of the two counts.
"""

from collections.abc import Iterator
from typing import NamedTuple

from vaegan_jax.planning.chips import Chip
from vaegan_jax.planning.flops import of
from vaegan_jax.planning.memory import written
from vaegan_jax.planning.program import Program


class Kernel(NamedTuple):
    """What is read and written at once."""

    products: int
    """Floating point operations in products."""
    bytes: int
    """Read and written."""
    narrow: bool
    """Whether the products are of bfloat16."""
    times: int


class Seconds(NamedTuple):
    """Of a round, on one device."""

    arithmetic: float
    """In operations that products hold up."""
    traffic: float
    """In operations that memory holds up."""
    links: float
    """In collectives."""

    @property
    def total(self) -> float:
        """Collectives are sent meanwhile."""
        return max(self.arithmetic + self.traffic, self.links)

    @property
    def limit(self) -> str:
        """What takes longest."""
        if self.links > self.arithmetic + self.traffic:
            return "interconnect"
        return "compute" if self.arithmetic >= self.traffic else "memory bandwidth"


def kernels(program: Program, times: int = 1) -> Iterator[Kernel]:
    """The operations that write, those in loops as often as they are played; of branches the last."""
    for step in written(program):
        operation = step.operation
        if operation.bodies:
            yield from kernels(operation.bodies[-1], times * operation.times)
            continue
        moved = sum(program.values[number].bytes for number in (*step.reads, *step.writes))
        narrow = any(program.values[number].itemsize < 4 for number in operation.inputs)
        yield Kernel(of(operation, program).products, moved, narrow, times)


def seconds(program: Program, chip: Chip, utilization: float, sent: float, devices: int) -> Seconds:
    """What a round takes where products reach `utilization` of the chip's peak, and each device sends `sent` bytes."""
    arithmetic = traffic = 0.0
    for kernel in kernels(program):
        computing = kernel.products / (utilization * (chip.bfloat16 if kernel.narrow else chip.float32))
        moving = kernel.bytes / chip.bandwidth
        if computing >= moving:
            arithmetic += kernel.times * computing
        else:
            traffic += kernel.times * moving
    return Seconds(arithmetic, traffic, sent / chip.reach(devices))
