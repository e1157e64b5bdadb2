"""Runs that were left alone, which others have to equal, and commands in processes of their own."""

import os

import commands
import numpy as np
import pytest
from commands import done
from runs import STEPS, UNEVEN


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, image=np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), dtype=np.uint8))
    return path


@pytest.fixture(scope="session")
def whole(tmp_path_factory, data):
    """`whole(model, devices)`: a run that was left alone, trained once."""
    made = {}

    def of(model, devices):
        key = (*model, *devices)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("whole") / "run"
            done("train", *model, *devices, *UNEVEN, "--data", data, "--steps", STEPS, "--run", made[key])
        return made[key]

    return of


@pytest.fixture
def process(cache):
    """Starts `vaegan` in a process of its own, with the same compiled programs; none outlives the test."""
    compiled_once = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    started = []

    def start(*words, environment=compiled_once):
        started.append(commands.start(*words, environment=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
