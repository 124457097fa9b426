"""Locks that the system releases when their process dies: of a folder, and of work done once."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
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


_log = logging.getLogger("advrec")


class RunLock:
    """Held from construction to `release`; a second one on the same folder raises RunError.

    `use` says what the holder does with the folder, for that error.

    The file `lock` names the process that holds it. With fcntl the system's lock on it
    decides, and a leftover file is harmless; without fcntl the existence of the file decides.
    """

    def __init__(self, folder: Path, use: str = "being trained") -> None:
        self._path = folder / LOCK
        opened = _locked if fcntl else _created
        self._file: IO[str] | None = opened(self._path, use)
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


def wait_until_free(folder: Path, seconds: float) -> None:
    """Wait until no process holds the lock of a folder, at most so long."""
    end = time.monotonic() + seconds
    while (folder / LOCK).exists() and time.monotonic() < end:
        with contextlib.suppress(RunError):
            RunLock(folder).release()
            return
        time.sleep(0.05)


@contextlib.contextmanager
def one_at_a_time(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock file `path` within `with`; gives whether another process had it before.

    Waits for that process, and says in the log that `what` is waited for. The file is removed
    afterwards. Raises RunError if it cannot be locked.
    """
    waited = False
    while True:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise _refused(path, error) from error
        with file:
            waited = _wait(file, path, what) or waited
            if not _is_at(file, path):
                continue  # the holder has removed it: another process may lock the next one
            try:
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
            except OSError as error:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise _refused(path, error) from error
            try:
                yield waited
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
            return


def _wait(file: IO[str], path: Path, what: str) -> bool:
    """Lock an open file; True if that took waiting."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in HELD:
            raise _refused(path, error) from error
    else:
        return False
    _log.warning("waiting for %s by %s …", what, _holder(path))
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise _refused(path, error) from error
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _locked(path: Path, use: str) -> IO[str]:
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _refused(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in HELD:
            raise _held(path, use) from error
        raise _refused(path, error) from error
    return file


def _created(path: Path, use: str) -> IO[str]:
    try:
        return path.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise _held(path, use, f"if that process is gone, delete {path}") from error
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be locked: {error.strerror or error}")


def _held(path: Path, use: str, hint: str = "wait for it, or stop it with Ctrl-C") -> RunError:
    return RunError(f"{path.parent} is {use} by {_holder(path)}", hint=hint)


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, ValueError):
        return "another process"
