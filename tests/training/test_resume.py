"""However a run is stopped, killed, damaged or starved of disk, it goes on exactly as if nothing had been.

Exactly: the sha256 of the whole state and every row of metrics.jsonl are those of the run that was left alone.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from itertools import pairwise
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from vaegan_jax import cli
from vaegan_jax.training import loop, writing
from vaegan_jax.training.checkpoint import Checkpoints

VAE = ["vae", "--model.hidden-sizes", "8", "--model.latent-size", "2"]
GAN = ["gan", "--model.network", "mlp", "--model.hidden-sizes", "8", "--model.latent-size", "2"]
DCGAN = ["gan", "--model.width", "4", "--model.latent-size", "2"]
ONE, SHARDED, PMAPPED = (
    ["--devices", "1"],
    ["--devices", "2", "--parallel", "sharded"],
    ["--devices", "2", "--parallel", "pmapped"],
)
# Intervals that divide neither each other nor the rounds of a dispatch; grids that are cheap to draw.
SMALL = [
    *("--batch-size", "8", "--training.rounds-per-dispatch", "4", "--training.sample-count", "4"),
    *("--training.log-interval-steps", "3", "--training.checkpoint-interval-steps", "5"),
    *("--training.sample-interval-steps", "8"),
]
STEPS = 20


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def vaegan(*words):
    """Runs a command in this process; an exception that would have been a traceback comes through."""
    out, err, code, before = io.StringIO(), io.StringIO(), 0, sys.argv
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["vaegan", *map(str, words)]
        try:
            cli.main()
        except SystemExit as exit:
            code = exit.code or 0
        finally:
            sys.argv = before
    return Outcome(code, out.getvalue(), err.getvalue())


def done(*words):
    outcome = vaegan(*words)
    assert outcome.code == 0, outcome.err
    return outcome.out


def refused(*words):
    """The one line with which a command ends that cannot be done."""
    code, _, err = vaegan(*words)
    assert code == 2 and err.startswith("vaegan: error: ") and err.count("\n") == 1, (code, err)
    return err


def facts(run):
    return json.loads(done("inspect", run, "--json"))


def sha256(run):
    return facts(run)["sha256"]["state"]


SPEED = ("images_per_second", "data_wait")
"""Metrics that are another each time."""


def rows(run):
    """The rows of metrics.jsonl by step, without how fast it went; each step is told once, in order."""
    told = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(a["step"] < b["step"] for a, b in pairwise(told))
    return {row["step"]: {name: value for name, value in row.items() if name not in SPEED} for row in told}


def assert_same(run, whole):
    """What `run` came to is what `whole` did; it may tell of more rounds, those that it was stopped after."""
    assert facts(run)["step"] == facts(whole)["step"]
    assert sha256(run) == sha256(whole)
    assert rows(run) | rows(whole) == rows(run)
    for picture in ("samples.png", *(f"samples/{path.name}" for path in (whole / "samples").glob("*.png"))):
        assert (run / picture).read_bytes() == (whole / picture).read_bytes()


def contents(folder):
    """Every file, with what is in it; but not who last held the lock."""
    paths = [path for path in sorted(folder.rglob("*")) if path.name != "lock"]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def saved(run):
    """The rounds of the checkpoints."""
    return sorted(int(path.name) for path in (run / "checkpoints").glob("[0-9]*") if path.name.isdigit())


def events(run):
    """(step, name, value) of all scalars in the event files, whose checksums must be right."""
    (path,) = (run / "events").iterdir()
    content, at, told = path.read_bytes(), 0, []
    while at < len(content):
        (length, check) = struct.unpack("<QI", content[at : at + 12])
        data, (of_data,) = content[at + 12 : at + 12 + length], struct.unpack_from("<I", content, at + 12 + length)
        assert masked_crc32c(content[at : at + 8]) == check and masked_crc32c(data) == of_data
        event = Event.FromString(data)
        told += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        at += 16 + length
    return told


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "compiled"


@pytest.fixture(scope="module", autouse=True)
def compiled(cache):
    """Programs are compiled once for all runs; JAX has started, so that no test makes devices for the others."""
    jax.devices()
    options = {"jax_compilation_cache_dir": str(cache), "jax_persistent_cache_min_compile_time_secs": 0}
    before = {name: getattr(jax.config, name) for name in options}
    for values in (options, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is options:
            yield


@pytest.fixture
def process(cache):
    """Starts `vaegan` in a process of its own, with the same compiled programs; none outlives the test."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    started = []

    def start(*words, environment=environment):
        command = [sys.executable, "-m", "vaegan_jax", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process, timeout=240):
    out, err = process.communicate(timeout=timeout)
    return Outcome(process.returncode, out, err)


