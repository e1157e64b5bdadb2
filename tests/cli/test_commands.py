"""What is right works: runs are made, resumed, inspected, sampled and reconstructed."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import ALONE, GAN, TRAIN, contents, done
from PIL import Image

from vaegan_jax.data import DATASETS
from vaegan_jax.data.builders import KNOWN, OWN
from vaegan_jax.models import MODELS
from vaegan_jax.models.catalog import CATALOG

pytestmark = pytest.mark.usefixtures("compiled_once")


def test_a_run_without_a_checkpoint_can_be_resumed_and_comes_out_the_same(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(place / "data.npz", tmp_path)
    shutil.copytree(place / "unsaved", "unsaved")
    done("resume", "unsaved")
    whole, again = (json.loads(done("inspect", run, "--json")) for run in (place / "vae", "unsaved"))
    assert again["step"] == 5 and again["sha256"] == whole["sha256"]


def test_a_run_may_be_made_in_an_empty_folder(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    (tmp_path / "run").mkdir()
    done(*TRAIN, "--steps", 1, "--run", tmp_path / "run")
    assert (tmp_path / "run" / "samples.png").is_file()


def test_a_run_without_a_name_gets_the_next_number(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(place / "data.npz", tmp_path)
    for number in (1, 2):
        out = done(*TRAIN, "--steps", 1)
        assert f"runs/{number:03d}-vae-data/samples.png" in out and f"vaegan resume runs/{number:03d}-vae-data" in out
    assert sorted(path.name for path in Path("runs").iterdir()) == ["001-vae-data", "002-vae-data"]


# What there is


def test_models_lists_all_of_the_catalog_the_ready_ones_first():
    lines = done("models").splitlines()
    told = {line.split()[0]: line.split()[1] for line in lines if "  ready  " in line or "  planned  " in line}
    assert told == {row.name: "ready" if row.name in MODELS else "planned" for row in CATALOG}
    assert set(MODELS) <= set(told)
    assert list(told.values()) == ["ready"] * len(MODELS) + ["planned"] * (len(CATALOG) - len(MODELS))
    text = "\n".join(lines)
    for row in CATALOG:
        assert row.title in text and row.source in text


def test_data_list_has_every_data_set():
    out = done("data", "list")
    assert re.search("^fashion_mnist_small +ready +10,000 \\+ 2,000 images 28x28x1, 10 classes", out)
    assert all(name in out for name in [*DATASETS, *KNOWN, *OWN])


@pytest.mark.parametrize("name, told", [("fashion_mnist_small", ["MIT", "Ankle boot"]), ("data.npz", ["(8, 8, 1)"])])
def test_data_show_tells_what_a_set_is_and_draws_a_sheet(name, told, place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    out = done("data", "show", name, "--output", tmp_path / "sheet.png")
    assert all(fragment in out for fragment in [*told, str(tmp_path / "sheet.png")])
    assert Image.open(tmp_path / "sheet.png").size >= (100, 100)


def test_inspect_tells_all_as_json(place, monkeypatch):
    monkeypatch.chdir(place)
    facts = json.loads(done("inspect", "gan", "--json"))
    assert (facts["step"], facts["steps"], facts["damage"]) == (5, 5, [])
    # Dense layers from 2 to 8 to 64, and from 64 to 8 to 1, with biases.
    assert facts["parameters"] == {"generator": 24 + 576, "discriminator": 520 + 9}
    assert all(re.fullmatch("[0-9a-f]{64}", facts["sha256"][what]) for what in ("parameters", "state"))
    assert facts["config"]["model"]["name"] == "gan" and facts["config"]["batch_size"] == 8
    assert facts["metrics"]["step"] == 5 and facts["metrics"]["images"] == 40
    assert np.isfinite([facts["metrics"][f"{player}/loss"] for player in ("generator", "discriminator")]).all()
    assert facts["versions"]["jax"] == jax.__version__
    summary = json.loads(Path("gan/summary.json").read_text())
    assert summary["state_sha256"] == facts["sha256"]["state"]


def test_inspect_tells_people_the_same(place, monkeypatch):
    monkeypatch.chdir(place)
    facts, out = json.loads(done("inspect", "vae", "--json")), done("inspect", "vae")
    assert "round       5 of 5" in out and facts["sha256"]["state"] in out and facts["sha256"]["parameters"] in out


# Pictures


def sampled(run, output, *words):
    done("sample", run, "--output", output, *words)
    return np.load(output)["image"]


@pytest.mark.parametrize("run", ["vae", "gan"])
def test_samples_are_a_function_of_the_seed_and_their_number(run, place, tmp_path, monkeypatch):
    """The data of the VAE are gone: sampling needs the run's folder alone."""
    monkeypatch.chdir(place)
    before = contents(place)
    ten = sampled(run, tmp_path / "ten.npz", "--count", 10)
    assert ten.shape == (10, 8, 8, 1) and ten.dtype == np.uint8
    np.testing.assert_array_equal(sampled(run, tmp_path / "again.npz", "--count", 10, "--seed", 0), ten)
    np.testing.assert_array_equal(sampled(run, tmp_path / "twenty.npz", "--count", 20)[:10], ten)
    assert (sampled(run, tmp_path / "other.npz", "--count", 10, "--seed", 1) != ten).any()
    assert contents(place) == before


