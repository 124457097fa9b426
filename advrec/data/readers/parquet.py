"""Local parquet files, by pyarrow (the extra `parquet`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advrec.data.config import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers.columns import ROLES, Wanted, by_name
from advrec.data.readers.merge import Part, merge, once_each
from advrec.errors import DataError

MAGIC = b"PAR1"


def read(
    files: Mapping[int | None, Path], config: DataConfig, *, name: str, source: str
) -> Interactions:
    """Read one parquet file, or those of a split.

    Ids may be integers or strings, ratings numbers, timestamps numbers or times. Raises DataError,
    with the row (from 1) where a value is missing or is no number, and where pyarrow is missing.
    """
    parts = []
    said = {}
    for part, path in files.items():
        columns, said[path.name] = _open(path, config)
        parts.append(_read_part(part, path, columns))
    return merge(parts, name=name, source=source, format="parquet", notes=once_each(said))


def _open(path: Path, config: DataConfig) -> tuple[dict[str, Any], str]:
    """The columns by role, None where there is none, and a sentence about them."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            "parquet needs the package pyarrow", path=path, hint="pip install 'advrec[parquet]'"
        ) from None
    try:
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        roles = by_name(names, Wanted.of(config), path)
        places = {role: getattr(roles, role) for role in ROLES}
        table = file.read(columns=[names[at] for at in places.values() if at >= 0])
    except FileNotFoundError:
        raise DataError("no such file", path=path) from None
    except (arrow.ArrowException, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise DataError(f"not a parquet file that can be read ({first})", path=path) from None
    if not table.num_rows:
        raise DataError("the table has no row", path=path)
    columns = {role: None if at < 0 else table.column(names[at]) for role, at in places.items()}
    return columns, f"parquet; {roles.sentence(names)}"


def _read_part(part: int | None, path: Path, columns: dict[str, Any]) -> Part:
    users, user_ids = _ids(path, "user", columns["user"])
    items, item_ids = _ids(path, "item", columns["item"])
    return Part(
        part=part,
        users=users,
        items=items,
        user_ids=user_ids,
        item_ids=item_ids,
        ratings=_numbers(path, "rating", columns["rating"]),
        timestamps=_numbers(path, "timestamp", columns["timestamp"]),
    )


def _ids(path: Path, role: str, column: Any) -> tuple[NDArray[np.int32], list[str]]:
    """Codes by first appearance, and the ids as strings."""
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
        raise DataError(
            f"the {role} column is of type {column.type}, wanted integers or strings", path=path
        )
    _refuse_nulls(path, role, column)
    flat = column.cast(kind).combine_chunks().dictionary_encode()
    ids = [str(value) for value in flat.dictionary.to_pylist()]
    codes = flat.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    if "" in ids:
        row = int(np.flatnonzero(codes == ids.index(""))[0]) + 1
        raise DataError(f"{role} is empty in row {row}", path=path)
    return codes, ids


def _numbers(path: Path, role: str, column: Any) -> NDArray[np.float64] | None:
    if column is None:
        return None
    import pyarrow as arrow
    from pyarrow import types

    _refuse_nulls(path, role, column)
    kind = column.type
    if role == "timestamp" and (types.is_timestamp(kind) or types.is_date(kind)):
        column = column.cast(arrow.timestamp("us", tz=getattr(kind, "tz", None)))
        values = column.cast(arrow.int64()).to_numpy() / 1e6
    elif types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        values = column.cast(arrow.float64(), safe=False).to_numpy()
    else:
        raise DataError(f"the {role} column is of type {kind}, wanted numbers", path=path)
    numbers = np.asarray(values, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise DataError(
            f"{role} is {numbers[wrong[0]]} in row {int(wrong[0]) + 1}, wanted a number", path=path
        )
    return numbers


def _refuse_nulls(path: Path, role: str, column: Any) -> None:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0]) + 1
        raise DataError(f"{role} is missing in row {row}", path=path)
