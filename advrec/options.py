"""An option, specified once: the field of a configuration, its flag, and its help.

The fields of `DataConfig` and `TrainConfig` are made by `option`. The command line derives its
flags and their help from these fields, so that no second list can differ from the first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

COUNTS = 2**31  # whole numbers are below: what the compiled core counts to
SEEDS = 2**63
LARGEST = 1e38  # of weights and rates: float32 holds nothing that is much larger
LONGEST_NAME = 255  # bytes of one part of a path
LONGEST_TEXT = 4096  # characters

DATA = "Data"
MODEL = "Model"
TRAINING = "Training"
ADVERSARY = "Adversarial training"
OUTPUT = "Output and device"


@dataclass(frozen=True)
class Flag:
    """How the command line shows an option; its name, type, bounds and text are the field's."""

    panel: str  # of the help
    shown: str | None = None  # the default in words, where the field's own default does not say it
    metavar: str | None = None
    entries: str | None = None  # NAME=X sets the entry NAME of this field, which is a table
    joined: str | None = None  # may be repeated; the values are joined by this


def option(
    default: Any,
    text: str,
    panel: str,
    *,
    shown: str | None = None,
    metavar: str | None = None,
    entries: str | None = None,
    joined: str | None = None,
    **bounds: Any,
) -> Any:
    """A pydantic field with a flag. `text` is its help; `bounds` are those of `pydantic.Field`."""
    flag = Flag(panel, shown, metavar, entries, joined)
    extra = {name: value for name, value in asdict(flag).items() if value is not None}
    return Field(default, description=text, json_schema_extra=extra, **bounds)


def flag_of(field: FieldInfo) -> Flag | None:
    """The flag of a field that `option` made; None for another field."""
    extra = field.json_schema_extra
    return Flag(**extra) if isinstance(extra, dict) else None  # type: ignore[arg-type]


def place(text: str) -> str:
    """A path, or a name that may be one. ValueError, in a phrase that follows "must be"."""
    plain_text(text)
    if "\0" in text or any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        raise ValueError(f"a path with parts of at most {LONGEST_NAME} bytes")
    return text


def plain_text(text: str) -> str:
    """Text that a file can keep. ValueError, in a phrase that follows "must be"."""
    if not text:
        raise ValueError("text that is not empty")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"at most {LONGEST_TEXT} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("UTF-8 text") from None
    return text
