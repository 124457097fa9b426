"""Files that are complete or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
from pathlib import Path
from typing import IO, Any

from advrec.errors import RunError

try:
    import fcntl
except ModuleNotFoundError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

UNSYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EISDIR, errno.EACCES, errno.EPERM}
"""What systems answer that cannot sync a folder."""


def write(path: str | Path, content: str | bytes) -> None:
    """Make `content` (text as UTF-8) the content of `path`: the old or the new, never a part.

    Also removes what a killed process left of an earlier try. Raises RunError if it cannot be
    written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            _take(file)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(target)
    except OSError as error:
        raise RunError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    remove_left(target)


def remove_left(path: str | Path) -> None:
    """Remove the temporary files of `path` whose writers are gone."""
    target = Path(path)
    for left in target.parent.glob(f".{glob.escape(target.name)}.????????.tmp"):
        with contextlib.suppress(OSError), left.open("rb") as file:
            if _take(file):  # a writer would hold it
                left.unlink(missing_ok=True)


def sync_folder(path: str | Path) -> None:
    """Make renames in a folder survive a power failure, where the system supports it.

    Raises RunError if the device fails or is full.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise RunError(f"{path} cannot be written: {error.strerror}") from error


def _take(file: IO[Any]) -> bool:
    """Lock a file until it is closed; False if another process has it, or no lock is possible."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
