"""A signal ends the round and saves, and the run goes on exactly as if it had never come."""

import os
import signal

import pytest
from commands import VAE, done, vaegan
from runs import ONE, STEPS, UNEVEN, assert_same, facts, saved

from vaegan_jax.training import loop, writing

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(autouse=True)
def usual_handlers():
    """As in a terminal: a suite that is started in the background may ignore Ctrl-C."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupt(monkeypatch, number, at, times=1):
    """Sends this process the signal when round `at` is done, in the middle of a stretch."""
    advance, sent = writing.Bar.advance, []

    def advance_and_send(self, done):
        advance(self, done)
        while done >= at and len(sent) < times:
            sent.append(done)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(writing.Bar, "advance", advance_and_send)


@pytest.mark.parametrize("number, code, at", [(signal.SIGINT, 130, 7), (signal.SIGTERM, 143, 11)])
def test_a_signal_ends_the_round_saves_and_tells_how_to_go_on(number, code, at, whole, data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, number, at)
        outcome = vaegan("train", *VAE, *ONE, *UNEVEN, "--data", data, "--steps", STEPS, "--run", run)
    reached = facts(run)["step"]
    told = f"vaegan: stopped after round {reached} of {STEPS}, saved; to go on: vaegan resume {run}\n"
    assert (outcome.code, outcome.err) == (code, told)
    assert at <= reached < at + 4 and saved(run)[-1] == reached
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
    done("resume", run)
    assert_same(run, whole(VAE, ONE))


def test_a_signal_between_two_stretches_is_not_lost(whole, data, tmp_path, monkeypatch):
    """It comes when the loop has just looked, and found that round 3 need not be saved."""
    run, due = tmp_path / "run", writing.due

    def due_and_send(interval, done, steps):
        answer = due(interval, done, steps)
        if (interval, done) == (5, 3):
            os.kill(os.getpid(), signal.SIGTERM)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(writing, "due", due_and_send)
        outcome = vaegan("train", *VAE, *ONE, *UNEVEN, "--data", data, "--steps", STEPS, "--run", run)
    assert outcome.code == 143 and "stopped after round 3 of 20, saved" in outcome.err
    assert facts(run)["step"] == 3
    done("resume", run)
    assert_same(run, whole(VAE, ONE))


@pytest.mark.parametrize("reached", [0, 8])
def test_a_signal_cuts_an_evaluation_short_and_its_round_is_saved(reached, data, tmp_path, monkeypatch):
    from vaegan_jax.evaluation import scoring

    def wait(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the evaluation has gone on")

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "evaluate" if reached else "prepared", wait)
        words = ["train", *VAE, *ONE, "--data", data, "--steps", STEPS, "--run", run, "--evaluate-every", 8]
        outcome = vaegan(*words, "--evaluation.features", "pixels")
    assert outcome.code == 143 and f"stopped after round {reached} of {STEPS}, saved" in outcome.err
    assert ("what is measured after round 8 is not complete" in outcome.out) == bool(reached)
    assert facts(run)["step"] == reached and saved(run)[-1] == reached


def test_the_second_ctrl_c_stops_at_once_and_loses_only_what_was_not_saved(whole, data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGINT, 7, times=2)
        outcome = vaegan("train", *VAE, *ONE, *UNEVEN, "--data", data, "--steps", STEPS, "--run", run)
    assert (outcome.code, outcome.err) == (130, "vaegan: stopped\n")
    assert facts(run)["step"] == 5
    done("resume", run)
    assert_same(run, whole(VAE, ONE))


@pytest.mark.parametrize(("patience", "most"), [(1e9, 3), (1e-9, 1)])
def test_a_dispatch_has_no_more_rounds_than_its_time_allows(patience, most, whole, data, tmp_path, monkeypatch):
    """So that a signal need not wait for many rounds of a large model; the run is the same however it is cut."""
    run, counts, feeder = tmp_path / "run", [], loop.feeder

    def noting(*args):
        fed = feeder(*args)
        return fed._replace(feed=lambda count: counts.append(count) or fed.feed(count))

    with monkeypatch.context() as patch:
        patch.setattr(loop, "PATIENCE_SECONDS", patience)
        patch.setattr(loop, "feeder", noting)
        done("train", *VAE, *ONE, *UNEVEN, "--data", data, "--steps", STEPS, "--run", run)
    assert counts[0] == 1 and max(counts[2:]) == most and sum(counts) == STEPS  # rounds are told of by threes
    assert_same(run, whole(VAE, ONE))
