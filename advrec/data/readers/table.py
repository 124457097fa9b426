"""A table of named columns becomes interactions: what JSON, parquet, Arrow and frames share.

A batch of a column is a list of Python scalars or a NumPy array. Missing are
None, nan, NaT and the strings in `MISSING`, which pandas, Python and SQL write for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from advrec.data.config import DataConfig
from advrec.data.readers.columns import ROLES, Roles, Wanted, by_name
from advrec.data.readers.dates import DateError, read_dates
from advrec.data.readers.merge import Part
from advrec.data.readers.text import shown
from advrec.data.readers.text_twin import MISSING as MISSING_BYTES
from advrec.data.readers.text_twin import NUMBER, seconds
from advrec.data.wording import counted
from advrec.errors import DataError

Values: TypeAlias = "list[Any] | NDArray[Any]"

KINDS = {  # what a value that does not fit is called
    bool: "true or false",
    dict: "an object",
    list: "a list",
    tuple: "a list",
    bytes: "binary data",
}
EXPECTED_ID = "expected a whole number or a string"
MISSING = frozenset(word.decode() for word in MISSING_BYTES)
EXACT = 2.0**53  # whole numbers below are exact as floats


class _WrongValueError(Exception):
    """The value at this place of a batch is not what its column is for."""

    def __init__(self, at: int, expected: str) -> None:
        super().__init__(at, expected)
        self.at, self.expected = at, expected


class Rows:
    """The rows of one file or frame, collected batch by batch.

    Memory: 24 bytes per row, and the distinct ids.
    """

    def __init__(
        self,
        names: Sequence[str],
        roles: Roles,
        config: DataConfig,
        place: Literal["line", "row"],  # what an error counts
    ) -> None:
        self.columns = {
            role: names[getattr(roles, role)] for role in ROLES if getattr(roles, role) >= 0
        }
        self.drop = config.drop_incomplete
        self.dropped = 0
        self._remarks: list[str] = []
        self.whole_floats: set[str] = set()  # columns whose ids were read as integers
        self._place = place
        self._time_format = config.time_format
        self._words: dict[str, int] = {}  # times as text, each once; a column of them has one form
        self._first: list[tuple[str | Path, int]] = []  # where each of them came first
        self._worded: list[bool] = []  # of each batch of timestamps: codes into the words
        self._codes: dict[str, dict[str, int]] = {"user": {}, "item": {}}
        self._batches: dict[str, list[NDArray[Any]]] = {role: [] for role in self.columns}

    def add(
        self,
        columns: Mapping[str, Values],  # by role
        places: NDArray[np.int64],  # [n] the line or row of each
        path: str | Path,
    ) -> None:
        """Add a batch. Raises DataError, with the line or row, where a value does not fit."""
        columns, places = self._complete(columns, places, path)
        for role, values in columns.items():
            try:
                self._batches[role].append(self._parsed(role, values, places, path))
            except _WrongValueError as wrong:
                name = _name_of(values[wrong.at])
                raise self._error(
                    path, role, int(places[wrong.at]), f"is {name}", f", {wrong.expected}"
                ) from None

    def part(self, part: int | None, path: str | Path) -> Part:
        """Everything added so far. Raises DataError if there are no rows."""
        if not sum(map(len, self._batches["user"])):
            raise DataError("the table has no row", path=path)
        self._read_words()
        joined = {role: np.concatenate(batches) for role, batches in self._batches.items()}
        return Part(
            part=part,
            users=joined["user"],
            items=joined["item"],
            user_ids=list(self._codes["user"]),
            item_ids=list(self._codes["item"]),
            ratings=joined.get("rating"),
            timestamps=joined.get("timestamp"),
            notes=tuple(f"{Path(path).name}: {remark}" for remark in self._notes()),
        )

    def _notes(self) -> list[str]:
        """What was dropped and what was converted, in sentences."""
        notes = [
            f"the whole numbers of {name!r}, stored as floats, are read as integers"
            for name in sorted(self.whole_floats)
        ]
        if self.dropped:
            notes.append(f"{counted(self.dropped, 'row')} without a value dropped")
        return [*self._remarks, *notes]

    def _complete(
        self, columns: Mapping[str, Values], places: NDArray[np.int64], path: str | Path
    ) -> tuple[Mapping[str, Values], NDArray[np.int64]]:
        """The rows without a missing value."""
        missing = {role: _missing(values) for role, values in columns.items()}
        holes = {role: mask for role, mask in missing.items() if mask is not None}
        if not holes:
            return columns, places
        if not self.drop:
            role, at = min(
                ((role, int(mask.argmax())) for role, mask in holes.items()),
                key=lambda hole: hole[1],
            )
            value = columns[role][at]
            word = f" ({value!r})" if isinstance(value, str) and value else ""
            raise self._error(path, role, int(places[at]), f"is missing{word}")
        keep = ~np.logical_or.reduce(list(holes.values()))
        self.dropped += int((~keep).sum())
        kept = {role: _kept(values, keep) for role, values in columns.items()}
        return kept, places[keep]

    def _parsed(
        self, role: str, values: Values, places: NDArray[np.int64], path: str | Path
    ) -> NDArray[Any]:
        if role == "rating":
            return _numbers(values, _number, "expected a number")
        if role == "timestamp":
            words = _as_words(values, self._time_format)
            self._worded.append(words is not None)
            if words is None:
                return _numbers(values, _time, "expected a number or a date")
            known = len(self._words)
            codes = _coded(words, self._words)
            new, first = np.unique(codes, return_index=True)
            self._first += [(path, int(places[at])) for at in first[new >= known]]
            return codes
        if _floats(values):
            self.whole_floats.add(self.columns[role])
        return _coded(values, self._codes[role])

    def _read_words(self) -> None:
        """Timestamps that are text, now that every one of them is known. Raises DataError."""
        if not self._words:
            return
        words = list(self._words)
        how = "ISO 8601"
        values = np.array([seconds(word.strip().encode()) for word in words])
        if np.isnan(values).any() or self._time_format is not None:
            try:
                values, how = read_dates(words, self._time_format)
            except DateError as wrong:
                self._refuse_date(wrong)
            self._remarks.append(f"dates: {how}")
        numeric = how == "as numbers"
        if not numeric and not all(self._worded):
            path, place = self._first[0]
            raise self._error(
                path, "timestamp", place, f"is {shown(words[0])}", ", other rows have numbers"
            )
        batches = self._batches["timestamp"]
        for at, worded in enumerate(self._worded):
            if worded:
                batches[at] = values[batches[at]]
        self._words = {}

    def _refuse_date(self, wrong: DateError) -> NoReturn:
        if wrong.word is None:
            raise DataError(str(wrong), path=self._first[0][0], hint=wrong.hint) from None
        path, place = self._first[self._words[wrong.word]]
        expected = str(wrong) or "expected a number or a date"
        raise self._error(
            path, "timestamp", place, f"is {shown(wrong.word)}", f", {expected}"
        ) from None

    def _error(
        self, path: str | Path, role: str, place: int, fault: str, expected: str = ""
    ) -> DataError:
        name = self.columns[role]
        column = role if name == role else f"{role} (column {name!r})"
        hint = (
            "fill it in, or drop such rows with --drop-incomplete"
            if fault.startswith("is missing")
            else None
        )
        if self._place == "line":
            return DataError(f"{column} {fault}{expected}", path=path, line=place, hint=hint)
        return DataError(f"{column} {fault} in row {place}{expected}", path=path, hint=hint)


def roles_of(names: Sequence[str], config: DataConfig, path: str | Path) -> Roles:
    """The columns by their names. Raises DataError where user and item cannot be told."""
    return by_name(names, Wanted.of(config), Path(path), line=None)


def _as_words(values: Values, time_format: str | None) -> list[str] | None:
    """Times that are text, or numbers that a time format is to be applied to; else None."""
    if isinstance(values, np.ndarray):
        if time_format is None or values.dtype.kind not in "iu":
            return None
        return [str(value) for value in values.tolist()]
    if not any(issubclass(kind, str) for kind in set(map(type, values))):
        return (
            None
            if time_format is None or set(map(type, values)) != {int}
            else list(map(str, values))
        )
    for at, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise _WrongValueError(at, "expected a date as text, as in other rows")
    return [value.strip() if isinstance(value, str) else repr(value) for value in values]


def _missing(values: Values) -> NDArray[np.bool_] | None:
    """Where a value is missing; None: nowhere."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "fM":
            return None
        mask = np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    else:
        kinds = set(map(type, values))
        if kinds <= {int, bool} or (kinds == {str} and MISSING.isdisjoint(values)):
            return None
        mask = np.fromiter(map(_is_missing, values), np.bool_, len(values))
    return mask if mask.any() else None


