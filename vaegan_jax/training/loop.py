"""The training loop: one, straight, for every model."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from vaegan_jax.data import DATASETS, Source, load, located
from vaegan_jax.errors import Caution, UserError, check
from vaegan_jax.evaluation import weights
from vaegan_jax.games import Metrics, State
from vaegan_jax.planning.plan import check_fits
from vaegan_jax.training import hosts
from vaegan_jax.training import run as runs
from vaegan_jax.training.accumulating import ghost
from vaegan_jax.training.beginning import state_shapes
from vaegan_jax.training.checkpoint import Arrays
from vaegan_jax.training.collapse import BACK
from vaegan_jax.training.config import RunConfig, to_json
from vaegan_jax.training.experiment import PLAY, Experiment, again, assemble, check_of_use, step_of
from vaegan_jax.training.feeding import bytes_of, feeder, fingerprint, on_device
from vaegan_jax.training.initial import facts as begins_with
from vaegan_jax.training.logging import Clock
from vaegan_jax.training.parallel import Lift, choose_devices, lifted
from vaegan_jax.training.stopping import Collapsed, Interrupted, finite_values, signals
from vaegan_jax.training.watching import Utilization, peak
from vaegan_jax.training.writing import Writer, looked_at

PATIENCE_SECONDS = 4.0
"""No dispatch is of more rounds than take as long, unless of one: a signal has to wait for up to two dispatches. As
often, several processes ask each other whether a signal has come."""


def train(
    config: RunConfig,
    run: Path | str | None = None,
    source: Source | None = None,
    held_out: Source | None = None,
    console: Console | None = None,
) -> Path:
    """Trains a new run and returns its folder: `run`, or the next under runs/.

    `source` stands in for `config.data`, and `held_out` for its test images, which a model with an encoder
    reconstructs at the end. Raises UserError for what the user can mend; `Interrupted`, `Diverged` and `Collapsed` of
    `stopping`.
    """
    initial = str(Path(config.initial).expanduser().absolute()) if config.initial else ""
    config = replace(config, data=source.spec.name if source else located(config.data), initial=initial)
    devices, data, experiment, sha256 = _put_together(config, source)
    hosts.agreed(lambda: check_of_use(experiment))
    card = asdict(DATASETS[config.data]) if config.data in DATASETS else getattr(data, "card", None)
    facts = {"spec": asdict(data.spec), "card": card, "examples": len(data), "data_sha256": sha256}
    facts |= {"batch_norm": named} if (named := _ghost(experiment)) else {}
    if config.initial:
        facts["initial"] = json.loads(hosts.by_first(lambda: json.dumps(begins_with(experiment))))
    named = None if run is None else Path(run)
    folder = Path(hosts.by_first(lambda: str(runs.create(named, config, facts))))
    return _train(folder, experiment, data, _held_out(config, source, held_out), devices, console)


def resume(
    run: Path | str,
    steps: int | None = None,
    data: str | None = None,
    source: Source | None = None,
    held_out: Source | None = None,
    console: Console | None = None,
    devices: int | None = None,
    parallel: str | None = None,
    shard: str | None = None,
    shard_over: int | None = None,
) -> Path:
    """Goes on with a run, to `steps` rounds in total, exactly as if it had never stopped.

    `data` says where the same data are now, if they have moved. `devices`, `parallel`, `shard` and `shard_over` stand
    in for those of the run from now on: the trajectory stays the same up to rounding. The rest, and what is raised, is
    as for `train`.
    """
    folder = Path(run)
    config, record = hosts.agreed(lambda: runs.read_config(folder))
    told = f"{folder} was imported, not trained: vaegan train MODEL --initial {folder} --data NAME trains it further"
    hosts.agreed(lambda: check("imported" not in record, told))
    asked = {"devices": devices, "parallel": parallel, "shard": shard, "shard_over": shard_over}
    if shard == "none":
        asked["shard_over"] = shard_over or 0  # which was of the split
    asked = {name: value for name, value in asked.items() if value is not None}
    asked |= {"steps": steps or config.steps, "data": located(data or config.data)}
    config = hosts.agreed(lambda: replace(config, **asked))
    chosen, examples, experiment, sha256 = _put_together(config, source)
    told = f"{config.data} is not the data that {folder} was trained on: its sha256 differs"
    hosts.agreed(lambda: check(sha256 == record["data_sha256"], told))
    return _train(folder, experiment, examples, _held_out(config, source, held_out), chosen, console)


def _held_out(config: RunConfig, source: Source | None, held_out: Source | None) -> Callable[[], Source | None]:
    """Gives the held-out images when they are needed; none where the data were handed over without any."""

    def test() -> Source | None:
        try:
            return load(config.data, "test", config.image_size)
        except UserError as error:
            warnings.warn(f"no reconstructions are drawn: {error}", Caution, stacklevel=2)
            return None

    return test if source is None else lambda: held_out


def _put_together(config: RunConfig, source: Source | None) -> tuple[list, Source, Experiment, str]:
    """Devices, data, experiment and the data's sha256. UserError in all processes unless all can, and are alike."""

    def put_together():
        devices, data = choose_devices(config), source or load(config.data, "train", config.image_size)
        check(config.labels <= len(data), f"labels {config.labels:,} is more than there are examples: {len(data):,}")
        experiment = assemble(config, data.spec)
        network = config.evaluation.features
        if config.evaluate_every and network in weights.WEIGHTS and hosts.first():  # before there is a folder
            weights.require(network)
        check_fits(experiment, devices, bytes_of(data) if on_device(experiment, data) else 0)
        return devices, data, experiment, fingerprint(data)

    hosts.check_alike({name: value for name, value in to_json(config).items() if name != "data"})  # may lie elsewhere
    found = hosts.agreed(put_together)
    hosts.check_alike({"sha256 of the data": found[-1]})
    return found


