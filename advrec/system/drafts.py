"""Folders that are complete or absent: filled under a hidden name, then renamed."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from advrec.errors import RunError
from advrec.system import files
from advrec.system.locks import LOCK, RunLock


class Draft:
    """A locked folder next to `path` that `place` gives its name; removed if that does not happen.

    with Draft(path) as draft:
        (draft.folder / "file").write_bytes(b"")
        lock = draft.place()

    Drafts of the same name whose processes were killed are removed. RunError if the system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.with_name(f".{path.name}.{os.getpid()}.new")
        self._placed = False

    def __enter__(self) -> Draft:
        try:
            _remove_abandoned(self.path)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._lock = RunLock(self.folder)
        except OSError as error:
            raise self._refused(error) from error
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def place(self) -> RunLock:
        """Give the folder its name, and its lock to the caller.

        Raises FileExistsError if there is a folder already that is not empty.
        """
        try:
            self.folder.rename(self.path)
        except OSError as error:
            if self.path.exists():
                raise FileExistsError(f"{self.path} exists") from error
            raise self._refused(error) from error
        self._placed = True
        self._lock.moved(self.path)
        try:
            files.sync_folder(self.path.parent)
        except RunError:
            self._lock.release()
            raise
        return self._lock

    def move(self, names: Sequence[str], folder: Path) -> list[Path]:
        """Put the files into `folder`; all at once if it is new and is `path`. OSError if not."""
        if folder == self.path and not folder.exists():
            self.place().release()
            (folder / LOCK).unlink(missing_ok=True)
            return [folder / name for name in names]
        folder.mkdir(exist_ok=True)
        return [(self.folder / name).replace(folder / name) for name in names]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._placed:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._lock.release()

    def _refused(self, error: OSError) -> RunError:
        return RunError(f"{self.path} cannot be created: {error.strerror or error}")


def _remove_abandoned(path: Path) -> None:
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
        number = folder.name.split(".")[-2]
        if not number.isdigit() or _runs(int(number)):
            continue
        try:
            lock = RunLock(folder)
        except RunError:
            continue  # a process on another machine fills it
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
