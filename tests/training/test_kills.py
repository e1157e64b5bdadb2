"""Runs in processes of their own: one writes while others read, and however it ends, the run goes on exactly."""

import os
import random
import signal
import time

import pytest
from commands import GAN, SMALL, VAE, done, ended, refused
from runs import DCGAN, ONE, PMAPPED, SHARDED, UNEVEN, assert_same, facts, saved

LONG = [
    *(*VAE, *ONE, *SMALL, "--training.log-interval-steps", "7"),
    *("--training.sample-interval-steps", "0", "--training.keep-checkpoints", "2"),
]
OFTEN = ["--training.checkpoint-interval-steps", "10", "--steps", 10**6]
pytestmark = pytest.mark.usefixtures("compiled_once")


def wait_for(condition, process, seconds=120):
    """Waits until the condition holds; fails if the process ends before, or it takes too long."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


def assert_goes_on_exactly(run, data):
    """A little further it is where a run comes to that went there without a stop, and without a checkpoint."""
    steps = facts(run)["step"] + 15
    done("resume", run, "--steps", steps)
    whole = run.with_name("whole")
    seldom = ["--training.checkpoint-interval-steps", 0, "--steps", steps]
    done("train", *LONG, *seldom, "--data", data, "--run", whole)
    assert_same(run, whole)


@pytest.mark.slow
def test_one_writes_while_others_read_until_sigterm_ends_it(process, data, tmp_path):
    run = tmp_path / "run"
    train = process("train", *LONG, *OFTEN, "--data", data, "--run", run)
    wait_for(lambda: saved(run), train)
    assert f"is being written by another process (pid {train.pid})" in refused("resume", run)
    assert "exists already (to go on with it: vaegan resume" in refused("train", *LONG, "--data", data, "--run", run)
    reached = []
    for _ in range(5):
        told = facts(run)
        assert told["damage"] == []
        reached.append(told["step"])
    assert reached == sorted(reached)
    done("sample", run, "--count", 4, "--output", tmp_path / "samples.png")
    assert train.poll() is None
    train.send_signal(signal.SIGTERM)
    code, _, err = ended(train)
    step = facts(run)["step"]
    assert step > reached[0] > 0
    told = f"vaegan: stopped after round {step:,} of 1,000,000, saved; to go on: vaegan resume {run}\n"
    assert (code, err) == (143, told)
    assert_goes_on_exactly(run, data)


@pytest.mark.slow
def test_kill_9_again_and_again_changes_nothing(process, data, tmp_path):
    run, chance, reached = tmp_path / "run", random.Random(0), []
    command = ["train", *LONG, *OFTEN, "--data", data, "--run", run]
    for _ in range(3):
        training = process(*command)
        known = saved(run)
        wait_for(lambda known=known: saved(run) != known, training)
        time.sleep(chance.uniform(0, 0.3))
        training.kill()
        assert ended(training).code == -signal.SIGKILL
        reached.append(facts(run)["step"])
        command = ["resume", run]
    assert 0 < reached[0] < reached[1] < reached[2]
    assert_goes_on_exactly(run, data)  # and the locks went with the processes
    assert [path.name for path in (run / "checkpoints").iterdir() if not path.name.isdigit()] == []


KILLS = {
    "vae, two devices, some": pytest.param(VAE, SHARDED, 2, marks=pytest.mark.slow),
    "dcgan, some": pytest.param(DCGAN, ONE, 3, marks=pytest.mark.slow),
    "mlp gan, two devices, pmapped, some": pytest.param(GAN, PMAPPED, 3, marks=pytest.mark.soak),
    "vae": pytest.param(VAE, ONE, 8, marks=pytest.mark.soak),
    "vae, two devices": pytest.param(VAE, SHARDED, 7, marks=pytest.mark.soak),
    "dcgan": pytest.param(DCGAN, ONE, 8, marks=pytest.mark.soak),
    "mlp gan, two devices, pmapped": pytest.param(GAN, PMAPPED, 7, marks=pytest.mark.soak),
}
"""Models, devices and how many kills; those to soak are thirty together."""


@pytest.mark.parametrize("model, devices, kills", KILLS.values(), ids=KILLS)
def test_kills_at_any_moment_leave_identical_runs(model, devices, kills, process, data, tmp_path, capfd):
    """Each at a moment uniform over the length of the run, start-up and compilation included: nothing is cached."""
    chance, told = random.Random(len(model) + kills), []
    intervals = [
        *("--training.log-interval-steps", "7", "--training.checkpoint-interval-steps", "25"),
        *("--training.sample-interval-steps", "100"),
    ]
    train = ["train", *model, *devices, *UNEVEN, *intervals, "--data", data, "--steps", 400, "--run"]
    begun = time.monotonic()
    assert ended(process(*train, tmp_path / "whole", environment=os.environ)).code == 0
    length = time.monotonic() - begun
    for number in range(kills):
        run, moment = tmp_path / str(number), chance.uniform(0, length)
        training = process(*train, run, environment=os.environ)
        time.sleep(moment)
        training.kill()
        code = ended(training).code
        if not run.exists():
            told.append(f"{moment:.1f} s: before there was a run")
            assert ended(process(*train, run, environment=os.environ)).code == 0
        else:
            found = (
                "done" if code == 0 else f"checkpoints {saved(run)}" if saved(run) else "before the first checkpoint"
            )
            told.append(f"{moment:.1f} s: {found}")
            resumed = ended(process("resume", run, environment=os.environ))
            assert (resumed.code, resumed.err) == (0, "")
        assert_same(run, tmp_path / "whole")
    with capfd.disabled():
        print(f"\n{kills} kills in runs of {length:.1f} s: {'; '.join(told)}")
