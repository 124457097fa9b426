"""Parquet and Arrow IPC (feather) files, and folders of parquet parts, by pyarrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advrec.data.config import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers import frames
from advrec.data.readers.columns import ROLES
from advrec.data.readers.compressed import kind_of, unpack
from advrec.data.readers.merge import Part, merge, once_each, refuse_different_columns
from advrec.data.readers.table import Rows, roles_of
from advrec.data.wording import counted
from advrec.errors import DataError
from advrec.visible import listed

PARQUET_MAGIC = b"PAR1"
ARROW_MAGIC = b"ARROW1"
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
STREAM_MAGIC = b"\xff\xff\xff\xff"  # Arrow's form for pipes, also written to files
# part-00000-….snappy.parquet (Spark), part.0.parquet (Dask), 00000000.parquet (Polars), a digest
PART_NAME = re.compile(r"part[-._]|([0-9]+|[0-9a-f]{32}(-[0-9]+)?)\.parquet$")
MAGICS = (PARQUET_MAGIC, ARROW_MAGIC, STREAM_MAGIC)
BATCH = 1 << 18  # rows


def read(
    files: Mapping[int | None, Path], config: DataConfig, *, name: str, source: str
) -> Interactions:
    """Read one file, those of a split, or a folder of parts in the order of their names.

    Ids may be integers, strings or floats without a fraction; ratings numbers; timestamps numbers,
    times, or strings with ISO dates. Raises DataError, with the row (from 1) where a value is
    missing or does not fit, and where pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise DataError(
            "parquet and Arrow files need the package pyarrow",
            path=next(iter(files.values())),
            hint="pip install 'advrec[parquet]'",
        ) from None
    parts = []
    sentences = {}
    kind = ""
    for part, path in files.items():
        rows, kind, sentences[path.name] = _read_part(part, path, config)
        parts.append(rows)
    refuse_different_columns(parts, list(files.values()))
    return merge(parts, name=name, source=source, format=kind, notes=once_each(sentences))


def parts_of(folder: Path) -> list[Path]:
    """The files of one table that Spark, Dask or Polars wrote into a folder; [] for others."""
    return sorted(
        path for path in folder.glob("*.parquet") if PART_NAME.match(path.name) and path.is_file()
    )


def _read_part(part: int | None, path: Path, config: DataConfig) -> tuple[Part, str, str]:
    """The rows, the kind of file, and a sentence."""
    import narwhals as nw
    import pyarrow as arrow

    pieces = parts_of(path) if path.is_dir() else [path]
    rows: Rows | None = None
    kind = sentence = ""
    for piece in pieces:
        file = _open(piece)
        roles = roles_of(file.names, config, piece)
        places = {role: getattr(roles, role) for role in ROLES if getattr(roles, role) >= 0}
        if rows is None:
            rows = Rows(file.names, roles, config, "row")
            kind, sentence = file.kind, f"{file.kind}; {roles.sentence(file.names)}"
        elif rows.columns != {role: file.names[at] for role, at in places.items()}:
            raise DataError(
                f"the columns are {listed(file.names)}, expected those of {pieces[0].name}",
                path=piece,
            )
        before = 0
        for batch in _checked(piece, file.batches(list(places.values()))):
            columns = {
                role: nw.from_native(arrow.chunked_array([column]), series_only=True)
                for role, column in zip(places, batch, strict=True)
            }
            frames.add(rows, columns, piece, before)
            before += len(batch[0])
    if rows is None:
        raise DataError("the folder holds no parquet file", path=path)
    if len(pieces) > 1:
        sentence = f"{counted(len(pieces), 'part')}: {sentence}"
    return rows.part(part, path), kind, sentence


@dataclass(frozen=True)
class _File:
    """An open file: its columns, and batches of some of them, by number and in this order."""

    kind: str  # parquet, arrow
    names: list[str]
    batches: Callable[[list[int]], Iterator[list[Any]]]


def _open(path: Path) -> _File:
    import pyarrow as arrow

    try:
        with path.open("rb") as file:
            head = file.read(16)
        source: Any = path
        if kind_of(head) is not None:
            data = unpack(path, path.read_bytes())
            source, head = arrow.BufferReader(data), data[:16]
        if head.startswith(STREAM_MAGIC) and not _ends_with(source, STREAM_END):
            raise DataError("the Arrow stream has no end mark, so it may be cut", path=path)
        return _open_ipc(source, head) if _is_ipc(head) else _open_parquet(source)
    except FileNotFoundError:
        raise DataError("no such file", path=path) from None
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _is_ipc(head: bytes) -> bool:
    return head.startswith((ARROW_MAGIC, STREAM_MAGIC))


def _ends_with(source: Any, end: bytes) -> bool:
    """Does a path or an Arrow buffer end with these bytes?"""
    import pyarrow as arrow

    file = arrow.OSFile(str(source)) if isinstance(source, Path) else source
    file.seek(max(0, file.size() - len(end)))
    last = file.read()
    file.seek(0)
    return bool(last == end)


def _open_parquet(source: Any) -> _File:
    from pyarrow import parquet

    file = parquet.ParquetFile(source)
    names = list(file.schema_arrow.names)

    def batches(places: list[int]) -> Iterator[list[Any]]:
        for batch in file.iter_batches(BATCH, columns=[names[at] for at in places]):
            yield [_column(batch, names, at) for at in places]

    return _File("parquet", names, batches)


def _column(batch: Any, names: list[str], at: int) -> Any:
    """Column `at` of the file in a batch of some columns; two may share a name."""
    same = [place for place, name in enumerate(batch.schema.names) if name == names[at]]
    return batch.column(same[names[:at].count(names[at])])


def _open_ipc(source: Any, head: bytes) -> _File:
    import pyarrow as arrow
    from pyarrow import ipc

    if isinstance(source, Path):
        source = arrow.memory_map(str(source))
    file = ipc.open_file(source) if head.startswith(ARROW_MAGIC) else ipc.open_stream(source)

    def batches(places: list[int]) -> Iterator[list[Any]]:
        count = getattr(file, "num_record_batches", None)
        every = file if count is None else (file.get_batch(at) for at in range(count))
        for batch in every:
            yield [batch.column(at) for at in places]

    return _File("arrow", list(file.schema.names), batches)


def _checked(path: Path, batches: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """The same batches. Raises DataError for one that is damaged."""
    import pyarrow as arrow

    try:
        for batch in batches:
            for column in batch:
                column.validate(full=True)
            yield batch
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    reason = str(error).strip().split("\n")[0]
    return DataError(f"not a parquet or Arrow file that can be read ({reason})", path=path)
