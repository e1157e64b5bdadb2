"""What the trainer writes into the folder of a run: checkpoints, metrics, pictures, and what it tells people."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from vaegan_jax.data import Source
from vaegan_jax.dynamics import solvers
from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation.cards import Score
from vaegan_jax.games import State, describe
from vaegan_jax.training import collapse
from vaegan_jax.training import run as runs
from vaegan_jax.training.beginning import first_state, state_shapes
from vaegan_jax.training.checkpoint import Checkpoints, digest, flatten, unflatten
from vaegan_jax.training.collapse import BACK
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import Experiment, again
from vaegan_jax.training.initial import beginning
from vaegan_jax.training.logging import Bar, MetricsLog
from vaegan_jax.training.measuring import Instruments
from vaegan_jax.training.showing import Pictures
from vaegan_jax.training.stopping import Cut, Received
from vaegan_jax.training.watching import Utilization, Watch, memory

Metrics = Mapping[str, float]
MUCH = 0.01
"""A share of time spent watching that is worth telling."""


class Writer:
    """Holds the run's lock from the start to the end of a training; of several processes, the first one has it."""

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        source: Source,
        held_out: Callable[[], Source | None],
        console: Console | None,
        interrupted: Received,
    ):
        """`held_out` gives the images to be reconstructed at the end, if there are any.

        What is measured during the training is cut short when `interrupted` receives a signal.
        """
        self._interrupted = interrupted
        self.folder, self._experiment, self._source, self._held_out = folder, experiment, source, held_out
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._config = experiment.config

    def __enter__(self) -> "Writer":
        with ExitStack() as stack:
            stack.enter_context(runs.locked(self.folder))
            kept = collapse.kept(self._config)
            self._checkpoints = stack.enter_context(Checkpoints(self.folder / "checkpoints", kept, write=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def restore(self) -> int:
        """Reads the newest good state, or makes the first one, into `state`; returns its round.

        What was damaged is told and set aside.
        """
        restored = self._checkpoints.restore()
        if restored is None:
            # On the host: the devices' memory is for what is trained.
            self.state = jax.tree.map(np.asarray, first_state(self._experiment))
            self._begin_with_another()
            return 0
        step, arrays, damage = restored
        for told in damage:
            self.console.print(f"{told}; falling back to the checkpoint of round {step:,}", style="yellow")
        self._checkpoints.set_aside(after=step)
        self.state = unflatten(state_shapes(self._experiment), arrays)
        return step

    def _begin_with_another(self) -> None:
        """Takes over the networks of `config.initial`, if any, and saves them: nobody reads that run again."""
        if self._config.initial:
            self.state, told = beginning(self._experiment, self.state, runs.read_config(self.folder)[1]["initial"])
            for line in told:
                self.console.print(line)
            self._checkpoints.save(0, self.state)
            self._checkpoints.wait()

    def begin(self, done: int, collect: Callable[[State], State], use: Utilization, plan: str) -> None:
        """Cuts all that is written back to round `done`, and tells what is going to be trained, and how.

        `collect` takes the states that are noted from now on from the devices.
        """
        self._collect, self._use = collect, use
        steps, experiment = self._config.steps, self._experiment
        check(done <= steps, f"{self.folder} is at round {done} already, beyond {steps}: ask for more")
        kept = ("data", "devices", "parallel", "shard", "shard_over")  # what a resumed run may be told anew
        runs.set_config(self.folder, steps=steps, **{name: getattr(self._config, name) for name in kept})
        self._pictures = Pictures(self.folder, experiment, self._source, self._held_out, done)
        self._log = self._stack.enter_context(MetricsLog(self.folder, done))
        self._evaluate = None
        with suppress(Cut), self._interrupted.cutting():  # a classifier is trained the first time
            self._evaluate = self._evaluator() if self._config.evaluate_every else None
        self._measure = Instruments(experiment, self._source) if self._config.dynamics_every else None
        self._watch = Watch(experiment, self._source)
        self.console.print(describe(experiment.solved.game, experiment.schedule, self.state))
        if self._config.solver.name != "gradient":
            own = experiment.model.schedule(self._config.model)
            self.console.print(solvers.told(self._config.solver, own, experiment.solved), style="dim")
        if self._measure:
            self.console.print(self._measure.told(self.state), style="dim")
        self.console.print(f"run {self.folder}: {plan}", style="dim")
        self._bar = self._stack.enter_context(Bar(self.console, done, steps, experiment.images_per_round))

    def advance(self, done: int) -> None:
        """Moves the bar to round `done`."""
        self._bar.advance(done)

    def note(self, state: State, done: int, metrics: Metrics, stopping: Sequence[int]) -> str:
        """Writes what is due after round `done`: metrics, scores and dynamics, a sample grid, a checkpoint.

        Returns the verdict: "" to go on, `BACK` to roll back, or why to stop, in words.
        """
        training, steps, verdict = self._config.training, self._config.steps, ""
        seen = self._watched(state, done, metrics) | self._seen(state, done)
        if due(training.log_interval_steps, done, steps) or seen:
            self._write({"step": done, "images": done * self._experiment.images_per_round, **metrics, **seen})
            verdict = self._judged()
        if training.sample_interval_steps and due(training.sample_interval_steps, done, steps):
            for tag, path in self._pictures.draw(self._collect(state), done).items():
                self._log.picture(done, path, tag)
        # What is rolled back at once is not saved: a resumed run could not tell that it has still to be.
        saved = verdict != BACK and (verdict or due(training.checkpoint_interval_steps, done, steps))
        if stopping or saved:
            self._checkpoints.save(done, self._collect(state))
        return verdict

    def _write(self, row: dict[str, float | int]) -> None:
        row |= self._use.told(row["images_per_second"]) | memory(jax.local_devices())
        row |= {f"collapse/{each.name}": each.value for each in collapse.signals([*self._log.rows, row])}
        self._log.write(row)
        self._bar.tell(row)

    def overdue(self) -> str:
        """`BACK` where a process was to roll back and has died, or was told to stop, before it could; else ""."""
        here = self._log.last.get("step") == int(self.state.step)
        return BACK if here and collapse.verdict(self._log.rows, self._config, []).kind == BACK else ""

    def _judged(self) -> str:
        """The verdict after the row that was just written."""
        kind, told = collapse.verdict(self._log.rows, self._config, self._checkpoints.steps)
        if kind == "warn":
            self.console.print(f"signs of collapse {told}", style="yellow")
        return {"back": BACK, "stop": f"{told}; to go on all the same: vaegan resume {self.folder}"}.get(kind, "")

    def roll_back(self) -> int:
        """Sets all that came after the last healthy round aside and goes back; returns the round of the new `state`.

        At any moment at which the process may die, it leaves a run that rolls back again, or has done so: checkpoints
        go the newest first, the others lead to the same collapse, and config.json tells of it at the end.
        """
        found, done = collapse.fresh(self._log.rows), self._log.last["step"]
        self._checkpoints.wait()
        self._checkpoints.set_aside(min(each.healthy for each in found), "collapsed")
        back = max(self._checkpoints.steps, default=0)
        self._experiment = again(self._experiment)
        self._config = self._experiment.config
        gone = "".join(json.dumps(row) + "\n" for row in self._log.rows if row["step"] > back)
        runs.write(self.folder / "collapsed" / f"metrics-{self._config.rolled_back}.jsonl", gone)
        signals, said = {each.name: each.told for each in found}, "; ".join(f"{e.name}: {e.told}" for e in found)
        told = {"round": done, "to": back, "signals": signals}
        runs.set_config(self.folder, rollback=told, rolled_back=self._config.rolled_back)
        back = self.restore()
        self._log.cut_back(back)
        self._pictures.cut_back(back)
        self._bar.advance(back)
        self._measure = Instruments(self._experiment, self._source) if self._config.dynamics_every else None
        many = f"{self._config.rolled_back} of {self._config.rollbacks}"
        self.console.print(f"collapse after round {done:,}: {said}; back to round {back:,} ({many})", style="yellow")
        return back

    def _watched(self, state: State, done: int, metrics: Metrics) -> dict[str, float]:
        """Spectra and variance after round `done`, if they are due; what they cost is told where it is much."""
        every = self._config.watch_every
        if not every or done % every:
            return {}
        found = self._watch(self._collect(state))
        between = every * self._experiment.images_per_round / metrics["images_per_second"]
        if self._watch.seconds > MUCH * between and not self._watch.told:
            told = f"watching takes {self._watch.seconds / between:.1%} of the time"
            fit = math.ceil(every * self._watch.seconds / (MUCH * between))
            self.console.print(f"{told}: --watch-every {fit:,} would make it {MUCH:.0%}", style="dim")
            self._watch.told = True
        return found

    def _seen(self, state: State, done: int) -> dict[str, float]:
        """Scores and dynamics after round `done`, if they are due; those that a signal leaves the time for."""
        steps, seen = self._config.steps, {}
        measured = self._measure and due(self._config.dynamics_every, done, steps)
        evaluated = self._evaluate and due(self._config.evaluate_every, done, steps)
        try:
            with self._interrupted.cutting() if measured or evaluated else nullcontext():
                if measured:
                    seen |= self._dynamics(self._collect(state), done)
                if evaluated:
                    seen |= {f"score/{score.name}": score.value for score in self._evaluate(self._collect(state), done)}
        except Cut:
            self.console.print(f"interrupted: what is measured after round {done:,} is not complete", style="yellow")
        return seen

    def _dynamics(self, state: State, done: int) -> dict[str, float]:
        try:
            return self._measure(state)
        except UserError as error:  # the training is worth more than what can be seen of it
            self.console.print(f"no dynamics after round {done:,}: {error}", style="yellow")
            return {}

    def _evaluator(self) -> Callable[[State, int], list[Score]]:
        """(state, round) -> scores; what cannot be measured is found here, before the training."""
        from vaegan_jax.evaluation import scoring
        from vaegan_jax.evaluation.progress import Steps

        data = scoring.Data(self._source, self._held_out(), self._experiment.spec.image_shape)
        with Steps(self.console) as tell:
            ready = scoring.prepared(self._experiment, data, self._config.evaluation, tell)

        def evaluate(state: State, done: int) -> list[Score]:
            tell = Steps(self.console, bars=False)  # above the training's own bar
            try:
                return scoring.evaluate(self.folder, self._experiment, state, done, ready._replace(tell=tell))
            except UserError as error:  # of what only the samples show; the training is worth more than a score
                self.console.print(f"no scores after round {done:,}: {error}", style="yellow")
                return []

        return evaluate

    def end(self, state: State, done: int) -> None:
        """Sees the last checkpoint onto the disk."""
        self._bar.stop()
        if done > self._checkpoints.newest:  # a signal came between two stretches, or before the first
            self._checkpoints.save(done, self._collect(state))
        self._checkpoints.wait()

    def finish(self, state: State) -> None:
        """The last pictures, summary.json, and what to do next."""
        state, steps = self._collect(state), self._config.steps
        made, sampled_with = self._pictures.finish(state)
        summary = {
            "step": steps,
            "images": steps * self._experiment.images_per_round,
            "sampled_with": sampled_with,
            "state_sha256": digest(flatten(state)),
            "metrics": self._log.last,
            "pictures": made,
        }
        folder, tell = self.folder, self.console.print
        runs.write(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        norms, whose = ("gradient", "update", "parameters"), {*self._experiment.game, "score"}
        told = {
            name: value
            for name, value in self._log.last.items()
            if name.split("/")[0] in whose and "/" in name and not name.endswith(norms)
        }
        tell("  ".join(f"{name} {value:.4g}" for name, value in told.items()))
        tell(f"samples: {folder / made['samples']}  ({sampled_with})", style="bold")
        tell(f"more:    {'  '.join(str(folder / name) for title, name in made.items() if title != 'samples')}")
        tell(f"next:    vaegan sample {folder} --count 100  or  vaegan resume {folder} --steps {2 * steps}")


def looked_at(config: RunConfig, done: int, stopping: bool) -> bool:
    """Whether the writer may look at the state after round `done`, not only at its metrics."""
    training = config.training
    every = [training.sample_interval_steps, training.checkpoint_interval_steps, config.watch_every]
    every += [config.evaluate_every, config.dynamics_every]
    every += [training.log_interval_steps] * (config.on_collapse != "warn")  # the row may tell to save
    return stopping or any(due(interval, done, config.steps) for interval in every)


def due(interval: int, done: int, steps: int) -> bool:
    """Whether what happens every `interval` rounds, and at the end, happens after round `done`."""
    return done == steps or bool(interval) and done % interval == 0
