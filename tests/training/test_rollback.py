"""What is done about a collapse: a warning, a stop, a way back; and whatever cuts it short, the run goes on exactly."""

import json
import os
import re
import signal
import socket

import pytest
from commands import GAN, SMALL, VAE, done, ended, start, vaegan
from runs import ONE, PMAPPED, SHARDED, STEPS, UNEVEN, assert_same, events, facts, rows, saved, sha256

from vaegan_jax.training import collapse, writing
from vaegan_jax.training.checkpoint import Checkpoints
from vaegan_jax.training.logging import MetricsLog
from vaegan_jax.training.watching import Watch

pytestmark = pytest.mark.usefixtures("compiled_once")
WGAN = ["wgan", *GAN[1:]]
IGNORED = ["--model.beta", 1000, "--model.optimizer.learning-rate", 0.01]
"""A KL term so dear that latents tell the decoder nothing."""
STOP = ["--on-collapse", "stop"]
EVERY = [
    *(*SMALL, "--watch-every", "2", "--training.log-interval-steps", "2"),
    *("--training.checkpoint-interval-steps", "3", "--training.sample-interval-steps", "4", "--steps", STEPS),
]
DIES, TOLD = 10, 16
"""The last round of which samples differ, and the one after which it is told."""


@pytest.fixture
def dying(monkeypatch):
    """`dying(run, times)`: samples of the run die after round 10, until it has been rolled back so often."""
    monkeypatch.setattr(collapse, "SPAN", 4)

    def of(run, times=1, at=lambda step: None):
        def measure(self, state):
            step, record = int(state.step), json.loads((run / "config.json").read_text())
            at(step)
            dead = step > DIES and record["config"]["rolled_back"] < times
            return {"samples/variance": 0.01 if dead else 0.9}

        monkeypatch.setattr(Watch, "__call__", measure)
        return run

    return of


@pytest.fixture(scope="module")
def back(tmp_path_factory, data, once):
    """A run that was rolled back once, and what it said."""
    with pytest.MonkeyPatch.context() as patch:
        run = dying.__wrapped__(patch)(tmp_path_factory.mktemp("back") / "run")
        with once():
            told = done("train", *GAN, *ONE, *EVERY, "--data", data, "--run", run, "--on-collapse", "rollback")
    return run, told


@pytest.mark.slow
def test_watching_changes_nothing_but_what_is_told(whole, data, tmp_path):
    run, plain = tmp_path / "run", whole(GAN, ONE)
    done("train", *GAN, *ONE, *UNEVEN, "--data", data, "--watch-every", 7, "--steps", STEPS, "--run", run)
    assert sha256(run) == sha256(plain)
    watched, untold = rows(run), rows(plain)
    assert set(watched) - set(untold) == {7, 14}
    for step, row in untold.items():
        assert watched[step] == row
    kernels = {f"{network}.{layer}.kernel" for network, layer in LAYERS}
    for step in (7, 14):
        added = {name for name in watched[step] if name not in untold[20]}
        assert added == {"samples/variance"} | {
            f"{what}/{name}" for name in kernels for what in ("sigma", "sigma_ratio")
        } - {"sigma_ratio/discriminator.head.score.kernel"}
        seen = {name: value for at, name, value in events(run) if at == step}
        assert all(abs(seen[name] - watched[step][name]) <= 1e-6 * abs(watched[step][name]) for name in added)
    out = done("inspect", run)
    assert re.search(r"watched     \S+ largest singular value of generator, in Dense_\d \(round 14\)", out)
    assert "sigma" not in out and "% of the data's variance in samples" in out
    assert operations(run) == pytest.approx(ROUND)


# Of D: G's images, scores of real and generated ones, and both gradients by weights, by hidden units alone. Of G: its
# images, their scores, the gradient of D by images and that of G by weights and hidden units. Two for 8 images each.
G, D = 2 * 8 + 8 * 64, 64 * 8 + 8
ROUND = 2 * 8 * ((G + 2 * D + 2 * (D + 8)) + (G + D + D + G + 8 * 64))


def operations(run):
    """Floating point operations of a round, as speeds tell."""
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return row["flops_per_second"] * 8 / row["images_per_second"]


@pytest.mark.slow
def test_a_run_that_is_watched_goes_on_exactly_where_it_was_cut(data, tmp_path):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    words = ["train", *GAN, *ONE, *UNEVEN, "--data", data, "--watch-every", 7]
    done(*words, "--steps", STEPS, "--run", whole)
    done(*words, "--steps", 9, "--run", pieces)
    done("resume", pieces, "--steps", STEPS)
    assert_same(pieces, whole)


LAYERS = {
    ("discriminator", "body.Dense_0"),
    ("discriminator", "head.score"),
    ("generator", "Dense_0"),
    ("generator", "Dense_1"),
}


