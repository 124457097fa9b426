"""Packed files: gzip, bzip2, xz, zstandard and zip, known by their first bytes, not their names.

Unpacking is checked to the end (a damaged or cut file gives an error, never a part of its content)
and bounded: more than `LIMIT` bytes are unpacked only up to `RATIO` times the size of the file, so
that a few kilobytes cannot fill the memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol

from advrec.errors import DataError

LIMIT = 1 << 28  # bytes that any packed file may unpack to
RATIO = 100  # beyond that, unpacked bytes per packed byte; tables of interactions reach 5 to 30
XZ_MEMORY = 1 << 28  # bytes that unpacking xz may take; `xz -9` asks for 65 MiB
DEPTH = 3  # a packed file in a packed file in a packed file
CHUNK = 1 << 20
ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zip")
MAGICS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # without a member
}
OTHER_ARCHIVES = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x1f\x9d": "compress"}
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
LEFTOVERS = ("__MACOSX", ".DS_Store", "Thumbs.db")  # put into a zip by the system that packed it


class _TooLargeError(Exception):
    """The unpacked content passes the limit."""


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Bounded(io.BytesIO):
    """Bytes up to a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def add(self, data: bytes) -> None:
        self.write(data)
        if self.tell() > self.limit:
            raise _TooLargeError


def plain_name(name: str) -> str:
    """A file's name without the endings of packing: `ratings.csv` for `ratings.csv.gz`."""
    while name.lower().endswith(ENDINGS) and name.rpartition(".")[0]:
        name = name.rpartition(".")[0]
    return name


def name_inside(path: Path) -> str:
    """The name that tells the format: that of a zip's only member, else `plain_name`."""
    if path.name.lower().endswith(".zip"):
        try:
            with zipfile.ZipFile(path) as archive:
                members = _members(archive)
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, struct.error):
            members = []  # the reader reports it
        if len(members) == 1:
            return plain_name(PurePosixPath(members[0].filename).name)
    return plain_name(path.name)


def unpack(path: Path, data: bytes) -> bytes:
    """The content of a file whose bytes are at hand, unpacked if it is packed.

    Raises DataError for a file that is damaged, cut, encrypted, too large when unpacked, of an
    archive format that is not read, or a zip with several members.
    """
    limit = max(LIMIT, RATIO * len(data))
    for _ in range(DEPTH):
        kind = kind_of(data)
        if kind is None:
            break
        data = _unpack_once(path, data, kind, limit)
    _refuse_other_archives(path, data)
    return data


def kind_of(data: bytes) -> str | None:
    """How these bytes are packed: gzip, bzip2, xz, zstandard or zip; None: not packed."""
    for magic, kind in MAGICS.items():
        if data.startswith(magic):
            return None if kind == "bzip2" and not _is_bzip2(data) else kind
    return None


def _is_bzip2(data: bytes) -> bool:
    """Checks more than the first three letters, which may begin a text."""
    block = data[4:10]
    return data[3:4] in b"123456789" and block in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")


def _unpack_once(path: Path, data: bytes, kind: str, limit: int) -> bytes:
    output = _Bounded(limit)
    try:
        if kind == "zip":
            _unpack_zip(path, data, output)
        elif kind == "gzip":
            with gzip.open(io.BytesIO(data)) as stream:
                _copy(stream.read, output)
        elif kind == "bzip2":
            _unpack_streams(bz2.BZ2Decompressor, data, output)
        elif kind == "xz":
            _unpack_streams(_new_xz, data.rstrip(b"\0"), output)  # streams may be padded
        else:
            _unpack_zstandard(path, data, output)
    except _TooLargeError:
        raise DataError(
            f"the {kind} data unpacks to more than {limit >> 20:,} MiB, "
            f"over {limit // max(len(data), 1):,} times its size",
            path=path,
            hint="if this is intended, unpack the file and pass its content",
        ) from None
    except (
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        struct.error,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"the {kind} data is damaged ({reason})",
            path=path,
            hint="download or pack the file again",
        ) from None
    return output.getvalue()


def _new_xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=XZ_MEMORY)


def _copy(read: Callable[[int], bytes], output: _Bounded) -> None:
    while chunk := read(CHUNK):
        output.add(chunk)


def _unpack_streams(new: Callable[[], _Decompressor], data: bytes, output: _Bounded) -> None:
    """Every stream, one after another. The readers of bz2 and lzma drop a damaged second one."""
    at = 0
    while at < len(data):
        stream = new()
        while not stream.eof:
            piece = b""
            if stream.needs_input:
                piece = data[at : at + CHUNK]
                at += len(piece)
                if not piece:
                    raise EOFError("it ends too early")
            output.add(stream.decompress(piece, CHUNK))
        at -= len(stream.unused_data)


def _unpack_zstandard(path: Path, data: bytes, output: _Bounded) -> None:
    try:
        import pyarrow as arrow
    except ImportError:
        raise DataError(
            "zstandard data needs the package pyarrow",
            path=path,
            hint="pip install 'advrec[parquet]', or unpack it: zstd -d",
        ) from None
    with arrow.CompressedInputStream(arrow.BufferReader(data), "zstd") as stream:
        _copy(stream.read, output)


def _unpack_zip(path: Path, data: bytes, output: _Bounded) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = _members(archive)
        if len(members) != 1:
            raise _question(path, [member.filename for member in members])
        if members[0].flag_bits & 1:
            raise DataError(
                "the zip is encrypted", path=path, hint="unpack it and pass its content"
            )
        with archive.open(members[0]) as stream:
            _copy(stream.read, output)


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files, without what a system leaves in each folder."""
    return [
        member
        for member in archive.infolist()
        if not member.filename.endswith("/")
        and not set(PurePosixPath(member.filename).parts) & set(LEFTOVERS)
    ]


def _question(path: Path, names: list[str]) -> DataError:
    if not names:
        return DataError("the zip holds no file", path=path)
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return DataError(
        f"the zip holds {len(names):,} files: {shown}; which one has the interactions?",
        path=path,
        hint=f"unpack it (unzip '{path.name}') and give that file, or the folder of a split",
    )


def _refuse_other_archives(path: Path, data: bytes) -> None:
    for magic, kind in OTHER_ARCHIVES.items():
        if data.startswith(magic):
            raise DataError(
                f"{kind} archives are not read, expected plain text or {', '.join(ENDINGS)}",
                path=path,
                hint="unpack it and pass its content",
            )
    if data[TAR_MAGIC_AT:].startswith(TAR_MAGIC):
        raise DataError(
            "a tar archive, expected one file",
            path=path,
            hint=f"unpack it (tar -xf '{path.name}') and give the file, or the folder of a split",
        )
