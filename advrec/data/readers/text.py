"""Text files: checked bytes, parsed by the native reader or by its twin."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advrec.data.readers import text_twin
from advrec.data.readers.compressed import unpack
from advrec.data.readers.dates import DateError, read_dates
from advrec.data.readers.text_twin import (
    MISSING,
    NUMBER,
    QUOTED_SEPARATORS,
    LineError,
    Lists,
    Table,
    records,
)
from advrec.data.wording import counted
from advrec.errors import DataError

NATIVE_FROM = 1 << 18  # bytes; fewer are read sooner than the native reader is loaded
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEPARATOR_NAMES = {
    b",": "commas",
    b"\t": "tabs",
    b";": "semicolons",
    b"|": "bars",
    b"::": "double colons",
    b" ": "blanks",
}
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")


@dataclass(frozen=True)
class Layout:
    """How the rows of a delimited table are to be read."""

    separator: bytes
    skip: int  # lines before the first row
    columns: tuple[str, ...]  # what each column is called
    user: int
    item: int
    rating: int = -1
    timestamp: int = -1
    drop: bool = False  # leave out rows without a value in a column that is read
    time_format: str | None = None  # of strptime
    header: bool = False  # are the names in the file?
    guessed: bool = False  # were the roles decided by values alone?

    @property
    def quotes(self) -> bool:
        """May a field be in quotes?"""
        return self.separator in QUOTED_SEPARATORS


def read_bytes(path: Path) -> bytes:
    """The whole of a text file, unpacked if it is packed, without a byte order mark.

    Raises DataError, with the line where there is one, for a file that is missing, unreadable,
    empty, binary, not UTF-8, or has line ends other than "\\n" and "\\r\\n".
    """
    try:
        data = unpack(path, path.read_bytes())
    except FileNotFoundError:
        raise DataError("no such file", path=path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from None
    return check_text(path, data)


def check_text(path: Path, data: bytes) -> bytes:
    """The checks of `read_bytes` on bytes that are at hand."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the text is UTF-16, expected UTF-8", path=path, hint="save it as UTF-8")
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data.strip():
        raise DataError("the file is empty", path=path)
    middle = data.find(b"\n" + BYTE_ORDER_MARK)
    if middle >= 0:
        raise DataError(
            "a byte order mark at the start of this line: the file is several, one after another",
            path=path,
            line=_line_at(data, middle) + 1,
            hint="take it out, and the header if there is one",
        )
    if b"\0" in data:
        raise DataError(
            "binary data (a NUL byte), expected text", path=path, line=_line_at(data, data.index(0))
        )
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"byte 0x{data[error.start]:02x} is not UTF-8",
                path=path,
                line=_line_at(data, error.start),
                hint="convert the file, for example with iconv -f latin1 -t utf8",
            ) from None
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        lone = data.replace(b"\r\n", b"  ").index(b"\r")
        raise DataError(
            "a carriage return inside a line, expected line ends \\n or \\r\\n",
            path=path,
            line=_line_at(data, lone),
        )
    return data


def line_text(data: bytes, line: int) -> bytes:
    """Line `line` (from 1), without its end."""
    start = 0
    for _ in range(line - 1):
        start = data.index(b"\n", start) + 1
    end = data.find(b"\n", start)
    return data[start : end if end >= 0 else len(data)].removesuffix(b"\r")


def parse_lists(path: Path, data: bytes) -> Lists:
    """LightGCN text. Raises DataError with the line."""
    reader = native_reader(len(data)) or text_twin
    try:
        return Lists(*reader.read_lists(data))
    except reader.LineError as wrong:
        raise _list_error(path, wrong.args[1], wrong.args[3]) from None


