"""Two real processes on one machine, joined by gloo, are one; and what befalls one of them ends both, in one line."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import commands
import numpy as np
import pytest
from commands import ended

from vaegan_jax.errors import UserError
from vaegan_jax.training import hosts
from vaegan_jax.training.checkpoint import Checkpoints

VAE = ["vae", "--model.hidden-sizes", "16", "--model.latent-size", "4"]
GAN = ["gan", "--model.width", "4", "--model.latent-size", "4"]
SMALL = [
    *(*commands.SMALL, "--devices", "2"),
    *("--training.log-interval-steps", "5", "--training.sample-interval-steps", "0"),
]
ENVIRONMENT = os.environ | {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
ENVIRONMENT["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # ten times as fast to compile
ENVIRONMENT.pop("XLA_FLAGS", None)


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(cache):
    """One process finds what another has compiled."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(ENVIRONMENT, "JAX_COMPILATION_CACHE_DIR", str(cache / "processes"))
        patched.setitem(ENVIRONMENT, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    np.savez(path, image=np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), dtype=np.uint8))
    return path


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(*words):
    return commands.start(*words, environment=ENVIRONMENT)


def start_two(*words, own=((), ())):
    """Both processes of a command; `own` are words that one of them alone gets."""
    port = free_port()
    joined = ["--coordinator", f"127.0.0.1:{port}", "--process-count", 2]
    return [start(*words, *extra, *joined, "--process-id", index) for index, extra in enumerate(own)]


def outcomes(processes):
    """Exit codes, stderr and stdout of processes, by lines, without what gloo says of its connections."""
    told = []
    for process in processes:
        code, *texts = ended(process, seconds=300)
        out, err = ([line for line in text.splitlines() if not line.startswith("[Gloo]")] for text in texts)
        told.append((code, err, out))
    return told


def arrays(run):
    with Checkpoints(Path(run) / "checkpoints") as checkpoints:
        step, found, _ = checkpoints.restore()
    return step, found


def assert_same_trajectory(left, right, tolerance=1e-9):
    (step, found), (same, expected) = arrays(left), arrays(right)
    assert step == same and found.keys() == expected.keys()
    largest = {}
    for name, array in expected.items():
        part = name.rsplit(".", 1)[0]
        largest[part] = max(largest.get(part, 0), abs(array).max(initial=0))
    for name, array in expected.items():
        bound = tolerance * largest[name.rsplit(".", 1)[0]]
        np.testing.assert_allclose(found[name], array, rtol=0, atol=bound, err_msg=name)


