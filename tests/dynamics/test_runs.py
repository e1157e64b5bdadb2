"""`vaegan dynamics spectrum` and `path` on trained runs, against the dense Jacobian on the same images."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import ALONE, GAN, VAE, done, refused, vaegan
from jax.flatten_util import ravel_pytree

from vaegan_jax.data import load
from vaegan_jax.dynamics import instruments, runs
from vaegan_jax.training import reading

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_quickly")]
TINY = ["--model.hidden-sizes", 2]
HELD = ["--batch-size", 6, "--seed", 1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with runs of a GAN, with checkpoints of rounds 2, 4 and 6, and of a VAE, with one of round 2."""
    place = tmp_path_factory.mktemp("runs")
    np.savez(place / "data.npz", image=np.random.default_rng(0).integers(0, 256, (80, 4, 4, 1), dtype=np.uint8))
    data = [*ALONE, "--data", place / "data.npz"]
    every = ["--training.checkpoint-interval-steps", 2, "--training.rounds-per-dispatch", 2]
    done("train", *GAN, *TINY, *data, *every, "--steps", 6, "--run", place / "gan")
    done("train", *VAE, *TINY, *data, "--steps", 2, "--run", place / "vae")
    return place


def held(run, at=None):
    experiment, state, _ = reading.read(run, at)
    state = jax.tree.map(jnp.asarray, state)
    source = load(experiment.config.data, "test", 0)
    joint = runs.held_field(experiment, state, runs.Held("data", 6, 1), source)
    return joint, instruments.point_of(instruments.moving(experiment), state.params)


def test_the_spectrum_of_a_gan_is_that_of_its_dense_jacobian(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    out = done("dynamics", "spectrum", trained / "gan", *HELD, "--count", 3, "--probes", 40, "--json")
    found, J = json.loads(out), instruments.jacobian(*held(trained / "gan"))
    values = np.linalg.eigvals(J)
    expected = np.sort(np.abs(values))[::-1][:3]
    leading = np.array([complex(*value) for value in found["leading"]["eigenvalues"]])
    np.testing.assert_allclose(np.abs(leading), expected, rtol=1e-3)
    assert found["leftmost"]["eigenvalues"][0][0] == pytest.approx(values.real.min(), abs=1e-4 * expected[0])
    rotation = found["rotation"]
    assert rotation["share"] == pytest.approx(instruments.exact_share(J).share, abs=4 * rotation["error"] + 1e-3)
    assert found["step"] == 6 and (found["data"]["count"], found["data"]["seed"]) == (6, 1)
    least = found["hessians"]["generator"]["smallest"]["eigenvalues"][0]
    ours = instruments.entries(["generator"], held(trained / "gan")[1])
    assert least == pytest.approx(np.linalg.eigvalsh(J[np.ix_(ours, ours)])[0], abs=1e-4 * expected[0])
    assert found["verdict"]["kind"] in ("nash", "local minimax", "neither")
    kernels = [name for name in found["singular_values"] if name.startswith("generator")]
    assert kernels and not list(tmp_path.iterdir())


def test_a_vae_has_one_player_and_nothing_rotates(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    out = done("dynamics", "spectrum", trained / "vae", *HELD, "--count", 1, "--probes", 3)
    assert "rotation         0.0000" in out and "Hessian          vae" in out and "6 held images" in out
    assert "picture: vae-spectrum.png" in out and (tmp_path / "vae-spectrum.png").is_file()


def test_a_path_goes_from_the_first_checkpoint_kept_to_the_last(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = json.loads(done("dynamics", "path", trained / "gan", *HELD, "--points", 7, "--json"))
    assert (found["from"], found["to"]) == (2, 6) and len(found["alphas"]) == 7
    joint, end = held(trained / "gan")
    _, start = held(trained / "gan", 2)
    vector = lambda tree: ravel_pytree(tree)[0]  # noqa: E731
    way, field = vector(end) - vector(start), vector(joint(start))
    cosine = float(way @ field / np.linalg.norm(way) / np.linalg.norm(field))
    assert found["cosines"][0] == pytest.approx(cosine, abs=1e-5)
    assert found["norms"][0] == pytest.approx(float(np.linalg.norm(field)), rel=1e-5)
    out = done("dynamics", "path", trained / "gan", *HELD, "--points", 3, "--from", 4, "--to", 6, "--output", "p.html")
    assert "from round 4 to 6" in out and "path-angle" in (tmp_path / "p.html").read_text()


def test_what_a_run_cannot_tell_is_told_in_one_line(trained, tmp_path):
    bad = {
        ("spectrum", tmp_path / "gone"): "there is no run",
        ("spectrum", trained / "gan", "--step", 3): "no checkpoint of round 3; it has 2, 4, 6",
        ("spectrum", trained / "gan", "--batch-size", 100): "held images, not 100",
        ("spectrum", trained / "gan", "--batch-size", 0): "batch-size must be at least 1",
        ("spectrum", trained / "gan", "--batch-size", 2, "--count", 0): "count must be in 1 ..",
        ("path", trained / "vae"): "keeps one checkpoint only, of round 2: train with --training.keep-checkpoints",
        ("path", trained / "gan", "--from", 6): "not from round 6 to itself",
        ("path", trained / "gan", "--to", 5): "no checkpoint of round 5",
        ("path", trained / "gan", "--points", 2): "points must be at least 3",
        ("path", trained / "gan", "--output", "a.gif"): "output must end in .png, .html, .npz",
    }
    for words, told in bad.items():
        assert told in refused("dynamics", *words)
    shutil.copytree(trained / "gan", tmp_path / "mixed")
    (tmp_path / "mixed" / "config.json").write_text((trained / "vae" / "config.json").read_text())
    assert "the checkpoint is of another model" in vaegan("dynamics", "path", tmp_path / "mixed").err
