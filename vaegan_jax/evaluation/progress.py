"""How far a long evaluation has come: bars on a terminal, else a line now and then; all of it on the error stream."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

INTERVAL_SECONDS = 5.0
"""Without a terminal, a line at most this often."""


class Steps:
    """`steps(what, done, total)` tells that `done` of `total` parts of `what` are finished."""

    def __init__(self, console: Console | None = None, bars: bool = True):
        """Without `bars`, lines also on a terminal: for one that shows a bar already."""
        self._console = console or Console(stderr=True, highlight=False)
        self._bars, self._tasks, self._last = None, {}, time.monotonic()
        if bars and self._console.is_terminal:
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
            self._bars = Progress(*columns, console=self._console, transient=True)

    def __enter__(self) -> "Steps":
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bars:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total)
            self._bars.update(self._tasks[what], completed=done)
        elif time.monotonic() - self._last >= INTERVAL_SECONDS:
            self._last = time.monotonic()
            self._console.print(f"{what}: {done:,} of {total:,}")
