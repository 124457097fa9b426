"""Small files of each binary and packed form, and what becomes of them when bytes are changed.

`check(name, count, seed, folder)` reads `count` changed files of one form. Each must be read whole
or refused by a DataError or ConfigError; any other exception passes through to the caller.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from advrec.data import DataConfig
from advrec.data.load import read_interactions
from advrec.errors import ConfigError, DataError

ROWS = [
    {"user": f"u{n % 7}", "item": n % 5, "rating": n % 5 + 1.0, "time": 1_700_000_000 + n}
    for n in range(40)
]
TABLE = "user,item,rating,time\n" + "".join(
    ",".join(str(value) for value in row.values()) + "\n" for row in ROWS
)
PIECES = [
    b"\xff",
    b"\0",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"'",
    b",",
    b"\n",
    b"\\u",
    b"1e999",
    b"null",
]


def _lines() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def _zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.csv", content)
    return buffer.getvalue()


def _arrow(form: str) -> bytes:
    import pyarrow as arrow
    from pyarrow import ipc, parquet

    table = arrow.Table.from_pylist(ROWS)
    table = table.set_column(0, "user", table["user"].dictionary_encode())
    buffer = io.BytesIO()
    if form == "parquet":
        parquet.write_table(table, buffer)
    else:
        new = ipc.new_file if form == "arrow" else ipc.new_stream
        with new(buffer, table.schema) as writer:
            writer.write_table(table)
    return buffer.getvalue()


def _zstandard() -> bytes:
    import pyarrow as arrow

    return bytes(arrow.compress(TABLE.encode(), codec="zstd", asbytes=True))


FORMS: dict[str, tuple[str, Callable[[], bytes]]] = {  # the file's name, its sound content
    "json lines": ("t.jsonl", _lines),
    "json array": ("t.json", lambda: json.dumps(ROWS, indent=1).encode()),
    "python": ("t.json", lambda: "".join(f"{row!r}\n" for row in ROWS).encode()),
    "gzip": ("t.csv.gz", lambda: gzip.compress(TABLE.encode())),
    "bzip2": ("t.csv.bz2", lambda: bz2.compress(TABLE.encode())),
    "xz": ("t.csv.xz", lambda: lzma.compress(TABLE.encode())),
    "zip": ("t.csv.zip", lambda: _zipped(TABLE.encode())),
}
ARROW_FORMS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "parquet": ("t.parquet", lambda: _arrow("parquet")),
    "arrow": ("t.arrow", lambda: _arrow("arrow")),
    "arrow stream": ("t.arrow", lambda: _arrow("stream")),
    "zstandard": ("t.csv.zst", _zstandard),
}


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One to three bytes, pieces or ends of a file changed."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(len(data) + 1))
        kind = random.integers(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[at:at] = PIECES[int(random.integers(len(PIECES)))]
        elif kind == 2:
            del data[at : at + int(random.integers(1, 9))]
        elif kind == 3 and random.integers(3) == 0:
            del data[at:]
        else:
            other = int(random.integers(len(data) + 1))
            data[at:at] = data[other : other + 16]
    return bytes(data)


def check(name: str, count: int, seed: int, folder: Path) -> tuple[int, int]:
    """How many changed files of a form were read, and how many refused."""
    file_name, content = {**FORMS, **ARROW_FORMS}[name]
    random = np.random.default_rng(seed)
    sound, path = content(), folder / file_name
    read = refused = 0
    for _ in range(count):
        path.unlink(missing_ok=True)  # a new file is written much sooner than an old one is cut
        path.write_bytes(mutated(sound, random))
        try:
            rows = read_interactions(DataConfig.of(str(path)))
        except (DataError, ConfigError):
            refused += 1
            continue
        assert len(rows.users) == len(rows.items) > 0
        assert rows.users.max() < len(rows.user_ids)
        assert rows.items.max() < len(rows.item_ids)
        read += 1
    return read, refused