def _train(
    folder: Path,
    experiment: Experiment,
    source: Source,
    held_out: Callable[[], Source | None],
    devices: list,
    console: Console | None,
) -> Path:
    """From the newest checkpoint, or the beginning, to the end; everything that is opened is closed however it ends."""
    config = experiment.config
    with ExitStack() as stack:
        stack.enter_context(_told_plainly(folder))
        interrupted = stack.enter_context(signals())
        writer = Writer(folder, experiment, source, held_out, console, interrupted) if hosts.first() else None
        done = int(hosts.by_first(lambda: str(stack.enter_context(writer).restore())))
        lift = lifted(config, step_of(experiment), devices)
        use = Utilization(lift.flops, experiment.images_per_round, peak(devices))
        collect = (lambda state: state) if lift.together else lift.collect
        hosts.by_first(lambda: str(writer.begin(done, collect, use, _plan(experiment, source, devices))))
        # Alone, a process stops after the dispatch in which it is told to; several agree on it between stretches.
        stopping = interrupted if hosts.process_count() == 1 else []
        state, done, verdict = _played(experiment, source, lift, writer, done, interrupted, stopping)
        while verdict == BACK and not stopping:
            done, experiment = int(hosts.by_first(lambda: str(writer.roll_back()))), again(experiment)
            state, done, verdict = _played(experiment, source, lift, writer, done, interrupted, stopping)
        if writer:
            writer.end(state, done)
        if verdict and verdict != BACK:
            raise Collapsed(verdict)
        if verdict or done < config.steps:
            told = f"stopped after round {done:,} of {config.steps:,}, saved; to go on: vaegan resume {folder}"
            raise Interrupted(told, stopping[0])
        if writer:
            writer.finish(state)
    return folder