def wait_for(condition, process, seconds=120):
    """Waits until the condition holds; fails if the process ends before, or it takes too long."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, image=np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """`whole(model, devices)`: a run that was left alone, trained once."""
    made = {}

    def of(model, devices):
        key = (*model, *devices)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("whole") / "run"
            done("train", *model, *devices, *SMALL, "--data", data, "--steps", STEPS, "--run", made[key])
        return made[key]

    return of


# In pieces


FAST = {"vae": (VAE, ONE), "vae, sharded": (VAE, SHARDED), "gan": (GAN, ONE), "gan, pmapped": (GAN, PMAPPED)}
SLOW = {
    "vae, pmapped": (VAE, PMAPPED),
    "gan, sharded": (GAN, SHARDED),
    "dcgan": (DCGAN, ONE),
    "dcgan, sharded": (DCGAN, SHARDED),
    "dcgan, pmapped": (DCGAN, PMAPPED),
}
ALL = [
    *(pytest.param(*setting, id=name) for name, setting in FAST.items()),
    *(pytest.param(*setting, id=name, marks=pytest.mark.slow) for name, setting in SLOW.items()),
]


@pytest.mark.parametrize("model, devices", ALL)
def test_a_run_in_pieces_is_the_run_in_one_piece(model, devices, whole, data, tmp_path):
    run = tmp_path / "run"
    done("train", *model, *devices, *SMALL, "--data", data, "--steps", 7, "--run", run)
    assert facts(run)["step"] == 7
    done("resume", run, "--steps", STEPS)
    assert_same(run, whole(model, devices))
    assert samples(run) == samples(whole(model, devices))
    averaged = any(path.startswith("averages.") for path in metadata(run))
    assert averaged == (model is not VAE)


def metadata(run):
    """The names of all arrays in the newest checkpoint."""
    tree = json.loads((run / "checkpoints" / str(saved(run)[-1]) / "state" / "_METADATA").read_text())
    return [entry["key_metadata"][0]["key"] for entry in tree["tree_metadata"].values()]


def test_a_run_that_is_done_stays_as_it_is(whole, tmp_path):
    shutil.copytree(whole(VAE, ONE), tmp_path / "run")
    before = contents(tmp_path / "run" / "checkpoints")
    done("resume", tmp_path / "run")
    assert contents(tmp_path / "run" / "checkpoints") == before
    assert_same(tmp_path / "run", whole(VAE, ONE))


def test_other_seeds_make_other_runs(whole, data, tmp_path):
    run = tmp_path / "run"
    done("train", *VAE, *ONE, *SMALL, "--data", data, "--steps", STEPS, "--run", run, "--seed", 1)
    assert sha256(run) != sha256(whole(VAE, ONE))


def test_as_many_checkpoints_are_kept_as_asked_for(data, tmp_path):
    run = tmp_path / "run"
    keep = ["--training.keep-checkpoints", 2]
    done("train", *VAE, *ONE, *SMALL, *keep, "--data", data, "--steps", 12, "--run", run)
    assert saved(run) == [10, 12]
    done("resume", run, "--steps", STEPS)
    assert saved(run) == [15, 20]


# Signals


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
        ended = vaegan("train", *VAE, *ONE, *SMALL, "--data", data, "--steps", STEPS, "--run", run)
    reached = facts(run)["step"]
    told = f"vaegan: stopped after round {reached} of {STEPS}, saved; to go on: vaegan resume {run}\n"
    assert (ended.code, ended.err) == (code, told)
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
        ended = vaegan("train", *VAE, *ONE, *SMALL, "--data", data, "--steps", STEPS, "--run", run)
    assert ended.code == 143 and "stopped after round 3 of 20, saved" in ended.err
    assert facts(run)["step"] == 3
    done("resume", run)
    assert_same(run, whole(VAE, ONE))


def test_the_second_ctrl_c_stops_at_once_and_loses_only_what_was_not_saved(whole, data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGINT, 7, times=2)
        ended = vaegan("train", *VAE, *ONE, *SMALL, "--data", data, "--steps", STEPS, "--run", run)
    assert (ended.code, ended.err) == (130, "vaegan: stopped\n")
    assert facts(run)["step"] == 5
    done("resume", run)
    assert_same(run, whole(VAE, ONE))


# One writer, many readers, and the end of a process


LONG = [
    *(*VAE, *ONE, "--batch-size", "8", "--training.rounds-per-dispatch", "4", "--training.sample-count", "4"),
    *(
        "--training.log-interval-steps",
        "7",
        "--training.sample-interval-steps",
        "0",
        "--training.keep-checkpoints",
        "2",
    ),
]
OFTEN = ["--training.checkpoint-interval-steps", "10", "--steps", 10**6]


def assert_goes_on_exactly(run, data):
    """A little further it is where a run comes to that went there without a stop, and without a checkpoint."""
    steps = facts(run)["step"] + 15
    done("resume", run, "--steps", steps)
    whole = run.with_name("whole")
    seldom = ["--training.checkpoint-interval-steps", 0, "--steps", steps]
    done("train", *LONG, *seldom, "--data", data, "--run", whole)
    assert_same(run, whole)


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


# What a crash leaves beyond the last checkpoint


def cut(run, after):
    """As if the process had died after all of its rounds were told of and before those `after` one were saved."""
    for step in saved(run):
        if step > after:
            shutil.rmtree(run / "checkpoints" / str(step))


def test_metrics_and_events_tell_every_round_once(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole(GAN, ONE), run)
    cut(run, after=10)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 21, "images": 336, "gen')
    (run / "samples" / "step-00000099.png").write_bytes(b"")
    assert facts(run)["metrics"]["step"] == 9
    done("resume", run)
    assert_same(run, whole(GAN, ONE))
    assert list(rows(run)) == [3, 6, 9, 12, 15, 18, 20]
    assert sorted(path.name for path in (run / "samples").iterdir()) == [f"step-{n:08d}.png" for n in (8, 16, 20)]
    told = {}
    for step, name, value in events(run):
        assert name not in told.setdefault(step, {})
        told[step][name] = value
    for step, row in rows(run).items():
        speed, wait = (told[step].pop(name) for name in SPEED)
        assert (
            speed > 0
            and 0 <= wait < 1
            and told[step] == {n: np.float32(value) for n, value in row.items() if n != "step"}
        )
    assert list(told)[-1] == 20 and set(told) - {0} == set(rows(run))


def test_metrics_and_events_are_cut_back_before_anything_is_trained(whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(whole(VAE, ONE), run)
    cut(run, after=10)

    def stop(*args):
        raise RuntimeError("stop here")

    monkeypatch.setattr(loop, "_stretches", stop)
    with pytest.raises(RuntimeError, match="stop here"):
        vaegan("resume", run)
    assert list(rows(run)) == [3, 6, 9]
    assert {step for step, *_ in events(run)} - {0} == {3, 6, 9}
    assert [path.name for path in (run / "samples").iterdir()] == ["step-00000008.png"]


def test_a_damaged_line_amid_the_metrics_is_told(whole, tmp_path):
    for number, damage in enumerate((b'{"step": 6,', b"{}", b"3", b"\xff\xfe", b'{"step": null}')):
        run = tmp_path / str(number)
        shutil.copytree(whole(VAE, ONE), run)
        lines = (run / "metrics.jsonl").read_bytes().splitlines()
        (run / "metrics.jsonl").write_bytes(b"\n".join([lines[0], damage, *lines[2:], b""]))
        for command in ("inspect", "resume") if number == 0 else ("inspect",):
            assert "metrics.jsonl, line 2, is damaged: mend it or move the file away" in refused(command, run)
        shutil.rmtree(run)


# Damage


def flip(content, at=0.5):
    """One bit of the byte at this part of the content turned over."""
    place = int(len(content) * at)
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


@pytest.fixture(scope="module")
def states(whole, tmp_path_factory):
    """By step, what is right to find in a run: the sha256 of its state, and samples from it."""
    known, run = {}, tmp_path_factory.mktemp("states") / "run"
    shutil.copytree(whole(VAE, ONE), run)
    for step in (20, 15):
        cut(run, after=step)
        known[step] = (sha256(run), samples(run))
    return known


def samples(run):
    done("sample", run, "--count", 4, "--output", run.with_name("samples.npz"))
    return np.load(run.with_name("samples.npz"))["image"].tobytes()


def data_files(run, step=20):
    folder = run / "checkpoints" / str(step)
    return [path.relative_to(run) for path in sorted(folder.rglob("*")) if path.is_file()]


def assert_reads_right(run, states):
    """Whatever was done to the newest checkpoint: readers find it whole, or the one before, and say which."""
    told = facts(run)
    assert told["sha256"]["state"] == states[told["step"]][0]
    assert len(told["damage"]) == (told["step"] != 20)
    assert all(line.startswith("checkpoint 20 is damaged: ") for line in told["damage"])
    return told["step"]


def test_a_flipped_bit_in_any_file_is_survived(whole, states, tmp_path):
    run, reached = tmp_path / "run", {}
    for file in data_files(whole(VAE, ONE)):
        shutil.copytree(whole(VAE, ONE), run)
        (run / file).write_bytes(flip((run / file).read_bytes()))
        reached[file] = assert_reads_right(run, states)
        if reached[file] == 15 or list(reached.values()) == [20]:
            out = done("resume", run)
            told = "checkpoint 20 is damaged" in out and "falling back to the checkpoint of round 15" in out
            assert told == (run / "damaged" / "20-0").exists() == (reached[file] == 15)
            after = facts(run)
            assert after["sha256"]["state"] == states[20][0] and after["damage"] == []
        shutil.rmtree(run)
    # The weights themselves are in the largest file, whose bits nothing but the digest watches over.
    largest = max(reached, key=lambda file: (whole(VAE, ONE) / file).stat().st_size)
    assert reached[largest] == 15 and 20 in reached.values()
    shutil.copytree(whole(VAE, ONE), run)
    (run / largest).write_bytes(flip((run / largest).read_bytes()))
    assert samples(run) == states[15][1] != states[20][1]
    warned = vaegan("sample", run, "--output", run.with_name("samples.npz")).err
    assert warned.startswith(f"vaegan: warning: {run}: checkpoint 20 is damaged") and warned.count("\n") == 1
    assert "falling back to that of round 15" in warned


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_file_cut_short_is_survived(part, whole, states, tmp_path):
    run, reached = tmp_path / "run", set()
    shutil.copytree(whole(VAE, ONE), run)
    for file in data_files(run):
        content = (run / file).read_bytes()
        (run / file).write_bytes(content[: int(len(content) * part)])
        step = assert_reads_right(run, states)
        assert part == 0 or step == 20 or samples(run) == states[15][1]
        reached.add(step)
        (run / file).write_bytes(content)
    assert reached == {15, 20}
    shutil.rmtree(run / "checkpoints" / "20" / "state")
    done("resume", run)
    assert sha256(run) == states[20][0] and saved(run) == [10, 15, 20]


@pytest.mark.slow
def test_three_hundred_random_damages_are_survived(whole, states, tmp_path):
    run, chance, reached = tmp_path / "run", random.Random(1), []
    shutil.copytree(whole(VAE, ONE), run)
    files = data_files(run)
    for _ in range(300):
        file = chance.choice(files)
        content = (run / file).read_bytes()
        place, length = chance.randrange(len(content)), chance.choice((1, 1, 64))
        rest = content[place + length :]
        middle = chance.choice((bytes(length), chance.randbytes(length), b"", chance.randbytes(length + 1)))
        (run / file).write_bytes(content[:place] + middle + rest)
        reached.append(assert_reads_right(run, states))
        (run / file).write_bytes(content)
    assert set(reached) == {15, 20}


@pytest.mark.parametrize("metadata", ["[]", '{"commit_timestamp_nsecs": 0.5}'], ids=["a list", "a wrong type"])
def test_orbax_own_notes_may_be_damaged_in_every_checkpoint(metadata, whole, states, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole(VAE, ONE), run)
    (run / "checkpoints" / "15" / "_CHECKPOINT_METADATA").write_text(metadata)
    assert assert_reads_right(run, states) == 20
    largest = max(data_files(run), key=lambda file: (run / file).stat().st_size)
    (run / largest).write_bytes(flip((run / largest).read_bytes()))
    (run / "checkpoints" / "20" / "_CHECKPOINT_METADATA").write_text(metadata)
    done("resume", run)
    assert sha256(run) == states[20][0]


def test_without_a_good_checkpoint_nothing_is_touched(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole(VAE, ONE), run)
    for step in saved(run):
        largest = max(data_files(run, step), key=lambda file: (run / file).stat().st_size)
        (run / largest).write_bytes(flip((run / largest).read_bytes()))
    before = contents(run)
    for command in ("inspect", "sample", "reconstruct", "resume"):
        told = refused(command, run)
        assert f"no checkpoint in {run}/checkpoints can be read" in told
        assert all(f"checkpoint {step} is damaged" in told for step in (10, 15, 20))
    assert contents(run) == before


# Divergence


@pytest.mark.parametrize(
    "model, optimizer, players",
    [(VAE, "optimizer", "vae"), (GAN, "discriminator_optimizer", "discriminator|generator")],
    ids=["vae", "gan"],
)
def test_what_diverges_stops_and_keeps_the_last_finite_state(model, optimizer, players, whole, tmp_path):
    """From round 10 on, each round is saved, and steps are so large that numbers soon end."""
    run = tmp_path / "run"
    shutil.copytree(whole(model, ONE), run)
    cut(run, after=10)
    record = json.loads((run / "config.json").read_text())
    record["config"]["model"][optimizer]["learning_rate"] = 1e15
    record["config"]["training"]["checkpoint_interval_steps"] = 1
    (run / "config.json").write_text(json.dumps(record))
    code, _, err = vaegan("resume", run)
    assert code == 3 and err.count("\n") == 1
    found = re.match(rf"vaegan: diverged: the \w+ of ({players}) became (inf|-inf|nan) in round (\d+)\. ", err)
    assert found and "Try a smaller learning rate (--model." in err
    told = facts(run)
    assert told["step"] == int(found[3]) - 1 >= 10 and told["damage"] == []
    assert np.isfinite(list(told["metrics"].values())).all()
    with Checkpoints(run / "checkpoints") as checkpoints:
        assert all(np.isfinite(array).all() for array in checkpoints.restore()[1].values())
    again = vaegan("resume", run)
    assert (again.code, again.err) == (3, err)
    assert facts(run)["sha256"] == told["sha256"]


def test_what_diverges_at_once_saves_nothing(data, tmp_path):
    run = tmp_path / "run"
    rate = ["--model.likelihood", "gaussian", "--model.optimizer.learning-rate", 1e30]
    ended = vaegan("train", *VAE, *rate, *ONE, *SMALL, "--data", data, "--steps", STEPS, "--run", run)
    assert ended.code == 3 and " of vae became " in ended.err and "in round 1." in ended.err
    assert saved(run) == []


# A full disk


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, with 1 MiB; `disk(size)` gives it another size, in MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "vaegan-test", str(folder)]
    try:
        tried = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here, so no small file system can be made")
    if tried.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {tried.stderr.strip()}")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}m", str(folder)], check=True)
        return folder

    yield resize
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder, free):
    """Leaves so many bytes free."""
    with open(folder / "ballast", "wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(folder).free - free)))


def test_a_disk_that_fills_up_costs_nothing_but_the_rounds_since(process, disk, whole, data):
    run = disk(1) / "run"
    keep = ["--training.keep-checkpoints", 1000, "--training.checkpoint-interval-steps", 1]
    command = ["train", *VAE, *ONE, *SMALL, *keep, "--data", data, "--steps", STEPS, "--run", run]
    code, _, err = ended(process(*command))
    assert code == 2 and err.startswith("vaegan: error: cannot write ") and err.count("\n") == 1, err
    assert "No space left on device" in err
    told = facts(run)
    assert 0 < told["step"] < STEPS and told["damage"] == []
    assert f"Last good checkpoint: step {told['step']}" in err
    disk(16)
    done("resume", run)
    assert sha256(run) == sha256(whole(VAE, ONE))
    assert rows(run) == rows(whole(VAE, ONE))


@pytest.mark.parametrize("free", [0, 40], ids=lambda pages: f"{pages} pages free")
def test_a_disk_that_is_full_already_costs_nothing(free, disk, whole):
    run = disk(1) / "run"
    shutil.copytree(whole(VAE, ONE), run)
    cut(run, after=10)
    before = sha256(run)
    fill(disk(1), free * 4096)
    assert "No space left on device" in refused("resume", run)
    assert facts(run)["step"] == 10 and sha256(run) == before
    disk(16)
    done("resume", run)
    assert_same(run, whole(VAE, ONE))


def test_a_disk_without_room_for_a_run_is_left_empty(disk, data):
    folder = disk(1)
    fill(folder, 0)
    told = refused("train", *VAE, *ONE, *SMALL, "--data", data, "--run", folder / "run")
    assert "cannot make the run folder" in told and "No space left on device" in told
    assert [path.name for path in folder.iterdir()] == ["ballast"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_disk_that_fills_up_anywhere_ends_in_one_line(seed, process, disk, whole, data):
    """Whichever file it is that finds the disk full first: none hangs, and none is told in more than a line."""
    chance = random.Random(seed)
    run = disk(1) / "run"
    fill(disk(1), chance.randrange(10, 150) * 4096)
    intervals = [
        *("--training.log-interval-steps", 1, "--training.checkpoint-interval-steps", chance.choice((0, 7, 40))),
        *("--training.sample-interval-steps", chance.choice((0, 20)), "--training.keep-checkpoints", 1000),
    ]
    command = ["train", *VAE, *ONE, *SMALL, *intervals, "--data", data, "--steps", 400, "--run", run]
    code, _, err = ended(process(*command), timeout=120)
    assert code == 2 and err.startswith("vaegan: error: cannot ") and err.count("\n") == 1, err
    disk(16)
    reference = run.with_name("reference")
    done("train", *VAE, *ONE, *SMALL, *intervals, "--data", data, "--steps", 400, "--run", reference)
    done("resume", run)
    assert_same(run, reference)


# Thirty kills


THIRTY = {
    "vae": (VAE, ONE, 8),
    "vae, two devices": (VAE, SHARDED, 7),
    "dcgan": (DCGAN, ONE, 8),
    "mlp gan, two devices, pmapped": (GAN, PMAPPED, 7),
}


@pytest.mark.slow
@pytest.mark.parametrize("model, devices, kills", THIRTY.values(), ids=THIRTY)
def test_thirty_kills_at_any_moment_leave_thirty_identical_runs(model, devices, kills, process, data, tmp_path, capfd):
    """Each at a moment uniform over the length of the run, start-up and compilation included: nothing is cached."""
    chance, told = random.Random(len(model) + kills), []
    intervals = [
        *("--training.log-interval-steps", "7", "--training.checkpoint-interval-steps", "25"),
        *("--training.sample-interval-steps", "100"),
    ]
    train = ["train", *model, *devices, *SMALL, *intervals, "--data", data, "--steps", 400, "--run"]
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
