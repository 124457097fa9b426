"""The errors a user may see. Each says what was found and expected, where, and how to fix it.

The command line prints `error: ` with the message and `hint: ` with the hint, and no traceback.
Messages start in lower case and have no full stop; so do hints.
"""

from __future__ import annotations

import enum
from pathlib import Path

from advrec.visible import sentence, visible


class ExitCode(enum.IntEnum):
    """What every `advrec` command returns to the shell."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    DATA = 3
    NATIVE = 4
    INTERRUPTED = 130


class AdvrecError(Exception):
    """Base of the errors that advrec raises on purpose: one sentence, perhaps with a hint.

    What they quote of a file is cut and has no control characters (`advrec.visible`).
    """

    exit_code: ExitCode = ExitCode.CHECK_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(sentence(message))
        self.hint = None if hint is None else visible(hint)


class UsageError(AdvrecError):
    """A flag, an argument or a combination of them that is not possible."""

    exit_code = ExitCode.USAGE


class ConfigError(AdvrecError):
    """A configuration value (file or flag) that is not allowed, or does not fit the run."""

    exit_code = ExitCode.DATA


class DataError(AdvrecError):
    """A data file that cannot be used; names the file and, for text, the line."""

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
        super().__init__(where + sentence(message), hint=hint)
        self.path = None if path is None else Path(path)
        self.line = line


class RunError(AdvrecError):
    """A run folder that is missing, damaged, unfinished or made from other data."""

    exit_code = ExitCode.DATA


class OperatingSystemError(AdvrecError):
    """What the operating system refused: space, files, processes, memory, a device that fails."""

    exit_code = ExitCode.DATA


class TrainingError(AdvrecError):
    """Training that cannot continue, such as a loss that is not finite."""

    exit_code = ExitCode.CHECK_FAILED


class NativeError(AdvrecError):
    """The compiled core cannot be built, loaded or run on the requested device."""

    exit_code = ExitCode.NATIVE


class Interrupted(AdvrecError):  # noqa: N818 - not an error: everything was saved
    """Ctrl-C, after everything was saved; the hint says how to resume."""

    exit_code = ExitCode.INTERRUPTED