def _is_missing(value: object) -> bool:
    if isinstance(value, str):
        return value in MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def _kept(values: Values, keep: NDArray[np.bool_]) -> Values:
    if isinstance(values, np.ndarray):
        return values[keep]
    return [values[at] for at in np.flatnonzero(keep).tolist()]


def _floats(values: Values) -> bool:
    if isinstance(values, np.ndarray):
        return values.dtype.kind == "f"
    return any(issubclass(kind, float) for kind in set(map(type, values)))


def _coded(values: Values, codes: dict[str, int]) -> NDArray[np.int32]:
    """Codes by first appearance; new ids are added to `codes`."""
    known = len(codes)
    if isinstance(values, np.ndarray):
        integers = _integers(values)
        distinct, first, inverse = np.unique(integers, return_index=True, return_inverse=True)
        order = np.argsort(first)
        table = np.empty(len(distinct), dtype=np.int32)
        table[order] = [codes.setdefault(str(v), len(codes)) for v in distinct[order].tolist()]
        return table[inverse.reshape(-1)]
    texts = values if set(map(type, values)) == {str} else _each(values, _id, EXPECTED_ID)
    coded = np.fromiter(
        (codes.setdefault(text, len(codes)) for text in texts), np.int32, len(values)
    )
    try:
        "".join(list(codes)[known:]).encode()
    except UnicodeEncodeError:
        at = next(at for at, text in enumerate(texts) if not _encodes(text))
        raise _WrongValueError(at, "which is half of a character") from None
    return coded


