"""Progress of a study: a live line per running cell, a plain line per cell that ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from advrec_cli.console import duration, figure, note, stderr
from advrec_cli.progress import LOG_SECONDS

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from advrec.study import StudyEvent

QUIET_SECONDS = 3 * LOG_SECONDS
"""Least seconds between two plain lines about running cells where stderr is not a terminal."""


def sentence(news: Mapping[str, Any]) -> str:
    """The progress of a running cell in one line."""
    if news.get("stage") != "training":
        return str(news.get("stage", "starting"))
    parts = [f"epoch {news['epoch']}/{news['epochs']}", f"{news['rate'] / 1e6:.2f} M triplets/s"]
    if news["value"] is not None:
        parts.append(f"{news['metric']} {figure(news['value'])}")
    if news["eta_seconds"]:
        parts.append(f"{duration(news['eta_seconds'])} left")
    return "  ".join(parts)


class StudyProgress:
    """Shows a study. Use it as a context, and pass it to the study as its `on_event`."""

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._started: dict[str, float] = {}
        self._shown = clock()
        self._bar: Progress | None = None
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> StudyProgress:
        if not self._quiet and sys.stderr.isatty() and stderr().is_terminal:
            from rich.progress import Progress, TextColumn

            self._bar = Progress(
                TextColumn("  {task.description}"),
                TextColumn("{task.fields[facts]}", style="dim"),
                console=stderr(),
                transient=True,
                refresh_per_second=4,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: StudyEvent) -> None:
        """Show an event: the end of a cell is printed, progress updates its line."""
        if self._quiet:
            return
        if event.kind == "note":
            self._print(event.message)
        elif event.cell is not None:
            {
                "started": self._start,
                "progress": self._move,
                "done": self._end,
                "failed": self._end,
            }[event.kind](event)

    def _start(self, event: StudyEvent) -> None:
        assert event.cell is not None
        self._started[event.cell.key] = self._clock()
        if self._bar is not None:
            self._rows[event.cell.key] = self._bar.add_task(event.cell.label, facts="starting")

    def _move(self, event: StudyEvent) -> None:
        assert event.cell is not None
        row = self._rows.get(event.cell.key)
        if self._bar is not None and row is not None:
            self._bar.update(row, facts=sentence(event.news))
        elif self._clock() - self._shown >= QUIET_SECONDS:
            self._shown = self._clock()
            note(f"        {event.cell.label}  {sentence(event.news)}")

    def _end(self, event: StudyEvent) -> None:
        assert event.cell is not None
        row = self._rows.pop(event.cell.key, None)
        if self._bar is not None and row is not None:
            self._bar.remove_task(row)
        self._shown = self._clock()
        if event.kind == "failed":
            self._print(f"failed  {event.cell.label}: {event.message}")
            return
        took = duration(self._clock() - self._started[event.cell.key])
        result = event.result
        clean = "  ".join(f"{name} {figure(x)}" for name, x in result["clean"]["metrics"].items())
        self._print(
            f"{event.done}/{event.cells}  {event.cell.label}  best epoch "
            f"{result['best_epoch']}  {clean}  in {took}"
        )

    def _print(self, message: str) -> None:
        if self._bar is not None:
            self._bar.console.print(message, markup=False, style="dim", soft_wrap=True)
        else:
            note(message)