CASES = [
    pytest.param(VAE, "sharded", id="vae, sharded", marks=pytest.mark.slow),
    pytest.param(VAE, "pmapped", id="vae, pmapped", marks=pytest.mark.slow),
    pytest.param(GAN, "sharded", id="gan, sharded", marks=pytest.mark.slow),
    pytest.param(GAN, "pmapped", id="gan, pmapped", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("model", "lift"), CASES)
def test_two_processes_follow_the_trajectory_of_one_in_float64(model, lift, data, tmp_path):
    words = ["train", *model, *SMALL, "--data", data, "--steps", 20, "--parallel", lift]
    (code, err, _), *_ = outcomes([start(*words, "--run", tmp_path / "one")])
    assert (code, err) == (0, [])
    first, second = outcomes(start_two(*words, "--run", tmp_path / "two"))
    assert (first[:2], second[:2]) == ((0, []), (0, []))
    assert any("2 processes" in line for line in first[2]) and second[2] == []  # the first one tells, alone
    _, kept = arrays(tmp_path / "two")
    assert all(array.dtype in (np.float64, np.int32) for array in kept.values())
    assert_same_trajectory(tmp_path / "two", tmp_path / "one")
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert {"samples.png", "summary.json", "metrics.jsonl", "config.json"} <= names


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one_and_the_other_way_round(data, tmp_path):
    words = [*VAE, *SMALL, "--data", data]
    assert outcomes([start("train", *words, "--steps", 20, "--run", tmp_path / "whole")])[0][0] == 0
    for run, kinds in (("a", (1, 2, 1)), ("b", (2, 1, 2))):
        for part, count in enumerate(kinds, 1):
            steps = ["--steps", (7, 13, 20)[part - 1]]
            command = ["resume", tmp_path / run] if part > 1 else ["train", *words, "--run", tmp_path / run]
            processes = start_two(*command, *steps) if count == 2 else [start(*command, *steps)]
            assert all(code == 0 for code, *_ in outcomes(processes))
        assert_same_trajectory(tmp_path / run, tmp_path / "whole")


def saved(run):
    folder = run / "checkpoints"
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def when_saved(run, processes, seconds=120):
    """Waits until a run has a checkpoint."""
    until = time.monotonic() + seconds
    while not saved(run):
        assert time.monotonic() < until and all(process.poll() is None for process in processes)
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_one_process_ends_the_other_with_one_line_and_the_run_resumes_exactly(victim, data, tmp_path):
    often = ["--training.checkpoint-interval-steps", 10]
    words = ["train", *VAE, *SMALL, *often, "--data", data, "--steps", 4000, "--run", tmp_path / "run"]
    processes = start_two(*words)
    when_saved(tmp_path / "run", processes)
    processes[victim].kill()
    begun = time.monotonic()
    (code, err, _) = outcomes(processes)[1 - victim]
    assert time.monotonic() - begun < 20
    told = f"vaegan: process {victim} has ended, so process {1 - victim} stops, too; what was saved can be resumed"
    # When the first process dies JAX's own client notices as well, and may speak before us.
    assert err == [told] and code == hosts.LOST if victim == 1 else told in err or "another task died" in str(err)
    reached = saved(tmp_path / "run")[-1]
    steps = ["--steps", reached + 10]
    assert all(code == 0 for code, *_ in outcomes(start_two("resume", tmp_path / "run", *steps)))
    assert outcomes([start(*words[:-4], *steps, "--run", tmp_path / "one")])[0][0] == 0
    assert_same_trajectory(tmp_path / "run", tmp_path / "one")


@pytest.mark.slow
def test_a_signal_to_either_process_saves_and_ends_both(data, tmp_path):
    words = ["train", *VAE, *SMALL, "--data", data, "--steps", 4000, "--run", tmp_path / "run"]
    processes = start_two(*words, "--training.checkpoint-interval-steps", 10)
    when_saved(tmp_path / "run", processes)
    processes[1].send_signal(signal.SIGTERM)
    told = f"saved; to go on: vaegan resume {tmp_path / 'run'}"
    for code, (line,), _ in outcomes(processes):
        assert code == 143 and line.startswith("vaegan: stopped after round ") and line.endswith(told)


@pytest.mark.slow
def test_what_is_wrong_in_one_process_is_told_by_both(data, tmp_path):
    words = ["train", *VAE, *SMALL, "--data", data, "--steps", 5]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    exists = f"{tmp_path / 'full'} exists already (choose another)"
    for code, err, _ in outcomes(start_two(*words, "--run", tmp_path / "full")):
        assert (code, err) == (2, [f"vaegan: error: {exists}"])

    other = start_two("train", *SMALL, "--data", data, "--steps", 5, "--run", tmp_path / "run", own=(VAE, GAN))
    for code, (line,), _ in outcomes(other):
        assert code == 2 and line.startswith("vaegan: error: process 1 has model.")
        assert line.endswith("start them all alike") and not (tmp_path / "run").exists()

    for name, values in (("batch_size", (8, 7)), ("devices", (2, 4)), ("seed", (0, 1))):
        own = [[f"--{name.replace('_', '-')}", value] for value in values]
        told = f"process 1 has {name} {values[1]}, process 0 has {values[0]}: start them all alike"
        several = ["train", *VAE, "--data", data, "--run", tmp_path / "run"]
        for code, err, _ in outcomes(start_two(*several, own=own)):
            assert (code, err) == (2, [f"vaegan: error: {told}"])

    missing = tmp_path / "missing.npz"
    gone = start_two(*words[:-4], "--steps", 5, "--run", tmp_path / "run", own=(["--data", data], ["--data", missing]))
    for code, err, _ in outcomes(gone):
        assert (code, len(err)) == (2, 1) and f"process 1: there is no file {missing}" in err[0]


BIGGAN = [
    *("biggan", "--model.width", "8", "--model.latent-size", "4", "--model.shared-size", "3"),
    *("--model.discriminator-moves", "1", "--watch-every", "0", "--training.ema-halflife-kimg", "0.1"),
]
WIDE = ["gan", "--model.network", "mlp", "--model.hidden-sizes", "64", "64", "--model.latent-size", "4"]
"""With a kernel that is large enough to be split."""


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    path, draw = tmp_path_factory.mktemp("data") / "labeled.npz", np.random.default_rng(0).integers
    np.savez(path, image=draw(0, 256, (50, 8, 8, 1), dtype=np.uint8), label=np.arange(50) % 3)
    return path


@pytest.fixture(scope="module")
def alone(labeled, tmp_path_factory):
    """A BigGAN of 20 rounds on one device, and the words for another."""
    run, words = tmp_path_factory.mktemp("runs") / "one", ["train", *BIGGAN, *SMALL, "--data", labeled]
    assert outcomes([start(*words, "--steps", 20, "--devices", 1, "--run", run)])[0][:2] == (0, [])
    return run, words


@pytest.mark.slow
def test_what_is_split_over_two_processes_is_gathered_by_both_and_written_by_one(labeled, tmp_path):
    """Killed after its first checkpoint, it goes on exactly: split otherwise, and then in one that splits nothing."""
    often = ["--training.checkpoint-interval-steps", 2, "--training.sample-interval-steps", 3, "--watch-every", 0]
    words, run = ["train", *WIDE, *SMALL, "--data", labeled, *often], tmp_path / "two"
    processes = start_two(*words, "--steps", 4000, "--shard", "all", "--run", run)
    when_saved(run, processes, 240)
    processes[0].kill()
    outcomes(processes)
    steps = saved(run)[-1] + 10
    both = outcomes(start_two("resume", run, "--steps", steps, "--shard", "optimizer"))
    assert [told[:2] for told in both] == [(0, []), (0, [])]
    steps += 3
    grouped = ["--devices", 4, "--shard", "all", "--shard-over", 2]  # each process has a copy
    both = outcomes(start_two("resume", run, "--steps", steps, *grouped))
    assert [told[:2] for told in both] == [(0, []), (0, [])] and any("split: all over 2" in line for line in both[0][2])
    resumed = start("resume", run, "--steps", steps + 3, "--shard", "none", "--devices", 1)
    assert outcomes([resumed])[0][:2] == (0, [])
    one = start(*words, "--steps", steps + 3, "--run", tmp_path / "one")
    assert outcomes([one])[0][:2] == (0, [])
    assert_same_trajectory(run, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("lift", ["sharded", "pmapped"])
def test_twenty_rounds_of_a_biggan_follow_one_trajectory_on_eight_devices(lift, alone, tmp_path):
    run, words = alone
    several = ["--steps", 20, "--devices", 8, "--parallel", lift, "--run", tmp_path / "run"]
    assert outcomes([start(*words, *several)])[0][:2] == (0, [])
    assert_same_trajectory(tmp_path / "run", run)


@pytest.mark.slow
def test_so_do_those_that_go_on_on_other_devices(alone, tmp_path):
    run, words = alone
    assert outcomes([start(*words, "--steps", 7, "--devices", 1, "--run", tmp_path / "run")])[0][:2] == (0, [])
    for steps, devices in ((13, 2), (20, 8)):
        resumed = start("resume", tmp_path / "run", "--steps", steps, "--devices", devices, "--shard", "all")
        assert outcomes([resumed])[0][:2] == (0, [])
    assert_same_trajectory(tmp_path / "run", run)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(["--shard", "all"], marks=pytest.mark.slow, id="split"),
        pytest.param(["--parallel", "pmapped"], marks=pytest.mark.soak, id="pmapped"),
    ],
)
def test_so_do_those_in_two_processes(how, alone, tmp_path):
    run, words = alone
    both = outcomes(start_two(*words, "--steps", 20, *how, "--run", tmp_path / "run"))
    assert [told[:2] for told in both] == [(0, []), (0, [])]
    assert_same_trajectory(tmp_path / "run", run)


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_waits_in_vain_says_for_whom(index):
    address = f"127.0.0.1:{free_port()}"
    told = f"process {index} of 2 waited 0.5 s at {address} for "
    with pytest.raises(UserError, match=told), hosts.joined(address, 2, index, 0.5):
        pass