@pytest.mark.slow
def test_two_devices_see_what_one_sees(data, tmp_path):
    for name, devices in (("one", ONE), ("two", SHARDED), ("mapped", PMAPPED)):
        words = ["train", *GAN, *devices, *EVERY, "--watch-every", 6, "--steps", 6, "--data", data]
        done(*words, "--run", tmp_path / name)
        assert operations(tmp_path / name) == pytest.approx(ROUND)
    one, *others = (rows(tmp_path / name)[6] for name in ("one", "two", "mapped"))
    assert {"discriminator/settled", "sigma/generator.Dense_0.kernel", "samples/variance"} <= set(one)
    for other in others:
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_a_warning_is_given_once_and_noted_in_every_row_that_shows_it(dying, data, tmp_path):
    run = dying(tmp_path / "run")
    out = done("train", *GAN, *ONE, *EVERY, "--data", data, "--run", run)
    told = "signs of collapse after round 16: variance: the variance of samples is 1.00% of the data's (bound 2%)"
    assert out.count("signs of collapse") == 1 and f"{told}; healthy up to round 10" in out
    noted = [step for step, row in rows(run).items() if "collapse/variance" in row]
    assert noted == [16, 18, 20] and saved(run) == [15, 18, 20]
    assert {step for step, name, _ in events(run) if name == "collapse/variance"} == {16, 18, 20}


def test_a_collapse_stops_the_run_with_a_code_of_its_own_and_tells_what_came_before(dying, data, tmp_path):
    run = dying(tmp_path / "run")
    code, _, err = vaegan("train", *GAN, *ONE, *EVERY, "--data", data, "--run", run, "--on-collapse", "stop")
    told = "after round 16: variance: the variance of samples is 1.00% of the data's (bound 2%)"
    kept = f"saved; the last checkpoint before is of round 9; to go on all the same: vaegan resume {run}"
    assert (code, err) == (5, f"vaegan: collapsed {told}; {kept}\n")
    assert saved(run)[-1] == TOLD and 9 in saved(run) and not (run / "summary.json").exists()
    done("resume", run)
    assert facts(run)["step"] == STEPS and list(rows(run)) == list(range(2, 21, 2))


def test_a_run_is_rolled_back_to_before_the_collapse(back):
    run, told = back
    why = "variance: the variance of samples is 1.00% of the data's (bound 2%)"
    assert f"collapse after round 16: {why}; back to round 9 (1 of 3)" in told
    record = json.loads((run / "config.json").read_text())
    assert record["config"]["rolled_back"] == 1
    assert record["rollbacks"] == [{"round": 16, "to": 9, "signals": dict([why.split(": ", 1)])}]
    assert sorted(path.name for path in (run / "collapsed").iterdir()) == ["12-0", "15-0", "metrics-1.jsonl"]
    gone = [json.loads(line)["step"] for line in (run / "collapsed" / "metrics-1.jsonl").read_text().splitlines()]
    assert gone == [10, 12, 14, 16] and list(rows(run)) == list(range(2, 21, 2))
    assert f"rolled back from round 16 to 9: {why}" in done("inspect", run)


@pytest.mark.slow
def test_after_a_way_back_the_noise_is_another(back, dying, data, tmp_path):
    run, _ = back
    healthy = dying(tmp_path / "run", times=0)
    done("train", *GAN, *ONE, *EVERY, "--data", data, "--run", healthy)
    same, other = rows(healthy), rows(run)
    assert all((same[step] == other[step]) == (step < 9) for step in same)
    assert sha256(run) != sha256(healthy)


DEATHS = {
    "before anything is set aside": (Checkpoints, "set_aside", 2),
    "before it is noted": (writing.runs, "set_config", 2),
    "before it is restored": (Checkpoints, "restore", 2),
    "before metrics are cut": (MetricsLog, "cut_back", 1),
}


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        pytest.param(*death, id=name, marks=[pytest.mark.slow] * (name != "before it is restored"))
        for name, death in DEATHS.items()
    ],
)
def test_a_death_while_rolling_back_changes_nothing(owner, name, call, back, dying, data, tmp_path, monkeypatch):
    run, calls, real = dying(tmp_path / "run"), [], getattr(owner, name)

    def dies(*arguments, **named):
        calls.append(name)
        if len(calls) == call:
            raise RuntimeError("killed")
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dies)
        with pytest.raises(RuntimeError, match="killed"):
            vaegan("train", *GAN, *ONE, *EVERY, "--data", data, "--run", run, "--on-collapse", "rollback")
    done("resume", run)
    assert_same(run, back[0])
    assert json.loads((run / "config.json").read_text())["rollbacks"] == [{**facts(back[0])["rollbacks"][0]}]


