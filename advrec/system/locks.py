"""One trainer per run folder: a lock that the system releases when its process dies."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import IO

from advrec.errors import RunError

try:
    import fcntl
except ModuleNotFoundError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
"""What the system answers when another process has the lock."""


class RunLock:
    """Held from construction to `release`; a second one on the same folder raises RunError.

    The file `lock` names the process that holds it. With fcntl the system's lock on it
    decides, and a leftover file is harmless; without fcntl the existence of the file decides.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._file: IO[str] | None = _locked(self._path) if fcntl else _created(self._path)
        try:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # it would write again what cannot be written
                self._file.close()
            raise _refused(self._path, error) from error

    def release(self) -> None:
        """Release the lock; harmless if that is done already."""
        if self._file is None:
            return
        if not fcntl:
            self._path.unlink(missing_ok=True)
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            file.close()

    def moved(self, folder: Path) -> None:
        """The folder was renamed; the lock goes with it."""
        self._path = folder / LOCK

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _locked(path: Path) -> IO[str]:
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _refused(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in HELD:
            raise _held(path) from error
        raise _refused(path, error) from error
    return file


def _created(path: Path) -> IO[str]:
    try:
        return path.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise _held(path, f"if that process is gone, delete {path}") from error
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be locked: {error.strerror or error}")


def _held(path: Path, hint: str = "wait for it, or stop it with Ctrl-C") -> RunError:
    try:
        holder = path.read_text(encoding="utf-8").strip()
    except OSError:
        holder = ""
    return RunError(f"{path.parent} is being trained by {holder or 'another process'}", hint=hint)