def slurm(index):
    """The environment of one of two tasks that Slurm has started on this machine."""
    told = {"SLURM_JOB_ID": os.getpid(), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": 2}
    own = {"SLURM_PROCID": index, "SLURM_LOCALID": index}
    return ENVIRONMENT | {name: str(value) for name, value in (told | own).items()}


@pytest.mark.slow
def test_two_tasks_of_a_cluster_find_each_other(data, tmp_path):
    words = ["train", *VAE, *SMALL, "--data", data, "--steps", 5, "--run", tmp_path / "run", "--coordinator", "auto"]
    both = outcomes([commands.start(*words, environment=slurm(index)) for index in range(2)])
    assert [told[:2] for told in both] == [(0, []), (0, [])]
    assert any("2 processes" in line for line in both[0][2]) and both[1][2] == []


@pytest.mark.parametrize("index", [0, 1])
def test_a_task_of_a_cluster_that_waits_in_vain_says_so_and_ends(index):
    code = "from vaegan_jax.training import hosts\nwith hosts.joined('auto', seconds=2.0): pass"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=slurm(index), timeout=60)
    told = "vaegan: error: waited 2 s at auto for the others: start them all within that time\n"
    assert (done.returncode, done.stderr) == (2, told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((None, 2, 0), "need --coordinator HOST:PORT"),
        ((None, None, 1), "need --coordinator HOST:PORT"),
        (("localhost", 2, 0), "--coordinator must be HOST:PORT or auto, not 'localhost'"),
        (("localhost:port", 2, 0), "--coordinator must be HOST:PORT or auto"),
        (("localhost:99999", 2, 0), "--coordinator must be HOST:PORT or auto"),
        (("localhost:1234", 0, 0), "--process-count must say how many"),
        (("localhost:1234", 2, 2), r"--process-id must be in 0 \.\. 1, not 2"),
        (("localhost:1234", 2, None), r"--process-id must be in 0 \.\. 1, not None"),
        (("auto", None, None), r"cannot join .* at auto: .*; outside .* TPU pods give --coordinator HOST:PORT"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, told):
    with pytest.raises(UserError, match=told), hosts.joined(*arguments):
        pass


def test_a_port_that_is_taken_is_refused_by_the_first_process():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = f"cannot listen at port {port} .*: a program has it, .* process of id 0; choose another port"
        with pytest.raises(UserError, match=told), hosts.joined(f"127.0.0.1:{port}", 2, 0):
            pass


def test_a_process_alone_agrees_with_itself():
    assert hosts.process_count() == 1 and hosts.first() and hosts.part() == (0, 1)
    assert hosts.everywhere(lambda: "word") == ["word"] and hosts.by_first(lambda: "word") == "word"
    assert hosts.agreed(lambda: 3) == 3 and hosts.union([2]) == [2]
    hosts.check_alike({"batch_size": 8})
    with hosts.joined():
        pass
