"""What diverges stops, says whose numbers ended and when, and keeps the last finite state."""

import json
import re
import shutil

import numpy as np
import pytest
from commands import GAN, VAE, vaegan
from runs import ONE, STEPS, UNEVEN, cut, facts, saved

from vaegan_jax.training.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.mark.parametrize(
    "model, optimizer, players",
    [
        (VAE, "optimizer", "vae"),
        pytest.param(GAN, "discriminator_optimizer", "discriminator|generator", marks=pytest.mark.slow),
    ],
    ids=["vae", "gan"],
)
def test_what_diverges_stops_and_keeps_the_last_finite_state(model, optimizer, players, whole, tmp_path):
    """From round 10 on, each round is saved, and steps are so large that numbers soon end."""
    run = tmp_path / "run"
    shutil.copytree(whole(model, ONE), run)
    cut(run, after=10)
    record = json.loads((run / "config.json").read_text())
    record["config"]["model"][optimizer]["learning_rate"] = 1e15
    record["config"]["training"]["checkpoint_interval_steps"] = 1
    (run / "config.json").write_text(json.dumps(record))
    code, _, err = vaegan("resume", run)
    assert code == 3 and err.count("\n") == 1
    found = re.match(rf"vaegan: diverged: the \w+ of ({players}) became (inf|-inf|nan) in round (\d+)\. ", err)
    assert found and "Try a smaller learning rate (--model." in err
    told = facts(run)
    assert told["step"] == int(found[3]) - 1 >= 10 and told["damage"] == []
    assert np.isfinite(list(told["metrics"].values())).all()
    with Checkpoints(run / "checkpoints") as checkpoints:
        assert all(np.isfinite(array).all() for array in checkpoints.restore()[1].values())
    again = vaegan("resume", run)
    assert (again.code, again.err) == (3, err)
    assert facts(run)["sha256"] == told["sha256"]


def test_what_diverges_at_once_saves_nothing(data, tmp_path):
    run = tmp_path / "run"
    rate = ["--model.likelihood", "gaussian", "--model.optimizer.learning-rate", 1e30]
    outcome = vaegan("train", *VAE, *rate, *ONE, *UNEVEN, "--data", data, "--steps", STEPS, "--run", run)
    assert outcome.code == 3 and " of vae became " in outcome.err
    # Norms are measured in the last round of a dispatch, and the first dispatch has one round.
    assert "in round 1." in outcome.err
    assert saved(run) == []
