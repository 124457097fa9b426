"""Text files: bytes that are known to be sound, parsed by the native reader or by its twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from advrec.data.readers import text_twin
from advrec.data.readers.compressed import unpack
from advrec.data.readers.text_twin import Lists, Table
from advrec.data.wording import counted
from advrec.errors import DataError

Parsed = TypeVar("Parsed")

NATIVE_FROM = 1 << 20  # bytes; less is read sooner than a native reader is loaded
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEPARATOR_NAMES = {
    b",": "commas",
    b"\t": "tabs",
    b";": "semicolons",
    b"|": "bars",
    b"::": "double colons",
    b" ": "blanks",
}
QUOTED_SEPARATORS = (b",", b";", b"|")  # tab-separated text knows no quotes


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

    @property
    def quotes(self) -> bool:
        """May a field stand in quotes?"""
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
        raise DataError("the text is UTF-16, wanted UTF-8", path=path, hint="save it as UTF-8")
    data = data.removeprefix(BYTE_ORDER_MARK)
    if not data.strip():
        raise DataError("the file is empty", path=path)
    if b"\0" in data:
        raise DataError(
            "binary data (a NUL byte), wanted text", path=path, line=_line_at(data, data.index(0))
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
            "a carriage return inside a line, wanted line ends \\n or \\r\\n",
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

    def parse(reader: Any) -> Lists:
        return Lists(*reader.read_lists(data))

    return _parse(parse, len(data), lambda args: _list_error(path, args[1], args[3]))


def parse_table(path: Path, data: bytes, layout: Layout) -> Table:
    """A delimited table. Raises DataError with the line, also when there is no row at all."""

    def parse(reader: Any) -> Table:
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
            )
        )

    table = _parse(parse, len(data), lambda args: _table_error(path, data, layout, args))
    if not len(table.users):
        raise DataError("no row below the header", path=path)
    return table


def _native() -> Any | None:
    try:
        from advrec import native
    except ImportError:
        return None
    return native.host()


def _parse(
    parse: Callable[[Any], Parsed],
    n_bytes: int,
    error: Callable[[tuple[Any, ...]], DataError],
) -> Parsed:
    reader = (_native() if n_bytes >= NATIVE_FROM else None) or text_twin
    try:
        return parse(reader)
    except reader.LineError as wrong:
        raise error(wrong.args) from None


def _line_at(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def shown(text: str, width: int = 40) -> str:
    """A piece of a file as an error quotes it: escaped, and cut if long."""
    return repr(text if len(text) <= width else text[: width - 1] + "…")


def _list_error(path: Path, line: int, found: str) -> DataError:
    wanted = "wanted ids that are whole numbers from 0, separated by blanks"
    hint = "LightGCN text is one line a user: user item item …; a table is format csv"
    if found.startswith("-") and found[1:].isdigit():
        message = f"the id {found} is negative"
    elif any(mark in found for mark in ",;|:"):
        message = f"{shown(found)} mixes another separator in"
    else:
        message = f"{shown(found)} is not an id"
        hint = "LightGCN text has no names as ids; csv and .inter do"
    return DataError(f"{message}, {wanted}", path=path, line=line, hint=hint)


def _table_error(path: Path, data: bytes, layout: Layout, wrong: tuple[Any, ...]) -> DataError:
    kind, line, number, found = wrong
    hint = None
    if kind == "columns":
        message, hint = _columns_message(line_text(data, line), layout, number)
    else:
        column = _role(layout, number)
        if kind == "unclosed":
            message = f"{column} opens a quote that is not closed on its line"
            hint = 'a quote inside a quoted field is written twice: "a ""b"" c"'
        elif kind == "after-quote":
            message = f"{shown(found)} after the closing quote of {column}, wanted a separator"
            hint = 'a quote inside a quoted field is written twice: "a ""b"" c"'
        elif kind == "empty":
            message = f"{column} is empty"
            hint = "fill it in or leave the line out"
        else:
            dated = number == layout.timestamp
            message = f"{column} is {shown(found)}, wanted a number{' or an ISO date' * dated}"
            if line == 1:
                hint = "if line 1 is a header, take format csv and name user_col and item_col"
            elif dated:
                hint = "for example 1717156800 or 2024-05-31T12:00:00Z"
    return DataError(message, path=path, line=line, hint=hint)


def _columns_message(text: bytes, layout: Layout, found: int) -> tuple[str, str | None]:
    wanted = len(layout.columns)
    message = f"{counted(found, 'column')}, wanted {wanted} ({', '.join(layout.columns)})"
    for separator, name in SEPARATOR_NAMES.items():
        other = found == 1 and separator != layout.separator
        if other and len(text.split(separator)) == wanted:
            mine = SEPARATOR_NAMES.get(layout.separator, repr(layout.separator.decode()))
            return f"mixed separators: {name} here, {mine} before", None
    if found < wanted:
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
