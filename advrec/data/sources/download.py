"""A data set of the catalogue, as a folder that is complete or absent."""

from __future__ import annotations

import json
import lzma
import shutil
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advrec.data.readers.compressed import LIMIT, RATIO
from advrec.data.sources.catalog import CATALOG, Entry, Remote, data_home
from advrec.data.sources.embedded import EMBEDDED
from advrec.data.sources.fetch import Fetched, Progress, fetch, file_sha256, recorded_sha256
from advrec.errors import DataError, RunError, UsageError
from advrec.system.locks import one_at_a_time
from advrec.validation import did_you_mean

ARCHIVE_ERRORS = (  # of an archive that is damaged, encrypted, or packed in a way that is not known
    EOFError,
    KeyError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


@dataclass(frozen=True)
class Downloaded:
    """The folder of a data set, and notes on how it came there."""

    name: str
    folder: Path
    notes: tuple[str, ...]


def download(
    name: str,
    *,
    home: Path | None = None,
    sha256: Sequence[str] = (),
    progress: Progress | None = None,
    again: bool = False,
) -> Downloaded:
    """Fetch a data set of the catalogue into `home`/`name`.

    `sha256`: required checksums, `HASH` for a set of one file, else `FILE=HASH`. A file without a
    known checksum is trusted on first use: the checksum is recorded in FILE.sha256 and named in the
    notes; `again` fetches an existing set and compares with that record. An interrupted download is
    resumed. Raises UsageError for a wrong name or checksum option, else DataError.
    """
    entry = find_entry(name)
    required = _checksums(entry, sha256)
    home = home or data_home()
    folder = home / name
    if folder.is_dir() and not again:
        return Downloaded(name, folder, _verify(entry, folder, required))
    try:
        home.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(home / f".{name}.lock", f"the download of {name}"):
            if folder.is_dir() and not again:  # another process fetched it meanwhile
                return Downloaded(name, folder, _verify(entry, folder, required))
            notes = _download(entry, home, required, progress)
    except RunError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror or error})", path=home) from error
    return Downloaded(name, folder, tuple(notes))


def _download(
    entry: Entry, home: Path, required: dict[str, str], progress: Progress | None
) -> list[str]:
    """Fetch every file, then put the folder together. The notes say how each was checked."""
    folder, incoming = home / entry.name, home / f".{entry.name}.incoming"
    incoming.mkdir(exist_ok=True)
    notes = [f"terms: {entry.terms}"]
    for remote in entry.files:
        sha256 = required.get(remote.save_as) or remote.sha256
        sha256 = sha256 or recorded_sha256(folder / remote.save_as)
        target = incoming / remote.save_as
        if _whole(target, sha256):
            continue  # an earlier try got this one
        fetched = fetch(
            remote.url, target, sha256=sha256, git_blob=remote.git_blob, progress=progress
        )
        notes += _notes_of(remote, fetched)
    _assemble(entry, incoming, home, folder)
    return notes


def find_entry(name: str) -> Entry:
    """An entry of the catalogue. Raises UsageError with the nearest name."""
    if name in CATALOG:
        return CATALOG[name]
    if name in EMBEDDED:
        raise UsageError(f"{name} is embedded, there is nothing to download")
    raise UsageError(
        f"no data set of the catalogue is called {name!r}",
        hint=did_you_mean(name, CATALOG) or "the names are " + ", ".join(CATALOG),
    )


def _checksums(entry: Entry, given: Sequence[str]) -> dict[str, str]:
    names = [remote.save_as for remote in entry.files]
    checksums = {}
    for option in given:
        file_name, equals, digest = option.rpartition("=")
        if not equals and len(names) == 1:
            file_name = names[0]
        if file_name not in names:
            raise UsageError(
                f"sha256 {option!r}: {entry.name} has the files {', '.join(names)}",
                hint="give FILE=SHA256",
            )
        if len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef"):
            raise UsageError(f"sha256 {digest!r} is not 64 hexadecimal digits")
        checksums[file_name] = digest.lower()
    return checksums


def _whole(target: Path, known: str | None) -> bool:
    return target.exists() and file_sha256(target) == (known or recorded_sha256(target))


def _notes_of(remote: Remote, fetched: Fetched) -> list[str]:
    sentences = []
    if fetched.resumed_from:
        sentences.append(f"{remote.save_as}: resumed after {fetched.resumed_from:,} bytes")
    if fetched.first_use:
        sentences.append(
            f"{remote.save_as}: no checksum was known, trusted on first use; "
            f"sha256 {fetched.sha256} is now in {remote.save_as}.sha256"
        )
    else:
        sentences.append(f"{remote.save_as}: sha256 {fetched.sha256}, as expected")
    return sentences


def _verify(entry: Entry, folder: Path, required: dict[str, str]) -> tuple[str, ...]:
    """Compare what is there with its checksums. Raises DataError."""
    notes = [f"already in {folder}"]
    for remote in entry.files:
        path = folder / remote.save_as
        recorded = recorded_sha256(path)
        expected = required.get(remote.save_as) or remote.sha256 or recorded
        actual = file_sha256(path) if path.exists() else recorded  # an archive was unpacked
        if expected is not None and actual != expected:
            raise DataError(
                f"sha256 must be {expected}, got {actual or 'none'}",
                path=path,
                hint=f"delete {folder} and download it again",
            )
    return tuple(notes)


def _assemble(entry: Entry, incoming: Path, home: Path, folder: Path) -> None:
    """Fill a folder next to the final one, then rename it in one step."""
    ready = home / f".{entry.name}.ready"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir()
    for remote in entry.files:
        fetched = incoming / remote.save_as
        shutil.copy2(incoming / f"{remote.save_as}.sha256", ready)
        if remote.members:
            _unpack(fetched, remote, ready)
        else:
            shutil.copy2(fetched, ready)
    facts = {
        "name": entry.name,
        "about": entry.about,
        "terms": entry.terms,
        "files": [
            {"url": remote.url, "sha256": recorded_sha256(incoming / remote.save_as)}
            for remote in entry.files
        ],
    }
    (ready / "SOURCE.json").write_text(json.dumps(facts, indent=2) + "\n")
    if folder.exists():
        shutil.rmtree(folder)
    ready.replace(folder)
    shutil.rmtree(incoming, ignore_errors=True)


def _unpack(archive: Path, remote: Remote, folder: Path) -> None:
    """Only the members that are named, under the names that are given."""
    try:
        with zipfile.ZipFile(archive) as packed:
            limit = max(LIMIT, RATIO * archive.stat().st_size)
            if sum(packed.getinfo(member).file_size for member in remote.members) > limit:
                raise ValueError(f"it unpacks to more than {limit >> 20:,} MiB")
            for member, save_as in remote.members.items():
                with packed.open(member) as source, (folder / save_as).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except ARCHIVE_ERRORS as error:
        archive.unlink()  # and do not trust what it was
        archive.with_name(archive.name + ".sha256").unlink(missing_ok=True)
        raise DataError(f"the archive is damaged ({error})", path=archive) from None
