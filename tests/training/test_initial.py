"""Runs that begin with the networks of another: what is taken over, what is new, and that nobody needs it again."""

import json
import shutil

import jax
import numpy as np
import pytest
from commands import ALONE, GAN, done, refused
from runs import assert_same, cut

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.errors import UserError
from vaegan_jax.models import gan
from vaegan_jax.training import initial
from vaegan_jax.training import run as runs
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.checkpoint import Checkpoints
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import assemble
from vaegan_jax.training.reading import read

pytestmark = pytest.mark.usefixtures("compiled_once")
SMALL = {"width": 2, "latent_size": 3, "spectral": "both", "condition": "projection", "condition_place": "norm"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with data and a run `first` of three rounds."""
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", image=draw.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8))
    monkeypatch.chdir(tmp_path)
    done("train", *GAN, *ALONE, "--data", "data.npz", "--steps", 3, "--run", "first")
    return tmp_path


def train(run, steps, *more):
    often = ["--training.checkpoint-interval-steps", 2]
    words = ["train", *GAN, *ALONE, *often, "--data", "data.npz", "--seed", 7, "--initial", "first", "--steps", steps]
    return done(*words, "--run", run, *more)


@pytest.mark.slow
def test_a_run_begins_with_another_s_networks_and_resumes_exactly_without_it(place):
    told = train("whole", 4)
    assert "begins with" in told and "round 3: averaged weights (half-life 10 kimg)" in told
    _, first, _ = read("first")
    _, begun, step = read("whole", at=0)
    same = jax.tree.map(
        np.array_equal, (first.averages, first.params["discriminator"]), (begun.averages, begun.params["discriminator"])
    )
    assert step == 0 and int(begun.step) == 0 and all(jax.tree.leaves(same))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, begun.params["generator"], begun.averages["generator"])))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(begun.opt))
    taken = json.loads((place / "whole" / "config.json").read_text())["initial"]
    assert taken["round"] == 3 and taken["run"] == str(place / "first")
    assert f"begun with  {place / 'first'}, round 3 ({taken['sha256'][:12]})" in done("inspect", "whole").splitlines()
    for run, after in (("half", 2), ("killed", -1)):  # the other as if it had died before its first checkpoint
        shutil.copytree("whole", run)
        cut(place / run, after)
        if run == "half":
            shutil.move("first", "elsewhere")
        done("resume", run)
        assert_same(place / run, place / "whole")
        shutil.move("elsewhere", "first") if run == "half" else shutil.rmtree("first")
    cut(place / "killed", -1)
    assert "there is no run" in refused("resume", "killed")


def made(folder, classes, side=8, **changed):
    """A run at round 0, which nobody has trained, and its experiment."""
    spec = DataSpec("made up", (side, side, 1), classes)
    experiment = assemble(RunConfig(gan.Config(**SMALL | changed), data="made up", steps=1, batch_size=4), spec)
    facts = {"spec": {"name": "made up", "image_shape": (side, side, 1), "classes": classes}, "data_sha256": ""}
    runs.create(folder, experiment.config, facts)
    with Checkpoints(folder / "checkpoints", write=True) as checkpoints:
        checkpoints.save(0, first_state(experiment))
        checkpoints.wait()
    return experiment


def begins(folder, classes, side=8, **changed):
    spec = DataSpec("made up", (side, side, 1), classes)
    config = RunConfig(gan.Config(**SMALL | changed), data="x", steps=1, batch_size=4, seed=9, initial=str(folder))
    return assemble(config, spec)


@pytest.mark.slow
@pytest.mark.usefixtures("this_compiled_quickly")
def test_what_depends_on_the_number_of_classes_is_new_where_that_is_another(tmp_path):
    made(tmp_path / "first", 3)
    experiment = begins(tmp_path / "first", 5)
    own, (_, other, _) = first_state(experiment), read(tmp_path / "first")
    state, told = initial.beginning(experiment, own, initial.facts(experiment))
    assert told[1].startswith(
        "new for 5 classes instead of 3: discriminator.head.projection, generator.BatchNorm_0.bias"
    )
    flat = {
        name: initial._leaves(each.params, each.stats)
        for name, each in (("new", state), ("own", own), ("other", other))
    }
    fresh = {name for name, leaf in flat["new"].items() if np.array_equal(leaf, flat["own"][name])}
    for name, leaf in flat["new"].items():
        classed = "projection" in name or ("BatchNorm" in name and name.endswith(("kernel", ".u", ".v")))
        assert name in fresh if classed else np.array_equal(leaf, flat["other"][name]), name


@pytest.mark.usefixtures("this_compiled_quickly")
def test_networks_that_do_not_fit_are_refused_by_the_first_that_does_not(tmp_path):
    made(tmp_path / "first", 3)
    first = r"discriminator.body.Convolution_0.bias is \(2,\) there and \(4,\) here"
    with pytest.raises(UserError, match=rf"does not fit: {first}; settings differ: --model.width 4 \(there 2\)"):
        initial.facts(begins(tmp_path / "first", 3, width=4))
    with pytest.raises(UserError, match=r"does not fit: .*; its images are \(8, 8, 1\)"):
        initial.facts(begins(tmp_path / "first", 3, side=16))
    with pytest.raises(UserError, match="there is no run"):
        initial.facts(begins(tmp_path / "none", 3))
    experiment = begins(tmp_path / "first", 3)
    taken = initial.facts(experiment)
    with pytest.raises(UserError, match="no longer what this run was to begin with"):
        initial.beginning(experiment, first_state(experiment), taken | {"sha256": "0"})
