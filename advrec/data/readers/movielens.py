"""MovieLens as GroupLens ships it: u.data, ratings.dat or ratings.csv, and titles beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from advrec.data.config import TABLE_OPTIONS, DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers import delimited
from advrec.data.readers.merge import merge
from advrec.data.readers.text import Layout, check_text, read_bytes
from advrec.data.readers.text_twin import LineError, split_line
from advrec.data.wording import counted
from advrec.errors import DataError

RATING_FILES = ("u.data", "ratings.dat", "ratings.csv")
CSV_HEADER = b"userId,movieId,rating,timestamp"
COLUMNS = ("user", "item", "rating", "timestamp")
TITLE_FILES = {  # beside which rating file, separated by what
    "u.item": b"|",
    "movies.dat": b"::",
    "movies.csv": b",",
}


def read(
    files: Mapping[int | None, Path], config: DataConfig, *, name: str, source: str
) -> Interactions:
    """Read the rating file, and the titles if they lie beside it. Raises DataError."""
    parts = []
    notes: list[str] = []
    for part, path in files.items():
        data = read_bytes(path)
        layout, sentence = _layout(path, data, config)
        parts.append(delimited.read_part(part, path, data, layout))
        notes.append(f"{path.name}: {sentence}")
    names = _titles(path.parent, notes)
    return merge(parts, name=name, source=source, format="movielens", names=names, notes=notes)


def _layout(path: Path, data: bytes, config: DataConfig) -> tuple[Layout, str]:
    """Fixed for the two headerless forms; ratings.csv has a header to go by, or the options."""
    if any(getattr(config, option) for option in TABLE_OPTIONS):
        return delimited.understand(path, data, config)
    first = data.split(b"\n", 1)[0]
    for separator, told in ((b"::", "double colons"), (b"\t", "tabs")):
        if len(first.split(separator)) == len(COLUMNS) and first[:1].isdigit():
            return Layout(separator, 0, COLUMNS, 0, 1, 2, 3), f"MovieLens, separated by {told}"
    if b"," in first:
        return delimited.understand(path, data, config)
    raise DataError(
        "not a MovieLens rating file: expected user, item, rating and timestamp separated by tabs, "
        "double colons or commas",
        path=path,
        line=1,
        hint="try format csv",
    )


def _titles(folder: Path, notes: list[str]) -> dict[str, str] | None:
    for file_name, separator in TITLE_FILES.items():
        path = folder / file_name
        if not path.is_file():
            continue
        text = path.read_bytes()
        try:
            text.decode()
            coding = ""
        except UnicodeDecodeError:
            text = text.decode("latin-1").encode()
            coding = " (latin-1)"
        titles = {}
        for number, line in enumerate(check_text(path, text).split(b"\n"), start=1):
            try:
                fields = split_line(line, separator, separator == b",", number)
            except LineError:
                raise DataError("a quote is not closed", path=path, line=number) from None
            if len(fields) >= 2 and fields[0].isdigit():
                titles[fields[0].decode()] = fields[1].decode()
        notes.append(f"{counted(len(titles), 'title')} from {file_name}{coding}")
        return titles
    return None