def test_samples_of_a_model_that_is_told_classes_are_of_those_asked_for_in_turn(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    alone = [sampled("cgan", tmp_path / f"{label}.npz", "--label", label) for label in range(3)]
    turns = sampled("cgan", tmp_path / "turns.npz", "--label", 0, 1, 2)
    for place_, image in enumerate(turns):
        np.testing.assert_array_equal(image, alone[place_ % 3][place_])
    assert len({image.tobytes() for image in (one[0] for one in alone)}) == 3  # of the same latents
    again = sampled("cgan", tmp_path / "again.npz")  # each draws its own class
    each = [next((k for k in range(3) if (alone[k][at] == image).all()), None) for at, image in enumerate(again)]
    assert None not in each and len(set(each)) > 1


def test_samples_are_drawn_where_asked_for(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "vae", "moved")
    assert "moved-samples.png" in done("sample", "moved", "--count", 9)
    wide, high = Image.open("moved-samples.png").size
    assert wide == high
    done("sample", "moved", "--count", 9, "--output", "new/folder/nine.png")
    assert Path("new/folder/nine.png").read_bytes() == Path("moved-samples.png").read_bytes()


def test_rows_go_from_sample_to_sample_as_a_picture_a_film_or_arrays(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = done("interpolate", place / "gan", "--count", 3, "--steps", 4)
    assert told.startswith("3 rows of 4: gan-interpolation.png  (averaged weights (half-life 10 kimg)")
    wide, high = Image.open("gan-interpolation.png").size
    assert wide > high
    done("interpolate", place / "gan", "--count", 3, "--steps", 4, "--output", "rows.npz")
    rows = np.load("rows.npz")["image"]
    assert rows.shape == (3, 4, 8, 8, 1) and rows.dtype == np.uint8
    ends = rows[:, [0, -1]].reshape(6, 8, 8, 1).astype(int)
    np.testing.assert_allclose(ends, sampled(place / "gan", "ends.npz", "--count", 6), atol=1)  # a last bit rounds
    done("interpolate", place / "gan", "--count", 3, "--steps", 4, "--output", "film.gif")
    assert Image.open("film.gif").n_frames == 4


def test_the_averaged_generator_is_what_is_sampled(place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    told = {run: done("sample", run, "--output", tmp_path / "s.png") for run in ("vae", "gan")}
    assert "(last weights)" in told["vae"] and "averaged weights (half-life 10 kimg)" in told["gan"]


def test_reconstructions_are_of_the_test_images(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(place / "data.npz", tmp_path)
    shutil.copytree(place / "unsaved", "run")
    shutil.copytree(place / "vae" / "checkpoints", "run/checkpoints")
    done("reconstruct", "run", "--output", "r.npz", "--count", 5)
    arrays = np.load("r.npz")
    np.testing.assert_array_equal(arrays["image"], np.load("data.npz")["image"][72:77])
    assert arrays["reconstruction"].shape == (5, 8, 8, 1) and arrays["reconstruction"].dtype == np.uint8
    assert "8 test images above" in done("reconstruct", "run")
    assert Path("run-reconstructions.png").is_file()


def test_a_gan_with_an_encoder_reconstructs_as_well(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(place / "data.npz", tmp_path)
    done(
        "train", *GAN, *ALONE, "--data", "data.npz", "--steps", 2, "--model.techniques.autoencoding", 1, "--run", "gan"
    )
    assert Path("gan/reconstructions.png").is_file()
    done("reconstruct", "gan", "--output", "r.npz", "--count", 5)
    arrays = np.load("r.npz")
    np.testing.assert_array_equal(arrays["image"], np.load("data.npz")["image"][72:77])
    assert arrays["reconstruction"].shape == (5, 8, 8, 1)
