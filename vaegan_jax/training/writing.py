"""What the trainer writes into the folder of a run: checkpoints, metrics, pictures, and what it tells people."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

from rich.console import Console

from vaegan_jax.data import Source
from vaegan_jax.dynamics import solvers
from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation.cards import Score
from vaegan_jax.games import State, describe
from vaegan_jax.training import run as runs
from vaegan_jax.training.checkpoint import Checkpoints, digest, flatten, unflatten
from vaegan_jax.training.experiment import Experiment, first_state
from vaegan_jax.training.logging import Bar, MetricsLog
from vaegan_jax.training.measuring import Instruments
from vaegan_jax.training.showing import Pictures
from vaegan_jax.training.stopping import Cut, Received

Metrics = Mapping[str, float]


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
            kept = self._config.training.keep_checkpoints
            self._checkpoints = stack.enter_context(Checkpoints(self.folder / "checkpoints", kept, write=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def restore(self) -> int:
        """Reads the newest good state, or makes the first one, into `state`; returns its round.

        What was damaged is told and set aside.
        """
        self.state, restored = first_state(self._experiment), self._checkpoints.restore()
        if restored is None:
            return 0
        step, arrays, damage = restored
        for told in damage:
            self.console.print(f"{told}; falling back to the checkpoint of round {step:,}", style="yellow")
        self._checkpoints.set_aside(after=step)
        self.state = unflatten(self.state, arrays)
        return step

    def begin(self, done: int, collect: Callable[[State], State], plan: str) -> None:
        """Cuts all that is written back to round `done`, and tells what is going to be trained, and how.

        `collect` takes the states that are noted from now on from the devices.
        """
        self._collect = collect
        steps, experiment = self._config.steps, self._experiment
        check(done <= steps, f"{self.folder} is at round {done} already, beyond {steps}: ask for more")
        runs.set_config(self.folder, steps=steps, data=self._config.data)
        self._pictures = Pictures(self.folder, experiment, self._source, self._held_out, done)
        self._log = self._stack.enter_context(MetricsLog(self.folder, done))
        self._evaluate = None
        with suppress(Cut), self._interrupted.cutting():  # a classifier is trained the first time
            self._evaluate = self._evaluator() if self._config.evaluate_every else None
        self._measure = Instruments(experiment, self._source) if self._config.dynamics_every else None
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

    def note(self, state: State, done: int, metrics: Metrics, stopping: bool) -> None:
        """Writes what is due after round `done`: metrics, scores and dynamics, a sample grid, a checkpoint."""
        training, steps = self._config.training, self._config.steps
        seen = self._seen(state, done)
        if due(training.log_interval_steps, done, steps) or seen:
            row = {"step": done, "images": done * self._experiment.images_per_round, **metrics, **seen}
            self._log.write(row)
            self._bar.tell(metrics)
        if training.sample_interval_steps and due(training.sample_interval_steps, done, steps):
            self._pictures.draw(self._collect(state), done)
        if stopping or due(training.checkpoint_interval_steps, done, steps):
            self._checkpoints.save(done, self._collect(state))

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
        norms, many = ("gradient", "update", "parameters"), "dynamics/"
        told = {
            name: value
            for name, value in self._log.last.items()
            if "/" in name and not name.endswith(norms) and not name.startswith(many)
        }
        tell("  ".join(f"{name} {value:.4g}" for name, value in told.items()))
        tell(f"samples: {folder / made['samples']}  ({sampled_with})", style="bold")
        tell(f"more:    {'  '.join(str(folder / name) for title, name in made.items() if title != 'samples')}")
        tell(f"next:    vaegan sample {folder} --count 100  or  vaegan resume {folder} --steps {2 * steps}")


def due(interval: int, done: int, steps: int) -> bool:
    """Whether what happens every `interval` rounds, and at the end, happens after round `done`."""
    return done == steps or bool(interval) and done % interval == 0
