"""What a split state takes and sends is told as XLA compiles it for four devices: to the byte."""

import re

import jax
import numpy as np
import pytest

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.models import CONFIGS
from vaegan_jax.planning.chips import CHIPS
from vaegan_jax.planning.communication import all_gather, collectives
from vaegan_jax.planning.memory import peak
from vaegan_jax.planning.plan import plan, size, state_memory
from vaegan_jax.planning.tracing import batch_of, trace
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, step_of
from vaegan_jax.training.parallel import layout, mesh_of, split_between

DEVICES = 4
QUICK = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
WIDE = {"network": "mlp", "hidden_sizes": (64, 64), "latent_size": 4}
CASES = [
    pytest.param("gan", 8, 1024, WIDE, id="gan"),
    pytest.param("gan", 8, 1024, WIDE | {"discriminator_moves": 3}, id="gan, 3 moves of D", marks=pytest.mark.slow),
    pytest.param("biggan", 32, 16, {"latent_size": 80, "width": 8}, id="biggan", marks=pytest.mark.slow),
]


def compiled(experiment, state):
    """A round as `parallel.sharded` has it on four devices."""
    devices, shard = jax.devices()[:DEVICES], experiment.config.shard
    over = experiment.config.shard_over
    mesh = mesh_of(devices, over)
    where = layout(state, mesh, shard)
    same, split = (jax.NamedSharding(mesh, jax.P(*axes)) for axes in ((), (None, None, mesh.axis_names)))
    ways = {"in_shardings": (where, split, same, same), "out_shardings": (where, same)}
    step = jax.jit(split_between(step_of(experiment), mesh, shard), **ways, donate_argnums=0, keep_unused=True)
    key = jax.eval_shape(lambda: experiment.key(PLAY))
    return step.lower(state, batch_of(experiment), key, {}).compile(compiler_options=QUICK)


def results(program, operation):
    """Bytes of the float results of all collectives of a kind."""
    return sum(
        4 * int(np.prod([int(side) for side in sides.split(",") if side] or [1]))
        for line in re.findall(rf"= (.*?) {operation}\(", program.as_text())
        for sides in re.findall(r"f32\[([\d,]*)\]", line)
    )


@pytest.mark.parametrize(
    ("shard", "over"), [("optimizer", 4), ("all", 4), pytest.param("all", 2, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("model", "side", "batch", "fields"), CASES)
def test_a_split_state_takes_and_sends_what_is_told(model, side, batch, fields, shard, over):
    config = RunConfig(
        CONFIGS[model](**fields),
        batch_size=batch,
        devices=DEVICES,
        shard=shard,
        shard_over=over,
        training=TrainingConfig(rounds_per_dispatch=1),
    )
    spec = DataSpec("made up", (side, side, 3), 10)
    traced, made = trace(config, spec, "cpu", DEVICES), plan(config, spec, CHIPS["h100"])
    program, examples = compiled(traced.experiment, traced.state), batch // DEVICES
    held, found = state_memory(traced.experiment, traced.state, DEVICES), program.memory_analysis()
    between = held.state - held.whole  # what is whole within a round is no argument of it
    assert found.argument_size_in_bytes == between - held.batch // 2 + 8
    assert found.alias_size_in_bytes == between - held.batch < size(traced.state) * (1 / over + 0.25)
    taken = peak(traced.at(examples), cpu=True) + held.whole
    assert 0.7 < taken / found.temp_size_in_bytes < 1.3

    gathered = results(program, "all-gather")
    assert made.sent.gathered == all_gather(gathered, over) and gathered > 0
    assert not results(program, "all-to-all") and not results(program, "collective-permute")
    # XLA sums the gradients of real and fake scores apart, and a kernel's before it is cut to its size.
    summed, _ = collectives(traced.at(examples))
    assert summed <= results(program, "all-reduce") < 2 * summed
