"""A set is prepared wholly or not at all, and what has changed since is told."""

import json
import shutil
import signal
import time

import numpy as np
import pytest
from commands import ended, refused, start, vaegan
from made_up import idx_folder, left, picture_folder, pixels

from vaegan_jax.data import cards, load
from vaegan_jax.data.builders import KNOWN
from vaegan_jax.data.locating import INFO, ours
from vaegan_jax.data.preparing import SCRATCH, prepare
from vaegan_jax.data.sources import ArraySource
from vaegan_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("data")


# All or nothing


def test_preparing_killed_at_any_moment_leaves_nothing_readable_and_is_swept_away_by_the_next(tmp_path, data):
    folder = picture_folder(tmp_path / "raw", count=1500, height=64, width=64)
    process = start("data", "prepare", "image_folder/mine", "--from", folder)
    deadline = time.monotonic() + 60
    while not (data / SCRATCH / "image_folder").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.1)
    assert "another `vaegan data prepare` is at work" in refused("data", "prepare", "idx_images/x", "--from", folder)
    process.kill()
    assert ended(process).code == -signal.SIGKILL
    assert left(data)[0] == SCRATCH and not (data / "image_folder").exists()
    with pytest.raises(UserError, match="image_folder/mine is not prepared"):
        load("image_folder/mine", "train")
    prepare("idx_images/x", idx_folder(tmp_path / "idx"))
    assert not (data / SCRATCH).exists() and len(load("idx_images/x", "train")) == 20


@pytest.mark.parametrize("broken", ["vaegan_jax.data.cards.measure", "vaegan_jax.data.cards.write"])
def test_a_full_disk_at_the_end_leaves_nothing(broken, tmp_path, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, full)
    folder = idx_folder(tmp_path / "raw")
    assert "No space left on device" in refused("data", "prepare", "idx_images/mine", "--from", folder)
    assert not data.exists()


def test_preparing_twice_keeps_what_is_there(mine, tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in mine.rglob("*")}
    line = refused("data", "prepare", "idx_images/mine", "--from", tmp_path / "raw")
    assert "idx_images/mine is prepared already" in line and str(mine) in line
    assert {path: path.read_bytes() for path in mine.rglob("*")} == before
    mnist = ours("mnist").folder
    shutil.copytree(mine, mnist)
    code, out, _ = vaegan("data", "prepare", "mnist")
    assert code == 0 and "is prepared already" in out


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("a file")])
@pytest.mark.parametrize("name", ["mnist", "emoji", "glyphs", "idx_images/mine", "image_folder/mine"])
def test_raw_files_that_are_not_there_are_told_in_one_line(name, make, tmp_path, data):
    make(tmp_path / "raw")
    line = refused("data", "prepare", name, "--from", tmp_path / "raw")
    assert str(tmp_path / "raw") in line and ("no folder" in line or "is empty" in line or "is a file" in line)
    assert not data.exists()


