"""JSON: an object per line, or one array of objects; also as Python prints it, in single quotes.

The reviews of Amazon, Yelp, Steam and Goodreads are such files. The keys of the objects are the
columns. Memory: the text, and a batch of objects.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from advrec.data.config import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers.columns import Roles
from advrec.data.readers.merge import Part, merge, once_each, refuse_different_columns
from advrec.data.readers.table import Rows, roles_of
from advrec.data.readers.text import read_bytes, shown
from advrec.errors import DataError

BATCH = 1 << 14  # objects
FIRST = 1000  # objects whose keys are the columns, until later ones prove otherwise
LONGEST_LITERAL = 1 << 20  # bytes of Python's notation; parsing it takes 100 times as much memory
BLANKS = re.compile(r"[ \t\r\n]*")
LITERAL_ERRORS = (ValueError, SyntaxError, TypeError, RecursionError, MemoryError)


class _NotJsonError(Exception):
    """Why a text is not JSON, and the line."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name comes twice in one object")
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=_no_key_twice)


def read(
    files: Mapping[int | None, Path], config: DataConfig, *, name: str, source: str
) -> Interactions:
    """Read one file, or those of a split. Raises DataError with file and line."""
    parts = []
    sentences = {}
    for part, path in files.items():
        data, sentence = _read_part(part, path, read_bytes(path), config)
        parts.append(data)
        sentences[path.name] = sentence
    refuse_different_columns(parts, list(files.values()))
    return merge(parts, name=name, source=source, format="json", notes=once_each(sentences))


def _read_part(part: int | None, path: Path, data: bytes, config: DataConfig) -> tuple[Part, str]:
    """Keys that only later objects have may give a column another role: then all is read again."""
    names: dict[str, None] = {}
    for _, value in islice(_objects(path, data), FIRST):
        names.update(dict.fromkeys(value))
    if not names:
        raise DataError("there is no object in it", path=path)
    while True:
        known = list(names)
        roles = roles_of(known, config, path)
        rows = _collect(path, data, known, roles, config, names)
        again = roles_of(list(names), config, path)
        if again == roles:
            break
    return rows.part(part, path), f"JSON objects; {roles.sentence(known)}"


def _collect(
    path: Path,
    data: bytes,
    names: list[str],
    roles: Roles,
    config: DataConfig,
    seen: dict[str, None],  # every key that comes up is added
) -> Rows:
    rows = Rows(names, roles, config, "line")
    objects = _objects(path, data)
    while batch := list(islice(objects, BATCH)):
        for _, value in batch:
            if not value.keys() <= seen.keys():
                seen.update(dict.fromkeys(value))
        columns = {
            role: [value.get(name) for _, value in batch] for role, name in rows.columns.items()
        }
        rows.add(columns, np.array([line for line, _ in batch], dtype=np.int64), path)
    return rows


def _objects(path: Path, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object and the line where it begins. Raises DataError for anything else."""
    values = _in_lines(data) if _first_line_is_whole(data) else _in_text(data)
    try:
        for line, value in values:
            if not isinstance(value, dict):
                raise DataError(
                    f"{shown(str(value))} is not an object with named fields",
                    path=path,
                    line=line,
                    hint='expected on each line, for example, {"user": "a", "item": "x"}',
                )
            yield line, value
    except _NotJsonError as wrong:
        raise DataError(f"not JSON: {wrong}", path=path, line=wrong.line) from None


def _first_line_is_whole(data: bytes) -> bool:
    line = data.lstrip().split(b"\n", 1)[0].decode()
    if line.startswith("["):
        return False
    for parse in (_json, _literal):
        try:
            parse(line, 1)
        except _NotJsonError:
            continue
        return True
    return False


def _in_lines(data: bytes) -> Iterator[tuple[int, Any]]:
    """A value per line. JSON comes first: its escapes mean something else to Python."""
    number, start, python = 0, 0, False
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line = data[start:end].decode().strip()
        number, start = number + 1, end + 1
        if not line:
            continue
        try:
            value = _json(line, number)
        except _NotJsonError as wrong:
            try:
                value = _literal(line, number)
            except _NotJsonError as wrong_too:
                raise (wrong_too if python else wrong) from None
            python = True
        yield number, value


def _in_text(data: bytes) -> Iterator[tuple[int, Any]]:
    """The objects of one array, or objects that go over several lines, one after another."""
    text = data.decode()
    start = _after_blanks(text, 0)
    array = text.startswith("[", start)
    at = _after_blanks(text, start + array)
    first, line, counted_to = at, 1, 0
    while at < len(text) and not (array and text[at] == "]"):
        line, counted_to = line + text.count("\n", counted_to, at), at
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            wrong = _reason(error, 1 if isinstance(error, json.JSONDecodeError) else line)
            if array and at == first:
                yield from _literal_array(text, wrong)
                return
            raise wrong from None
        yield line, value
        at = _after_blanks(text, end)
        if array and text.startswith(",", at):
            at = _after_blanks(text, at + 1)
            if text.startswith("]", at):
                raise _NotJsonError("the array ends with a comma", line)
        elif array and not text.startswith("]", at):
            raise _NotJsonError("the array is not closed, or a comma is missing", line)
    if array and text[at:].strip() != "]":
        raise _NotJsonError("the array is not closed, or something follows it", line)


def _literal_array(text: str, wrong: _NotJsonError) -> Iterator[tuple[int, Any]]:
    """The elements of an array in Python's notation; raises `wrong` where it is not one either."""
    if len(text) > LONGEST_LITERAL:
        raise _NotJsonError(f"{wrong}; in single quotes only an object per line is read", 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text.strip(), mode="eval").body
            elements = [(node.lineno, _evaluated(node)) for node in body.elts]  # type: ignore[attr-defined]
    except LITERAL_ERRORS:
        raise wrong from None
    yield from elements


def _json(line: str, number: int) -> Any:
    try:
        return DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise _reason(error, number) from None


def _literal(line: str, number: int) -> Any:
    if len(line) > LONGEST_LITERAL:
        raise _NotJsonError("the line is too long for Python's notation", number)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash that escapes nothing
            return _evaluated(ast.parse(line, mode="eval").body)
    except LITERAL_ERRORS:
        raise _NotJsonError("neither JSON nor Python's notation", number) from None


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Dict):
        names = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        if len(set(names)) < len(node.keys) or not all(isinstance(name, str) for name in names):
            raise ValueError("a name comes twice, or is not text")
    return ast.literal_eval(node)


def _reason(error: Exception, line: int) -> _NotJsonError:
    if isinstance(error, json.JSONDecodeError):
        return _NotJsonError(
            f"{error.msg.removesuffix(' at')} at character {error.colno}", line + error.lineno - 1
        )
    reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
    return _NotJsonError(reason.split("\n")[0], line)


def _after_blanks(text: str, at: int) -> int:
    match = BLANKS.match(text, at)
    return at if match is None else match.end()
