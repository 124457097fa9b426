"""User and item vectors from elsewhere: what another library trained, aligned with a data set.

`.npy`, `.npz`, `.safetensors` and `.parquet`. Rows are matched by ids where the file has them;
without ids they must stand in the order of the data set's ids and be as many. Nothing is guessed: a
file with several tables that could be meant, or with rows that are missing, is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec.errors import DataError
from advrec.system.arrays import read_npy, read_npz

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset

VECTORS: Final = ("{}_vectors", "{}_factors", "{}_embeddings", "{}_embedding", "{}s",
                  "vectors", "vector", "factors", "embeddings", "embedding")  # fmt: skip
IDS: Final = ("{}_ids", "{}_id", "{}", "ids", "id")
"""Names of arrays and columns, the clearest first; {} is user or item."""
FORMATS: Final = (".npy", ".npz", ".safetensors", ".parquet")


@dataclass(frozen=True, eq=False)
class Vectors:
    """One table of vectors, a row for each id of the data set, in its order."""

    rows: Tensor  # [U or I, d] float32
    path: Path
    sha256: str
    unused: int = 0  # rows of the file whose id the data set does not have


@dataclass(frozen=True, eq=False)
class _Table:
    """A table as its file has it."""

    rows: NDArray[np.generic]
    ids: Sequence[str] | None = None  # None: in the order of the data set


def read_vectors(users: str | Path, items: str | Path, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Both tables, [U, d] and [I, d], in the order of the data set's ids. Raises DataError."""
    pair = read_pair(users, items, dataset)
    return pair[0].rows, pair[1].rows


def read_pair(users: str | Path, items: str | Path, dataset: Dataset) -> tuple[Vectors, Vectors]:
    """Both tables and where they come from.

    Raises DataError for a file that cannot be read, is not a table of finite numbers, lacks ids of
    the data or has them twice, and for tables of different widths.
    """
    user = read_side(users, "user", dataset)
    item = read_side(items, "item", dataset)
    if user.rows.shape[1] != item.rows.shape[1]:
        raise DataError(
            f"rows of {item.rows.shape[1]} numbers, but those of {users} have {user.rows.shape[1]}",
            path=Path(items),
            hint="scores are dot products of users and items, so both need the same width",
        )
    return user, item


def read_side(path: str | Path, kind: str, dataset: Dataset) -> Vectors:
    """One table; kind: "user" or "item". Raises as `read_pair`."""
    path = Path(path)
    if not path.is_file():
        raise DataError("no such file of vectors", path=path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"vectors must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
            path=path,
            hint="numpy.save writes an array as .npy",
        )
    table = reader(path, kind)
    rows = _checked(path, table.rows)
    own = dataset.user_ids if kind == "user" else dataset.item_ids
    unused = 0
    if table.ids is not None:
        rows, unused = _aligned(path, rows, table.ids, own, kind)
    elif len(rows) != len(own):
        raise DataError(
            f"{len(rows):,} rows, but the data set has {len(own):,} {kind}s",
            path=path,
            hint="one row per id, in the order that advrec export writes (users and items without"
            " training pairs count, too), or a file with ids",
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Vectors(torch.from_numpy(np.ascontiguousarray(rows)), path, digest, unused)


def _checked(path: Path, array: NDArray[np.generic]) -> NDArray[np.float32]:
    """The table as float32, if it is one of finite numbers."""
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        found_shape = f"{array.dtype} of shape {array.shape}"
        raise DataError(
            f"expected a table of numbers, rows × width, found {found_shape}", path=path
        )
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32)
    if not np.isfinite(rows).all():
        row = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        what = (
            "a non-finite value"
            if not np.isfinite(array[row]).all()
            else ("a value that is too large for float32")
        )
        raise DataError(f"row {row} has {what}", path=path)
    return rows


def _aligned(
    path: Path, rows: NDArray[np.float32], ids: Sequence[str], own: Sequence[str], kind: str
) -> tuple[NDArray[np.float32], int]:
    """The rows of the data set's ids, in its order, and how many others there are."""
    if len(ids) != len(rows):
        raise DataError(f"{len(ids):,} ids for {len(rows):,} rows", path=path)
    places = {name: row for row, name in enumerate(ids)}
    if len(places) < len(ids):
        twice = next(name for row, name in enumerate(ids) if places[name] != row)
        raise DataError(f"{kind} {twice!r} has more than one row", path=path)
    missing = [name for name in own if name not in places]
    if missing:
        raise DataError(
            f"no row for {len(missing):,} of {len(own):,} {kind}s of the data,"
            f" such as {missing[0]!r}; the ids here are like {ids[0]!r}",
            path=path,
            hint="every user and item of the data needs a vector, those without training pairs too",
        )
    chosen = np.fromiter((places[name] for name in own), np.int64, len(own))
    return rows[chosen], len(ids) - len(own)


