"""The training loop: one, straight, for every model."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from vaegan_jax.data import DATASETS, Source, load
from vaegan_jax.errors import UserError, check
from vaegan_jax.games import Metrics, State, describe
from vaegan_jax.training import run as runs
from vaegan_jax.training.checkpoint import Checkpoints, digest, flatten, unflatten
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import PLAY, Experiment, assemble, first_state, step_of
from vaegan_jax.training.feeding import feeder, fingerprint
from vaegan_jax.training.logging import Bar, MetricsLog
from vaegan_jax.training.parallel import LIFTS, choose_devices, rounds
from vaegan_jax.training.showing import Pictures
from vaegan_jax.training.stopping import Interrupted, finite_values, signals


def train(
    config: RunConfig, run: Path | str | None = None, source: Source | None = None, console: Console | None = None
) -> Path:
    """Trains a new run and returns its folder: `run`, or the next under runs/. `source` stands in for `config.data`.

    Raises UserError for what the user can mend, and `Interrupted` and `Diverged` of `stopping`.
    """
    devices = choose_devices(config)
    source = source or load(config.data, "train")
    experiment = assemble(config, source.spec)
    card = asdict(DATASETS[config.data]) if config.data in DATASETS else None
    facts = {"spec": asdict(source.spec), "card": card, "examples": len(source), "data_sha256": fingerprint(source)}
    folder = runs.create(None if run is None else Path(run), config, facts)
    return _train(folder, experiment, source, devices, console)


def resume(
    run: Path | str, steps: int | None = None, source: Source | None = None, console: Console | None = None
) -> Path:
    """Goes on with a run, to `steps` rounds in total, exactly as if it had never stopped. Raises as `train` does."""
    folder = Path(run)
    config, record = runs.read_config(folder)
    config = replace(config, steps=steps or config.steps)
    devices = choose_devices(config)
    source = source or load(config.data, "train")
    same = fingerprint(source) == record["data_sha256"]
    check(same, f"{config.data} is not the data that {folder} was trained on: its sha256 differs")
    return _train(folder, assemble(config, source.spec), source, devices, console)


def _train(folder: Path, experiment: Experiment, source: Source, devices: list, console: Console | None) -> Path:
    """From the newest checkpoint, or the beginning, to the end; everything that is opened is closed however it ends."""
    console = console or Console(highlight=False, soft_wrap=True)
    config, training = experiment.config, experiment.config.training
    with ExitStack() as stack:
        stack.enter_context(runs.locked(folder))
        stack.enter_context(_told_plainly(folder))
        interrupted = stack.enter_context(signals())
        checkpoints = stack.enter_context(Checkpoints(folder / "checkpoints", training.keep_checkpoints, write=True))
        state, done = _start(experiment, checkpoints, console)
        check(done <= config.steps, f"{folder} is at round {done} already, beyond {config.steps}: ask for more")
        runs.set_steps(folder, config.steps)
        pictures = Pictures(folder, experiment, source, done)
        log = stack.enter_context(MetricsLog(folder, done))

        limit = training.rounds_per_dispatch
        lift = LIFTS[config.parallel](rounds(step_of(experiment), limit), devices)
        store, feed = feeder(experiment, source, limit)
        console.print(describe(experiment.game, experiment.schedule, state))
        console.print(_plan(folder, experiment, source, devices, bool(store), limit), style="dim")
        state, store, key = lift.place(state), lift.place(store), experiment.key(PLAY)

        def dispatch(state: State, done: int, count: int) -> tuple[State, Metrics]:
            return lift.step(state, feed(done, count), np.int32(count), key, store)

        with Bar(console, done, config.steps) as bar:
            stretches = _stretches(experiment, dispatch, state, done, limit, bar, interrupted)
            for state, done, values, rate in stretches:
                images = done * experiment.images_per_round
                if _due(training.log_interval_steps, done, config.steps):
                    log.write({"step": done, "images": images, "images_per_second": rate, **values})
                    bar.tell(rate, values)
                if training.sample_interval_steps and _due(training.sample_interval_steps, done, config.steps):
                    pictures.draw(lift.collect(state), done)
                if interrupted or _due(training.checkpoint_interval_steps, done, config.steps):
                    checkpoints.save(done, lift.collect(state))
        if done > checkpoints.newest:  # a signal came between two stretches
            checkpoints.save(done, lift.collect(state))
        checkpoints.wait()
        if done < config.steps:
            told = f"stopped after round {done:,} of {config.steps:,}, saved; to go on: vaegan resume {folder}"
            raise Interrupted(told, interrupted[0])
        _finish(folder, experiment, lift.collect(state), pictures, log, console)
    return folder


def _stretches(
    experiment: Experiment, dispatch: Callable, state: State, done: int, limit: int, bar: Bar, interrupted: list[int]
) -> Iterator[tuple[State, int, dict[str, float], float]]:
    """Plays from one event to the next: yields the state, rounds done, metrics of the last round, images a second.

    Metrics are looked at one dispatch late, so that the device never waits for the host, and all before a yield, so
    that no state is saved which is not finite.
    """
    training, steps = experiment.config.training, experiment.config.steps
    intervals = (training.log_interval_steps, training.sample_interval_steps, training.checkpoint_interval_steps)
    compiled = False
    while done < steps and not interrupted:
        end = min(steps, *(done + interval - done % interval for interval in intervals if interval))
        first, begun, pending = done, time.monotonic(), None
        while done < end and not interrupted:
            count = min(limit, end - done)
            state, metrics = dispatch(state, done, count)
            if pending:
                finite_values(experiment, *pending)
            pending, done = (done, {name: rows[:count] for name, rows in metrics.items()}), done + count
            bar.advance(done)
            if not compiled and done < end:  # speed is told without the time to compile
                jax.block_until_ready(metrics)
                first, begun = done, time.monotonic()
            compiled = True
        values = finite_values(experiment, *pending)
        yield state, done, values, (done - first) * experiment.images_per_round / (time.monotonic() - begun)


def _due(interval: int, done: int, steps: int) -> bool:
    return done == steps or bool(interval) and done % interval == 0


def _start(experiment: Experiment, checkpoints: Checkpoints, console: Console) -> tuple[State, int]:
    """The newest good state, or the first; what was damaged is told and set aside."""
    state = first_state(experiment)
    restored = checkpoints.restore()
    if restored is None:
        return state, 0
    step, arrays, damage = restored
    for told in damage:
        console.print(f"{told}; falling back to the checkpoint of round {step:,}", style="yellow")
    checkpoints.set_aside(after=step)
    return unflatten(state, arrays), step


def _plan(folder: Path, experiment: Experiment, source: Source, devices: list, on_device: bool, limit: int) -> str:
    where = "on the device" if on_device else "read batch by batch"
    many = f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}, {experiment.config.parallel}"
    return f"run {folder}: {len(source):,} images {where}, {many}, {limit} rounds a dispatch"


def _finish(
    folder: Path, experiment: Experiment, state: State, pictures: Pictures, log: MetricsLog, console: Console
) -> None:
    """The last pictures, summary.json, and what to do next."""
    steps, (made, sampled_with) = experiment.config.steps, pictures.finish(state)
    summary = {
        "step": steps,
        "images": steps * experiment.images_per_round,
        "sampled_with": sampled_with,
        "sha256": digest(flatten(state)),
        "metrics": log.last,
        "pictures": made,
    }
    runs.write(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    norms = ("gradient", "update", "parameters")
    told = {name: value for name, value in log.last.items() if "/" in name and not name.endswith(norms)}
    console.print("  ".join(f"{name} {value:.4g}" for name, value in told.items()))
    console.print(f"samples: {folder / made['samples']}  ({sampled_with})", style="bold")
    console.print(f"more:    {'  '.join(str(folder / name) for title, name in made.items() if title != 'samples')}")
    console.print(f"next:    vaegan sample {folder} --count 100  or  vaegan resume {folder} --steps {2 * steps}")


@contextmanager
def _told_plainly(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write in {folder}: {reason}. Checkpoints are whole: vaegan inspect {folder}"
        ) from error
