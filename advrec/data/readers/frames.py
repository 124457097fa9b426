"""Data in memory: pandas and Polars frames and Arrow tables, by narwhals; SciPy's matrices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advrec.data.config import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers.columns import Roles, Wanted
from advrec.data.readers.merge import Part, merge
from advrec.data.readers.table import Rows, Values, roles_of
from advrec.data.wording import counted
from advrec.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    import narwhals as nw

NAME = "frame"  # what data in memory is called
BATCH = 1 << 18  # rows
ABOUT_FILES = ("format", "separator", "header")  # options that have no meaning here
EXPECTED = (
    "expected a name, a path, a DataConfig, a pandas or Polars frame, an Arrow table or a SciPy "
    "sparse matrix"
)


def read(data: object, config: DataConfig) -> Interactions:
    """The rows of a frame, its columns chosen as in a file with a header, or the stored
    entries of a sparse matrix: users are its rows, items its columns, both numbered from 0.

    Raises UsageError for anything else, ConfigError for options that only files have, DataError,
    with the row from 1, for values that do not fit.
    """
    for option in ABOUT_FILES:
        if getattr(config, option) != DataConfig.model_fields[option].default:
            raise ConfigError(f"{option} does not apply to data in memory")
    from scipy import sparse

    source = f"{type(data).__module__.split('.')[0]}.{type(data).__name__}"
    if sparse.issparse(data):
        part, notes = _of_matrix(data, config, source)
    else:
        part, notes = _of_frame(_opened(data, source), config, source)
    return merge([part], name=NAME, source=source, format=NAME, notes=notes)


def add(
    rows: Rows,
    columns: Mapping[str, nw.Series[Any]],  # by role, all [n]
    path: str | Path,
    before: int = 0,  # rows of the same file that came earlier
) -> None:
    """Add columns to `rows`, batch by batch. Raises DataError for values that do not fit."""
    count = len(columns["user"])
    for start in range(0, count, BATCH):
        stop = min(start + BATCH, count)
        places = np.arange(before + start + 1, before + stop + 1, dtype=np.int64)
        batch = {}
        for role, column in columns.items():
            try:
                batch[role] = _values(column[start:stop])
            except (ValueError, ArithmeticError):
                raise DataError(
                    f"{role} is of type {column.dtype} and holds values outside its range",
                    path=path,
                ) from None
        rows.add(batch, places, path)


def _opened(data: object, source: str) -> nw.DataFrame[Any]:
    import narwhals as nw

    try:
        frame: Any = nw.from_native(data)
    except nw.exceptions.DuplicateError:
        names = [str(name) for name in data.columns]  # type: ignore[attr-defined]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns are called {twice!r}", path=source) from None
    except TypeError:
        raise UsageError(f"data is a {source}; {EXPECTED}") from None
    return frame.collect() if isinstance(frame, nw.LazyFrame) else frame


def _of_frame(frame: nw.DataFrame[Any], config: DataConfig, source: str) -> tuple[Part, list[str]]:
    names = [str(name) for name in frame.columns]
    roles = roles_of(names, config, source)
    rows = Rows(names, roles, config, "row")
    add(rows, {role: frame[:, getattr(roles, role)] for role in rows.columns}, source)
    return rows.part(None, source), [f"{source}; {roles.sentence(names)}"]


def _values(series: nw.Series[Any]) -> Values:
    """What `Rows` takes: an array where the type is plain, else Python's scalars."""
    import narwhals as nw

    kind, missing = series.dtype, series.is_null()
    holes = bool(missing.any())
    if isinstance(kind, nw.Datetime | nw.Date):
        moments = series.dt.timestamp("us").to_numpy()
        if holes:
            moments = np.where(missing.to_numpy(), 0, moments)
        times = moments.astype(np.int64).astype("datetime64[us]")
        if holes:
            times[missing.to_numpy()] = np.datetime64("NaT")
        return times
    if kind.is_float() or (kind.is_integer() and not holes):
        values = series.to_numpy()
        if values.dtype.kind in "iuf":
            return values
    scalars = series.to_list()
    if holes:
        for at in np.flatnonzero(missing.to_numpy()).tolist():
            scalars[at] = None
    return scalars


def _of_matrix(matrix: Any, config: DataConfig, source: str) -> tuple[Part, list[str]]:
    given = [f"{role}_col" for role in Wanted.of(config).given()]
    if given:
        raise ConfigError(f"{given[0]} does not apply to a sparse matrix, which has no columns")
    if len(matrix.shape) != 2 or matrix.dtype.kind not in "biuf":
        raise DataError(
            f"the matrix holds {matrix.dtype} in shape {matrix.shape}, "
            "expected numbers [users, items]",
            path=source,
        )
    rows_of = matrix.tocsr(copy=True)
    rows_of.sum_duplicates()  # an entry stored twice is summed, as everywhere in SciPy
    entries = rows_of.tocoo()
    values = entries.data.astype(np.float64)
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(
            f"the entry of row {entries.row[at]}, column {entries.col[at]} is {values[at]}",
            path=source,
        )
    stored = values != 0
    ones = bool((values[stored] == 1).all())
    roles = Roles(0, 1) if ones else Roles(0, 1, 2)
    rows = Rows(["row", "column", "value"], roles, config, "row")
    columns = {"user": entries.row[stored], "item": entries.col[stored]}
    if not ones:
        columns["rating"] = values[stored]
    rows.add(columns, np.arange(1, int(stored.sum()) + 1, dtype=np.int64), source)
    sentence = f"{source} [{matrix.shape[0]:,}, {matrix.shape[1]:,}]; user = row, item = column"
    notes = [sentence + ("" if ones else ", rating = value")]
    if not stored.all():
        notes.append(f"{counted(int((~stored).sum()), 'stored zero')} left out")
    return rows.part(None, source), notes
