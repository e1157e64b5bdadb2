"""Whatever happens to the files of a run, it is survived, or told in one line with nothing touched."""

import random
import shutil

import numpy as np
import pytest
from commands import VAE, contents, done, refused, vaegan
from runs import ONE, cut, facts, samples, saved, sha256

pytestmark = pytest.mark.usefixtures("compiled_once")


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


@pytest.mark.parametrize(
    "damages", [pytest.param(50, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.soak)]
)
def test_random_damages_are_survived(damages, whole, states, tmp_path):
    run, chance, reached = tmp_path / "run", random.Random(1), []
    shutil.copytree(whole(VAE, ONE), run)
    files = data_files(run)
    for _ in range(damages):
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
        for file in data_files(run, step):  # all over: some bytes of a file are of nothing that is read
            whole_file = np.frombuffer((run / file).read_bytes(), np.uint8).copy()
            whole_file[::101] ^= 255
            (run / file).write_bytes(whole_file.tobytes())
    before = contents(run)
    for command in ("inspect", "sample", "reconstruct", "resume"):
        told = refused(command, run)
        assert f"no checkpoint in {run}/checkpoints can be read" in told
        assert all(f"checkpoint {step} is damaged" in told for step in (10, 15, 20))
    assert contents(run) == before


def test_a_damaged_line_amid_the_metrics_is_told(whole, tmp_path):
    for number, damage in enumerate((b'{"step": 6,', b"{}", b"3", b"\xff\xfe", b'{"step": null}')):
        run = tmp_path / str(number)
        shutil.copytree(whole(VAE, ONE), run)
        lines = (run / "metrics.jsonl").read_bytes().splitlines()
        (run / "metrics.jsonl").write_bytes(b"\n".join([lines[0], damage, *lines[2:], b""]))
        for command in ("inspect", "resume") if number == 0 else ("inspect",):
            assert "metrics.jsonl, line 2, is damaged: mend it or move the file away" in refused(command, run)
        shutil.rmtree(run)
