"""Input at speed: what travels, who reads, and that the next batch is on its way while the device is busy."""

import dataclasses
import io
import time

import jax
import jaxtyping
import numpy as np
import pytest
from rich.console import Console
from scaling import SOURCE, equations, experiment_of

from vaegan_jax.models import gan
from vaegan_jax.training import feeding, loop
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.config import TrainingConfig
from vaegan_jax.training.experiment import PLAY, step_of
from vaegan_jax.training.logging import Bar, Clock

MLP = gan.Config("mlp", latent_size=2, hidden_sizes=(4,))


@pytest.fixture
def untyped(monkeypatch):
    """For what stands in for arrays."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def experiment(**training):
    made = experiment_of(MLP, batch_size=12)
    how = TrainingConfig(feeding="stream", **training)
    return made._replace(config=dataclasses.replace(made.config, steps=5, training=how))


def test_a_batch_is_read_in_pieces_by_several_threads_and_is_the_same(monkeypatch):
    seen, read = [], feeding.read

    def counted(source, batch):
        seen.append(batch["index"].shape)
        return read(source, batch)

    fed = []
    for piece in (256, 5):
        monkeypatch.setattr(feeding, "PIECE", piece)
        monkeypatch.setattr(feeding, "read", counted)
        made = experiment(rounds_per_dispatch=3, readers=4)
        fed.append(feeding.feeder(made, SOURCE).feed(3))
    for name, leaf in fed[0].items():
        np.testing.assert_array_equal(leaf, fed[1][name])
    assert {shape for shape in seen if shape[0] <= 5} == {(5,), (4,)}  # 24 examples of two moves


def test_pixels_travel_as_bytes_and_become_numbers_on_the_device():
    made = experiment(rounds_per_dispatch=2)
    batch = feeding.feeder(made, SOURCE).feed(2)
    assert batch["image"].dtype == np.uint8
    state = state_shapes(made)
    one = jax.tree.map(lambda leaf: leaf[0], batch)
    traced = jax.make_jaxpr(step_of(made))(state, one, made.key(PLAY), {})
    casts = [step for step in equations(traced.jaxpr) if step.primitive.name == "convert_element_type"]
    converted = [step.invars[0].aval for step in casts]
    assert any(value.dtype == np.uint8 and value.shape == batch["image"].shape[1:] for value in converted)


class Row:
    """A metric of a dispatch, which notes when it is waited for."""

    def __init__(self, events, number):
        self.events, self.number = events, number

    def __array__(self, dtype=None, copy=None):
        self.events.append(f"wait {self.number}")
        return np.zeros(1)

    def is_ready(self):
        return False

    def block_until_ready(self):
        return self


def test_the_next_batch_is_sent_before_anyone_waits_for_the_device(monkeypatch, untyped):
    """It travels while the device is busy with the one before: `jax.jit` returns at once, and copies meanwhile."""
    events, made = [], experiment(rounds_per_dispatch=1, log_interval_steps=50)
    monkeypatch.setattr(loop, "finite_values", lambda _, first, count, metrics: events.append(f"wait {first}") or {})
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: tree)

    def feed(count):
        events.append("feed")
        return {}

    def dispatch(state, batch, count):
        events.append(f"send {state}")
        return state + 1, {"loss": Row(events, state)}

    list(loop._stretches(made, dispatch, feed, 0, 0, [], None))
    assert events[:6] == ["feed", "send 0", "feed", "send 1", "wait 0", "wait 1"]  # which are timed
    assert events[6:13] == ["feed", "send 2", "feed", "send 3", "wait 2", "feed", "send 4"]


def test_time_waiting_for_a_stream_is_told_above_five_percent():
    clock = Clock(0)
    clock._begun -= 1.0  # a second ago
    clock._waited = 0.04
    few = clock.told(10, 8)
    clock._waited = 0.25
    many = clock.told(10, 8)
    assert 0.03 < few["data_wait"] < 0.05 < 0.2 < many["data_wait"] < 0.26
    told = io.StringIO()
    with Bar(Console(file=told, width=200), 0, 10, 8) as bar:
        bar.advance(10)
        bar.tell({"discriminator/loss": 1.0, **few})
        bar.tell({"discriminator/loss": 1.0, **many})
    first, second = told.getvalue().splitlines()
    assert "waiting" not in first and "waiting for data 25%" in second


@pytest.mark.parametrize("busy", [True, False])
def test_reading_counts_as_waiting_only_where_the_device_has_nothing_to_do(busy, untyped):
    clock = Clock(0)

    class Metric:
        def is_ready(self):
            return not busy

    clock.feed(lambda: time.sleep(0.02), {"loss": Metric()})
    assert (clock._waited > 0.01) == (not busy)
