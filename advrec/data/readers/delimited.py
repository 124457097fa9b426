"""csv, tsv and similar tables: one interaction per line, columns known by header or by values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from advrec.data.config import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers.columns import (
    ROLES,
    Roles,
    Wanted,
    by_name,
    header_spellings,
    recognised,
)
from advrec.data.readers.header import has_header
from advrec.data.readers.merge import Part, merge, once_each, refuse_different_columns
from advrec.data.readers.places import HIGHEST_RATING, by_place, time_unit
from advrec.data.readers.structure import Text, find_separator, refuse_blocks
from advrec.data.readers.text import (
    SEPARATOR_NAMES,
    Layout,
    line_of_row,
    parse_table,
    read_bytes,
    shown,
)
from advrec.data.readers.text_twin import Table, split_line
from advrec.data.wording import counted
from advrec.errors import DataError

SPELLED_SEPARATORS = {"\\t": b"\t", "tab": b"\t", "comma": b",", "blank": b" ", "space": b" "}


def read(
    files: Mapping[int | None, Path], config: DataConfig, *, name: str, source: str
) -> Interactions:
    """Read one table, or the tables of a split. Raises DataError with file and line."""
    parts = []
    sentences = {}
    first: Layout | None = None
    for part, path in files.items():
        data = read_bytes(path)
        layout, sentences[path.name] = understand(path, data, config, first)
        first = first or layout
        parts.append(read_part(part, path, data, layout))
    refuse_different_columns(parts, list(files.values()))
    return merge(parts, name=name, source=source, format="csv", notes=once_each(sentences))


def read_part(part: int | None, path: Path, data: bytes, layout: Layout) -> Part:
    """The rows of one file under a layout that is already known."""
    table, remarks = parse_table(path, data, layout)
    _refuse_header_below(path, data, layout, table)
    if layout.guessed:
        _check_guess(path, data, layout, table)
    if table.dropped:
        remarks.append(f"{counted(table.dropped, 'row')} without a value dropped")
    if table.spanning:
        remarks.append(f"{counted(table.spanning, 'row')} over several lines")
    return Part(
        part=part,
        users=table.users,
        items=table.items,
        user_ids=table.user_ids,
        item_ids=table.item_ids,
        ratings=table.ratings if layout.rating >= 0 else None,
        timestamps=table.timestamps if layout.timestamp >= 0 else None,
        notes=tuple(f"{path.name}: {remark}" for remark in remarks),
    )


def understand(
    path: Path, data: bytes, config: DataConfig, first: Layout | None = None
) -> tuple[Layout, str]:
    """The layout of a table, and a sentence that describes it.

    A file without a header has the columns of the `first` one of its split. Raises DataError where
    the columns cannot be told.
    """
    text = Text(path, data)
    refuse_blocks(text)
    separator = given_separator(config) or find_separator(text)
    rows = text.rows(separator)
    if not rows:
        raise DataError("no line has balanced quotes", path=path, line=text.first_line)
    wanted = Wanted.of(config)
    names, skip = _header(text, separator, rows, wanted, config)
    if names is not None:
        guessed = config.header is None
        roles = by_name(names, wanted, path, line=text.first_line, guessed=guessed)
        how = "header"
    else:
        alike = first is not None and len(first.columns) == len(rows[0])
        known = _places_of(first) if first is not None and alike else wanted
        roles = by_place(rows, known, path, text.first_line)
        names = _names_of(roles, len(rows[0]))
        how = "no header"
    layout = Layout(
        separator,
        skip,
        tuple(names),
        roles.user,
        roles.item,
        roles.rating,
        roles.timestamp,
        drop=config.drop_incomplete,
        time_format=config.time_format if roles.timestamp >= 0 else None,
        header=how == "header",
        guessed=how == "no header" and not (wanted.user and wanted.item),
    )
    above = f"{counted(len(text.comments), 'comment line')} skipped; " if text.comments else ""
    told = SEPARATOR_NAMES.get(separator, repr(separator.decode()))
    return layout, f"{above}{how}, separated by {told}; {roles.sentence(names)}"


def _places_of(layout: Layout) -> Wanted:
    """The columns of a layout as options."""
    numbers = (layout.user, layout.item, layout.rating, layout.timestamp)
    return Wanted(*(str(at + 1) if at >= 0 else "none" for at in numbers))


def _names_of(roles: Roles, width: int) -> list[str]:
    """Names of columns that have none, for errors."""
    names = [f"column {at + 1}" for at in range(width)]
    for role in ROLES:
        if getattr(roles, role) >= 0:
            names[getattr(roles, role)] = role
    return names


def _header(
    text: Text,
    separator: bytes,
    rows: Sequence[Sequence[str]],
    wanted: Wanted,
    config: DataConfig,
) -> tuple[list[str] | None, int]:
    """The names of the columns, None without a header, and the number of lines above the rows."""
    above = text.first_line - 1
    names = _names_in_comment(text, separator, len(rows[0]), config)
    if names is not None:
        return names, above
    if has_header(rows, wanted, config.header, text.path, text.first_line):
        return list(rows[0]), text.first_line
    return None, above


def _names_in_comment(
    text: Text, separator: bytes, width: int, config: DataConfig
) -> list[str] | None:
    """The header that the last comment line is; None if it is a comment.

    Raises DataError where it may be a row.
    """
    if not text.comments:
        return None
    number, line = text.comments[-1]
    content = line.lstrip(b"#% \t")
    fields = [field.decode() for field in split_line(content, separator, False, number)]
    if len(fields) != width:
        return None
    if recognised(fields) and config.header != "no":
        return fields
    if line[1:2] in (b" ", b"\t", line[:1]):
        return None
    raise DataError(
        f"{shown(line.decode())} may be a comment, or a row whose id begins with {chr(line[0])!r}",
        path=text.path,
        line=number,
        hint="take the line out, or put a comment with other words first",
    )


def given_separator(config: DataConfig) -> bytes | None:
    """The separator that a caller named, `\\t` and `tab` spelled out."""
    if config.separator is None:
        return None
    return SPELLED_SEPARATORS.get(config.separator, config.separator.encode())


def _refuse_header_below(path: Path, data: bytes, layout: Layout, table: Table) -> None:
    """Files that were joined end to end have their headers among the rows.

    It is the header of this file, or any that names both the user and the item.
    """
    inside = []
    for role, codes, ids in (
        ("user", table.users, table.user_ids),
        ("item", table.items, table.item_ids),
    ):
        spellings = header_spellings(role)
        own = layout.columns[getattr(layout, role)] if layout.header else None
        if own not in ids and spellings.isdisjoint(map(str.lower, ids)):
            return
        names = [code for code, text in enumerate(ids) if text == own or text.lower() in spellings]
        inside.append(np.isin(codes, names))
    rows = np.flatnonzero(inside[0] & inside[1])
    if not layout.header:
        rows = rows[rows > 0]  # `header: no` says what the first line is
    if len(rows):
        raise DataError(
            "the header again: the file is several tables, one after another",
            path=path,
            line=line_of_row(data, layout, int(rows[0])),
            hint="take the line out",
        )


def _check_guess(path: Path, data: bytes, layout: Layout, table: Table) -> None:
    """Roles were decided by values on many lines: check them on all lines."""
    wrong = np.flatnonzero(np.abs(table.ratings) > HIGHEST_RATING)
    if layout.rating >= 0 and len(wrong):
        _refuse_guess(path, data, layout, "rating", table.ratings[wrong[0]], int(wrong[0]))
    if layout.timestamp >= 0:
        unit = time_unit(table.timestamps)
        if unit is None:
            return
        early, late = 0, 4_102_444_800 * unit  # 1970 to 2099
        wrong = np.flatnonzero((table.timestamps < early) | (table.timestamps > late))
        if len(wrong):
            value = table.timestamps[wrong[0]]
            _refuse_guess(path, data, layout, "timestamp", value, int(wrong[0]))


def _refuse_guess(
    path: Path, data: bytes, layout: Layout, role: str, value: float, row: int
) -> None:
    at = getattr(layout, role) + 1
    raise DataError(
        f"no header, and column {at} is not a {role} on every line: {value:.15g}",
        path=path,
        line=line_of_row(data, layout, row),
        hint=f"if it is all the same: --user-col {layout.user + 1} --item-col {layout.item + 1} "
        f"--{role}-col {at}",
    )
