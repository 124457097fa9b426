"""Options checked by pydantic, errors in advrec's own words, and what a mistyped name may mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from advrec.errors import ConfigError
from advrec.visible import quoted

Config = TypeVar("Config", bound=BaseModel)

# What other libraries call these options; difflib alone would not find them.
SYNONYMS = {
    "learning_rate": "lr",
    "embedding_dim": "dim",
    "embedding_size": "dim",
    "factors": "dim",
    "n_layers": "layers",
    "weight_decay": "reg",
    "l2": "reg",
    "gamma": "reg",
    "epsilon": "eps",
    "lambda": "adv_weight",
    "lam": "adv_weight",
    "batch": "batch_size",
    "dtype": "precision",
    "early_stopping": "patience",
    "random_state": "seed",
}


BOUNDS = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}


def parse(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """`kind(**values)`, or a ConfigError that names, for every wrong field, what is expected."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise config_error(error, kind, where) from error


def config_error(error: ValidationError, kind: type[BaseModel], where: str) -> ConfigError:
    """pydantic's errors in our words: one clause per field, and a hint for mistyped words."""
    clauses: list[str] = []
    hints: list[str | None] = []
    for entry in error.errors(include_url=False):
        name = str(entry["loc"][0]) if entry["loc"] else "?"
        got, context = entry["input"], entry.get("ctx", {})
        if entry["type"] == "extra_forbidden":
            clauses.append(f"unknown option {name!r} in {where}")
            known = ", ".join(kind.model_fields)
            hints.append(did_you_mean(name, kind.model_fields) or f"the options are {known}")
            continue
        clauses.append(f"{name} in {where} must be {expected(entry)}, got {quoted(got)}")
        if entry["type"] == "literal_error" and isinstance(got, str):
            hints.append(did_you_mean(got, re.findall("'([^']+)'", str(context["expected"]))))
    hint = "; ".join(dict.fromkeys(text for text in hints if text)) or None
    return ConfigError("; ".join(dict.fromkeys(clauses)), hint=hint)


def wrong_fields(error: ValidationError) -> list[str]:
    """A clause for each wrong field of a file: what it must be, and what it is."""
    clauses = []
    for entry in error.errors(include_url=False):
        name = ".".join(str(part) for part in entry["loc"] if part != "Origin") or "the content"
        if entry["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            clauses.append(f"{quoted(name, 60)} is not a field that advrec writes")
        elif entry["type"] == "missing":
            clauses.append(f"{name} is missing")
        else:
            clauses.append(f"{name} must be {expected(entry)}, got {quoted(entry['input'])}")
    shown = list(dict.fromkeys(clauses))
    return shown if len(shown) <= 3 else [*shown[:3], f"and {len(shown) - 3} more"]


def expected(entry: Mapping[str, Any]) -> str:
    """What an entry of pydantic's errors asks for, in a phrase that follows "must be"."""
    kind, context = entry["type"], entry.get("ctx", {})
    for bound, phrase in BOUNDS.items():
        if bound in context:
            limit = context[bound]
            return f"{phrase} {limit:g}" if isinstance(limit, float) else f"{phrase} {limit}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "value_error":
        return str(context["error"])
    for prefix, phrase in (
        ("int_", "a whole number"),
        ("float_", "a number"),
        ("finite_", "a finite number"),
        ("bool_", "true or false"),
        ("string_too_short", "text that is not empty"),
        ("string_too_long", "shorter text"),
        ("string_", "text"),
        ("dict_", "a table of options"),
        ("list_", "a list"),
        ("model_", "a table"),
        ("dataclass_", "a table"),
    ):
        if kind.startswith(prefix):
            return phrase
    return str(entry["msg"]).removeprefix("Input should be ")


def nearest(name: str, known: Iterable[str], n: int = 1) -> list[str]:
    """The known names nearest to a mistyped one, nearest first, at most `n`."""
    by_key = {_key(candidate): candidate for candidate in known}
    key = _key(name)
    if SYNONYMS.get(key) in by_key:
        return [by_key[SYNONYMS[key]]]
    return [by_key[match] for match in difflib.get_close_matches(key, by_key, n=n, cutoff=0.6)]


def did_you_mean(name: str, known: Iterable[str], n: int = 1) -> str | None:
    """A hint with the known names nearest to a mistyped one, or None."""
    matches = nearest(name, known, n)
    return f"did you mean {' or '.join(map(repr, matches))}?" if matches else None


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_")
