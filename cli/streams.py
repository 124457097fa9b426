"""stdout and stderr, where writing may fail: they are closed, full, or their reader is gone.

A line of progress that cannot be written must not end a command, nor may a result get lost without
a word. Within `guarded`, writing never raises; what was lost of the results is asked afterwards.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, Any, TextIO, cast


class Guarded:
    """A stream to which writing never fails; `problem` says why text did not arrive.

    A reader that has gone is not a problem: it has what it wanted. After the first failure
    everything goes to the null device, also what other libraries write to the descriptor, and what
    the interpreter flushes at its exit.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self.problem: str | None = None
        self._closed = stream is None
        # closed with the process: rich and typer keep the stream that they were given
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: SIM115, PTH123
        self._lost = False

    def write(self, text: str) -> int:
        """Write `text` if that is possible; the length of `text` in any case."""
        if self._closed and text:
            self.problem = "it is closed"
        if not self._lost:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write every line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush if that is possible."""
        if not self._lost:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def __getattr__(self, name: str) -> Any:
        """Encoding, isatty, fileno: those of the stream."""
        return getattr(self._stream, name)

    def _lose(self, error: OSError | ValueError) -> None:
        self._lost = True
        if not isinstance(error, BrokenPipeError):
            reason = error.strerror if isinstance(error, OSError) else None
            self.problem = (reason or str(error)).lower()
        with contextlib.suppress(OSError, ValueError):
            number = self._stream.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
            self._stream.flush()


@contextlib.contextmanager
def guarded() -> Iterator[Guarded]:
    """Guard stdout and stderr within `with`; gives the guard of stdout, flushed at the end."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    results, messages = Guarded(sys.stdout), Guarded(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, results), cast(TextIO, messages)
    try:
        yield results
    finally:
        results.flush()
        messages.flush()
        sys.stdout, sys.stderr = before


def _fill_descriptors() -> None:
    """Open the null device as 0, 1 and 2 where they are closed.

    The next file opened would get the number otherwise, and the messages of a library with it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, number)  # also where they are equal: children inherit the copy
                if null != number:
                    os.close(null)
