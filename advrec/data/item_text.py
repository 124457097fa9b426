"""The text of items, from a table or from the data set itself, and features made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.data.readers.columns import ALIASES
from advrec.data.readers.rows import table_rows
from advrec.data.readers.text import read_bytes, shown
from advrec.data.sources import embedded
from advrec.data.wording import counted
from advrec.errors import ConfigError, DataError

FROM_TEXT = "text"
"""Value of the data option `features`: make them from the items' text."""


def read_texts(path: Path, columns: Sequence[str] = ()) -> dict[str, str]:
    """Item id -> text from a table: all columns but the id, or those named, joined by blanks.

    The id column is the one that a header calls item (or movie, product, …), else the first.
    Raises DataError, with the line, for rows of another width, repeated ids, unknown columns.
    """
    rows, lines = table_rows(path, read_bytes(path))
    plain = [field.lower().replace("_", "") for field in rows[0]]
    item_at = next((plain.index(alias) for alias in ALIASES["item"] if alias in plain), None)
    header = rows[0] if item_at is not None or columns else None
    item_at = item_at or 0
    if header is not None:
        rows, lines = rows[1:], lines[1:]
    width = len(header or (rows[0] if rows else ()))
    for name in columns:
        if header is None or name not in header:
            raise DataError(
                f"no column {shown(name)}", path=path,
                hint=f"its columns are {', '.join(header or ())}",
            )  # fmt: skip
    if header and columns:
        places = [header.index(name) for name in columns]
    else:
        places = [at for at in range(width) if at != item_at]
    if not rows or not places:
        raise DataError("no rows of an item id and its text", path=path)
    texts: dict[str, str] = {}
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width:
            raise DataError(
                f"{counted(len(row), 'column')}, expected {width}", path=path, line=line
            )
        if row[item_at] in texts:
            raise DataError(f"item {shown(row[item_at])} has a second row", path=path, line=line)
        texts[row[item_at]] = " ".join(row[at] for at in places)
    return texts


def texts_of(data: str, names: Mapping[str, str] | None) -> Mapping[str, str]:
    """Item id -> text of a data set: section and description of an embedded one, else the names.

    Raises ConfigError where there is neither.
    """
    if data in embedded.EMBEDDED:
        texts = embedded.load_item_text(data)
        return {item: f"{text.section} {text.description}" for item, text in texts.items()}
    if names is None:
        raise ConfigError(
            f"features text: the items of {data} have neither text nor names",
            hint="--item-names FILE, or advrec features --text FILE and --features its result",
        )
    return names


def features_of_texts(
    texts: Mapping[str, str], item_ids: Sequence[str]
) -> tuple[NDArray[np.float32], str]:
    """Features [I, F] of these items in 64 columns or fewer, and a sentence about them."""
    from advrec.features.text import text_features  # scipy's linear algebra: a quarter of a second

    features = text_features([texts.get(item, "") for item in item_ids])
    sentence = f"item features: {features.sentence}"
    missing = sum(item not in texts for item in item_ids)
    if missing:
        sentence += f"; {counted(missing, 'item')} without text among them"
    return features.values, sentence
