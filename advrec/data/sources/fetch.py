"""One file over HTTP: resumed after an interruption, checked, and only then given its name."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advrec.errors import DataError

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
    progress: Progress | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Fetched:
    """Fetch `url` to `target`, which is either the complete, checked file or absent.

    Bytes received are kept in `target`.part and the rest is requested later (HTTP Range), as long
    as the server says that the file is still the same. The checksum is compared with `sha256`, else
    with the one in `target`.sha256; without either it is recorded there. Raises DataError.
    """
    if not url.startswith(("http://", "https://")):
        raise DataError(f"url must start with http:// or https://, got {url}")
    part = _sibling(target, ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    resumed_from = part.stat().st_size if part.exists() and _validator(target) else 0
    for attempt in range(ATTEMPTS):
        try:
            _transfer(url, target, progress, timeout)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DataError(f"{url}: the server says {error.code} {error.reason}") from None
            problem: Exception = error
        except (_BrokenOffError, OSError, http.client.HTTPException) as error:
            problem = error
        if attempt + 1 == ATTEMPTS:
            _give_up(url, part, problem)
        time.sleep(pause * (attempt + 1))
    digest = file_sha256(part)
    expected = sha256 or recorded_sha256(target)
    if expected is not None and digest != expected.lower():
        part.unlink()
        _sibling(target, ".part.json").unlink(missing_ok=True)
        raise DataError(
            f"{url}: sha256 must be {expected.lower()}, got {digest}; nothing was kept",
            path=target,
            hint="the file changed or was tampered with; if you trust the new one, pass its sha256",
        )
    record_sha256(target, digest)
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _sibling(target, ".part.json").unlink(missing_ok=True)
    return Fetched(target, digest, expected is None, resumed_from)


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


def _sibling(target: Path, ending: str) -> Path:
    return target.with_name(target.name + ending)


def _validator(target: Path) -> str | None:
    """What identifies the version of the file that the part belongs to."""
    try:
        validator = json.loads(_sibling(target, ".part.json").read_text())["validator"]
    except (OSError, ValueError, KeyError):
        return None
    return validator if isinstance(validator, str) else None


def _transfer(url: str, target: Path, progress: Progress | None, timeout: float) -> None:
    """One request; appends to the part where the server allows it. Raises _BrokenOffError."""
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
        with part.open("ab" if resumes else "wb") as file:
            done = start
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if total is not None and part.stat().st_size != total:
        raise _BrokenOffError(f"{part.stat().st_size:,} of {total:,} bytes received")


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


def _give_up(url: str, part: Path, problem: Exception) -> None:
    came = part.stat().st_size if part.exists() else 0
    reason = getattr(problem, "reason", None) or problem
    raise DataError(
        f"{url} broke off ({reason}) after {ATTEMPTS} tries",
        hint=f"the {came:,} bytes received are kept; the same command resumes from there"
        if came
        else "is this machine connected to the internet?",
    ) from None
