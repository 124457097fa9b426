"""Which cell runs when: each in its own process, several at once, parents first."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from advrec.errors import Interrupted
from advrec.study.plan import Cell
from advrec.system import files
from advrec.system.interrupt import StopRequest

POLL_SECONDS = 0.2
STOP_SECONDS = 60.0
"""Seconds that a stopped cell may take to save."""

CELL_COMMAND = (sys.executable, "-m", "advrec.study.cell")


@dataclass(frozen=True)
class StudyEvent:
    """What a study reports while it runs."""

    kind: str  # "note", "started", "progress", "done" or "failed"
    message: str = ""  # of "note" and "failed"
    cell: Cell | None = None
    done: int = 0  # finished cells
    cells: int = 0  # in total
    news: Mapping[str, Any] = field(default_factory=dict)  # of "progress", from the cell
    result: Mapping[str, Any] = field(default_factory=dict)  # of "done"


OnStudyEvent = Callable[[StudyEvent], None]


@dataclass(frozen=True)
class Failure:
    """A cell that failed, and why."""

    cell: Cell
    message: str
    hint: str | None = None


class Schedule:
    """Makes the missing cells; `run` returns when all are made or have failed."""

    def __init__(
        self,
        cells: Sequence[Cell],
        out: Path,
        *,
        jobs: int,
        threads: int,
        on_event: OnStudyEvent,
    ) -> None:
        self._out, self._jobs, self._threads = out, jobs, threads
        self._on_event = on_event
        self._todo = [cell for cell in cells if load_result(out, cell) is None]
        self._total, self._done = len(cells), len(cells) - len(self._todo)
        self._running: dict[str, Worker] = {}
        self._answers: queue.Queue[tuple[str, Mapping[str, Any]]] = queue.Queue()
        self.failures: list[Failure] = []

    def run(self) -> None:
        """Make all cells. Raises Interrupted after Ctrl-C, when the running ones have saved."""
        with StopRequest() as stop:
            try:
                while self._todo or self._running:
                    try:
                        self._start_what_is_ready()
                    except (OSError, RuntimeError):  # no process or thread: the others may save
                        self._stop()
                        raise
                    try:
                        key, answer = self._answers.get(timeout=POLL_SECONDS)
                    except queue.Empty:
                        pass
                    else:
                        self._hear(key, answer)
                    if stop.name is not None:
                        self._stop()
                        raise Interrupted(
                            f"stopped by {stop.name} with {self._done} of {self._total} cells "
                            "made; everything is saved",
                            hint="the same command resumes",
                        )
            finally:
                for worker in self._running.values():
                    worker.kill()

    def _start_what_is_ready(self) -> None:
        busy = {worker.cell.run for worker in self._running.values()}
        pending = busy | {cell.run for cell in self._todo}
        failed = {failure.cell.run for failure in self.failures}
        for cell in list(self._todo):
            if len(self._running) >= self._jobs:
                return
            if cell.parent in failed:
                self._todo.remove(cell)
                self._fail(cell, "the pretraining that it starts from failed", None)
            elif cell.parent not in pending and cell.run not in busy:
                self._todo.remove(cell)
                busy.add(cell.run)
                worker = Worker(cell, self._out, self._threads, self._answers)
                self._running[cell.key] = worker
                self._tell("started", cell=cell)

    def _hear(self, key: str, answer: Mapping[str, Any]) -> None:
        cell = self._running[key].cell
        if "progress" in answer:
            self._tell("progress", cell=cell, news=answer["progress"])
        elif "done" in answer:
            self._done += 1
            self._tell("done", cell=cell, result=answer["done"])
        elif "failed" in answer:
            self._fail(cell, answer["failed"], answer["hint"])
        elif "stopped" in answer:  # not by this study, which would no longer be listening
            self._fail(cell, answer["stopped"], "everything is saved; the same command resumes")
        elif "ended" in answer:
            self._running.pop(key).close()
            if answer["code"] is not None:
                self._fail(cell, *self._died(cell, answer))

    def _died(self, cell: Cell, answer: Mapping[str, Any]) -> tuple[str, str]:
        """Message and hint for a process that ended without a result; its stderr becomes a file."""
        path = self._out / "cells" / f"{cell.key}.stderr"
        files.write(path, answer["stderr"])
        lines = answer["stderr"].strip().splitlines() or [""]
        last = f": {lines[-1]}" if lines[-1] else ""
        return f"its process ended with exit code {answer['code']}{last}", f"see {path}"

    def _fail(self, cell: Cell, message: str, hint: str | None) -> None:
        self.failures.append(Failure(cell, message, hint))
        self._tell("failed", cell=cell, message=f"{message} {hint or ''}".strip())

    def _stop(self) -> None:
        """Ask every running cell to save, and wait until they have ended."""
        self._tell("note", message="stopping; the running cells are being saved")
        for worker in self._running.values():
            worker.ask_to_stop()
        for worker in self._running.values():
            worker.wait(STOP_SECONDS)

    def _tell(self, kind: str, **rest: Any) -> None:
        self._on_event(StudyEvent(kind, done=self._done, cells=self._total, **rest))


class Worker:
    """The process of one cell, and the thread that listens to it."""

    def __init__(
        self,
        cell: Cell,
        out: Path,
        threads: int,
        answers: queue.Queue[tuple[str, Mapping[str, Any]]],
    ) -> None:
        self.cell = cell
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `close`
        environment = dict(os.environ)
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        self._process = subprocess.Popen(
            CELL_COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C is for the study, which then asks its cells to save
        )
        task = {"out": str(out), "threads": threads, "cell": asdict(cell)}
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has already ended; `_listen` reports why
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        threading.Thread(target=self._listen, args=(answers,), daemon=True).start()

    def _listen(self, answers: queue.Queue[tuple[str, Mapping[str, Any]]]) -> None:
        """Pass on every line, then that it ended; with its stderr if it ended without a result."""
        answered = False
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            answered = answered or "progress" not in answer
            answers.put((self.cell.key, answer))
        code = self._process.wait()
        end: dict[str, Any] = {"ended": True, "code": None if answered else code}
        if not answered:
            self._complaints.seek(0)
            end["stderr"] = self._complaints.read().decode(errors="replace")
        answers.put((self.cell.key, end))

    def ask_to_stop(self) -> None:
        """Close its input: it saves and ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, at most `seconds`; then kill it."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once; its run folder stays whole."""
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """After it has ended."""
        self.ask_to_stop()
        self._complaints.close()


def result_path(out: Path, cell: Cell) -> Path:
    """The file of a cell's result."""
    return out / "cells" / f"{cell.key}.json"


def load_result(out: Path, cell: Cell) -> dict[str, Any] | None:
    """The result of a cell; None if it is missing (or its file is damaged)."""
    try:
        result = json.loads(result_path(out, cell).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return dict(result) if isinstance(result, dict) and result.get("key") == cell.key else None