@pytest.mark.slow
def test_a_checkpoint_that_was_set_aside_before_a_death_leads_to_the_same_run(back, dying, data, tmp_path, monkeypatch):
    run = dying(tmp_path / "run")

    def half(self, after, where="damaged", whole=Checkpoints.set_aside):
        if where == "collapsed":
            whole(self, 12, where)  # the newest has gone, the one before has not
            raise RuntimeError("killed")
        whole(self, after, where)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "set_aside", half)
        with pytest.raises(RuntimeError, match="killed"):
            vaegan("train", *GAN, *ONE, *EVERY, "--data", data, "--run", run, "--on-collapse", "rollback")
    assert saved(run)[-1] == 12
    done("resume", run)
    assert_same(run, back[0])


@pytest.mark.slow
def test_a_signal_comes_first_and_the_way_back_is_gone_when_the_run_is_resumed(back, dying, data, tmp_path):
    run = dying(tmp_path / "run", at=lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == TOLD else None)
    code, _, err = vaegan("train", *GAN, *ONE, *EVERY, "--data", data, "--run", run, "--on-collapse", "rollback")
    assert code == 143 and "stopped after round 16 of 20, saved" in err and saved(run)[-1] == TOLD
    dying(run)
    assert "back to round 9 (1 of 3)" in done("resume", run)
    assert_same(run, back[0])


@pytest.mark.slow
def test_what_collapses_again_and_again_is_stopped_and_without_checkpoints_it_begins_anew(dying, data, tmp_path):
    run = dying(tmp_path / "run", times=9)
    words = ["train", *GAN, *ONE, *EVERY, "--data", data, "--on-collapse", "rollback", "--rollbacks", 2]
    code, out, err = vaegan(*words, "--training.checkpoint-interval-steps", 50, "--run", run)
    assert out.count("collapse after round 16: variance") == 2 and out.count("back to round 0 (") == 2
    assert code == 5 and "(bound 2%); rolled back 2 times already; saved; no checkpoint is from before; " in err
    assert facts(run)["config"]["rolled_back"] == 2 and saved(run) == [TOLD]
    assert "unknown option --rolled-back" in vaegan(*words, "--rolled-back", 1).err


REAL = {
    "a generator that ignores its latents": ([*VAE, *IGNORED], "variance: the variance of samples is "),
    "a critic without bounds": (
        [*WGAN, "--model.clip", 0, "--model.discriminator-optimizer.learning-rate", 1],
        "saturation: the slope of the discriminator between images is ",
    ),
    "a discriminator that has won": (
        [*GAN, "--model.generator-optimizer.learning-rate", 1e-9, "--model.discriminator-optimizer.learning-rate", 0.1],
        "saturation: the loss of the discriminator is below 0.01 for ",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("words", "told"), REAL.values(), ids=REAL)
def test_a_real_collapse_is_found_out(words, told, data, tmp_path):
    quick = ["--training.rounds-per-dispatch", 20, "--training.checkpoint-interval-steps", 200, "--watch-every", 100]
    quick += ["--training.sample-interval-steps", 0, "--training.sample-count", 16, "--steps", 900]
    run = tmp_path / "run"
    code, _, err = vaegan("train", *words, *ONE, "--batch-size", 8, *quick, "--data", data, "--run", run, *STOP)
    assert code == 5 and re.match(r"vaegan: collapsed after round [5-9]\d0: ", err) and told in err, err
    assert re.search("(spectra|variance|saturation)", done("inspect", run))


def start_two(*words):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        joined = ["--coordinator", f"127.0.0.1:{found.getsockname()[1]}", "--process-count", 2]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
    environment.pop("XLA_FLAGS", None)
    return [start(*words, *joined, "--process-id", index, environment=environment) for index in (0, 1)]


def outcomes(processes):
    """Exit codes and lines of stderr and stdout, without what gloo says of its connections."""
    for code, *texts in [ended(process, seconds=400) for process in processes]:
        out, err = ([line for line in text.splitlines() if not line.startswith("[Gloo]")] for text in texts)
        yield code, err, out


@pytest.mark.slow
def test_two_processes_go_back_together_and_stop_together(data, tmp_path):
    """In each the state is its own; the first one judges for both."""
    run = tmp_path / "run"
    words = ["train", *VAE, *IGNORED, "--batch-size", 8, "--devices", 2, "--data", data, "--run", run]
    words += ["--training.rounds-per-dispatch", 20, "--training.checkpoint-interval-steps", 200, "--watch-every", 100]
    words += ["--on-collapse", "rollback", "--rollbacks", 1, "--training.sample-interval-steps", 0, "--steps", 900]
    (code, err, out), (other, _, silent) = outcomes(start_two(*words))
    assert code == other == 5 and silent == [] and "rolled back 1 times already" in err[-1]
    assert any("; back to round " in line and line.endswith(" (1 of 1)") for line in out)
    assert facts(run)["config"]["rolled_back"] == 1
