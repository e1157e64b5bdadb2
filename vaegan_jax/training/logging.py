"""What a run tells while it trains: metrics.jsonl, TensorBoard events made from it, and progress for people."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vaegan_jax.errors import UserError
from vaegan_jax.games import Metrics
from vaegan_jax.training.checkpoint import Arrays
from vaegan_jax.training.collapse import SIGMA
from vaegan_jax.training.run import write

PLAIN_INTERVAL_SECONDS = 5.0
"""Without a terminal, a line at most this often."""
FLUSH_INTERVAL_SECONDS = 10.0
"""TensorBoard sees what is new at least this often."""
MUCH_WAITING = 0.05
"""A share of time spent waiting for data that is worth telling."""


class MetricsLog:
    """metrics.jsonl, a line an interval, and TensorBoard's scalars, of the same, and images, the sample grids.

    Opened by the trainer alone.
    """

    def __init__(self, folder: Path, step: int):
        """Opens both as `cut_back` leaves them."""
        self._folder = folder
        self._open(step)

    @property
    def last(self) -> Mapping[str, Any]:
        """The last row; empty before the first."""
        return self.rows[-1] if self.rows else {}

    def cut_back(self, step: int) -> None:
        """Leaves what happened up to `step`: every round is told once."""
        self._close()
        self._open(step)

    def write(self, row: Mapping[str, Any]) -> None:
        self.rows.append(dict(row))
        self._file.write(json.dumps(self.last) + "\n")
        self._file.flush()
        self._scalars(row)

    def picture(self, step: int, path: Path, tag: str = "samples") -> None:
        """Shows a PNG file of a round, a sample grid by default, in TensorBoard as well."""
        from tensorboardX.proto.summary_pb2 import Summary

        with Image.open(path) as image:
            width, height = image.size
        content = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        self._event(step, [Summary.Value(tag=tag, image=content)])

    def _open(self, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        folder = self._folder
        self.rows = [row for row in read_metrics(folder) if row["step"] <= step]
        write(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))
        shutil.rmtree(folder / "events", ignore_errors=True)
        (folder / "events").mkdir()
        # Not tensorboardX's SummaryWriter: its thread dies of a full disk, and the trainer then waits for it forever.
        self._events, self._flushed = EventsWriter(str(folder / "events" / "events")), time.monotonic()
        for row in self.rows:
            self._scalars(row)
        for path in sorted((folder / "samples").glob("step-*.png")):
            if (drawn := int(path.stem.removeprefix("step-"))) <= step:
                with suppress(UnidentifiedImageError):  # somebody's damage to a picture stops no training
                    self.picture(drawn, path)
        self._file = open(folder / "metrics.jsonl", "a")  # noqa: SIM115 (closed on exit)

    def _close(self) -> None:
        self._file.close()
        self._events.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error) -> None:
        self._close()

    def _scalars(self, row: Mapping[str, Any]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "step"]
        self._event(row["step"], values)

    def _event(self, step: int, values: list[Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed > FLUSH_INTERVAL_SECONDS:
            self._flushed = time.monotonic()
            self._events.flush()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line that a kill tore is left out. UserError if another line is damaged."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append(row | {"step": int(row["step"])})
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines):
                raise UserError(f"{path}, line {number}, is damaged: mend it or move the file away") from error
    return rows


class Clock:
    """Speed from round `done` on, and the share of time in which the device had to wait for its data."""

    def __init__(self, done: int):
        self._first, self._begun, self._waited = done, time.monotonic(), 0.0

    def feed(self, read: Callable[[], Arrays], busy: Metrics | None) -> Arrays:
        """What `read` gives. The time counts as waiting unless the device is still `busy` with the last dispatch."""
        begun = time.monotonic()
        batch = read()
        if not busy or all(value.is_ready() for value in busy.values()):
            self._waited += time.monotonic() - begun
        return batch

    def told(self, done: int, images_per_round: int) -> dict[str, float]:
        """Metrics of speed up to round `done`."""
        seconds = time.monotonic() - self._begun
        rate = (done - self._first) * images_per_round / seconds
        return {"images_per_second": rate, "data_wait": self._waited / seconds}


class Bar:
    """Progress with time left, images a second and losses: a bar on a terminal, else a line now and then."""

    def __init__(self, console: Console, done: int, steps: int, images_per_round: int):
        self._console, self._done, self._steps, self._images = console, done, steps, images_per_round
        self._last = time.monotonic()
        self._bar, self._spectra = None, []
        if console.is_terminal:
            text = TextColumn("{task.fields[told]}")
            columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), text]
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("", total=steps, completed=done, told="compiling")

    def __enter__(self) -> "Bar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error) -> None:
        self.stop()

    def advance(self, done: int) -> None:
        self._spectra = self._spectra if done >= self._done else []  # of a state that was rolled back
        self._done = done
        if self._bar:
            self._bar.update(self._task, completed=done)

    def stop(self) -> None:
        """Leaves the bar as it stands; what is printed from now on comes below it."""
        if self._bar:
            self._bar.stop()

    def tell(self, metrics: Mapping[str, float | int]) -> None:
        """Shows speed, losses with norms of gradients, mean scores, the largest singular value of any layer when it was
        last watched, a device's memory, and how much of the time goes into waiting for data, if it is much."""
        losses = {name.removesuffix("/loss"): value for name, value in metrics.items() if name.endswith("/loss")}
        norms = {name: metrics.get(f"{name}/gradient") for name in losses}
        slopes = {name: f" (gradient {norm:.3g})" for name, norm in norms.items() if norm is not None}
        told = [f"{metrics['images_per_second']:,.0f} images/s", *_utilization(metrics)]
        told += [f"{name} {value:.4g}{slopes.get(name, '')}" for name, value in losses.items()]
        scores = {what: metrics.get(f"discriminator/{what}") for what in ("real", "fake")}
        told += [f"D({what}) {value:.3g}" for what, value in scores.items() if value is not None]
        if spectra := [value for name, value in metrics.items() if name.startswith(SIGMA)]:
            self._spectra = [f"sigma {max(spectra):.3g}"]
        told += self._spectra
        if "memory/device_gib" in metrics:
            told.append(f"{metrics['memory/device_gib']:.1f} GiB")
        if metrics["data_wait"] > MUCH_WAITING:
            told.append(f"waiting for data {metrics['data_wait']:.0%}")
        told = "  ".join(told)
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._task, told=told)
        elif now - self._last >= PLAIN_INTERVAL_SECONDS or self._done == self._steps:
            self._last = now
            left = (self._steps - self._done) * self._images / metrics["images_per_second"]
            clock = timedelta(seconds=round(left))
            self._console.print(f"round {self._done:,} of {self._steps:,}  {clock} left  {told}")


def _utilization(metrics: Mapping[str, float | int]) -> list[str]:
    """How much of the chips' speed is used, or how fast they are where it is not known what they could do."""
    if "mfu" in metrics:
        return [f"MFU {metrics['mfu']:.1%}"]
    if rate := metrics.get("flops_per_second"):
        return [f"{rate / 1e12:.3g} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GFLOP/s"]
    return []
