"""What a device sends in a round, by the ring formula.

In a ring of n devices an all-reduce of s bytes sends 2 (n - 1) / n s from each of them, a reduce-scatter or an
all-gather, whose whole is s, half of that (Patarasuk & Yuan 2009, section 4). What is reduced is read off the round as
`pmapped` has it, where the engine asks for every mean: gradients, statistics of batches and their gradients, metrics.
`sharded` leaves that to XLA, which needs the same sums; it may take some in parts, the gradients of a kernel that is
applied twice, or those of each micro-batch, and sums those of a 4 x 4 kernel that resampling makes of a 3 x 3.
"""

from collections.abc import Sequence
from typing import NamedTuple

from vaegan_jax.planning.program import Program
from vaegan_jax.training.config import Shard

ALL_REDUCES = ("psum", "psum_invariant", "pmax", "pmin")
GATHERS = ("all_gather", "all_gather_invariant", "all_to_all", "ppermute")


class Sent(NamedTuple):
    """Bytes that each device sends in a round."""

    gradients: float
    """All-reduced, or reduced and scattered where optimizers are split."""
    statistics: float
    """Of batch norms and their gradients, of running statistics and of metrics."""
    gathered: float
    """Examples that look at all others, and what is split over the devices and needed whole."""

    @property
    def total(self) -> float:
        """All together."""
        return self.gradients + self.statistics + self.gathered


def all_reduce(size: int, devices: int) -> float:
    """Bytes that each of a ring sends to sum `size` bytes."""
    return 2 * (devices - 1) / devices * size


def all_gather(size: int, devices: int) -> float:
    """Bytes that each of a ring sends to have `size` bytes whole, or to reduce and scatter them."""
    return (devices - 1) / devices * size


def collectives(program: Program) -> tuple[int, int]:
    """Bytes that are summed over the devices in one play, and bytes that are gathered from them."""
    summed = gathered = 0
    for operation in program.operations:
        if operation.bodies:
            inner = [collectives(body) for body in operation.bodies]
            summed += operation.times * max(pair[0] for pair in inner)
            gathered += operation.times * max(pair[1] for pair in inner)
        size = sum(program.values[number].bytes for number in operation.outputs)
        summed += size * (operation.name in ALL_REDUCES)
        gathered += size * (operation.name in GATHERS)
    return summed, gathered


def sent(
    program: Program, gradients: int, moved: Sequence[int], split: int, devices: int, shard: Shard, over: int
) -> Sent:
    """What a round sends: `gradients` are bytes of all moves' gradients, `moved` those of each move that are of split
    leaves, `split` bytes of all parameters that are split, each over `over` of the devices.

    Gradients of split leaves are reduced and scattered (XLA:CPU, which cannot, sums them everywhere and takes parts),
    and of `devices / over` copies the parts are reduced.
    With shard "optimizer" what a move has updated is gathered after it; with "all" everything is at the beginning of
    the round, and after each move but the last.
    """
    if devices == 1:
        return Sent(0.0, 0.0, 0.0)
    summed, gathered = collectives(program)
    rest = all_reduce(max(summed - gradients, 0), devices)
    apart = all_gather(gathered, devices)
    if shard == "none":
        return Sent(all_reduce(gradients, devices), rest, apart)
    again = sum(moved) if shard == "optimizer" else split + sum(moved[:-1])
    scattered = all_gather(sum(moved), over) + all_reduce(sum(moved) // over, devices // over)
    return Sent(all_reduce(gradients - sum(moved), devices) + scattered, rest, apart + all_gather(again, over))
