"""Write interactions in another format: LightGCN text, csv or RecBole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.data.config import DataConfig
from advrec.data.dataset import Dataset, Pairs
from advrec.data.interactions import Interactions
from advrec.data.load import build_dataset, read_interactions
from advrec.data.readers.text import shown
from advrec.errors import DataError, UsageError
from advrec.system.drafts import Draft

ENDINGS: dict[str, str] = {"lightgcn": ".txt", "csv": ".csv", "recbole": ".inter"}
HEADERS: dict[str, dict[str, str]] = {
    "csv": {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"},
    "recbole": {
        "user": "user_id:token",
        "item": "item_id:token",
        "rating": "rating:float",
        "timestamp": "timestamp:float",
    },
}


def convert(
    data: str | Path | DataConfig, out: str | Path, *, to: str, **options: object
) -> list[Path]:
    """Read a data set and write it in the format `to`; returns the files that were written.

    `out` with an ending (such as `ratings.csv`) is one file: every row as it was read, with ratings
    and timestamps where the format has a place for them. `out` without an ending is a folder:
    filtered and split as the options say, train, valid and test in a file each; reading it gives
    the same three sets. LightGCN text has only numbers: where ids are not numbers, `users.tsv`
    and `items.tsv` say which id each number stands for. Raises UsageError for an unknown format or
    an `out` that exists, DataError as reading does, or for an id that the format cannot hold.
    """
    if to not in ENDINGS:
        raise UsageError(f"unknown format {to!r}: choose {', '.join(ENDINGS)}")
    target = Path(out)
    if target.exists():
        raise UsageError(f"{target} already exists", hint="choose another name or delete it")
    config = data if isinstance(data, DataConfig) else DataConfig.of(str(data), **options)
    rows = read_interactions(config)
    if target.suffix:
        return _put(target.parent, _one_file(rows, target.name, to))
    return write_dataset(build_dataset(rows, config), target, to=to)


def write_dataset(dataset: Dataset, folder: Path, *, to: str) -> list[Path]:
    """Write the three sets of a data set into a new folder; see `convert`."""
    sets = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    ids = (dataset.user_ids, dataset.item_ids)
    files: dict[str, Iterable[str]] = {}
    if to == "lightgcn":
        ids, files = _numbered(*ids, "", dataset.item_names)
    for part, pairs in sets.items():
        if not len(pairs):
            continue
        if to == "lightgcn":
            every_user = part == "train"
            files[f"{part}.txt"] = _lists(pairs, *ids, every_user=every_user)
        else:
            name = f"{part}.csv" if to == "csv" else f"{folder.name}.{part}.inter"
            files[name] = _table(to, ids, (pairs.users(), pairs.items), {})
    return _put(folder, files)


def _one_file(rows: Interactions, name: str, to: str) -> dict[str, Iterable[str]]:
    if to == "lightgcn":
        pairs = Pairs.from_coo(rows.users, rows.items, len(rows.user_ids), len(rows.item_ids))
        names = None
        if rows.names is not None:
            names = [rows.names.get(item, item) for item in rows.item_ids]
        stem = name.rpartition(".")[0] + "."
        numbered, files = _numbered(rows.user_ids, rows.item_ids, stem, names)
        files[name] = _lists(pairs, *numbered, every_user=True)
        return files
    numbers = {"rating": rows.ratings, "timestamp": rows.timestamps}
    columns = {role: values for role, values in numbers.items() if values is not None}
    ids = (rows.user_ids, rows.item_ids)
    return {name: _table(to, ids, (rows.users, rows.items), columns)}


def _numbered(
    user_ids: Sequence[str], item_ids: Sequence[str], prefix: str, names: Sequence[str] | None
) -> tuple[tuple[Sequence[str], Sequence[str]], dict[str, Iterable[str]]]:
    """Ids that LightGCN text can hold, and the tables that translate the others."""
    numbered = []
    maps: dict[str, Iterable[str]] = {}
    for what, ids in (("user", user_ids), ("item", item_ids)):
        if all(text.isascii() and text.isdigit() for text in ids):
            numbered.append(ids)
            continue
        numbers = [str(code) for code in range(len(ids))]
        columns = [numbers, [_plain(text, "\t") for text in ids]]
        header = [what, "id"]
        if what == "item" and names is not None and list(names) != list(ids):
            columns.append([" ".join(name.split()) for name in names])
            header.append("name")
        lines = ["\t".join(row) for row in zip(*columns, strict=True)]
        maps[f"{prefix}{what}s.tsv"] = ["\t".join(header), *lines]
        numbered.append(numbers)
    return (numbered[0], numbered[1]), maps


def _lists(
    pairs: Pairs, user_ids: Sequence[str], item_ids: Sequence[str], *, every_user: bool
) -> Iterator[str]:
    """`user item item …`; with `every_user` also those without an item, so that they stay known."""
    for user in range(pairs.n_users):
        row = pairs.of(user).tolist()
        if row or every_user:
            yield " ".join([user_ids[user], *(item_ids[item] for item in row)])


def _table(
    to: str,
    ids: tuple[Sequence[str], Sequence[str]],  # of users, of items
    codes: tuple[NDArray[np.int32], NDArray[np.int32]],  # [n] and [n]
    numbers: dict[str, NDArray[np.float64]],  # role -> [n]
) -> Iterator[str]:
    """A header and a line for each pair; fields are formatted once per id, not once per line."""
    field = _quoted if to == "csv" else _plain
    separator = "," if to == "csv" else "\t"
    roles = ("user", "item", *numbers)
    yield separator.join(HEADERS[to][role] for role in roles)
    user_fields, item_fields = ([field(text, separator) for text in texts] for texts in ids)
    columns = [[_number(value) for value in values.tolist()] for values in numbers.values()]
    for row in zip(codes[0].tolist(), codes[1].tolist(), *columns, strict=True):
        yield separator.join([user_fields[row[0]], item_fields[row[1]], *map(str, row[2:])])


def _number(value: float) -> str:
    """The shortest text that reads as the same number."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _quoted(text: str, separator: str) -> str:
    """A field of a csv file."""
    _refuse(text, "\r\n\0")
    if separator in text or '"' in text or text != text.strip(" \t"):
        return '"' + text.replace('"', '""') + '"'
    return text


def _plain(text: str, separator: str) -> str:
    """A field of a format without quotes."""
    _refuse(text, "\r\n\0" + separator)
    if text != text.strip(" \t"):
        raise DataError(f"id {shown(text)} has blanks at its ends, which would be lost")
    return text


def _refuse(text: str, forbidden: str) -> None:
    for mark in forbidden:
        if mark in text:
            raise DataError(
                f"id {shown(text)} contains {mark!r}, which the format cannot hold",
                hint="csv can hold anything but line ends",
            )


def _put(folder: Path, files: dict[str, Iterable[str]]) -> list[Path]:
    """Write all files in a hidden folder, then move them. Raises DataError, UsageError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Draft(folder / next(iter(files)) if folder.exists() else folder) as draft:
            for name, lines in files.items():
                with (draft.folder / name).open("w", encoding="utf-8", newline="\n") as file:
                    file.writelines(line + "\n" for line in lines)
            for name in files:
                if (folder / name).exists():
                    raise UsageError(f"{folder / name} already exists", hint="delete it first")
            return draft.move(list(files), folder)
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror or error})", path=folder) from None
