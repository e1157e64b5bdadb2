"""A run on a disk that fills up, or is full already, ends in one line and loses nothing that was saved."""

import random
import shutil
import subprocess

import pytest
from commands import VAE, done, ended, refused
from runs import ONE, STEPS, UNEVEN, assert_same, cut, facts, rows, sha256

pytestmark = pytest.mark.usefixtures("compiled_once")


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


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_nothing_but_the_rounds_since(process, disk, whole, data):
    run = disk(1) / "run"
    keep = ["--training.keep-checkpoints", 1000, "--training.checkpoint-interval-steps", 1]
    command = ["train", *VAE, *ONE, *UNEVEN, *keep, "--data", data, "--steps", STEPS, "--run", run]
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
    told = refused("train", *VAE, *ONE, *UNEVEN, "--data", data, "--run", folder / "run")
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
    command = ["train", *VAE, *ONE, *UNEVEN, *intervals, "--data", data, "--steps", 400, "--run", run]
    code, _, err = ended(process(*command), seconds=120)
    assert code == 2 and err.startswith("vaegan: error: cannot ") and err.count("\n") == 1, err
    disk(16)
    reference = run.with_name("reference")
    done("train", *VAE, *ONE, *UNEVEN, *intervals, "--data", data, "--steps", 400, "--run", reference)
    done("resume", run)
    assert_same(run, reference)
