"""Runs and data for the command line to be right and wrong about."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import ALONE, CGAN, GAN, VAE, done


@pytest.fixture(scope="session")
def place(tmp_path_factory, once):
    """A folder with runs, good and bad ones, and with data, good and bad."""
    place = tmp_path_factory.mktemp("place")
    pixels = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), dtype=np.uint8)
    np.savez(place / "data.npz", image=pixels)
    np.savez(place / "gone.npz", image=pixels)
    np.savez(place / "labeled.npz", image=pixels, label=np.arange(80) % 3)
    np.savez(place / "odd.npz", image=pixels[:, :7, :7])
    holed = pixels / np.float32(127.5) - 1
    holed[17, 2, 3] = np.nan
    np.savez(place / "nan.npz", image=holed)
    (place / "text.npz").write_text("not an archive")
    (place / "file").write_text("a file")
    (place / "letters").mkdir()
    (place / "letters" / "letter").write_text("dear")
    (place / "empty").mkdir()
    with once(), contextlib.chdir(place):
        done("train", *VAE, *ALONE, "--data", "gone.npz", "--steps", 5, "--run", "vae")
        done("train", *GAN, *ALONE, "--data", "data.npz", "--steps", 5, "--run", "gan")
        done("train", *CGAN, *ALONE, "--data", "labeled.npz", "--steps", 5, "--run", "cgan")
        Path("gone.npz").unlink()
        for name, change in {
            "unsaved": lambda config: config["config"].update(data="data.npz"),
            "changed": lambda config: config["config"].update(data="data.npz") or config.update(data_sha256="0" * 64),
            "reshaped": lambda config: config["config"].update(data="odd.npz"),
            "undone": lambda config: config["config"].update(data="text.npz"),
            "future": lambda config: config.update(format=2),
            "swapped": lambda config: config["config"].update(
                json.loads(Path("gan/config.json").read_text())["config"]
            ),
        }.items():
            shutil.copytree("vae", name)
            config = json.loads(Path(name, "config.json").read_text())
            change(config)
            Path(name, "config.json").write_text(json.dumps(config))
        shutil.rmtree("unsaved/checkpoints")
        shutil.copytree("vae", "torn")
        text = Path("vae/config.json").read_text()
        Path("torn/config.json").write_text(text[: len(text) // 2])
    return place
