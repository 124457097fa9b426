"""Is the first line of a table a header?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advrec.data.readers.columns import ALIASES, SURE_NAMES, Wanted, plain_name
from advrec.data.readers.dates import is_date
from advrec.data.readers.places import is_number
from advrec.data.readers.text import shown
from advrec.errors import DataError

MOSTLY = 0.9


def has_header(
    rows: Sequence[Sequence[str]], wanted: Wanted, stated: str | None, path: Path, line: int
) -> bool:
    """Decide by names, then by what stands below. Raises DataError where that leaves a doubt.

    `stated` is the option header: yes, no or None.
    """
    if stated is not None:
        return stated == "yes"
    first, below = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if any(value in first for value in wanted.given().values() if not value.isdigit()):
        return True
    names = [plain_name(field) for field in first]
    again = [any(row[at] == first[at] for row in below) for at in range(len(first))]
    sure = [at for at, name in enumerate(names) if name in SURE_NAMES]
    words = [at for at, name in enumerate(names) if any(name in ALIASES[role] for role in ALIASES)]
    if sure and (len(words) > 1 or not any(again)):
        return True
    if len(words) > 1 and not all(again[at] for at in words):
        return True
    if any(_is_above_values(first[at], [row[at] for row in below]) for at in range(len(first))):
        return True
    if words and not again[words[0]]:
        raise DataError(
            f"line {line} may be a header or a row: {shown(first[words[0]])} is the name of a "
            "column, and may be an id",
            path=path,
            line=line,
            hint="say which: --header yes, or --header no",
        )
    return False


def _is_above_values(first: str, below: Sequence[str]) -> bool:
    """Does a word stand above numbers, dates, or ids that all have digits?"""
    if not below or not first or is_number(first) or is_date(first):
        return False
    values = [value for value in below if value]
    if sum(is_number(value) or is_date(value) for value in values) >= MOSTLY * len(below):
        return True
    if any(letter.isdigit() for letter in first) or len(values) < 2:
        return False
    with_digits = sum(any(letter.isdigit() for letter in value) for value in values)
    return with_digits == len(values)
