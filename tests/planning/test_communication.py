"""What is sent in a round, by hand for a small game, and as XLA compiles it for four devices."""

import re

import jax
import numpy as np
import pytest

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.games import AXIS
from vaegan_jax.models import CONFIGS
from vaegan_jax.planning.chips import CHIPS
from vaegan_jax.planning.communication import all_gather, all_reduce, collectives
from vaegan_jax.planning.plan import plan, size
from vaegan_jax.planning.tracing import batch_of, trace
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, step_of

GRAY = DataSpec("made up", (4, 4, 1))
PARAMETERS = {"generator": 3 * 8 + 8 + 8 * 16 + 16, "discriminator": 16 * 8 + 8 + 8 * 1 + 1}
"""Dense layers from 3 to 8 to 16 pixels, and from those to 8 to 1."""
METRICS = range(4, 12)
"""Two losses, D(real), D(fake), and what else a run tells of them."""


def config(devices=4, micro_batches=1, **fields):
    model = CONFIGS["gan"](network="mlp", hidden_sizes=(8,), latent_size=3, **fields)
    training = TrainingConfig(micro_batches, rounds_per_dispatch=1, ema_halflife_kimg=0.0)
    return RunConfig(model, batch_size=8, devices=devices, training=training)


@pytest.mark.parametrize("devices", [2, 4, 128])
def test_a_ring_sends_its_formula(devices):
    """Each of n devices passes n - 1 parts of s / n twice: to sum them up, and to have them everywhere."""
    parts = np.full(devices - 1, 1000 / devices)
    assert all_gather(1000, devices) == pytest.approx(parts.sum())
    assert all_reduce(1000, devices) == pytest.approx(2 * parts.sum())


def test_a_small_gan_sends_its_gradients_and_its_metrics():
    made = plan(config(), GRAY, CHIPS["h100"])
    gradients = 4 * sum(PARAMETERS.values())
    assert made.sent.gradients == pytest.approx(2 * 3 / 4 * gradients)
    assert made.sent.statistics / (2 * 3 / 4 * 4) in METRICS and made.sent.gathered == 0
    assert made.memory.parameters == gradients
    alone = plan(config(1), GRAY, CHIPS["h100"])
    assert alone.sent.total == 0 and alone.flops.products == pytest.approx(made.flops.products)


def test_moves_and_networks_count_as_often_as_they_play():
    twice = plan(config(discriminator_moves=2), GRAY, CHIPS["h100"])
    moves = 2 * PARAMETERS["discriminator"] + PARAMETERS["generator"]
    assert twice.sent.gradients == pytest.approx(2 * 3 / 4 * 4 * moves)


def test_xla_reduces_as_many_bytes_on_four_devices_as_are_told():
    """`sharded` with batch norms: sums that XLA finds by itself, against the means that the engine asks for.

    XLA:CPU sums the gradient of a kernel over the devices twice where it has two parts, of D(real) and of D(fake).
    """
    asked = config(generator_norm="batch")
    traced = trace(asked, GRAY, "cpu", 4)
    summed, gathered = collectives(traced.at(2))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), (AXIS,))
    same, split = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in ((), (None, None, AXIS))
    )
    experiment = traced.experiment
    jitted = jax.jit(step_of(experiment), in_shardings=(same, split, same, same), out_shardings=same)
    key = jax.eval_shape(lambda: experiment.key(PLAY))
    text = jitted.lower(traced.state, batch_of(experiment), key, {}).compile().as_text()
    reduced = sum(
        4 * int(np.prod([int(side) for side in sides.split(",") if side] or [1]))
        for line in re.findall(r"= (.*?) all-reduce\(", text)
        for sides in re.findall(r"f32\[([\d,]*)\]", line)
    )
    assert gathered == 0 and 0 <= reduced - summed <= 1.05 * 4 * PARAMETERS["discriminator"]
    assert summed > 4 * sum(PARAMETERS.values()) == size(traced.state.params) - 4 * 8
