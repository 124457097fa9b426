"""csv, tsv and their kin: one interaction a line, columns named by a header or known by place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advrec.data.config import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers.columns import ROLES, Roles, Wanted, by_name, distinct, recognised
from advrec.data.readers.merge import Part, merge, once_each
from advrec.data.readers.text import (
    QUOTED_SEPARATORS,
    SEPARATOR_NAMES,
    Layout,
    parse_table,
    read_bytes,
    shown,
)
from advrec.data.readers.text_twin import NUMBER, LineError, seconds, split_line
from advrec.data.wording import counted
from advrec.errors import DataError

SAMPLE_LINES = 100
SAMPLE_BYTES = 1 << 16
SPELLED_SEPARATORS = {"\\t": b"\t", "tab": b"\t", "comma": b",", "blank": b" ", "space": b" "}
EARLIEST_TIMESTAMP = 1e8  # a third column of such numbers is a time (1973), not a rating


@dataclass(frozen=True)
class Sample:
    """The first lines of a file that say anything, with their numbers."""

    lines: tuple[tuple[int, bytes], ...]

    @classmethod
    def of(cls, data: bytes) -> Sample:
        """The sample of a file's content."""
        start = data.rfind(b"\n", 0, len(data) - len(data.lstrip())) + 1
        first = data.count(b"\n", 0, start) + 1
        lines = []
        for number, line in enumerate(data[start : start + SAMPLE_BYTES].split(b"\n"), first):
            if line.strip():
                lines.append((number, line.removesuffix(b"\r")))
        if len(data) - start > SAMPLE_BYTES and len(lines) > 1:
            lines.pop()  # cut in two
        return cls(tuple(lines[:SAMPLE_LINES]))

    def rows(self, separator: bytes) -> list[list[str]]:
        """The lines as fields; a line whose quotes are broken is left to the reader's error."""
        rows = []
        for number, line in self.lines:
            try:
                fields = split_line(line, separator, separator in QUOTED_SEPARATORS, number)
            except LineError:
                continue
            rows.append([field.decode(errors="replace") for field in fields])
        return rows


def read(
    files: Mapping[int | None, Path], config: DataConfig, *, name: str, source: str
) -> Interactions:
    """Read one table, or the tables of a split. Raises DataError with file and line."""
    parts = []
    said = {}
    for part, path in files.items():
        data = read_bytes(path)
        layout, said[path.name] = understand(path, data, config)
        parts.append(read_part(part, path, data, layout))
    return merge(parts, name=name, source=source, format="csv", notes=once_each(said))


def read_part(part: int | None, path: Path, data: bytes, layout: Layout) -> Part:
    """The rows of one file under a layout that is already known."""
    table = parse_table(path, data, layout)
    return Part(
        part=part,
        users=table.users,
        items=table.items,
        user_ids=table.user_ids,
        item_ids=table.item_ids,
        ratings=table.ratings if layout.rating >= 0 else None,
        timestamps=table.timestamps if layout.timestamp >= 0 else None,
    )


def understand(path: Path, data: bytes, config: DataConfig) -> tuple[Layout, str]:
    """The layout of a table, and a sentence that says it aloud.

    Raises DataError where the columns cannot be told.
    """
    sample = Sample.of(data)
    separator = given_separator(config) or find_separator(path, sample)
    rows = sample.rows(separator)
    if not rows:
        raise DataError("no line has sound quotes", path=path, line=sample.lines[0][0])
    wanted = Wanted.of(config)
    told = SEPARATOR_NAMES.get(separator, repr(separator.decode()))
    if has_header(rows, wanted):
        names = rows[0]
        roles = by_name(names, wanted, path)
        skip = sample.lines[0][0]
        how = "header"
    else:
        skip = sample.lines[0][0] - 1
        roles = by_place(rows, wanted, path, skip + 1)
        names = [f"column {at + 1}" for at in range(len(rows[0]))]
        for role in ROLES:
            if getattr(roles, role) >= 0:
                names[getattr(roles, role)] = role
        how = "no header"
    layout = Layout(
        separator, skip, tuple(names), roles.user, roles.item, roles.rating, roles.timestamp
    )
    unread = len(names) - sum(getattr(roles, role) >= 0 for role in ROLES)
    rest = f"; {counted(unread, 'other column')} not read" if unread else ""
    return layout, f"{how}, separated by {told}; {roles.sentence(names)}{rest}"


def given_separator(config: DataConfig) -> bytes | None:
    """The separator that a caller named, `\\t` and `tab` spelled out."""
    if config.separator is None:
        return None
    return SPELLED_SEPARATORS.get(config.separator, config.separator.encode())


def find_separator(path: Path, sample: Sample) -> bytes:
    """The separator with which most lines have as many fields as the first, at least two."""
    best, most = b"", 0
    for separator in (b"::", b"\t", b",", b";", b"|", b" "):
        counts = [len(row) for row in sample.rows(separator)]
        agreeing = sum(count == counts[0] for count in counts) if counts and counts[0] > 1 else 0
        if agreeing > most:
            best, most = separator, agreeing
    if not best:
        number, line = sample.lines[0]
        raise DataError(
            f"{shown(line.decode(errors='replace'))} is a single column, wanted user and item",
            path=path,
            line=number,
            hint="give the separator",
        )
    return best


def has_header(rows: Sequence[Sequence[str]], wanted: Wanted) -> bool:
    """Is the first line a header: known names, or words above columns of numbers?"""
    first = rows[0]
    if recognised(first, wanted):
        return True
    below = [row for row in rows[1:] if len(row) == len(first)]
    return bool(below) and any(
        not is_number(first[at]) and _mostly([is_number(row[at]) for row in below], 0.9)
        for at in range(len(first))
    )


def by_place(rows: Sequence[Sequence[str]], wanted: Wanted, path: Path, line: int) -> Roles:
    """User, item, then rating and timestamp where the third and fourth column are such."""
    width = len(rows[0])
    places = {"user": 0, "item": 1, "rating": -1, "timestamp": -1}
    asked = wanted.given()
    if width > 4 and not ("user" in asked and "item" in asked):
        raise DataError(
            f"{width} columns and no header that says which is the user and which the item",
            path=path,
            line=line,
            hint="name them by number from 1: user_col and item_col",
        )
    rows = [row for row in rows if len(row) == width]
    if width in (3, 4) and not asked:
        third = [row[2] for row in rows]
        if width == 3 and _mostly([_is_time(field) for field in third]):
            places["timestamp"] = 2
        elif _mostly([is_number(field) for field in third]):
            places["rating"] = 2
        if width == 4 and _mostly([is_number(row[3]) or _is_date(row[3]) for row in rows]):
            places["timestamp"] = 3
    for role, value in asked.items():
        if not value.isdigit() or not 1 <= int(value) <= width:
            raise DataError(
                f"there is no header, and {role}_col {value!r} is not a number from 1 to {width}",
                path=path,
                line=line,
            )
        places[role] = int(value) - 1
    return distinct(Roles(**places), [f"column {at + 1}" for at in range(width)], path)


def is_number(field: str) -> bool:
    """Would the reader take this field as a number?"""
    return NUMBER.fullmatch(field.encode()) is not None


def _mostly(answers: Sequence[bool], share: float = 0.5) -> bool:
    """Decided by most lines, so that the odd one is an error and not another meaning."""
    return sum(answers) >= share * len(answers)


def _is_date(field: str) -> bool:
    return not math.isnan(seconds(field.encode()))


def _is_time(field: str) -> bool:
    return _is_date(field) or (is_number(field) and float(field) >= EARLIEST_TIMESTAMP)