def _integers(values: NDArray[Any]) -> NDArray[Any]:
    """An array of ids as integers."""
    if values.dtype.kind == "f":
        exact = 2.0 ** (np.finfo(values.dtype).nmant + 1)  # larger ids are no longer told apart
        wide = values.astype(np.float64)
        wrong = np.flatnonzero((wide != np.floor(wide)) | (np.abs(wide) >= exact))
        if len(wrong):
            raise _WrongValueError(int(wrong[0]), EXPECTED_ID)
        return values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise _WrongValueError(0, EXPECTED_ID)
    return values


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _id(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float | np.floating | Decimal):
        whole = int(value)
        if whole == value and abs(whole) < EXACT:
            return str(whole)
    raise ValueError


def _numbers(values: Values, parse: Callable[[Any], float], expected: str) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        if parse is not _time:
            raise _WrongValueError(0, expected)
        return values.astype("datetime64[us]").astype(np.int64) / 1e6
    if not isinstance(values, np.ndarray) and not set(map(type, values)) <= {int, float, bool}:
        values = _each(values, parse, expected)
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except OverflowError:
        numbers = np.array(_each(values, parse, expected))
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise _WrongValueError(int(wrong[0]), expected)
    return numbers


def _each(values: Values, parse: Callable[[Any], Any], expected: str) -> list[Any]:
    """Parse every value, each distinct string once."""
    known: dict[object, Any] = {}
    parsed = []
    for at, value in enumerate(values):
        key = value if isinstance(value, str) else None
        result = known.get(key) if key is not None else None
        if result is None:
            try:
                result = parse(value)
            except (ValueError, OverflowError, ArithmeticError):
                raise _WrongValueError(at, expected) from None
            if key is not None:
                known[key] = result
        parsed.append(result)
    return parsed


def _number(value: object) -> float:
    if isinstance(value, str) and NUMBER.fullmatch(value.strip().encode(errors="replace")):
        return float(value)
    if isinstance(value, Real | Decimal | np.bool_):
        return float(value)
    raise ValueError


def _time(value: object) -> float:
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return aware.timestamp()
    if isinstance(value, date):
        return (value.toordinal() - date(1970, 1, 1).toordinal()) * 86400.0
    return _number(value)


def _name_of(value: object) -> str:
    if isinstance(value, str):
        return shown(value)
    for kind, name in KINDS.items():
        if isinstance(value, kind):
            return name
    return shown(str(value))[1:-1]
