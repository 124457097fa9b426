"""The text readers in plain Python: slow, obvious, and what `csrc/text/reader.cpp` is tested with.

Both take bytes that `text.read_bytes` has checked: UTF-8, no NUL, no byte order mark, and "\\r"
only before "\\n". Both raise `LineError`, whose args are (kind, line from 1, number, found):

    ("id", line, 0, token)          an id of a list is not a run of digits
    ("columns", line, n, "")        a line has n columns
    ("unclosed", line, c, "")       column c (from 0) opens a quote that its line does not close
    ("after-quote", line, c, text)  text stands between the closing quote of column c and its end
    ("empty", line, c, "")          column c is empty
    ("number", line, c, text)       column c is no finite number, and no date where it may be one
"""

from __future__ import annotations

import math
import re
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLANKS = b" \t"
NUMBER = re.compile(rb"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
DATE = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    rb"([T ]([0-9]{2}):([0-9]{2})(:([0-9]{2})(\.([0-9]{1,9}))?)?(Z|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
EPOCH = date(1970, 1, 1).toordinal()


class LineError(ValueError):
    """What is wrong with a line; see the head of this file."""


class Lists(NamedTuple):
    """Pairs from lines of `user item item …`."""

    users: NDArray[np.int32]  # [P]
    items: NDArray[np.int32]  # [P]
    user_ids: list[str]  # by code, users without items too
    item_ids: list[str]
    lines: int  # lines that name a user


class Table(NamedTuple):
    """Rows of a delimited table."""

    users: NDArray[np.int32]  # [n]
    items: NDArray[np.int32]  # [n]
    user_ids: list[str]
    item_ids: list[str]
    ratings: NDArray[np.float64]  # [n], or [0] without a rating column
    timestamps: NDArray[np.float64]  # [n], or [0] without a timestamp column


def read_lists(data: bytes) -> Lists:
    """Read LightGCN text. Raises LineError "id"."""
    users: list[int] = []
    items: list[int] = []
    user_codes: dict[bytes, int] = {}
    item_codes: dict[bytes, int] = {}
    lines = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        tokens = line.split()
        if not tokens:
            continue
        for token in tokens:
            if not token.isdigit():
                raise LineError("id", number, 0, token.decode())
        lines += 1
        user = user_codes.setdefault(tokens[0], len(user_codes))
        users.extend([user] * (len(tokens) - 1))
        items.extend(item_codes.setdefault(token, len(item_codes)) for token in tokens[1:])
    return Lists(
        np.array(users, dtype=np.int32),
        np.array(items, dtype=np.int32),
        [token.decode() for token in user_codes],
        [token.decode() for token in item_codes],
        lines,
    )


def read_table(
    data: bytes,
    *,
    separator: bytes,  # b" " means any run of white space
    quotes: bool,  # "…" around a field, "" inside for one quote
    skip: int,  # lines before the first row
    columns: int,  # that every row must have
    user: int,
    item: int,
    rating: int,  # -1: none
    timestamp: int,  # -1: none
) -> Table:
    """Read the named columns of a delimited table. Raises LineError, all kinds but "id"."""
    users: list[int] = []
    items: list[int] = []
    user_codes: dict[bytes, int] = {}
    item_codes: dict[bytes, int] = {}
    ratings: list[float] = []
    timestamps: list[float] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if number <= skip or not line.removesuffix(b"\r").strip(b" "):
            continue
        fields = split_line(line, separator, quotes, number)
        if len(fields) != columns:
            raise LineError("columns", number, len(fields), "")
        for column in (user, item):
            if not fields[column]:
                raise LineError("empty", number, column, "")
        users.append(user_codes.setdefault(fields[user], len(user_codes)))
        items.append(item_codes.setdefault(fields[item], len(item_codes)))
        if rating >= 0:
            ratings.append(_number(fields[rating], number, rating))
        if timestamp >= 0:
            timestamps.append(_number(fields[timestamp], number, timestamp, dates=True))
    return Table(
        np.array(users, dtype=np.int32),
        np.array(items, dtype=np.int32),
        [token.decode() for token in user_codes],
        [token.decode() for token in item_codes],
        np.array(ratings, dtype=np.float64),
        np.array(timestamps, dtype=np.float64),
    )


def split_line(line: bytes, separator: bytes, quotes: bool, number: int) -> list[bytes]:
    """The fields of one line without the blanks around them. Raises LineError about quotes."""
    line = line.removesuffix(b"\r")
    if separator == b" ":
        return line.split()
    if not quotes or b'"' not in line:
        return [field.strip(BLANKS) for field in line.split(separator)]
    fields: list[bytes] = []
    rest = line
    while True:
        field, tail = _next_field(rest.lstrip(BLANKS), separator, number, len(fields))
        fields.append(field)
        if tail is None:
            return fields
        rest = tail


def _next_field(
    rest: bytes, separator: bytes, number: int, column: int
) -> tuple[bytes, bytes | None]:
    """One field and what follows its separator, None at the end of the line."""
    if not rest.startswith(b'"'):
        field, found, tail = rest.partition(separator)
        return field.strip(BLANKS), tail if found else None
    content = bytearray()
    at = 1
    while True:
        close = rest.find(b'"', at)
        if close < 0:
            raise LineError("unclosed", number, column, "")
        content += rest[at:close]
        if rest[close + 1 : close + 2] != b'"':
            break
        content += b'"'
        at = close + 2
    between, found, tail = rest[close + 1 :].partition(separator)
    if between.strip(BLANKS):
        raise LineError("after-quote", number, column, between.strip(BLANKS).decode())
    return bytes(content), tail if found else None


def _number(field: bytes, line: int, column: int, dates: bool = False) -> float:
    if not field:
        raise LineError("empty", line, column, "")
    value = math.nan
    if NUMBER.fullmatch(field):
        value = float(field)
    elif dates:
        value = seconds(field)
    if not math.isfinite(value):
        raise LineError("number", line, column, field.decode())
    return value


def seconds(field: bytes) -> float:
    """Seconds since 1970 of an ISO 8601 date or date and time, UTC without a zone; nan if none."""
    match = DATE.fullmatch(field)
    if match is None:
        return math.nan
    year, month, day, hour, minute, second, off_hours, off_minutes = (
        int(match[group] or 0) for group in (1, 2, 3, 5, 6, 8, 13, 14)
    )
    if hour > 23 or minute > 59 or second > 59 or off_hours > 23 or off_minutes > 59:
        return math.nan
    try:
        days = date(year, month, day).toordinal() - EPOCH
    except ValueError:
        return math.nan
    offset = (off_hours * 60 + off_minutes) * (-60 if match[12] == b"-" else 60)
    whole = ((days * 24 + hour) * 60 + minute) * 60 + second - offset
    fraction = match[10] or b"0"
    return whole + int(fraction) / float(10 ** len(fraction))
