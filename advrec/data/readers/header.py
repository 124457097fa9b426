"""Is the first line of a table a header?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advrec.data.readers.columns import (
    ALIASES,
    SURE_NAMES,
    Wanted,
    column_number,
    plain_name,
    recognised,
)
from advrec.data.readers.dates import is_date
from advrec.data.readers.places import is_number
from advrec.data.readers.text import shown
from advrec.errors import DataError

MOSTLY = 0.9


def has_header(
    rows: Sequence[Sequence[str]], wanted: Wanted, stated: str | None, path: Path, line: int
) -> bool:
    """Decide by names, then by the lines below. Raises DataError where both readings fit.

    `stated` is the option header: yes, no or None.
    """
    if stated is not None:
        return stated == "yes"
    first, below = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if any(value in first for value in wanted.given().values() if column_number(value) is None):
        return True
    names = [plain_name(field) for field in first]
    again = [any(row[at] == first[at] for row in below) for at in range(len(first))]
    words = [at for at, name in enumerate(names) if any(name in ALIASES[role] for role in ALIASES)]
    if _is_named(first, names, words, again):
        return True
    columns = [[row[at] for row in below] for at in range(len(first))]
    both = list(zip(first, columns, strict=True))
    if any(_is_above_values(field, column) for field, column in both):
        return True
    if not any(again) and all(_is_unlike(field, column) for field, column in both):
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


def _is_named(
    first: Sequence[str], names: Sequence[str], words: Sequence[int], again: Sequence[bool]
) -> bool:
    """Do the names alone say that this is a header? `words` are those that are known."""
    if recognised(first):
        return True
    if any(name in SURE_NAMES for name in names) and (len(words) > 1 or not any(again)):
        return True
    return len(words) > 1 and not all(again[at] for at in words)


def _is_above_values(first: str, below: Sequence[str]) -> bool:
    """Is this a word above numbers, dates, or ids that all have digits?"""
    if not below or not first or is_number(first) or is_date(first):
        return False
    values = [value for value in below if value]
    if sum(is_number(value) or is_date(value) for value in values) >= MOSTLY * len(below):
        return True
    if any(letter.isdigit() for letter in first) or len(values) < 2:
        return False
    with_digits = sum(any(letter.isdigit() for letter in value) for value in values)
    return with_digits == len(values)


def _is_unlike(first: str, below: Sequence[str]) -> bool:
    """Do all fields below have a capital, a blank or a mark that the first one lacks?"""
    tests = (str.istitle, str.isupper, lambda text: " " in text, lambda text: not text.isalnum())
    return len(below) > 1 and any(
        not test(first) and all(test(value) for value in below) for test in tests
    )