def _played(
    experiment: Experiment,
    source: Source,
    lift: Lift,
    writer: Writer | None,
    done: int,
    interrupted: list[int],
    stopping: list[int],
) -> tuple[State, int, str]:
    """From round `done` to the end, or to what ends it before: a signal, or the writer's verdict, which is returned."""
    verdict = hosts.by_first(lambda: writer.overdue())
    state = hosts.from_first(writer.state if writer else state_shapes(experiment))
    feeding = feeder(experiment, source, done, *hosts.part())
    state, store, key = (lift.place(tree) for tree in (state, feeding.store, experiment.key(PLAY)))

    def dispatch(state: State, batch: Arrays, count: int) -> tuple[State, Metrics]:
        return lift.step(state, batch, np.int32(count), key, store)

    def noted(state: State, done: int, metrics: dict[str, float]) -> str:
        stopping.extend(hosts.union(interrupted) if hosts.process_count() > 1 else [])
        if lift.together and looked_at(experiment.config, done, bool(stopping)):
            state = lift.collect(state)  # for the first process, with the help of all
        return hosts.by_first(lambda: writer.note(state, done, metrics, stopping))

    stretches = _stretches(experiment, dispatch, feeding.feed, state, done, stopping, writer)
    while not verdict and (reached := next(stretches, None)):
        (state, done, _), verdict = reached, noted(*reached)
    return lift.collect(state) if lift.together else state, done, verdict


def _stretches(
    experiment: Experiment,
    dispatch: Callable[[State, Arrays, int], tuple[State, Metrics]],
    feed: Callable[[int], Arrays],
    state: State,
    done: int,
    stopping: list[int],
    writer: Writer | None,
) -> Iterator[tuple[State, int, dict[str, float]]]:
    """Plays from one event to the next: yields the state, rounds done, and metrics of the last round and of speed.

    Metrics are looked at one dispatch late, so that the device never waits for the host, and all before a yield, so
    that no state is saved which is not finite.
    """
    config, steps = experiment.config, experiment.config.steps
    training = config.training
    intervals = (
        training.log_interval_steps,
        training.sample_interval_steps,
        training.checkpoint_interval_steps,
        config.evaluate_every,
        config.dynamics_every,
        config.watch_every,
    )
    compiled, patience = False, 1  # until a round has been timed
    while done < steps and not stopping:
        end = min(steps, *(done + interval - done % interval for interval in intervals if interval))
        if not compiled:  # the first round compiles, the second one is timed
            end = min(end, done + 2)
        if hosts.process_count() > 1:  # these hear of a signal at the end of a stretch
            end = min(end, done + patience)
        clock, pending, metrics = Clock(done), None, None
        while done < end and not stopping:
            count = min(training.rounds_per_dispatch, patience, end - done)
            batch = clock.feed(lambda count=count: feed(count), metrics)
            state, metrics = dispatch(state, batch, count)
            if pending:
                finite_values(experiment, *pending)
            pending, done = (done, count, metrics), done + count
            if writer:
                writer.advance(done)
            if not compiled and done < end:  # speed is told without the time to compile
                jax.block_until_ready(metrics)
                clock = Clock(done)
            compiled = True
        values, told = finite_values(experiment, *pending), clock.told(done, experiment.images_per_round)
        fit = int(PATIENCE_SECONDS * told["images_per_second"] / experiment.images_per_round)
        patience = int(hosts.by_first(lambda fit=fit: str(max(1, fit))))
        yield state, done, told | values


def _plan(experiment: Experiment, source: Source, devices: list) -> str:
    config, processes = experiment.config, hosts.process_count()
    where = "on the device" if on_device(experiment, source) else "read batch by batch"
    many = f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}, {config.parallel}"
    over = f" over {config.shard_over}" * bool(config.shard_over)
    many += f", split: {config.shard}{over}" * (config.shard != "none" and len(devices) > 1)
    many += f", {processes} processes" * (processes > 1)
    many += f", {config.training.rounds_per_dispatch} rounds a dispatch"
    parts, named = config.training.micro_batches, _ghost(experiment)
    many += f", {parts} micro-batches" * (parts > 1) + f": {named}" * bool(named)
    return f"{len(source):,} images {where}, {many}"


def _ghost(experiment: Experiment) -> str:
    if experiment.config.training.micro_batches == 1:
        return ""
    return ghost(experiment.config, state_shapes(experiment).stats)


@contextmanager
def _told_plainly(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot write in {folder}: {reason}. Checkpoints are whole: vaegan inspect {folder}"
        ) from error
