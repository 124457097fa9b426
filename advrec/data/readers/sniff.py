"""Which format the files at a path have, which of them to read, and why."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from advrec.data.config import TABLE_OPTIONS, DataConfig
from advrec.data.interactions import TEST, TRAIN, VALID
from advrec.data.readers import arrow, formats_of, movielens
from advrec.data.readers.compressed import name_inside, plain_name
from advrec.data.readers.places import Column
from advrec.data.readers.structure import ALMOST_ALL, Text, refuse_blocks
from advrec.data.readers.text import read_bytes
from advrec.data.readers.text_twin import SEPARATORS
from advrec.errors import ConfigError, DataError

STEMS = {
    "train": TRAIN,
    "valid": VALID,
    "validation": VALID,
    "val": VALID,
    "dev": VALID,
    "test": TEST,
}
SINGLE_STEMS = ("interactions", "ratings", "events")


@dataclass(frozen=True)
class Plan:
    """What will be read: files by part (None: the one file), and the sentences that explain it."""

    format: str
    files: Mapping[int | None, Path]
    why: tuple[str, ...]


def plan(path: Path, config: DataConfig) -> Plan:
    """Look at names, then into the files. Raises DataError where that does not decide."""
    if path.is_dir():
        chosen = _plan_folder(path, config.format)
    elif path.exists():
        chosen = _plan_file(path, config.format)
    else:
        raise DataError("no such file or folder", path=path)
    _check_options(chosen, config)
    return chosen


def _check_options(chosen: Plan, config: DataConfig) -> None:
    named = [option for option in TABLE_OPTIONS if getattr(config, option)]
    if chosen.format == "lightgcn" and named:
        raise ConfigError(
            f"{named[0]} does not apply to LightGCN text, which has no columns",
            hint="for a table, use format csv",
        )
    for option in ("separator", "header"):
        if chosen.format in ("json", "parquet", "arrow") and getattr(config, option) is not None:
            raise ConfigError(
                f"{option} does not apply to {chosen.format}, whose columns have names"
            )


def _plan_folder(folder: Path, format_option: str) -> Plan:
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file() or arrow.parts_of(path))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=folder) from None
    parts = arrow.parts_of(folder)
    if parts and parts == [path for path in paths if formats_of(_stem_and_ending(path)[1])]:
        return Plan("parquet", {None: folder}, (f"{len(parts):,} parts of a parquet table",))
    splits = _splits(paths, format_option)
    if len(splits) > 1:
        raise DataError(
            "more than one split: " + ", ".join(files[TRAIN].name for files in splits),
            path=folder,
            hint="give format, or one of them as a folder of its own",
        )
    if splits:
        files = splits[0]
        names = [files[part].name for part in sorted(files)]
        sentence = f"{', '.join(names[:-1])} and {names[-1]}: a given split"
        format, why = _format_of_split(files, format_option)
        ordered: dict[int | None, Path] = {part: files[part] for part in sorted(files)}
        return Plan(format, ordered, (sentence, *why))
    return _plan_single(folder, paths, format_option)


def _format_of_split(files: Mapping[int, Path], format_option: str) -> tuple[str, tuple[str, ...]]:
    """The format of train. Raises DataError where another part is a table and train is lists.

    The other way round the reader of tables says so. Lists that are of one length by chance, and a
    part in doubt, are what train is.
    """
    format, why = _format_of(files[TRAIN], format_option)
    if format != "lightgcn" or format_option != "auto":
        return format, why
    for path in (path for part, path in files.items() if part != TRAIN):
        text = Text(path, read_bytes(path))
        try:
            other, because = _by_content(text)
        except DataError:
            continue
        if other == "csv" and (text.scan.repeats or _has_times(text)):
            raise DataError(
                f"{because}, but {why[0]}",
                path=path,
                hint="the parts of a split have one format; if one of the two is misread, give it: "
                "--format csv, or --format lightgcn",
            )
    return format, why


def _has_times(text: Text) -> bool:
    columns = [Column(values) for values in zip(*text.rows(b" "), strict=False)]
    return any(column.times for column in columns)


def _splits(paths: Iterable[Path], format_option: str) -> list[dict[int, Path]]:
    """Every set of train, test and maybe valid files that belong together."""
    groups: dict[tuple[str, str], dict[int, Path]] = {}
    for path in paths:
        stem, ending = _stem_and_ending(path)
        prefix, _, last = stem.rpartition(".")
        if last not in STEMS or not formats_of(ending):
            continue
        if format_option in ("auto", *formats_of(ending)):
            groups.setdefault((prefix, ending), {})[STEMS[last]] = path
    return [files for files in groups.values() if TRAIN in files and TEST in files]


def _plan_single(folder: Path, paths: list[Path], format_option: str) -> Plan:
    """The one file of a folder that can be the interactions."""
    if format_option in ("auto", "movielens"):
        for name in movielens.RATING_FILES:
            for path in paths:
                if plain_name(path.name) == name:
                    return _plan_file(path, format_option)
    lonely = [path for path in paths if _stem_and_ending(path)[0].split(".")[-1] in STEMS]
    tables = [path for path in paths if formats_of(_stem_and_ending(path)[1])]
    tables = [
        path for path in tables if format_option in ("auto", *formats_of(_stem_and_ending(path)[1]))
    ]
    for choice in (
        [path for path in tables if _stem_and_ending(path)[1] == ".inter"],
        [path for path in tables if _stem_and_ending(path)[0] in SINGLE_STEMS],
        tables,
    ):
        if len(choice) == 1 and choice[0] not in lonely:
            chosen = _plan_file(choice[0], format_option)
            sentence = f"{choice[0].name}: the only file here that can be the interactions"
            return Plan(chosen.format, chosen.files, (sentence, *chosen.why))
    if len(tables) == 1 and lonely:
        raise DataError(
            f"{lonely[0].name} stands alone, expected train.* and test.* together",
            path=folder,
            hint="to have it split, give the file itself",
        )
    names = ", ".join(path.name for path in paths[:12]) or "nothing"
    raise DataError(
        f"cannot tell which file holds the interactions; found {names}",
        path=folder,
        hint="give the file itself, or train.* together with test.*",
    )


def _plan_file(path: Path, format_option: str) -> Plan:
    format, why = _format_of(path, format_option)
    return Plan(format, {None: path}, why)


def _format_of(path: Path, format_option: str) -> tuple[str, tuple[str, ...]]:
    if format_option != "auto":
        return format_option, (f"format {format_option}, as asked for",)
    name = name_inside(path)
    ending = _stem_and_ending(path)[1]
    if ending == ".inter":
        format, because = "recbole", "a RecBole file by its name"
    elif ending in (".json", ".jsonl", ".ndjson"):
        format, because = "json", "JSON by its name"
    elif binary := _arrow_kind(path, ending):
        format, because = binary, f"{'a parquet' if binary == 'parquet' else 'an Arrow'} file"
    elif name in movielens.RATING_FILES[:2]:
        format, because = "movielens", "MovieLens by its name"
    elif name == "ratings.csv" and _first_line(path) == movielens.CSV_HEADER:
        format, because = "movielens", "MovieLens by its name and header"
    elif ending in (".csv", ".tsv", ".rating") and _is_json(path):
        format, because = "json", "objects in braces, JSON"
    elif ending in (".csv", ".tsv", ".rating"):
        format, because = "csv", "a table by its name"
    else:
        format, because = _by_content(Text(path, read_bytes(path)))
    inside = f"{name} in it, " if name != plain_name(path.name) else ""
    return format, (f"{path.name}: {inside}{because}",)


def _first_line(path: Path) -> bytes:
    return Text(path, read_bytes(path)).first


def _by_content(text: Text) -> tuple[str, str]:
    """LightGCN text, a table, or RecBole, by all lines of the file.

    A LightGCN file has each user once, and as many items as the user has; a table has the same
    number of fields on every line, and its users come again. Nearly every line decides, so that one
    that does not fit is named by the reader. Raises DataError where both readings fit.
    """
    if b":token" in text.first:
        return "recbole", "a header with :token, RecBole"
    if text.first.lstrip().startswith((b"{", b"[{", b"[ {")) or text.first.strip() == b"[":
        return "json", "objects in braces, JSON"
    refuse_blocks(text)
    because = _why_a_table(text)
    if because is not None:
        return "csv", f"{because}, so a table"
    return "lightgcn", "whole numbers, one line per user: LightGCN text"


def _why_a_table(text: Text) -> str | None:
    scan = text.scan
    words = scan.widths[SEPARATORS.index(b" ")]
    tabs = scan.widths[SEPARATORS.index(b"\t")]
    width, lines = max(words.items(), key=lambda entry: (entry[1], entry[0]))
    if 2 * scan.numeric < scan.lines:
        return "not whole numbers separated by blanks"
    first = text.first.split()
    because: str | None
    if scan.numeric == scan.lines - 1 and lines == scan.lines and not b"".join(first).isdigit():
        because = "words above whole numbers"
    elif lines < ALMOST_ALL * scan.lines or width < 3:
        because = None
    elif scan.numeric < scan.lines and lines == scan.lines:
        because = f"{width} fields on every line"
    elif scan.repeats:
        because = f"{width} numbers per line and users come again"
    elif tabs.get(width, 0) >= ALMOST_ALL * scan.lines:
        because = f"{width} numbers per line with tabs between them"
    else:
        because = _why_with_each_user_once(text, width)
    return because


def _why_with_each_user_once(text: Text, width: int) -> str | None:
    columns = [
        Column(values)
        for values in zip(*(row for row in text.rows(b" ") if len(row) == width), strict=True)
    ]
    if any(column.times for column in columns):
        return f"{width} numbers per line and one of them a time"
    if width == 3 and (columns[1].scale or columns[2].scale or not _in_order(columns[0])):
        raise DataError(
            "3 numbers on every line and each user once: a table of ratings, or two items for "
            "every user",
            path=text.path,
            line=text.first_line,
            hint="say which: --format csv, or --format lightgcn",
        )
    return None


def _in_order(users: Column) -> bool:
    """Are the users in ascending order, as in most files of lists?"""
    numbers = users.numbers
    return numbers is not None and bool((numbers[1:] > numbers[:-1]).all())


def _stem_and_ending(path: Path) -> tuple[str, str]:
    if path.is_dir():  # of parquet parts
        return path.name.removesuffix(".parquet"), ".parquet"
    name = name_inside(path)
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if dot else (name, "")


def _is_json(path: Path) -> bool:
    """Does a file begin with an object, whatever its name says?"""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return False  # the reader says it
    return head.removeprefix(codecs.BOM_UTF8).startswith((b'{"', b'[{"'))


def _arrow_kind(path: Path, ending: str) -> str | None:
    """parquet or arrow, by the ending or the first bytes."""
    for format in ("parquet", "arrow"):
        if format in formats_of(ending):
            return format
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", path=path) from None
    if head.startswith(arrow.PARQUET_MAGIC):
        return "parquet"
    return "arrow" if head.startswith(arrow.MAGICS) else None
