"""Ctrl-C as a request that a loop checks for when it is ready to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it acts as Ctrl-C does: what is half written is removed on the way out."""


def terminate_as_ctrl_c() -> None:
    """From now on SIGTERM raises Terminated; unless it is ignored. For a process's main thread."""
    if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


class StopRequest:
    """Within `with`, the first SIGINT or SIGTERM only sets `name`; a second acts as usual.

    Outside the main thread Python has no signal handlers, and nothing changes.
    """

    def __init__(self) -> None:
        self.name: str | None = None  # of the signal that came
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
