"""Files that are complete or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from advrec.errors import RunError


def write(path: str | Path, content: str | bytes) -> None:
    """Make `content` (text as UTF-8) the content of `path`: the old or the new, never a part.

    Raises RunError if it cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise RunError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(path: str | Path) -> None:
    """Make renames in a folder survive a power failure, where the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
