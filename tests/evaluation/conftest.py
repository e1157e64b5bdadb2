"""Small runs, on data in which each class looks different, for scores to be taken of; and an AlexNet's weights."""

import contextlib
import dataclasses
import pickle

import numpy as np
import pytest
from commands import ALONE, CGAN, GAN, VAE, done
from random_networks import random_tensors

from vaegan_jax.evaluation.features import alexnet
from vaegan_jax.evaluation.weights import WEIGHTS

SEEDS = 3


def pictures(count, seed=0, channels=1):
    """Images of 8x8 pixels, a bright square for each of four classes, in noise."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 4
    image = rng.integers(0, 100, (count, 8, 8, channels))
    for each, kind in zip(image, label, strict=True):
        top, left = (4 * side for side in divmod(int(kind), 2))
        each[top : top + 4, left : left + 4] += 150
    return image.astype(np.uint8), label


@pytest.fixture(scope="session")
def scored(tmp_path_factory, once):
    """A folder with data, runs of three seeds with scores, a GAN without, and a weights folder of its own."""
    place = tmp_path_factory.mktemp("scored")
    train, test = pictures(300), pictures(100, seed=1)
    arrays = {"train_image": train[0], "train_label": train[1], "test_image": test[0], "test_label": test[1]}
    np.savez(place / "data.npz", **arrays)
    np.savez(place / "few.npz", image=test[0][:20])
    np.savez(place / "labeled.npz", image=test[0][:40], label=test[1][:40])
    features = ["--evaluation.features", "pixels", "--evaluation.count", "200"]
    often = ["--evaluate-every", "8", "--training.log-interval-steps", "5", *features]
    with once(), contextlib.chdir(place):
        for seed in range(SEEDS):
            words = ["train", *VAE, *ALONE, "--data", "data.npz", "--steps", 20, "--seed", seed, "--run", f"vae-{seed}"]
            done(*words, *often)
        done("train", *GAN, *ALONE, "--data", "data.npz", "--steps", 5, "--run", "gan")
        done("train", *CGAN, *ALONE, "--data", "data.npz", "--steps", 5, "--run", "cgan")
    return place


@pytest.fixture
def there(scored, monkeypatch):
    """In that folder, with its own folder of weights."""
    monkeypatch.chdir(scored)
    monkeypatch.setenv("VAEGAN_WEIGHTS", str(scored / "weights"))
    return scored


@pytest.fixture(scope="package")
def tensors():
    """Of an AlexNet as the package has it, at random."""
    return random_tensors(alexnet.SHAPES)


@pytest.fixture(scope="package")
def checkpoint(tensors):
    """The same as the package's file."""
    nested = {}
    for name, array in tensors.items():
        *path, leaf = name.split("/")
        inner = nested
        for key in path:
            inner = inner.setdefault(key, {})
        inner[leaf] = array
    return pickle.dumps(nested)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of weights, which is not there yet, and a known AlexNet that may be any."""
    monkeypatch.setenv("VAEGAN_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setitem(WEIGHTS, "alexnet", dataclasses.replace(WEIGHTS["alexnet"], digest=""))
    return tmp_path / "weights"
