"""A dispatch is one compiled program, which holds every move of its rounds and never speaks to the host."""

import contextlib

import jax
import numpy as np
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.models import CONFIGS
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.experiment import PLAY, assemble, step_of
from vaegan_jax.training.feeding import feeder
from vaegan_jax.training.parallel import LIFTS, rounds

pytestmark = pytest.mark.usefixtures("compiled_quickly")
ROUNDS = 2
COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compilations():
    """The programs that are compiled within."""
    seen = []

    def listen(event, duration, **facts):
        if event == COMPILED:
            seen.append(facts.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


def setup():
    """A linear critic of five moves under a gradient penalty: a step, its state, and its inputs, on the host first."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1), dtype=np.uint8)
    model = CONFIGS["wgan-gp"]("mlp", 3, "uniform", hidden_sizes=(), discriminator_norm="none")
    training = TrainingConfig(rounds_per_dispatch=ROUNDS)
    source = ArraySource({"image": pixels})
    experiment = assemble(RunConfig(model, steps=9, batch_size=8, training=training), source.spec)
    lift, fed = LIFTS["sharded"](rounds(step_of(experiment), ROUNDS), jax.devices()[:1]), feeder(experiment, source)
    state, store, key = (lift.place(tree) for tree in (first_state(experiment), fed.store, experiment.key(PLAY)))
    return lift.step, state, (fed.feed(ROUNDS), np.int32(ROUNDS)), (key, store)


def test_five_moves_of_the_critic_and_one_of_the_generator_are_one_program_without_a_transfer():
    step, state, host, rest = setup()
    placed = jax.device_put(host)
    assert "callback" not in str(jax.make_jaxpr(step)(state, *placed, *rest))  # these pass the guard
    with jax.transfer_guard("disallow"), compilations() as compiled:
        state, _ = step(state, *placed, *rest)
        assert len(compiled) == 1
        state, metrics = step(state, *placed, *rest)
        assert len(compiled) == 1
        with pytest.raises(Exception, match="[Dd]isallow"):  # or the guard would watch nothing here
            step(state, *host, *rest)
    assert metrics["discriminator/penalty"].shape == (ROUNDS,)
    counts = {name: int(opt[0].count) for name, opt in state.opt.items()}
    assert counts == {"discriminator": 2 * ROUNDS * 5, "generator": 2 * ROUNDS}
