"""The README's code runs, and what it tells of commands is true."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from vaegan_jax import cli_dynamics, cli_plan
from vaegan_jax.cli import COMMANDS
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.games import init, play
from vaegan_jax.losses import adversarial
from vaegan_jax.models import gan
from vaegan_jax.networks.network import init_networks
from vaegan_jax.parsing import parse

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def run(code, folder):
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_game_written_by_hand_spirals_out_stays_and_spirals_in(tmp_path):
    done = run(blocks("python")[0], tmp_path)
    assert done.returncode == 0, done.stderr
    norms = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()[:3]}
    assert abs(norms["simultaneous"] - 2**0.5 * 1.01**250) < 1e-3 * norms["simultaneous"]
    assert 1.3 < norms["alternating"] < 1.5
    assert abs(norms["extragradient"] - 2**0.5 * (1 - 0.1**2 + 0.1**4) ** 250) < 1e-3


def test_the_loss_of_the_worked_example_is_a_game_that_traces():
    names = dict(vars(adversarial))  # what the file has, and no more
    exec(blocks("python")[1], names)
    config, spec = (
        gan.Config(network="mlp", hidden_sizes=(4,), latent_size=2),
        DataSpec("tiny", (2, 2, 1), batch_size=3),
    )
    game = gan.game(config, spec, gan.seams(config, spec, lambda table: names["exponential"]()))

    def round():
        state = init(game, *init_networks(gan.networks(config, spec), jax.random.key(0)))
        batch = {"image": jnp.zeros((2, 1, 3, 2, 2, 1)), "position": jnp.zeros((2, 1, 3), jnp.int32)}
        return play(game, gan.schedule(config))(state, batch, jax.random.key(1))[1]

    assert "generator/loss" in jax.eval_shape(round)


@pytest.mark.slow
def test_the_two_edits_of_the_worked_example_make_it_a_value_that_trains(tmp_path):
    """In a copy of the package: the formula in one file, its name in another, and no more."""
    shutil.copytree(ROOT / "vaegan_jax", tmp_path / "vaegan_jax")
    formula, names = (tmp_path / "vaegan_jax" / part for part in ("losses/adversarial.py", "models/gan_terms.py"))
    formula.write_text(formula.read_text() + "\n\n" + blocks("python")[1])
    text = names.read_text()
    for before, after in (
        ('"relativistic-average"\n]', '"relativistic-average", "exponential"\n]'),
        (
            '        "hinge": adversarial.hinge,\n',
            '        "hinge": adversarial.hinge,\n        "exponential": adversarial.exponential,\n',
        ),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    names.write_text(text)
    words = "train gan --model.value exponential --model.network mlp --model.hidden-sizes 8 --steps 2 --batch-size 8"
    words += " --data fashion_mnist_small --training.sample-interval-steps 0 --run run"
    command = [sys.executable, "-m", "vaegan_jax", *words.split()]
    here = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["model"]["value"] == "exponential" and (tmp_path / "run" / "samples.png").is_file()


@pytest.mark.slow
def test_the_lines_of_python_train_resume_sample_inspect_and_evaluate(tmp_path):
    done = run(blocks("python")[2] + blocks("python")[4], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FD-pixels" in done.stdout and "recall-pixels" in done.stdout
    assert (tmp_path / "runs" / "001-vae-fashion_mnist_small" / "samples.png").is_file()
    assert re.search(r"^[0-9a-f]{64} last weights$", done.stdout, flags=re.MULTILINE)


def test_the_lines_of_python_show_data_and_list_models(tmp_path):
    done = run(blocks("python")[3], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sheet.png").is_file() and "Trouser" in done.stdout and "vae" in done.stdout


def test_the_table_has_every_command_and_no_other():
    named = set(re.findall(r"^\| `vaegan (\w+)", TEXT, flags=re.MULTILINE))
    assert named == set(COMMANDS)


def commands():
    """Every command of the README that has no placeholder left: those of blocks, and those within a sentence."""
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(vaegan [^`\[|]* --[^`\[|]*)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))
    for word, value in {"N": "2", "I": "0", "HOST:PORT": "localhost:1234"}.items():
        lines = [re.sub(rf"(?<=\s){word}\b", value, line) for line in lines]
    lines = [line for line in lines if line.startswith("vaegan ") and "MODEL" not in line]
    return [line.partition("#")[0].split()[1:] for line in lines if "exponential" not in line]  # until it is added


def test_every_line_is_understood():
    lines = commands()
    assert len(lines) > 25 and len({words[0] for words in lines}) > 8
    for words in lines:
        parse(COMMANDS, words, {"dynamics": cli_dynamics.chosen, "plan": cli_plan.chosen})


def test_the_continuous_integration_runs_the_test_command_of_the_readme():
    command = blocks("sh")[1].strip()
    assert command in (ROOT / ".ci" / "run").read_text()


def test_pictures_exist_and_are_small():
    for name in re.findall(r"!\[.*?\]\((.*?)\)", TEXT):
        assert (ROOT / name).stat().st_size < 300_000
