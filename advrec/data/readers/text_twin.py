"""The text readers in plain, slow Python: `csrc/text/reader.cpp` is tested against them.

Both take bytes that `text.read_bytes` has checked: UTF-8, no NUL, no byte order mark, and "\\r"
only before "\\n". Both raise `LineError`, whose args are (kind, line from 1, number, text):

    ("id", line, 0, token)          an id of a list is not a run of digits
    ("columns", line, n, "")        a line has n columns
    ("unclosed", line, c, "")       column c (from 0) opens a quote that its line does not close
    ("after-quote", line, c, text)  text between the closing quote of column c and its end
    ("swallowed", line, n, "")      the quoted field of a line runs over line n, which is a row
    ("empty", line, c, "")          column c is empty
    ("missing", line, c, text)      column c says that there is no value: nan, None, null
    ("number", line, c, text)       column c is not a finite number, nor a date where it may be one
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
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
SEPARATORS = (b"::", b"\t", b",", b";", b"|", b" ", b":")  # that a scan counts
QUOTED_SEPARATORS = (b",", b";", b"|")  # tab-separated text has no quotes
MOST_FIELDS = 1 << 12  # larger numbers count as this
MISSING = (
    *(b"", b"nan", b"NaN", b"NAN", b"None", b"null", b"NULL", b"<NA>"),
    *(b"NA", b"N/A", b"#N/A", b"\\N"),
)
SPACE = b" \t\r\v\f"


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
    rating_words: list[str]  # where ratings are read as texts, they are codes into these
    timestamp_words: list[str]
    dropped: int  # rows without a value in a column that is read
    spanning: int  # rows that run over several lines


class Scan(NamedTuple):
    """How many fields each separator would give on every line that is not blank."""

    lines: int
    numeric: int  # lines of whole numbers between blanks
    repeats: bool  # does a numeric line begin with the number of an earlier one?
    widths: list[dict[int, int]]  # by separator: number of fields (0: broken quotes) -> lines


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
    rating_text: bool = False,  # as words and codes, of any form
    timestamp_text: bool = False,
    drop: bool = False,  # leave rows out that have no value in a column that is read
) -> Table:
    """Read the named columns of a delimited table. Raises LineError, all kinds but "id"."""
    users: list[int] = []
    items: list[int] = []
    user_codes: dict[bytes, int] = {}
    item_codes: dict[bytes, int] = {}
    ratings: list[float] = []
    timestamps: list[float] = []
    rating_words: dict[bytes, int] = {}
    timestamp_words: dict[bytes, int] = {}
    dropped = spanning = 0
    read = [column for column in (user, item, rating, timestamp) if column >= 0]
    for number, fields, pieces in records(data, separator, quotes, skip):
        if len(fields) != columns:
            raise LineError("columns", number, len(fields), "")
        if pieces:
            spanning += 1
            _check_span(number, fields, pieces, separator, read)
        if drop and any(fields[column] in MISSING for column in read):
            dropped += 1
            continue
        for column in (user, item):
            _check_text(fields[column], number, column)
        users.append(user_codes.setdefault(fields[user], len(user_codes)))
        items.append(item_codes.setdefault(fields[item], len(item_codes)))
        for column, is_text, dates, values, words in (
            (rating, rating_text, False, ratings, rating_words),
            (timestamp, timestamp_text, True, timestamps, timestamp_words),
        ):
            if column < 0:
                continue
            if is_text:
                _check_text(fields[column], number, column)
                values.append(words.setdefault(fields[column], len(words)))
            else:
                values.append(_number(fields[column], number, column, dates))
    return Table(
        np.array(users, dtype=np.int32),
        np.array(items, dtype=np.int32),
        [token.decode() for token in user_codes],
        [token.decode() for token in item_codes],
        np.array(ratings, dtype=np.float64),
        np.array(timestamps, dtype=np.float64),
        [word.decode() for word in rating_words],
        [word.decode() for word in timestamp_words],
        dropped,
        spanning,
    )


def scan(data: bytes, skip: int) -> Scan:
    """Count fields by separator on every line after the first `skip`; raises nothing."""
    lines = numeric = 0
    repeats = False
    users: set[bytes] = set()
    widths: list[Counter[int]] = [Counter() for _ in SEPARATORS]
    quotes = b'"' in data
    for line in data.split(b"\n")[skip:]:
        text = line.removesuffix(b"\r")
        if not text.strip(b" "):
            continue
        lines += 1
        tokens = text.split()
        for separator, counts in zip(SEPARATORS, widths, strict=True):
            if not (quotes and separator in QUOTED_SEPARATORS):
                fields = len(tokens) if separator == b" " else text.count(separator) + 1
                counts[min(fields, MOST_FIELDS)] += 1
        if tokens and all(token.isdigit() for token in tokens):
            numeric += 1
            repeats = repeats or tokens[0] in users
            users.add(tokens[0])
    for separator, counts in zip(SEPARATORS, widths, strict=True):
        if quotes and separator in QUOTED_SEPARATORS:
            for fields in _widths(data, separator, skip):
                counts[min(fields, MOST_FIELDS)] += 1
    return Scan(lines, numeric, repeats, [dict(sorted(counts.items())) for counts in widths])


def split_line(line: bytes, separator: bytes, quotes: bool, number: int) -> list[bytes]:
    """The fields of one line without the blanks around them. Raises LineError about quotes."""
    return _split([line], 0, separator, quotes, number)[0]


def records(
    data: bytes, separator: bytes, quotes: bool, skip: int
) -> Iterator[tuple[int, list[bytes], list[bytes]]]:
    """Number of the first line, fields, and the further lines that the fields run over."""
    lines = data.split(b"\n")
    at = skip
    while at < len(lines):
        if not lines[at].removesuffix(b"\r").strip(b" "):
            at += 1
            continue
        fields, after = _split(lines, at, separator, quotes, at + 1)
        yield at + 1, fields, lines[at + 1 : after]
        at = after


def _widths(data: bytes, separator: bytes, skip: int) -> Iterator[int]:
    """The number of fields of every record; 0 for a line whose quotes are not sound."""
    lines = data.split(b"\n")
    at = skip
    while at < len(lines):
        if not lines[at].removesuffix(b"\r").strip(b" "):
            at += 1
            continue
        try:
            fields, at = _split(lines, at, separator, True, at + 1)
            yield len(fields)
        except LineError:
            at += 1
            yield 0


def _split(
    lines: Sequence[bytes], at: int, separator: bytes, quotes: bool, number: int
) -> tuple[list[bytes], int]:
    """The fields of line `at` and the index of the line after them."""
    rest = lines[at].removesuffix(b"\r")
    at += 1
    if separator == b" ":
        return rest.split(), at
    if not quotes or b'"' not in rest:
        return [field.strip(BLANKS) for field in rest.split(separator)], at
    fields: list[bytes] = []
    while True:
        rest = rest.lstrip(BLANKS)
        if not rest.startswith(b'"'):
            field, more, rest = rest.partition(separator)
            fields.append(field.strip(BLANKS))
        else:
            content, rest, at = _quoted(rest, lines, at, number, len(fields))
            between, more, rest = rest.partition(separator)
            if between.strip(BLANKS):
                wrong = between.strip(BLANKS).decode()
                raise LineError("after-quote", number, len(fields), wrong)
            fields.append(content)
        if not more:
            return fields, at


def _quoted(
    rest: bytes, lines: Sequence[bytes], at: int, number: int, column: int
) -> tuple[bytes, bytes, int]:
    """A field in quotes, what follows its closing quote, and the index of the next line."""
    content = []
    start = 1
    while True:
        close = rest.find(b'"', start)
        if close < 0:  # the field continues: it may end on the next line that has a quote
            pieces = [rest[start:]]
            while True:
                if at == len(lines):
                    raise LineError("unclosed", number, column, "")
                pieces.append(lines[at].removesuffix(b"\r"))
                at += 1
                if b'"' in pieces[-1]:
                    break
            ends = [line_end(lines[at - len(pieces) + n]) for n in range(len(pieces) - 1)]
            rest = b"".join(a + b for a, b in zip(pieces, [*ends, b""], strict=True))
            start = 0
            continue
        content.append(rest[start:close])
        if rest[close + 1 : close + 2] != b'"':
            return b'"'.join(content), rest[close + 1 :], at
        start = close + 2


def line_end(line: bytes) -> bytes:
    """What ended a line that was cut at its newline."""
    return b"\r\n" if line.endswith(b"\r") else b"\n"


def _check_span(
    number: int,
    fields: Sequence[bytes],
    pieces: Sequence[bytes],  # the lines after the first
    separator: bytes,
    read: Sequence[int],  # user, item, and the columns of numbers
) -> None:
    """A stray quote would swallow rows: a value in use is on one line, and no line is a row."""
    for column in read:
        if b"\n" in fields[column]:
            raise LineError("unclosed", number, column, "")
    for at, piece in enumerate(pieces, start=number + 1):
        inside = [field.strip(SPACE) for field in piece.split(separator)]
        if len(inside) != len(fields) or b'"' in inside[0]:
            continue
        ids = [inside[column] for column in read[:2]]
        numbers = [inside[column] for column in read[2:]]
        if all(len(field.split()) == 1 for field in ids) and all(
            not field or field[:1].isdigit() for field in numbers
        ):
            raise LineError("swallowed", number, at, "")


def _check_text(field: bytes, line: int, column: int) -> None:
    if not field:
        raise LineError("empty", line, column, "")
    if field in MISSING:
        raise LineError("missing", line, column, field.decode())


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