def _npy(path: Path, kind: str) -> _Table:
    del kind
    return _Table(read_npy(path))


def _npz(path: Path, kind: str) -> _Table:
    return _named(path, kind, read_npz(path))


def _safetensors(path: Path, kind: str) -> _Table:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = (file.metadata() or {}).get("advrec")
            arrays: dict[str, Any] = {}
            for name in file.keys():  # noqa: SIM118 - not a mapping
                tensor = file.get_tensor(name)
                arrays[name] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        ids = json.loads(about) if about else {}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"not a .safetensors file ({_first_line(error)})", path=path) from None
    if isinstance(ids, Mapping):  # as advrec export writes them
        arrays |= {name: np.array(ids[name]) for name in ("user_ids", "item_ids") if name in ids}
    return _named(path, kind, arrays)


def _named(path: Path, kind: str, arrays: Mapping[str, NDArray[np.generic]]) -> _Table:
    """The table among named arrays, and its ids where there are any."""
    tables = {name: array for name, array in arrays.items() if array.ndim == 2}
    name = _one_of(path, kind, VECTORS, tables, "a table of numbers")
    rows = tables[name]
    lists = {key: array for key, array in arrays.items() if array.ndim == 1}
    known = [text.format(kind) for text in IDS]
    own = next((key for key in known if key in lists), None)
    return _Table(rows, None if own is None else _texts(path, own, lists[own]))


def _parquet(path: Path, kind: str) -> _Table:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            "parquet files need the package pyarrow",
            path=path,
            hint="pip install 'advrec[parquet]'",
        ) from None
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"not a parquet file ({_first_line(error)})", path=path) from None
    types = {field.name: field.type for field in table.schema}
    lists = [
        name
        for name, type_ in types.items()
        if arrow.types.is_list(type_)
        or arrow.types.is_large_list(type_)
        or arrow.types.is_fixed_size_list(type_)
    ]
    name = _one_of(path, kind, VECTORS, lists, "a column of vectors")
    rows = _flattened(path, name, table.column(name))
    others = [key for key in types if key not in lists]
    known = [text.format(kind) for text in IDS]
    own = next((key for key in known if key in others), None)
    if own is None and others:
        raise DataError(
            f"no column of ids among {', '.join(map(repr, others))}",
            path=path,
            hint=f"name it {known[0]!r}, or leave only the vectors, in the order of the data's ids",
        )
    if own is None:
        return _Table(rows)
    return _Table(rows, _texts(path, own, np.array(table.column(own).to_pylist(), dtype=object)))


def _flattened(path: Path, name: str, column: Any) -> NDArray[np.generic]:
    """A column of lists as a table, rows × width; no row is missing or of another width."""
    import pyarrow as arrow
    from pyarrow import compute

    widths = compute.list_value_length(column).to_pylist()
    odd = next((row for row, width in enumerate(widths) if width != widths[0] or not width), None)
    if odd is not None:
        raise DataError(
            f"column {name!r}: row {odd} has {widths[odd] or 0} numbers,"
            f" row 0 has {widths[0] or 0}",
            path=path,
        )
    flat = compute.list_flatten(column)
    numeric = arrow.types.is_floating(flat.type) or arrow.types.is_integer(flat.type)
    if not numeric or flat.null_count:
        raise DataError(f"column {name!r} does not hold numbers only", path=path)
    values: NDArray[np.generic] = flat.to_numpy()
    return values.reshape(len(widths), -1)


def _one_of(
    path: Path,
    kind: str,
    names: Sequence[str],
    present: Sequence[str] | Mapping[str, Any],
    what: str,
) -> str:
    """The name that is meant: one that says so, or the only one there is."""
    for text in names:
        if text.format(kind) in present:
            return text.format(kind)
    other = {text.format("item" if kind == "user" else "user") for text in names if "{}" in text}
    if len(present) == 1 and not other & set(present):
        return next(iter(present))
    have = ", ".join(map(repr, present)) or "none"
    raise DataError(
        f"expected {what} for the {kind}s, found {have}",
        path=path,
        hint=f"name it {names[0].format(kind)!r}",
    )


def _texts(path: Path, name: str, values: NDArray[Any]) -> list[str]:
    """Ids as text: integers and strings, each as the data writes it."""
    listed = values.tolist()
    for row, value in enumerate(listed):
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise DataError(
                f"{name!r}: row {row} has the id {value!r}, expected text or a whole number",
                path=path,
            )
    return [str(value) for value in listed]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


READERS: Final = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
