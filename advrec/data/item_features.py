"""What is known about items: content features and names, aligned by item id."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.data.readers.columns import ALIASES, column_number
from advrec.data.readers.rows import table_rows
from advrec.data.readers.text import read_bytes, shown
from advrec.data.readers.text_twin import NUMBER
from advrec.data.wording import counted
from advrec.errors import DataError
from advrec.system.arrays import read_npy, read_npz
from advrec.visible import listed

NAME_COLUMNS = ("name", "title", "movietitle", "description", "label")
FLOAT32_MAX = float(np.finfo(np.float32).max)
NPZ_EXPECTED = "an .npz with the arrays ids [n] and features [n, F]"


def load_features(path: Path, item_ids: Sequence[str]) -> tuple[NDArray[np.float32], str]:
    """Features [I, F] in the order of `item_ids`, and a sentence on what was matched.

    `.npy`: row n belongs to the item whose id is the number n. `.npz`: arrays `ids` and `features`.
    Anything else: a table whose first column (or one called item) is the item id and whose other
    columns are numbers. Items without a row get zeros and are counted; rows of unknown items are
    left out and counted. Raises DataError, with the row, for nan or infinite values.
    """
    if not path.is_file():
        raise DataError("no such file of item features", path=path)
    if path.suffix == ".npy":
        matrix = _matrix(path, read_npy(path))
        rows = _numbered_rows(path, item_ids, len(matrix))
        named = len(matrix)
    else:
        ids, matrix = _load_npz(path) if path.suffix == ".npz" else _load_table(path)
        places = {item: row for row, item in enumerate(ids)}
        if len(places) < len(ids):
            raise DataError(f"item {shown(_repeated(ids))} has more than one row", path=path)
        rows = np.array([places.get(item, -1) for item in item_ids], dtype=np.int64)
        named = len(ids)
    features = np.zeros((len(item_ids), matrix.shape[1]), dtype=np.float32)
    known = rows >= 0
    if not known.any():
        raise DataError(
            f"no item of the data has a row here; its ids are like {shown(item_ids[0])}", path=path
        )
    features[known] = matrix[rows[known]]
    sentence = f"item features: {counted(matrix.shape[1], 'column')} from {path.name}"
    if not known.all():
        missing = int((~known).sum())
        sentence += f"; zeros for those without, {missing:,} of {counted(len(item_ids), 'item')}"
    unused = named - len(np.unique(rows[known]))
    if unused:
        sentence += f"; {counted(unused, 'row')} of unknown items left out"
    return features, sentence


def load_names(path: Path) -> dict[str, str]:
    """Item id -> name from a table: with a header by its names, else the first two columns."""
    data = read_bytes(path)
    rows, lines = table_rows(path, data)
    plain = [field.lower().replace("_", "") for field in rows[0]]
    item_at = next((plain.index(alias) for alias in ALIASES["item"] if alias in plain), None)
    name_at = next((plain.index(alias) for alias in NAME_COLUMNS if alias in plain), None)
    if item_at is not None:  # a header
        rows, lines = rows[1:], lines[1:]
    item_at = item_at or 0
    if name_at is None:
        name_at = 1 if item_at == 0 else 0
    names = {}
    for row, line in zip(rows, lines, strict=True):
        if len(row) <= max(item_at, name_at):
            raise DataError(
                f"{counted(len(row), 'column')}, expected an item id and its name",
                path=path,
                line=line,
            )
        names[row[item_at]] = row[name_at]
    return names


def _load_npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    arrays = read_npz(path)
    if not {"ids", "features"} <= arrays.keys():
        raise DataError(
            f"the arrays are {listed(arrays) or 'none'}, expected {NPZ_EXPECTED}", path=path
        )
    ids, features = arrays["ids"], arrays["features"]
    matrix = _matrix(path, features)
    if ids.shape != (len(matrix),) or ids.dtype.kind not in "iuU":
        raise DataError(
            f"ids is {ids.dtype} of shape {ids.shape}, expected {len(matrix)} integers or strings",
            path=path,
        )
    return [str(item) for item in ids.tolist()], matrix


def _matrix(path: Path, array: NDArray[np.generic]) -> NDArray[np.float32]:
    if array.ndim != 2 or array.dtype.kind not in "fiub" or 0 in array.shape:
        raise DataError(
            f"features are {array.dtype} of shape {array.shape}, expected numbers [items, F]",
            path=path,
        )
    with np.errstate(over="ignore"):  # too large becomes infinite, which is refused below
        matrix = array.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(matrix))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"the feature in row {row}, column {column} (from 0) is {array[row, column]}, "
            "expected a number that float32 can hold",
            path=path,
        )
    return matrix


def _numbered_rows(path: Path, item_ids: Sequence[str], n_rows: int) -> NDArray[np.int64]:
    """The row of each item: its id as a number. Refuses ids that cannot be row numbers."""
    for item in item_ids:
        place = column_number(item)
        if place is None or str(place) != item or place >= n_rows:
            raise DataError(
                f"item {shown(item)} has no row: a .npy of {n_rows:,} rows belongs to item ids "
                f"0 to {n_rows - 1}",
                path=path,
                hint=f"give {NPZ_EXPECTED}, or a table keyed by item id",
            )
    return np.array([int(item) for item in item_ids], dtype=np.int64)


def _load_table(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    rows, lines = table_rows(path, read_bytes(path))
    width = len(rows[0])
    key = 0
    if not all(NUMBER.fullmatch(field.encode()) for field in rows[0][1:]):  # a header
        plain = [field.lower().replace("_", "") for field in rows[0]]
        key = next((plain.index(alias) for alias in ALIASES["item"] if alias in plain), 0)
        header, rows, lines = rows[0], rows[1:], lines[1:]
    else:
        header = [f"column {at + 1}" for at in range(width)]
    if not rows:
        raise DataError("no row below the header", path=path)
    ids = []
    values = np.zeros((len(rows), width - 1), dtype=np.float32)
    for at, (row, line) in enumerate(zip(rows, lines, strict=True)):
        if len(row) != width:
            columns = counted(len(row), "column")
            raise DataError(f"{columns}, expected {width}", path=path, line=line)
        ids.append(row[key])
        for column, field in enumerate(row[:key] + row[key + 1 :]):
            value = float(field) if NUMBER.fullmatch(field.encode()) else math.nan
            if not abs(value) <= FLOAT32_MAX:
                name = (header[:key] + header[key + 1 :])[column]
                raise DataError(
                    f"the feature {name!r} is {shown(field)}, expected a number",
                    path=path,
                    line=line,
                )
            values[at, column] = value
    return ids, values


def _repeated(ids: Sequence[str]) -> str:
    seen: set[str] = set()
    for item in ids:
        if item in seen:
            return item
        seen.add(item)
    raise ValueError("no id is repeated")