def parse_table(path: Path, data: bytes, layout: Layout) -> tuple[Table, list[str]]:
    """A delimited table, and remarks about how its numbers were read.

    Ratings with decimal commas, and dates other than ISO 8601, are read as words and understood
    together. Raises DataError with the line, also when there is no row at all.
    """
    as_words = {"rating_text": False, "timestamp_text": layout.time_format is not None}
    while True:
        try:
            table = _read_table(data, layout, **as_words)
            break
        except LineError as wrong:
            kind, _, column, text = wrong.args
            words = "rating_text" if column == layout.rating else "timestamp_text"
            a_word = column == layout.timestamp or (column == layout.rating and "," in text)
            if kind != "number" or not a_word or as_words[words]:
                raise _table_error(path, data, layout, wrong.args) from None
            as_words[words] = True
    if not len(table.users):
        nothing = "no row is complete" if table.dropped else "no row below the header"
        raise DataError(nothing, path=path)
    remarks = []
    if as_words["rating_text"]:
        values, remark = _decimal_commas(path, data, layout, table.rating_words)
        table = table._replace(ratings=values[table.ratings.astype(np.int64)])
        remarks.append(remark)
    if as_words["timestamp_text"]:
        values, remark = _dates(path, data, layout, table.timestamp_words)
        table = table._replace(timestamps=values[table.timestamps.astype(np.int64)])
        remarks.append(remark)
    return table, remarks


def _read_table(data: bytes, layout: Layout, *, rating_text: bool, timestamp_text: bool) -> Table:
    """Raises the twin's LineError, whichever reader reads."""
    reader = native_reader(len(data)) or text_twin
    try:
        return Table(
            *reader.read_table(
                data,
                separator=layout.separator,
                quotes=layout.quotes,
                skip=layout.skip,
                columns=len(layout.columns),
                user=layout.user,
                item=layout.item,
                rating=layout.rating,
                timestamp=layout.timestamp,
                rating_text=rating_text,
                timestamp_text=timestamp_text,
                drop=layout.drop,
            )
        )
    except reader.LineError as wrong:
        raise LineError(*wrong.args) from None


def _decimal_commas(
    path: Path, data: bytes, layout: Layout, words: list[str]
) -> tuple[NDArray[np.float64], str]:
    """Ratings, some with a decimal comma."""
    commas = [word for word in words if DECIMAL_COMMA.fullmatch(word)]
    for word in words:
        plain = word.replace(",", ".") if DECIMAL_COMMA.fullmatch(word) else word
        mixed = "," not in word and "." in word and commas
        if mixed or not NUMBER.fullmatch(plain.encode()) or not math.isfinite(float(plain)):
            line = _line_of_word(data, layout, layout.rating, word)
            message = f"{_role(layout, layout.rating)} is {shown(word)}, expected a number"
            if mixed:
                message = f"a decimal point in {shown(word)}, and a decimal comma in {commas[0]!r}"
            raise DataError(message, path=path, line=line)
    if all(len(word.partition(",")[2]) == 3 for word in commas):
        raise DataError(
            f"{_role(layout, layout.rating)} is {commas[0]!r}: the comma may be a decimal comma or "
            "mark thousands",
            path=path,
            line=_line_of_word(data, layout, layout.rating, commas[0]),
            hint="write it with a point, or leave the column out with --rating-col none",
        )
    return np.array([float(word.replace(",", ".")) for word in words]), "ratings: decimal commas"


def _dates(
    path: Path, data: bytes, layout: Layout, words: list[str]
) -> tuple[NDArray[np.float64], str]:
    try:
        values, how = read_dates(words, layout.time_format)
    except DateError as wrong:
        if wrong.word is None:
            raise DataError(str(wrong), path=path, hint=wrong.hint) from None
        line = _line_of_word(data, layout, layout.timestamp, wrong.word)
        error = _table_error(path, data, layout, ("number", line, layout.timestamp, wrong.word))
        if str(wrong):
            message = f"{_role(layout, layout.timestamp)} is {shown(wrong.word)}, {wrong}"
            error = DataError(message, path=path, line=line, hint=error.hint)
        raise error from None
    return values, f"dates: {how}"


def _line_of_word(data: bytes, layout: Layout, column: int, word: str) -> int:
    for line, fields, _ in records(data, layout.separator, layout.quotes, layout.skip):
        if column < len(fields) and fields[column] == word.encode():
            return line
    return layout.skip + 1


def line_of_row(data: bytes, layout: Layout, row: int) -> int:
    """The line on which a row (from 0) of the table begins."""
    read = [at for at in (layout.user, layout.item, layout.rating, layout.timestamp) if at >= 0]
    for line, fields, _ in records(data, layout.separator, layout.quotes, layout.skip):
        if layout.drop and any(fields[at] in MISSING for at in read):
            continue
        if row == 0:
            return line
        row -= 1
    raise ValueError("the table has fewer rows")


