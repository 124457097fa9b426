"""The errors a user may see. Each carries what was found, where, and how to mend it.

The command line prints `str(error)` and then `hint: …`; nothing else of a traceback is shown.
"""

from __future__ import annotations

import enum
from pathlib import Path


class ExitCode(enum.IntEnum):
    """What the shell gets back from every `advrec` command."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    DATA = 3
    NATIVE = 4
    INTERRUPTED = 130


class AdvrecError(Exception):
    """Base of everything advrec raises on purpose: one sentence, and a hint where there is one."""

    exit_code: ExitCode = ExitCode.CHECK_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(AdvrecError):
    """A flag, an argument or a combination of them that cannot be carried out."""

    exit_code = ExitCode.USAGE


class ConfigError(AdvrecError):
    """A configuration value (file or flag) that may not be, or a run that does not fit it."""

    exit_code = ExitCode.DATA


class DataError(AdvrecError):
    """A data file that cannot be used; says the file and, for text, the line."""

    exit_code = ExitCode.DATA

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        where = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(where + message, hint=hint)
        self.path = None if path is None else Path(path)
        self.line = line


class RunError(AdvrecError):
    """A run folder that is missing, damaged, unfinished or made from other data."""

    exit_code = ExitCode.DATA


class TrainingError(AdvrecError):
    """Training that cannot go on, such as a loss that is no longer a number."""

    exit_code = ExitCode.CHECK_FAILED


class NativeError(AdvrecError):
    """The compiled core cannot be built, loaded or run on the device that was asked for."""

    exit_code = ExitCode.NATIVE


class Interrupted(AdvrecError):  # noqa: N818 - it is no error: everything was saved
    """Ctrl-C, after everything was saved; the hint says how to go on."""

    exit_code = ExitCode.INTERRUPTED
