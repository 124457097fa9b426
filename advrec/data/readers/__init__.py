"""From files to interactions: one file per format, and the one table of formats.

A new format is a module here with a `read`, and a line in FORMATS. Tables of named columns become
interactions in `table`, from any kind of file; text is split in `text` (native, with its
twin `text_twin`); `sniff` decides which format a path has.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from advrec.data.interactions import Interactions


class Form(NamedTuple):
    """Where a format is read, and how its files end (before .gz and the like)."""

    module: str
    endings: tuple[str, ...]


FORMATS: Final[Mapping[str, Form]] = {
    "lightgcn": Form("lightgcn", (".txt",)),
    "movielens": Form("movielens", ()),
    "recbole": Form("recbole", (".inter",)),
    "csv": Form("delimited", (".txt", ".csv", ".tsv", ".dat", ".rating")),
    "json": Form("json_lines", (".json", ".jsonl", ".ndjson")),
    "parquet": Form("arrow", (".parquet", ".pq")),
    "arrow": Form("arrow", (".arrow", ".feather", ".ipc")),
}
"""By the word that `--format` takes. An ending of two formats is decided by what the file holds."""


def reader(name: str) -> Callable[..., Interactions]:
    """The `read` of a format; its module is imported now, so that listing formats costs nothing."""
    module = importlib.import_module(f"{__name__}.{FORMATS[name].module}")
    read: Callable[..., Interactions] = module.read
    return read


def formats_of(ending: str) -> tuple[str, ...]:
    """The formats that a file with this ending can have, in the order of FORMATS."""
    return tuple(name for name, form in FORMATS.items() if ending in form.endings)
