"""The shape of a text file: what is above its table, its separator, and lines from all over it.

The separator is decided on every line of the file; what the columns hold is decided on lines that
are spread over the whole of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from advrec.data.readers import text_twin
from advrec.data.readers.text import SEPARATOR_NAMES, native_reader, shown
from advrec.data.readers.text_twin import QUOTED_SEPARATORS, SEPARATORS, LineError, Scan, split_line
from advrec.errors import DataError

SAMPLE_LINES = 2000
FIRST_LINES = 500
ALMOST_ALL = 0.9  # so that a malformed line is an error and not another meaning
SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?', re.IGNORECASE)  # Excel's
DECIMAL = re.compile(rb"[+-]?[0-9]+,[0-9]+|[0-9T:. -]*[0-9]:[0-9]{2},[0-9]{1,9}")
STRONG = (b"\t", b"::")  # hardly ever part of a field


@dataclass(frozen=True)
class Text:
    """The bytes of a file and what can be seen in them without knowing their format."""

    path: Path
    data: bytes

    @cached_property
    def first_line(self) -> int:
        """The number of the first line that is neither blank, nor a comment, nor `sep=;`.

        Lines at the top that begin with # or % are comments, unless all lines do.
        """
        number, _ = self._head
        return number

    @cached_property
    def comments(self) -> tuple[tuple[int, bytes], ...]:
        """The comment lines at the top, with their numbers."""
        _, comments = self._head
        return tuple((number, line) for number, line in comments if line[:1] in b"#%")

    @cached_property
    def stated_separator(self) -> bytes | None:
        """The separator that the line `sep=;` states, which Excel writes and reads."""
        for _, line in self._head[1]:
            match = SEPARATOR_LINE.fullmatch(line)
            if match is not None:
                return match[1]
        return None

    @cached_property
    def _head(self) -> tuple[int, list[tuple[int, bytes]]]:
        head: list[tuple[int, bytes]] = []
        number = start = 0
        first = 0
        while start <= len(self.data):
            end = self.data.find(b"\n", start)
            end = len(self.data) if end < 0 else end
            number += 1
            line = self.data[start:end].strip()
            start = end + 1
            if not line:
                continue
            first = first or number
            above = line[:1] in b"#%" or (not head and SEPARATOR_LINE.fullmatch(line))
            if not above:
                return number, head
            head.append((number, line))
        return first, []

    @cached_property
    def scan(self) -> Scan:
        """How many fields each separator gives on every line from the first one on."""
        reader = native_reader(len(self.data)) or text_twin
        return Scan(*reader.scan(self.data, self.first_line - 1))

    @cached_property
    def lines(self) -> list[bytes]:
        """Up to 2,000 lines, the first ones and others from all over the file; none is blank."""
        data = self.data
        start = 0
        for _ in range(self.first_line - 1):
            start = data.index(b"\n", start) + 1
        if data.count(b"\n", start) <= SAMPLE_LINES:
            lines = data[start:].split(b"\n")
        else:
            lines = data[start : start + (1 << 20)].split(b"\n", FIRST_LINES)[:FIRST_LINES]
            for part in range(SAMPLE_LINES - FIRST_LINES):
                at = start + (len(data) - start) * part // (SAMPLE_LINES - FIRST_LINES)
                begin = data.find(b"\n", at) + 1
                end = data.find(b"\n", begin)
                lines.append(data[begin : end if end >= 0 else len(data)])
        return [line.removesuffix(b"\r") for line in lines if line.strip()]

    @cached_property
    def first(self) -> bytes:
        """The first line."""
        return self.lines[0]

    def rows(self, separator: bytes) -> list[list[str]]:
        """The lines as fields; a line whose quotes are broken is left to the reader's error."""
        rows = []
        for line in self.lines:
            try:
                fields = split_line(line, separator, separator in QUOTED_SEPARATORS, 0)
            except LineError:
                continue
            rows.append([field.decode(errors="replace") for field in fields])
        return rows

    def without_comments(self) -> bytes:
        """The bytes with blank lines instead of the comments, so that line numbers stay."""
        if not self.comments:
            return self.data
        rest = self.data.split(b"\n", self.first_line - 1)[-1]
        return b"\n" * (self.first_line - 1) + rest


def separator_of(path: Path, data: bytes) -> bytes:
    """The separator of a table whose options name none. Raises DataError."""
    return find_separator(Text(path, data))


