"""RecBole atomic files: a header of `name:type`, tabs between the columns, `.inter` in the name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from advrec.data.config import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers import delimited
from advrec.data.readers.columns import Wanted, by_name
from advrec.data.readers.delimited import given_separator
from advrec.data.readers.merge import merge, once_each
from advrec.data.readers.structure import Text, find_separator
from advrec.data.readers.text import SEPARATOR_NAMES, Layout, read_bytes, shown
from advrec.errors import DataError

TYPES = ("token", "token_seq", "float", "float_seq")


def read(
    files: Mapping[int | None, Path], config: DataConfig, *, name: str, source: str
) -> Interactions:
    """Read one .inter file, or those of a split. Raises DataError with file and line."""
    parts = []
    sentences = {}
    for part, path in files.items():
        data = read_bytes(path)
        layout, sentences[path.name] = understand(path, data, config)
        parts.append(delimited.read_part(part, path, data, layout))
    return merge(parts, name=name, source=source, format="recbole", notes=once_each(sentences))


def understand(path: Path, data: bytes, config: DataConfig) -> tuple[Layout, str]:
    """The layout that the typed header states. Raises DataError for one without types."""
    text = Text(path, data)
    line = text.first_line
    separator = given_separator(config) or find_separator(text)
    names = []
    types = []
    for field in text.rows(separator)[0]:
        name, colon, kind = field.rpartition(":")
        if not colon or kind not in TYPES:
            raise DataError(
                f"the header field {shown(field)} has no type, expected name:type",
                path=path,
                line=line,
                hint=f"the types are {', '.join(TYPES)}; a csv without types is format csv",
            )
        names.append(name)
        types.append(kind)
    roles = by_name(names, Wanted.of(config), path, line=line)
    for role, expected in (("user", "token"), ("item", "token"), ("rating", "float")):
        at = getattr(roles, role)
        if at >= 0 and types[at] != expected:
            raise DataError(
                f"the {role} column {names[at]!r} is a {types[at]}, expected a {expected}",
                path=path,
                line=line,
            )
    told = SEPARATOR_NAMES.get(separator, repr(separator.decode()))
    layout = Layout(
        separator,
        line,
        tuple(names),
        roles.user,
        roles.item,
        roles.rating,
        roles.timestamp,
        drop=config.drop_incomplete,
        time_format=config.time_format if roles.timestamp >= 0 else None,
        header=True,
    )
    return layout, f"typed header, separated by {told}; {roles.sentence(names)}"
