"""Options checked by pydantic, and what is wrong with them in advrec's own words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from advrec.errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)

# What other libraries call our options; difflib alone would not find them.
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


def parse(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """`kind(**values)`, or a ConfigError that names field, found, wanted, for every wrong field."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise config_error(error, kind, where) from error


def config_error(error: ValidationError, kind: type[BaseModel], where: str) -> ConfigError:
    """pydantic's errors in our words: one sentence a field, and a hint for names nearly right."""
    sentences, hints = [], []
    for entry in error.errors(include_url=False):
        name = str(entry["loc"][0]) if entry["loc"] else "?"
        if entry["type"] == "extra_forbidden":
            sentences.append(f"Unknown option {name!r} in {where}.")
            hints.append(did_you_mean(name, kind.model_fields) or _known(kind))
        else:
            found, wanted = entry["input"], _wanted(entry["type"], entry.get("ctx", {}), entry)
            sentences.append(f"Option {name!r} in {where} is {found!r}; wanted {wanted}.")
    hint = "; ".join(dict.fromkeys(text for text in hints if text)) or None
    return ConfigError(" ".join(dict.fromkeys(sentences)), hint=hint)


def _wanted(kind: str, context: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """What pydantic's error of this type asks for, in a phrase."""
    if kind in ("greater_than_equal", "less_than_equal"):
        return f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
    if kind in ("greater_than", "less_than"):
        return f"more than {context['gt']}" if "gt" in context else f"less than {context['lt']}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "value_error":
        return str(context["error"])
    for prefix, phrase in (
        ("int_", "a whole number"),
        ("float_", "a number"),
        ("finite_", "a finite number"),
        ("bool_", "true or false"),
        ("string_", "text"),
        ("dict_", "a table of options"),
    ):
        if kind.startswith(prefix):
            return phrase
    return str(entry["msg"])


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a mistyped one, or None."""
    names = list(known)
    plain = name.lower().replace("-", "_")
    if SYNONYMS.get(plain) in names:
        return SYNONYMS[plain]
    matches = difflib.get_close_matches(plain, names, n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint with the known name nearest to a mistyped one, or None."""
    match = closest(name, known)
    return None if match is None else f"did you mean {match!r}?"


def _known(kind: type[BaseModel]) -> str:
    return "known: " + ", ".join(kind.model_fields)
