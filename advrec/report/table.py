"""A table that people and programs can read: plain data first, then Markdown or JSON.

A table keeps the numbers as they were computed; rounding happens in Markdown only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from advrec.errors import UsageError
from advrec.system import files
from advrec.visible import visible

Cell: TypeAlias = "str | int | float | None"
NOTHING = "–"  # where there is no number


@dataclass(frozen=True)
class Column:
    """A column's name, and how its floats are shown (a format specification)."""

    name: str
    format: str = ".4f"

    def show(self, cell: Cell) -> str:
        """The cell as text; a missing number is a dash."""
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return NOTHING
        if isinstance(cell, float):
            return format(cell, self.format)
        return f"{cell:,}" if isinstance(cell, int) else cell


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns, and notes that belong to all of it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells under {len(self.columns)} columns")

    def to_dict(self) -> dict[str, object]:
        """Plain data; a number that is not finite becomes None, which JSON can hold."""
        names = [column.name for column in self.columns]
        return {
            "title": self.title,
            "columns": names,
            "rows": [dict(zip(names, map(_finite, row), strict=True)) for row in self.rows],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """`to_dict` as one JSON document, with all digits."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """A Markdown table that is also aligned as plain text; numbers to the right."""
        header = [_escape(column.name) for column in self.columns]
        body = [
            [_escape(column.show(cell)) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]
        right = [
            any(isinstance(row[place], (int, float)) for row in self.rows)
            for place in range(len(header))
        ]
        widths = [
            max(3, *(len(line[place]) for line in [header, *body])) for place in range(len(header))
        ]
        rule = [
            "-" * (width - 1) + (":" if is_number else "-")
            for width, is_number in zip(widths, right, strict=True)
        ]
        lines = [f"**{_escape(self.title)}**", ""]
        for line in [header, rule, *body]:
            cells = [
                cell.rjust(width) if is_number else cell.ljust(width)
                for cell, width, is_number in zip(line, widths, right, strict=True)
            ]
            lines.append(f"| {' | '.join(cells)} |")
        for note in self.notes:
            lines += ["", visible(note)]
        return "\n".join(lines) + "\n"

    def write(self, path: str | Path) -> Path:
        """Write the table as .md or .json, by the ending. Raises as `write_tables`."""
        path = Path(path)
        if path.suffix.lower() == ".json":
            files.write(path, self.to_json())
            return path
        return write_tables([self], path)


def write_tables(tables: Sequence[Table], path: str | Path) -> Path:
    """Write tables into one .md file, whole or not at all.

    Raises:
        UsageError: another ending.
        RunError: a path that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".md":
        raise UsageError(
            f"{path} must end in .md or .json",
            hint=f"for example {path.with_suffix('.md')}",
        )
    files.write(path, "\n".join(table.to_markdown() for table in tables))
    return path


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _escape(text: str) -> str:
    """A cell as Markdown shows it: one line, no mark-up, no control characters."""
    plain = visible(" ".join(text.split()))
    return plain.replace("|", "\\|").replace("<", "\\<")
