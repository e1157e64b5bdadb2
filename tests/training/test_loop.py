"""What a run is called, shows and says: data handed over, data that moved, and a stop before the first round."""

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from vaegan_jax.data import ArraySource
from vaegan_jax.errors import Caution, UserError
from vaegan_jax.models import vae
from vaegan_jax.training import loop
from vaegan_jax.training.config import RunConfig, TrainingConfig
from vaegan_jax.training.loop import resume, train
from vaegan_jax.training.reading import inspect, read, reconstructions, sample
from vaegan_jax.training.stopping import Interrupted

pytestmark = pytest.mark.usefixtures("compiled_quickly")
QUICK = TrainingConfig(rounds_per_dispatch=2, sample_count=4, sample_interval_steps=0)
MODEL = vae.Config(hidden_sizes=(4,), latent_size=2)


def source(grey, name="mine", count=12):
    return ArraySource({"image": np.full((count, 8, 8, 1), grey, np.uint8)}, name)


def config(**fields):
    return RunConfig(MODEL, **{"steps": 2, "batch_size": 4, "devices": 1, "training": QUICK} | fields)


def test_a_run_on_data_handed_over_is_called_after_them_and_shows_no_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train(config(), source=source(0), held_out=source(255, "others"))
    assert run.name == "001-vae-mine"
    record = json.loads((run / "config.json").read_text())
    assert (record["config"]["data"], record["card"], record["spec"]["name"]) == ("mine", None, "mine")
    with Image.open(run / "reconstructions.png") as sheet:
        assert np.asarray(sheet).max() == 255
    without = train(config(), source=source(0))
    assert not (without / "reconstructions.png").exists() and (without / "beside_data.png").exists()
    with pytest.raises(UserError, match="unknown data set 'mine'"):
        resume(run, 4)
    resume(run, 4, source=source(0))
    real, _ = reconstructions(run, 3, source=source(255))
    np.testing.assert_array_equal(real, np.ones((3, 8, 8, 1)))


def test_a_run_on_a_file_can_be_resumed_from_elsewhere_and_after_the_file_has_moved(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    np.savez("mine.npz", image=source(7).arrays["image"])
    run = tmp_path / "run"
    train(config(data="mine.npz"), run)
    monkeypatch.chdir(tmp_path)
    resume(run, 4)
    (tmp_path / "here" / "mine.npz").rename("moved.npz")
    with pytest.raises(UserError, match="there is no file .*here/mine.npz"):
        resume(run, 6)
    resume(run, 6, data="moved.npz")
    assert inspect(run)["config"]["data"] == str(tmp_path / "moved.npz")
    assert reconstructions(run, 2)[0].shape == (2, 8, 8, 1)
    np.savez("other.npz", image=source(8).arrays["image"])
    with pytest.raises(UserError, match="not the data that .* was trained on"):
        resume(run, 8, data="other.npz")


def test_a_file_without_test_images_is_trained_on_without_reconstructions_and_says_so(tmp_path):
    np.savez(tmp_path / "train.npz", train_image=source(7).arrays["image"])
    with pytest.warns(Caution, match='no reconstructions are drawn: .*"test_image"'):
        run = train(config(data=str(tmp_path / "train.npz")), tmp_path / "run")
    assert not (run / "reconstructions.png").exists()


def test_a_stop_before_the_first_round_saves_the_first_state(tmp_path, monkeypatch):
    def feeder(*arguments, real=loop.feeder):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "feeder", feeder)
        with pytest.raises(Interrupted, match="stopped after round 0 of 2, saved"):
            train(config(), tmp_path / "run", source(7))
    assert read(tmp_path / "run")[2] == 0
    train(config(), tmp_path / "whole", source(7))
    resume(tmp_path / "run", source=source(7))
    assert inspect(tmp_path / "run")["sha256"] == inspect(tmp_path / "whole")["sha256"]


def test_counts_and_seeds_out_of_range_are_refused_in_python_too(tmp_path):
    run = train(config(), tmp_path / "run", source(7))
    for bad in ({"count": 0}, {"count": -3}, {"count": 1, "seed": -1}, {"count": 1, "seed": 2**32}):
        with pytest.raises(UserError, match="must be"):
            sample(run, **bad)
    with pytest.raises(UserError, match="count must be"):
        reconstructions(run, 0)
