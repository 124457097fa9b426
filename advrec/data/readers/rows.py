"""Small delimited tables as rows of fields: what is known of items."""

from __future__ import annotations

from pathlib import Path

from advrec.data.readers.structure import separator_of
from advrec.data.readers.text_twin import QUOTED_SEPARATORS, LineError, split_line
from advrec.errors import DataError


def table_rows(path: Path, data: bytes) -> tuple[list[list[str]], list[int]]:
    """Every line as fields, and its number."""
    separator = separator_of(path, data)
    quotes = separator in QUOTED_SEPARATORS
    rows, lines = [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = split_line(line, separator, quotes, number)
        except LineError:
            raise DataError(
                "a quote is not closed, or something follows it", path=path, line=number
            ) from None
        rows.append([field.decode() for field in fields])
        lines.append(number)
    return rows, lines