def find_separator(text: Text) -> bytes:
    """The separator with the most fields on all lines. Raises DataError where two fit as well."""
    if text.stated_separator is not None:
        return text.stated_separator
    scan = text.scan
    most = {}  # separator -> the number of fields that most lines have, how many lines
    for separator, counts in zip(SEPARATORS, scan.widths, strict=True):
        width, lines = max(counts.items(), key=lambda entry: (entry[1], entry[0]))
        if width >= 2 and separator != b":":
            most[separator] = (width, lines)
    fitting = {s: w for s, (w, lines) in most.items() if lines == scan.lines}
    fitting |= {s: w for s, (w, n) in most.items() if s in STRONG and n >= ALMOST_ALL * scan.lines}
    if not fitting:
        fitting = {s: w for s, (w, n) in most.items() if n >= ALMOST_ALL * scan.lines}
    if not fitting and most and scan.numeric == scan.lines:
        raise DataError(
            "lines of whole numbers that are of different lengths: lists, one for each user?",
            path=text.path,
            line=text.first_line,
            hint="if they are: --format lightgcn; a table has the same fields on every line",
        )
    if not fitting and most:
        order = list(SEPARATORS)
        return max(most, key=lambda s: (most[s][1], -order.index(s)))
    if not fitting:
        raise _single_column(text)
    return _choose(text, fitting)


def _choose(text: Text, fitting: dict[bytes, int]) -> bytes:
    for separator in STRONG:
        if separator in fitting:
            return separator
    blanks = fitting.pop(b" ", 0)
    if not fitting:
        return b" "
    width = max(fitting.values())
    best = [separator for separator, fields in fitting.items() if fields == width]
    if len(fitting) > 1 and b"," in best and _commas_are_text(text):
        others = [separator for separator in fitting if separator != b","]
        best = others if len(best) > 1 else [b",", *others]
    if blanks > width and best == [b","] and _commas_are_decimal(text, b" "):
        return b" "
    if len(best) > 1:
        names = " or ".join(SEPARATOR_NAMES[separator] for separator in best)
        options = " or ".join(f"--separator {separator.decode()!r}" for separator in best)
        counts = " and ".join(str(fitting[separator]) for separator in best)
        raise DataError(
            f"{names} may separate the columns: they give {counts} on every line",
            path=text.path,
            line=text.first_line,
            hint=f"say which: {options}",
        )
    return best[0]


def _commas_are_text(text: Text) -> bool:
    """Do commas occur only in numbers (3,5) or in text (Last, First)?"""
    return all(
        re.search(rb",(?! )", re.sub(rb"[0-9],[0-9]", b"", line)) is None for line in text.lines
    )


def _commas_are_decimal(text: Text, separator: bytes) -> bool:
    """Is every field that has a comma a decimal number or a time?"""
    for line in text.lines:
        for field in split_line(line, separator, False, 0):
            if b"," in field and not DECIMAL.fullmatch(field):
                return False
    return True


def _single_column(text: Text) -> DataError:
    first = text.first.decode(errors="replace").strip()
    colons = text.scan.widths[SEPARATORS.index(b":")]
    if colons == {2: text.scan.lines}:
        return DataError(
            f"{shown(first)} is a pair with a colon in it",
            path=text.path,
            line=text.first_line,
            hint="if the colon separates user and item: --separator ':'",
        )
    return DataError(
        f"{shown(first)} is a single column, expected user and item",
        path=text.path,
        line=text.first_line,
        hint="give the separator",
    )


def refuse_blocks(text: Text) -> None:
    """Raise DataError for formats whose lines depend on other lines, naming the format."""
    first = text.first.strip()
    if not re.fullmatch(rb"[0-9]+:([ \t]+[0-9]+)*", first):
        return
    if first.endswith(b":") and any(b"," in line for line in text.lines[1:10]):
        raise DataError(
            f"{first.decode()!r} begins a block of the Netflix prize: the film's id, then a line "
            "'user,rating,date' for each rating",
            path=text.path,
            line=text.first_line,
            hint="put the id on every line: awk -F: '/:$/ {film=$1; next} {print film \",\" $0}', "
            "then give --item-col 1 --user-col 2 --rating-col 3 --timestamp-col 4",
        )
    if all(re.match(rb"[0-9]+:", line) for line in text.lines):
        raise DataError(
            f"{shown(first.decode())} is a list with a colon after the user",
            path=text.path,
            line=text.first_line,
            hint="LightGCN text has no colon: remove it with sed 's/://'",
        )
