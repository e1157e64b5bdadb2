"""How fast it goes, how long the device waits for data, and what people are told of it."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from vaegan_jax.training import logging
from vaegan_jax.training.logging import Bar, Clock


class Time:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now


@pytest.fixture
def time(monkeypatch):
    time = Time()
    monkeypatch.setattr(logging, "time", time)
    return time


def busy(ready):
    return {"loss": SimpleNamespace(is_ready=lambda: ready), "norm": SimpleNamespace(is_ready=lambda: True)}


def test_only_the_time_in_which_the_device_has_nothing_to_do_is_waiting(time, monkeypatch):
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)

    def read(seconds):
        time.now += seconds
        return {"index": np.zeros(1)}

    clock = Clock(40)
    clock.feed(lambda: read(2.0), None)  # nothing has been sent yet
    clock.feed(lambda: read(3.0), busy(ready=False))  # the device works on
    clock.feed(lambda: read(1.0), busy(ready=True))
    time.now += 4.0
    assert clock.told(60, 16) == {"images_per_second": 20 * 16 / 10, "data_wait": (2 + 1) / 10}


def lines(waits, time):
    told = io.StringIO()
    bar = Bar(Console(file=told, width=200), 0, 100, 617)
    for done, wait in waits:
        time.now += 6
        bar.advance(done)
        bar.tell({"images_per_second": 1234.0, "data_wait": wait, "vae/loss": 3.5, "vae/gradient": 9.0})
    return told.getvalue().splitlines()


def test_waiting_for_data_is_told_above_five_percent(time):
    little, much = lines([(10, 0.05), (20, 0.12)], time)
    assert little == "round 10 of 100  0:00:45 left  1,234 images/s  vae 3.5 (gradient 9)"
    assert much == "round 20 of 100  0:00:40 left  1,234 images/s  vae 3.5 (gradient 9)  waiting for data 12%"


def test_the_largest_singular_value_stays_on_the_line_until_it_is_watched_again(time):
    speed, spectra = {"images_per_second": 1234.0, "data_wait": 0.0}, {"sigma/a": 2.5, "sigma/b": 3.251}
    told = io.StringIO()
    bar = Bar(Console(file=told, width=200), 0, 100, 617)
    for row in (speed, speed | spectra | {"sigma_ratio/a": 9.0}, speed):
        time.now += 6
        bar.tell(row)
    bar.advance(0)
    time.now += 6
    bar.tell(speed | {"memory/device_gib": 12.34})
    ends = [line.partition("images/s")[2] for line in told.getvalue().splitlines()]
    assert ends == ["", "  sigma 3.25", "  sigma 3.25", "  sigma 3.25  12.3 GiB"]
    bar.advance(50)
    bar.advance(10)  # as after a rollback
    time.now += 6
    bar.tell(speed)
    assert told.getvalue().splitlines()[-1].endswith("images/s")
