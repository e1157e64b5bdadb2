"""The round of a configuration as one device plays it, traced from shapes: nothing is allocated, nothing compiled.

A trace takes a second or some, so one serves every number of examples: it is made with a number that nothing else has
in it, and scaled to those that are asked for.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.games import AXIS, POOL, State
from vaegan_jax.networks.convolution import traced_for
from vaegan_jax.planning.program import Program, Value, flat
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import PLAY, Experiment, assemble, step_of

PRIME = 7919
PROBE = 64 * PRIME
"""Examples of a micro-batch in a trace: what they count is what divides by the prime."""


class Traced(NamedTuple):
    """A round of one device, and the state that it changes."""

    experiment: Experiment
    """As configured, for all devices."""
    state: State
    """Shapes, whole."""
    program: Program
    examples: int
    """Of a micro-batch in the program."""

    def at(self, examples: int) -> Program:
        """The program with so many examples in a micro-batch. ValueError for a pool of images, which has one size."""
        if examples == self.examples:
            return self.program
        if self.examples % PRIME:
            raise ValueError("a round with a pool of images is traced anew for another batch")
        return scaled(self.program, examples, self.examples)


def trace(config: RunConfig, spec: DataSpec, platform: str = "tpu", devices: int = 1) -> Traced:
    """The round that each of so many devices plays on a platform: "cpu", "gpu" or "tpu". UserError as `assemble`."""
    whole = assemble(config, spec)
    parts = config.training.micro_batches
    state = state_shapes(whole)
    pooled = any(POOL in tree for tree in state.stats.values())
    examples = config.batch_size // devices // parts if pooled else PROBE
    alone = replace(config, batch_size=examples * parts, devices=1, parallel="sharded", shard="none", shard_over=0)
    own = whole._replace(config=alone)
    key = jax.eval_shape(lambda: own.key(PLAY))
    axes = [(AXIS, devices)] if devices > 1 and not pooled else []
    with traced_for(platform):
        made = jax.make_jaxpr(step_of(own), axis_env=axes)(state, batch_of(own), key, {})
    return Traced(whole, state, flat(made), examples)


def batch_of(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a round's batch as it is sent to the devices: uint8 images, labels if there are any, positions."""
    shape, spec = experiment.batch_shape, experiment.spec
    leaves: dict[str, tuple[tuple[int, ...], Any]] = {"image": (spec.image_shape, jnp.uint8), "position": ((), "int32")}
    leaves |= {"label": ((), "int32")} if spec.classes else {}
    return {name: jax.ShapeDtypeStruct((*shape, *rest), kind) for name, (rest, kind) in leaves.items()}


def scaled(program: Program, examples: int, traced: int) -> Program:
    """A program traced with a number of examples that has the prime in it, as it is with another number."""

    def side(length: int) -> int:
        return length if length == 0 or length % PRIME else max(length * examples // traced, 1)

    def value(of: Value) -> Value:
        return of._replace(shape=tuple(map(side, of.shape)))

    operations = tuple(
        operation._replace(bodies=tuple(scaled(body, examples, traced) for body in operation.bodies))
        for operation in program.operations
    )
    return program._replace(operations=operations, values={n: value(of) for n, of in program.values.items()})


def flops_by_xla(config: RunConfig, spec: DataSpec) -> float:
    """XLA's own count of a round on all devices, of the lowered program, before it is optimized.

    It has one operation for each element of integers, comparisons and choices as well, transcendental functions apart,
    and counts the body of a loop once, whatever its length.
    """
    experiment = assemble(replace(config, devices=1, shard="none", shard_over=0), spec)
    state, key = state_shapes(experiment), jax.eval_shape(lambda: experiment.key(PLAY))
    lowered = jax.jit(step_of(experiment)).lower(state, batch_of(experiment), key, {})
    return float(lowered.cost_analysis()["flops"])