REFUSED = {
    "no name": (["prepare"], ["prepare needs the NAME"]),
    "no folder": (["prepare", "mnist"], ["--from DIR", "`vaegan data show mnist` tells how to get it"]),
    "a folder of our own without a name": (["prepare", "image_folder", "--from", "."], ["image_folder/flowers"]),
    "a name that is a path": (["prepare", "image_folder/../x", "--from", "."], ["needs a name"]),
    "a name that is a version": (["prepare", "image_folder/1.0.0", "--from", "."], ["needs a name"]),
    "a size for what has one": (["prepare", "mnist", "--from", ".", "--size", "9"], ["--image-size N"]),
    "a size beyond all": (["prepare", "image_folder/x", "--from", ".", "--size", "-1"], ["image-size must be"]),
    "an unknown name": (["prepare", "mnits", "--from", "."], ["unknown data set 'mnits'. Did you mean 'mnist'?"]),
    "showing what is not prepared": (["show", "image_folder/x"], ["image_folder/x is not prepared", "--from DIR"]),
    "showing a folder": (["show", "."], ["not a prepared data set", "vaegan data prepare image_folder/NAME"]),
    "showing no folder": (["show", "./nowhere"], ["there is no folder nowhere"]),
    "showing one of the catalog": (["show", "cifar10"], ["cifar10 is not prepared", "vaegan data prepare cifar10"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_mistaken_command_is_told_in_one_line(what, tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.txt").write_text("")
    words, told = REFUSED[what]
    line = refused("data", *words)
    assert all(fragment in line for fragment in told), line
    assert not data.exists()


def test_training_on_what_is_not_prepared_says_how_to_prepare_it():
    line = refused("train", "--data", "mnist")
    assert "mnist is not prepared" in line and "vaegan data prepare mnist --from DIR" in line


def test_showing_a_known_set_that_is_not_prepared_gives_the_exact_commands():
    for known in KNOWN.values():
        code, out, _ = vaegan("data", "show", known.name)
        assert code == 0 and known.how_to_get() in out and known.license in out


# What has changed since


def test_a_set_of_another_version_is_refused(mine, tmp_path):
    old = mine.with_name("0.9.0")
    mine.rename(old)
    for words in (["data", "show", "idx_images/mine"], ["train", "--data", "idx_images/mine"]):
        line = refused(*words)
        assert "prepared in version 0.9.0, and this is read in version 1.0.0: vaegan data prepare" in line
    shutil.copytree(old, tmp_path / "2.0.0")
    assert "holds version 1.0.0: delete it and prepare it again" in refused("train", "--data", tmp_path / "2.0.0")


def damaged(mine, how):
    records = next(mine.glob("*train.array_record*"))
    if how == "records missing":
        records.unlink()
    elif how == "records cut":
        records.write_bytes(records.read_bytes()[:-100])
    elif how == "no card, records cut":
        (mine / "card.json").unlink()
        records.write_bytes(records.read_bytes()[: records.stat().st_size // 2])
    elif how == "card damaged":
        (mine / "card.json").write_text("{")
    elif how == "info damaged":
        (mine / "card.json").unlink()
        (mine / INFO).write_text("[]")
    elif how == "features missing":
        (mine / "features.json").unlink()


@pytest.mark.parametrize(
    "how",
    ["records missing", "records cut", "no card, records cut", "card damaged", "info damaged", "features missing"],
)
def test_a_damaged_set_is_told_in_one_line(how, mine):
    damaged(mine, how)
    line = refused("data", "show", "idx_images/mine")
    assert "idx_images/mine" in line and str(mine.parent) in line


def test_a_changed_record_is_found_by_the_checksum_when_it_is_shown(mine, tmp_path):
    other = prepare("idx_images/other", idx_folder(tmp_path / "other", train=255 - pixels(20)[..., 0]))[0]
    for path in other.glob("*train.array_record*"):
        shutil.copy(path, mine / path.name)
    card = json.loads((mine / "card.json").read_text())
    cards.write(mine, {key: value for key, value in card.items() if key != "files"})
    assert "the train split is not what was prepared, its sha256 differs" in refused("data", "show", "idx_images/mine")


def test_a_card_tells_what_was_measured(mine, tmp_path):
    card = cards.read(mine, "mine")
    train = pixels(20)[..., 0] / 255
    assert abs(card["mean"] - train.mean()) < 1e-6 and abs(card["deviation"] - train.std()) < 1e-6
    assert card["splits"]["train"]["classes"] == [7, 7, 6] and card["sizes"] == {"7x5": 26}
    code, out, _ = vaegan("data", "show", "idx_images/mine", "--split", "test", "--output", tmp_path / "sheet.png")
    assert code == 0 and out.count("(verified)") == 2 and card["splits"]["test"]["sha256"] in out
    plain = ArraySource({"image": pixels(20), "label": np.arange(20) % 3})
    measured = cards.measure(plain.example(index) for index in range(20))
    assert measured["sha256"] == card["splits"]["train"]["sha256"] == load("idx_images/mine", "train").sha256
