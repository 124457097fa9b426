"""One file over HTTP: resumed after an interruption, checked, and only then given its name."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advrec.errors import DataError, RunError
from advrec.system.locks import one_at_a_time

Progress = Callable[[int, "int | None"], None]  # bytes done, bytes in total if known

CHUNK = 1 << 16
ATTEMPTS = 3


@dataclass(frozen=True)
class Fetched:
    """A file that is complete and checked."""

    path: Path
    sha256: str
    first_use: bool  # nothing to compare with: the checksum was recorded, not verified
    resumed_from: int  # bytes that an earlier try had left


class _BrokenOffError(Exception):
    """The transfer stopped early; the bytes received are kept."""


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    git_blob: str | None = None,
    progress: Progress | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Fetched:
    """Fetch `url` to `target`, which is either the complete, checked file or absent.

    Bytes received are kept in `target`.part and the rest is requested later (HTTP Range), as long
    as the server says that the file is still the same. The checksum is compared with `sha256`, else
    with the one in `target`.sha256, else with the object id that git gives the file, `git_blob`;
    without any it is recorded. Where the server does not say how long the file is, a checksum must
    be known, or the file must be an archive, which shows whether it is whole. A second process that
    fetches to the same target waits for the first. Raises DataError.
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"url must start with http:// or https://, got {url}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(_hidden(target), f"the download of {target.name}") as waited:
            expected = sha256 or recorded_sha256(target)
            if waited and target.exists() and file_sha256(target) == expected:
                return Fetched(target, str(expected), first_use=False, resumed_from=0)
            return _fetch(url, target, expected, git_blob, progress, timeout, pause)
    except RunError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror or error})", path=target) from error


def _fetch(
    url: str,
    target: Path,
    sha256: str | None,
    git_blob: str | None,
    progress: Progress | None,
    timeout: float,
    pause: float,
) -> Fetched:
    part = _sibling(target, ".part")
    resumed_from = part.stat().st_size if part.exists() and _validator(target) else 0
    for attempt in range(ATTEMPTS):
        try:
            has_length = _transfer(url, target, progress, timeout)
            digest, wrong = _checked(part, sha256, git_blob)
            if has_length or wrong is None:
                break
            problem: Exception = _BrokenOffError("the stream ended early")
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DataError(f"{url}: the server says {error.code} {error.reason}") from None
            problem = error
        except (_BrokenOffError, OSError, http.client.HTTPException) as error:
            problem = error
        if attempt + 1 == ATTEMPTS:
            _give_up(url, part, problem)
        time.sleep(pause * (attempt + 1))
    if wrong is not None:
        part.unlink()
        _sibling(target, ".part.json").unlink(missing_ok=True)
        raise DataError(
            f"{url}: {wrong}; nothing was kept",
            path=target,
            hint="the file changed or was tampered with; if you trust the new one, pass its sha256",
        )
    is_known = sha256 is not None or git_blob is not None
    if not (has_length or is_known or _is_whole_archive(part)):
        part.unlink()
        _sibling(target, ".part.json").unlink(missing_ok=True)
        raise DataError(
            f"{url}: the server does not say how long the file is, and no checksum is known",
            path=target,
            hint="pass its sha256",
        )
    record_sha256(target, digest)
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _sibling(target, ".part.json").unlink(missing_ok=True)
    return Fetched(target, digest, not is_known, resumed_from)


def _checked(part: Path, sha256: str | None, git_blob: str | None) -> tuple[str, str | None]:
    """The sha256 of a file, and what is wrong with the file; None if nothing is."""
    digest = file_sha256(part)
    if sha256 is not None:
        fits = digest == sha256.lower()
        return digest, None if fits else f"sha256 must be {sha256.lower()}, got {digest}"
    if git_blob is not None:
        blob = file_git_blob(part)
        return digest, None if blob == git_blob else f"git blob must be {git_blob}, got {blob}"
    return digest, None


