"""The flags of the library's options, derived from the fields of `DataConfig` and `TrainConfig`.

Name, type, bounds, choices, text and default are the fields' own (`advrec.options`); nothing is
written down here again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from advrec.config.train import ResolvedConfig, TrainConfig, written
from advrec.data.config import DataConfig
from advrec.options import flag_of

RUNS = "Runs"
"""The help panel of what is about run folders."""

KINDS = {"string": str, "integer": int, "number": float, "boolean": bool}
BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


@dataclass(frozen=True)
class Setting:
    """One flag that sets one field of a configuration section (`data` or `train`)."""

    section: str
    field: str
    kind: type
    help: str
    default: str
    panel: str
    choices: tuple[str, ...]
    bounds: Mapping[str, float]  # by their names in a JSON schema
    metavar: str | None
    named: str | None  # NAME=X sets the entry NAME of this field, next to X for all
    joined: str | None  # may be repeated; the values are joined by this

    @property
    def flag(self) -> str:
        """`batch_size` → `--batch-size`."""
        return "--" + self.field.replace("_", "-")


def _derived(section: str, given: type[BaseModel], resolved: type[BaseModel]) -> Iterator[Setting]:
    """A setting for each field with a flag; `resolved` has the defaults of fields left open."""
    properties = given.model_json_schema()["properties"]
    for name, field in given.model_fields.items():
        flag = flag_of(field)
        if flag is None:
            continue
        text, schema = field.description or "", _scalar(properties[name])
        if flag.entries not in (None, name):
            text = f"{text} {given.model_fields[flag.entries].description}"
        default = resolved.model_fields[name].default if field.default is None else field.default
        yield Setting(
            section=section,
            field=name,
            kind=KINDS[schema["type"]],
            help=text,
            default=flag.shown or written(default),
            panel=flag.panel,
            choices=tuple(schema.get("enum", ())),
            bounds={bound: schema[bound] for bound in BOUNDS if bound in schema},
            metavar=flag.metavar,
            named=flag.entries,
            joined=flag.joined,
        )


def _scalar(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a single value: of an optional one without null, of a rate the number."""
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _scalar(schema[several][0])
    return schema


SETTINGS: tuple[Setting, ...] = (
    *_derived("data", DataConfig, DataConfig),
    *_derived("train", TrainConfig, ResolvedConfig),
)
BY_FIELD: Mapping[str, Setting] = {setting.field: setting for setting in SETTINGS}

MODEL_OPTIONS = str(TrainConfig.model_fields["options"].description)
"""The help of `--option`, which sets the entries of the field `options`."""


def settings(section: str, *, panels: Sequence[str] | None = None) -> tuple[Setting, ...]:
    """The settings of a section, perhaps only those of some help panels."""
    return tuple(
        s for s in SETTINGS if s.section == section and (panels is None or s.panel in panels)
    )


def named(*fields: str) -> tuple[Setting, ...]:
    """The settings of these fields, in this order."""
    return tuple(BY_FIELD[name] for name in fields)


def reworded(field: str, help: str, **changes: Any) -> Setting:
    """The setting of a field with another help text, for a command where it means another thing."""
    return replace(BY_FIELD[field], help=help, **changes)


RUN_DATA = reworded(
    "data", "Where the run's data is now, if it was moved.", default="as in the run's config.toml"
)
"""`--data` of a command that takes a finished run."""
