"""A run folder: made whole or not at all, written whole or not at all, and written by one process."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from vaegan_jax import __version__
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.models import gan
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.run import create, locked, provenance, read_config, set_config, write

CONFIG = RunConfig(gan.Config(width=4), steps=7, data="some/birds.npz")
FACTS = {"spec": asdict(DataSpec("birds", (8, 8, 3))), "examples": 5, "data_sha256": "0" * 64}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def names(folder="."):
    return sorted(path.name for path in Path(folder).iterdir())


# Making


def test_a_run_holds_its_configuration_and_what_it_depends_on():
    assert create(Path("run"), CONFIG, FACTS) == Path("run")
    assert names("run") == ["config.json"]
    config, record = read_config(Path("run"))
    assert config == CONFIG
    assert record["format"] == 1 and record["data_sha256"] == "0" * 64 and record["examples"] == 5
    assert record["spec"] == {**FACTS["spec"], "image_shape": [8, 8, 3], "class_names": [], "attributes": []}
    assert record["versions"]["vaegan_jax"] == __version__
    assert {"python", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"} <= set(record["versions"])
    assert {"system", "processor", "cores"} <= set(record["machine"]) and "git" in record


def test_the_git_state_is_that_of_the_source_or_none():
    git = provenance()["git"]
    assert git is None or (len(git["commit"]) in (0, 40) and isinstance(git["changed"], bool))


def test_folders_above_a_run_are_made():
    assert create(Path("a/b/run"), CONFIG, FACTS).is_dir()
    assert names("a/b") == ["run"]


def test_an_empty_folder_becomes_the_run():
    Path("run").mkdir()
    create(Path("run"), CONFIG, FACTS)
    assert names("run") == ["config.json"] and names() == ["run"]


def test_what_exists_is_refused_and_left_alone():
    create(Path("run"), CONFIG, FACTS)
    Path("letters").mkdir()
    Path("letters/letter").write_text("dear")
    Path("file").write_text("a file")
    for name, hint in (("run", "vaegan resume run"), ("letters", "choose another"), ("file", "choose another")):
        with pytest.raises(UserError, match=f"^{name} exists already .*{hint}"):
            create(Path(name), RunConfig(), FACTS)
    assert read_config(Path("run"))[0] == CONFIG
    assert names() == ["file", "letters", "run"] and names("letters") == ["letter"]


def test_a_run_that_cannot_be_made_leaves_nothing():
    Path("file").write_text("a file")
    with pytest.raises(UserError, match="^cannot make the run folder file/run: "):
        create(Path("file/run"), CONFIG, FACTS)
    assert names() == ["file"]


@pytest.mark.parametrize("failing", ["write_bytes", "replace", "rename"])
def test_a_run_appears_whole_or_not_at_all(failing, monkeypatch):
    def fail(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, failing, fail)
        with pytest.raises(UserError, match="^cannot make the run folder run: No space left on device$"):
            create(Path("run"), CONFIG, FACTS)
    assert names() == []
    create(Path("run"), CONFIG, FACTS)


def test_two_that_make_the_same_run_do_not_both_get_it(monkeypatch):
    """The other one is there between the look and the rename."""
    rename = Path.rename

    def late(self, target):
        Path("run").mkdir()
        Path("run/config.json").write_text("the other's")
        rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", late)
        with pytest.raises(UserError, match="cannot make the run folder run"):
            create(Path("run"), CONFIG, FACTS)
    assert Path("run/config.json").read_text() == "the other's" and names() == ["run"]


# Numbers


def test_runs_are_numbered_by_the_next_that_is_free():
    assert create(None, CONFIG, FACTS) == Path("runs/001-gan-birds")
    assert create(None, RunConfig(), FACTS) == Path("runs/002-vae-fashion_mnist_small")
    Path("runs/004-mine").mkdir()
    assert create(None, CONFIG, FACTS) == Path("runs/003-gan-birds")
    assert create(None, CONFIG, FACTS) == Path("runs/005-gan-birds")
    assert names() == ["runs"]


def test_numbers_go_on_beyond_three_digits():
    Path("runs").mkdir()
    for number in range(1, 1000):
        Path(f"runs/{number:03d}-x").mkdir()
    assert create(None, CONFIG, FACTS) == Path("runs/1000-gan-birds")
    assert create(None, CONFIG, FACTS) == Path("runs/1001-gan-birds")


def test_a_number_that_another_takes_first_is_left_to_it(monkeypatch):
    rename, taken = Path.rename, []

    def late(self, target):
        if not taken:
            taken.append(target)
            target.mkdir()
            (target / "config.json").write_text("the other's")
        rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert create(None, CONFIG, FACTS) == Path("runs/002-gan-birds")
    assert names("runs") == ["001-gan-birds", "002-gan-birds"]


def test_runs_that_is_a_file_is_told():
    Path("runs").write_text("a file")
    with pytest.raises(UserError, match="^cannot make the run folder runs: File exists$"):
        create(None, CONFIG, FACTS)


# Reading


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "is not a run's configuration"),
        ("[]", "is not a run's configuration"),
        ("3", "is not a run's configuration"),
        ("{}", "is not a run's configuration"),
        ('{"format": 2}', "is of format 2, this version reads format 1"),
        ('{"format": 1}', "is not a run's configuration"),
        ('{"format": 1, "config": {"model": {"name": "vae"}}}', "is not a run's configuration"),
        ("\0\0\0", "is not a run's configuration"),
    ],
)
def test_what_is_no_configuration_is_told_in_one_line(text, told):
    Path("run").mkdir()
    Path("run/config.json").write_text(text)
    with pytest.raises(UserError, match=f"^run/config.json {told}") as caught:
        read_config(Path("run"))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_told():
    Path("run").mkdir()
    Path("run/config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a run's configuration"):
        read_config(Path("run"))


def test_what_is_no_run_is_told():
    Path("empty").mkdir()
    Path("file").write_text("a file")
    for name, told in {
        "none": "there is no run none: the folder does not exist",
        "empty": "empty is not a run: it has no config.json",
        "file": "file is not a run: it has no config.json",
        "r" * 300: "cannot be read: File name too long",
    }.items():
        with pytest.raises(UserError, match=told):
            read_config(Path(name))


def test_more_steps_are_noted_and_nothing_else_changes():
    create(Path("run"), CONFIG, FACTS)
    before = json.loads(Path("run/config.json").read_text())
    set_config(Path("run"), steps=7)
    assert json.loads(Path("run/config.json").read_text()) == before
    set_config(Path("run"), steps=9)
    assert read_config(Path("run"))[0].steps == 9
    before["config"]["steps"] = 9
    assert json.loads(Path("run/config.json").read_text()) == before and names("run") == ["config.json"]


# Writing


def test_text_and_bytes_are_written_and_overwritten():
    write(Path("a/file"), "grüße\n")
    assert Path("a/file").read_bytes() == "grüße\n".encode()
    write(Path("a/file"), b"\xff")
    assert Path("a/file").read_bytes() == b"\xff" and names("a") == ["file"]


@pytest.mark.parametrize("failing", ["write_bytes", "replace"])
def test_a_failing_write_leaves_the_old_file_and_no_litter(failing, monkeypatch):
    write(Path("file"), "old")
    done = getattr(Path, failing)

    def fail(self, content):
        if failing == "write_bytes":
            done(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, failing, fail)
        with pytest.raises(OSError, match="No space left"):
            write(Path("file"), "new and longer")
        with pytest.raises(OSError, match="No space left"):
            write(Path("other"), "new")
    assert Path("file").read_text() == "old" and names() == ["file"]


def test_a_reader_sees_the_old_file_or_the_new_one(monkeypatch):
    """Until the new one has its name, the old one is whole."""
    write(Path("file"), "old")
    replace, seen = Path.replace, []

    def look_and_replace(self, target):
        seen.append((Path("file").read_text(), self.read_text()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look_and_replace)
    write(Path("file"), "new")
    assert seen == [("old", "new")] and Path("file").read_text() == "new"


# The lock

HOLD = """
import sys, time
from pathlib import Path
from vaegan_jax.training.run import locked
with locked(Path("run")):
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_process_holds_the_lock_until_it_dies_however_it_dies():
    create(Path("run"), CONFIG, FACTS)
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        told = f"^run is being written by another process \\(pid {holder.pid}\\)$"
        with pytest.raises(UserError, match=told), locked(Path("run")):
            pass
        assert read_config(Path("run"))[0] == CONFIG
    finally:
        holder.kill()
        holder.communicate()
    with locked(Path("run")):
        assert Path("run/lock").read_text() == str(os.getpid())


def test_the_lock_is_given_back_on_errors_too():
    create(Path("run"), CONFIG, FACTS)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(Path("run")):
            raise ZeroDivisionError
    with locked(Path("run")), pytest.raises(UserError, match=f"pid {os.getpid()}"), locked(Path("run")):
        pass


def test_a_folder_that_cannot_be_written_is_told():
    with pytest.raises(UserError, match="^cannot write in none: No such file or directory$"), locked(Path("none")):
        pass