def native_reader(n_bytes: int) -> Any | None:
    """The compiled reader; None where it is missing, or not worth loading for so few bytes."""
    if n_bytes < NATIVE_FROM:
        return None
    try:
        from advrec import native
    except ImportError:
        return None
    return native.host()


def _line_at(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def shown(text: str, width: int = 40) -> str:
    """A piece of a file as an error quotes it: escaped, and cut if long."""
    return repr(text if len(text) <= width else text[: width - 1] + "…")


def _list_error(path: Path, line: int, text: str) -> DataError:
    expected = "expected ids that are whole numbers from 0, separated by blanks"
    hint = "LightGCN text is one line per user: user item item …; a table is format csv"
    if text.startswith("-") and text[1:].isdigit():
        message = f"the id {text} is negative"
    elif any(mark in text for mark in ",;|:"):
        message = f"{shown(text)} mixes in another separator"
    else:
        message = f"{shown(text)} is not an id"
        hint = "ids in LightGCN text are numbers; csv and .inter can hold names"
    return DataError(f"{message}, {expected}", path=path, line=line, hint=hint)


QUOTE_HINT = 'a quote inside a quoted field is written twice: "a ""b"" c"'


def _table_error(path: Path, data: bytes, layout: Layout, wrong: tuple[Any, ...]) -> DataError:
    kind, line, number, text = wrong
    hint: str | None
    if kind == "columns":
        message, hint = _columns_message(line_text(data, line), layout, number)
        return DataError(message, path=path, line=line, hint=hint)
    if kind == "swallowed":
        message = f"a quote opens here and runs over line {number}, which looks like a row"
        return DataError(message, path=path, line=line, hint=QUOTE_HINT)
    column = _role(layout, number)
    if kind == "unclosed":
        message, hint = f"{column} opens a quote that is not closed on its line", QUOTE_HINT
    elif kind == "after-quote":
        message = f"{shown(text)} after the closing quote of {column}, expected a separator"
        hint = QUOTE_HINT
    elif kind == "empty":
        message = f"{column} is empty"
        hint = "fill it in, or drop such rows with --drop-incomplete"
    elif kind == "missing":
        message = f"{column} is {text!r}, which stands for no value"
        hint = "fill it in, or drop such rows with --drop-incomplete"
    elif layout.header and text == layout.columns[number]:
        message = "the header again: the file is several tables, one after another"
        hint = "take the line out"
    else:
        message, hint = _number_message(layout, column, line, number, text)
    return DataError(message, path=path, line=line, hint=hint)


def _number_message(
    layout: Layout, column: str, line: int, number: int, text: str
) -> tuple[str, str | None]:
    dated = number == layout.timestamp
    message = f"{column} is {shown(text)}, expected a number{' or a date' * dated}"
    role = "timestamp" if dated else "rating"
    if line == 1:
        return message, "if line 1 is a header: --header yes, and name user_col and item_col"
    if text.encode() in MISSING:
        return message, f"drop such rows with --drop-incomplete, or use --{role}-col none"
    if dated:
        return message, (
            "for example 1717156800 or 2024-05-31T12:00:00Z; other forms by --time-format; "
            "without times: --timestamp-col none"
        )
    return message, "without ratings: --rating-col none"


def _columns_message(text: bytes, layout: Layout, width: int) -> tuple[str, str | None]:
    expected = len(layout.columns)
    message = f"{counted(width, 'column')}, expected {expected} ({', '.join(layout.columns)})"
    for separator, name in SEPARATOR_NAMES.items():
        other = width == 1 and separator != layout.separator
        if other and len(text.split(separator)) == expected:
            mine = SEPARATOR_NAMES.get(layout.separator, repr(layout.separator.decode()))
            return f"mixed separators: {name} here, {mine} before", None
    if width < expected:
        return message, "the line looks truncated"
    if layout.quotes:
        return message, f"put quotes around a field with {layout.separator.decode()!r} in it"
    return message, None


def _role(layout: Layout, column: int) -> str:
    roles = {
        layout.user: "user",
        layout.item: "item",
        layout.rating: "rating",
        layout.timestamp: "timestamp",
    }
    role = roles.get(column)
    name = layout.columns[column] if column < len(layout.columns) else ""
    if role is None:
        return f"column {column + 1}"
    return role if name == role or not name else f"{role} (column {name!r})"
