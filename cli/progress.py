"""The line on stderr that shows the progress of work: a training, a download.

For a training: epoch, rate, losses, last validation metric, time left. On a terminal it is one live
line, elsewhere an occasional plain line, for logs. `quiet` turns it off.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from advrec_cli.console import duration, figure, note, stderr

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from advrec.training.loop import Event

LOG_SECONDS = 10.0
"""Minimum seconds between two plain lines if stderr is not a terminal."""

DRAW_SECONDS = 0.1
"""Minimum seconds between two updates of the live line; events may come a thousand times faster."""


def sentence(event: Event, unit: str = "triplets") -> str:
    """An event in words, without its epoch: rate, losses, validation, time left."""
    rate = f"{event.rate / 1e6:.2f} M" if event.rate >= 1e5 else f"{event.rate:,.0f}"
    parts = [f"{rate} {unit}/s", f"loss {event.loss:.4f}"]
    if event.adv_loss is not None:
        parts.append(f"adversarial {event.adv_loss:.4f}")
    if event.value is not None:
        value, best = figure(event.value), figure(event.best_value)
        is_best = event.best_value is None or best == value
        parts.append(f"{event.metric} {value}" + ("" if is_best else f" (best {best})"))
    if event.eta_seconds is not None and event.eta_seconds > 0:
        parts.append(f"{duration(event.eta_seconds)} left")
    return "  ".join(parts)


class TrainingProgress:
    """Shows a training run. Use it as a context, and call it with every event of the training.

    `unit` is what a batch of the model consists of, "triplets" or "users".
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.unit = "triplets"
        self._quiet = quiet
        self._clock = clock
        self._shown = clock()
        self._last: Event | None = None
        self._live = not quiet and sys.stderr.isatty() and stderr().is_terminal
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingProgress:
        if self._live:
            from rich.progress import BarColumn, Progress, TextColumn
            from rich.table import Column

            whole = Column(no_wrap=True)
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}", table_column=whole),
                BarColumn(bar_width=10),
                TextColumn("{task.fields[facts]}", table_column=whole),
                console=stderr(),
                transient=True,
                refresh_per_second=8,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Handle an event: notes are printed, others move the line."""
        if self._quiet:
            return
        if event.kind == "note":
            self._print(event.message)
        elif event.kind == "finished":
            if self._bar is None and self._last is not None:
                self._log(self._last)
            self._print(event.message)
        elif event.kind != "checkpoint":
            self._move(event)

    def _move(self, event: Event) -> None:
        now = self._clock()
        if self._bar is None:
            self._last = event
            if now - self._shown >= LOG_SECONDS:
                self._shown = now
                self._log(event)
            return
        if self._task is not None and now - self._shown < DRAW_SECONDS:
            return
        self._shown = now
        done = event.epoch if event.kind != "progress" else event.epoch - 1
        whole = max(event.epochs * event.steps, 1)
        completed = done * event.steps + (event.step if event.kind == "progress" else 0)
        fields: dict[str, Any] = {
            "epoch": event.epoch,
            "epochs": event.epochs,
            "facts": sentence(event, self.unit),
        }
        if self._task is None:
            self._task = self._bar.add_task("", total=whole, completed=completed, **fields)
            self._bar.start()
        else:
            self._bar.update(self._task, total=whole, completed=completed, **fields)

    def _log(self, event: Event) -> None:
        if event.triplets > 0:  # not the validation of the weights that training starts from
            note(f"epoch {event.epoch}/{event.epochs}  {sentence(event, self.unit)}")

    def _print(self, message: str) -> None:
        if self._bar is not None:
            self._bar.console.print(message, markup=False, style="dim", soft_wrap=True)
        else:
            note(message)


class CountProgress:
    """A line of bytes or pairs done, on stderr if that is a terminal."""

    def __init__(self, unit: str, *, quiet: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        if not quiet and stderr().is_terminal:
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                MofNCompleteColumn,
                Progress,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            done = (
                (DownloadColumn(), TransferSpeedColumn())
                if unit == "bytes"
                else (MofNCompleteColumn(),)
            )
            self._bar = Progress(
                BarColumn(bar_width=20),
                *done,
                TimeRemainingColumn(),
                console=stderr(),
                transient=True,
            )

    def __enter__(self) -> CountProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *problem: Any) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` are done; None if the total is not known."""
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task("", total=total)
        self._bar.update(self._task, completed=done, total=total)
