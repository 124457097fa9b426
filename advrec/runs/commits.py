"""A folder whose files change together: several files, one commit.

`state.json` is the commit. New files are written next to the old ones as NAME.next, then
`state.json` with the sha256 of each file is put in place, then every NAME.next becomes NAME.
Whenever a process is killed, `state.json` names complete files: a reader takes NAME or NAME.next,
whichever has the recorded sha256, and the next writer finishes the missing renames. The same
sha256 detects truncated files and flipped bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advrec.errors import RunError
from advrec.runs.records import damaged
from advrec.system import files
from advrec.visible import quoted

COMMIT = "state.json"
FORMAT = 1


class CommitFolder:
    """The committed files of a folder, and `body`, the rest of the commit (plain JSON)."""

    def __init__(self, path: Path) -> None:
        """Read the commit. RunError if it is missing or damaged."""
        self.path = path
        self.reload()

    def reload(self) -> None:
        """Read the commit again: another process may have made one."""
        commit = _read_commit(self.path)
        self._files: dict[str, str] = commit["files"]
        self.body: dict[str, Any] = commit["body"]

    @staticmethod
    def fill(path: Path, contents: Mapping[str, bytes], body: Mapping[str, Any]) -> None:
        """The first commit of a folder that is not read yet."""
        for name, content in contents.items():
            files.write(path / name, content)
        digests = {name: sha256(content) for name, content in contents.items()}
        files.write(path / COMMIT, _commit(digests, body))

    def commit(self, contents: Mapping[str, bytes], body: Mapping[str, Any]) -> None:
        """Replace these files and the body, all or nothing; the other files stay."""
        for name, content in contents.items():
            files.write(self.path / f"{name}.next", content)
        digests = self._files | {name: sha256(content) for name, content in contents.items()}
        files.sync_folder(self.path)  # a power failure must not keep the commit and lose the files
        files.write(self.path / COMMIT, _commit(digests, body))
        self._files, self.body = digests, dict(body)
        for name in contents:
            self._put(name)
        files.sync_folder(self.path)

    def settle(self) -> None:
        """Finish the renames that a killed process left, delete what it had not committed."""
        for name, digest in self._files.items():
            following = self.path / f"{name}.next"
            try:
                is_committed = sha256(following.read_bytes()) == digest
            except FileNotFoundError:
                continue
            except OSError as error:
                raise RunError(f"{following} cannot be read: {error.strerror}") from error
            if is_committed:
                self._put(name)
            else:
                with contextlib.suppress(OSError):  # it will be written again
                    following.unlink()
        for name in (*self._files, *(f"{name}.next" for name in self._files), COMMIT):
            files.remove_left(self.path / name)

    def _put(self, name: str) -> None:
        """NAME.next becomes NAME. If that fails, readers still find it under the first name."""
        try:
            (self.path / f"{name}.next").replace(self.path / name)
        except OSError as error:
            raise RunError(f"{self.path / name} cannot be written: {error.strerror}") from error

    def read(self, name: str) -> bytes:
        """The committed content of a file; RunError if it is missing or differs."""
        for _ in range(4):
            for path in (self.path / name, self.path / f"{name}.next"):
                try:
                    content = path.read_bytes()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise RunError(f"{path} cannot be read: {error.strerror}") from error
                if sha256(content) == self._files.get(name):
                    return content
            time.sleep(0.005)  # a trainer may have committed, or renamed, in between
            self.reload()
        if not (self.path / name).exists():
            raise damaged(self.path / name, "it is missing")
        if name not in self._files:
            raise damaged(self.path / COMMIT, f"it does not name {name}")
        raise damaged(self.path / name, f"its sha256 is not the one in {COMMIT}")


def sha256(content: bytes) -> str:
    """The digest that commits record, in hex."""
    return hashlib.sha256(content).hexdigest()


def _commit(files: Mapping[str, str], body: Mapping[str, Any]) -> str:
    content = {"format": FORMAT, "files": dict(files), "body": dict(body)}
    return json.dumps({**content, "check": sha256(_canonical(content))}, indent=2) + "\n"


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _read_commit(folder: Path) -> dict[str, Any]:
    path = folder / COMMIT
    try:
        commit: dict[str, Any] = json.loads(path.read_bytes())
        check = commit.pop("check")
    except FileNotFoundError as error:
        raise RunError(
            f"{folder} is not a run folder: it has no {COMMIT}", hint="advrec runs lists them"
        ) from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise damaged(path, "it is not what advrec writes") from error
    if check != sha256(_canonical(commit)):
        raise damaged(path, "it was changed since it was written")
    if commit.get("format") != FORMAT:
        written = quoted(commit.get("format"))
        raise RunError(f"{path} has format {written}, but this advrec reads {FORMAT}")
    digests, body = commit.get("files"), commit.get("body")
    if not (isinstance(digests, dict) and isinstance(body, dict)):
        raise damaged(path, "files and body must be tables")
    for name, digest in digests.items():  # names are put behind the folder, so they stay in it
        if not re.fullmatch("[a-z]+[.][a-z]+", name) or not isinstance(digest, str):
            raise damaged(path, f"{quoted(name)} is not a file that advrec commits")
    return commit