def file_git_blob(path: Path) -> str:
    """The object id of a file in git: sha1 of `blob LENGTH`, a zero byte and the content."""
    state = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def _is_whole_archive(path: Path) -> bool:
    """A zip whose directory, at its end, is there and whose members have their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError):
        return False


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()


def recorded_sha256(target: Path) -> str | None:
    """The checksum in FILE.sha256, in the form of `sha256sum`; None without one."""
    try:
        return _sibling(target, ".sha256").read_text().split()[0].lower()
    except (FileNotFoundError, IndexError):
        return None


def record_sha256(target: Path, digest: str) -> None:
    """Write FILE.sha256, so that `sha256sum -c` understands it."""
    _sibling(target, ".sha256").write_text(f"{digest}  {target.name}\n")


def _hidden(target: Path) -> Path:
    """The lock of a download."""
    return target.with_name(f".{target.name}.lock")


def _sibling(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)


def _validator(target: Path) -> str | None:
    """What identifies the version of the file that the part belongs to."""
    try:
        validator = json.loads(_sibling(target, ".part.json").read_text())["validator"]
    except (OSError, ValueError, KeyError):
        return None
    return validator if isinstance(validator, str) else None


def _transfer(url: str, target: Path, progress: Progress | None, timeout: float) -> bool:
    """One request; appends to the part where the server allows it. Raises _BrokenOffError.

    True if the answer has an end of its own: a length, or chunks. Otherwise a connection that is
    lost looks like one that is done.
    """
    part = _sibling(target, ".part")
    validator = _validator(target)
    start = part.stat().st_size if part.exists() and validator else 0
    request = urllib.request.Request(url, headers={"User-Agent": "advrec", "Accept": "*/*"})
    if start and validator:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", validator)
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # the part is longer than the file, or already complete
            part.unlink()
            raise _BrokenOffError("the part no longer fits the file") from None
        raise
    with answer:
        resumes = answer.status == 206 and _range_start(answer) == start
        if answer.status == 206 and not resumes:
            part.unlink(missing_ok=True)
            raise _BrokenOffError("the server sent a different range than requested")
        if not resumes:
            start = 0
            _remember_validator(target, answer)
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is None and resumes:
            total = _range_total(answer)
        done = start
        with _Part(part, resumes) as file:
            while chunk := answer.read(CHUNK):
                file.append(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if total is not None and done != total:
        raise _BrokenOffError(f"{done:,} of {total:,} bytes received")
    return total is not None or bool(answer.chunked)


class _Part:
    """The part that is being written. Errors of the disk are DataErrors: the network's are not."""

    def __init__(self, path: Path, appends: bool) -> None:
        self._path = path
        try:
            self._file = path.open("ab" if appends else "wb")
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> _Part:
        return self

    def append(self, chunk: bytes) -> None:
        try:
            self._file.write(chunk)
        except OSError as error:
            raise self._refused(error) from error

    def __exit__(self, *problem: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> DataError:
        reason = f"cannot be written ({error.strerror or error})"
        hint = "what was received is kept; the same command resumes from there"
        return DataError(reason, path=self._path, hint=hint)


def _remember_validator(target: Path, answer: Any) -> None:
    """A strong ETag or a date lets a later request ask for the rest of the same file."""
    etag = answer.headers.get("ETag")
    validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    note = _sibling(target, ".part.json")
    if validator:
        note.write_text(json.dumps({"validator": validator}))
    else:
        note.unlink(missing_ok=True)


def _range_start(answer: Any) -> int | None:
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else None


def _range_total(answer: Any) -> int | None:
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _give_up(url: str, part: Path, problem: Exception) -> None:
    came = part.stat().st_size if part.exists() else 0
    reason = getattr(problem, "reason", None) or problem
    raise DataError(
        f"{url} broke off ({reason}) after {ATTEMPTS} tries",
        hint=f"the {came:,} bytes received are kept; the same command resumes from there"
        if came
        else "is this machine connected to the internet?",
    ) from None
