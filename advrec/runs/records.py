"""What the files of a run folder hold: a model of each, which every reader goes through.

A file that was changed, or written by another program, is refused here with its wrong fields named;
nothing behind needs to ask again whether an epoch is a number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from advrec.errors import RunError
from advrec.options import COUNTS
from advrec.validation import wrong_fields

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

Epoch = Annotated[int, Field(strict=True, ge=0, lt=COUNTS)]
Size = Annotated[int, Field(strict=True, ge=0, lt=2**62)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=1e12, allow_inf_nan=False)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Moment = Annotated[
    float, Field(strict=True, ge=0, le=253_402_300_799, allow_inf_nan=False)
]  # to the year 9999
Text = Annotated[str, Field(strict=True, max_length=4096)]
EXACT = ConfigDict(extra="forbid")  # dataclasses are made of tables, so their fields are strict


@dataclass
class Progress:
    """How far a training is. Only the four fields of time and memory are not reproducible."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    epoch: Epoch = 0  # finished epochs
    step: Size = 0  # finished steps of the current epoch
    loss: Finite = 0.0  # summed over the triplets of the current epoch
    adv_loss: Finite = 0.0
    triplets: Size = 0
    best_epoch: Epoch = 0  # the epoch of model.safetensors
    best_value: Finite | None = None  # its validation figure; None before the first validation
    stale: Size = 0  # validations since the best one
    stopped: Literal["epochs", "patience"] | None = None  # why it is finished
    metrics_bytes: Size = 0  # length of metrics.jsonl
    seconds: dict[str, Seconds] = field(
        default_factory=lambda: {"train": 0.0, "evaluate": 0.0, "checkpoint": 0.0}
    )
    epoch_seconds: Seconds = 0.0  # training time of the current epoch
    peak_bytes: Size = 0  # largest resident memory of a process that trained it
    updated: Moment = 0.0  # time of the checkpoint, seconds since 1970

    @property
    def finished(self) -> bool:
        """Nothing more to do, unless more epochs are asked for."""
        return self.stopped is not None


@dataclass(frozen=True)
class Origin:
    """`[run]` of config.toml: what a run came from. Digests are sha256."""

    __pydantic_config__: ClassVar[ConfigDict] = EXACT

    dataset: Text
    data_digest: Text
    features_digest: Text | None = None  # of the item features, for a model that reads them
    parent: Text | None = None  # the run whose best epoch it started at
    parent_epoch: Epoch | None = None
    epoch_offset: Epoch = 0  # added to the epoch in the sampler, so that no triplet stream repeats
    created: Text = ""  # ISO 8601


class Ids(BaseModel):
    """ids.json: the original ids, by dense index."""

    model_config = EXACT

    users: list[Annotated[str, Field(strict=True)]]
    items: list[Annotated[str, Field(strict=True)]]


class Sections(BaseModel):
    """The sections of config.toml; those of options are checked where they are used."""

    train: dict[str, Any]
    run: Origin
    data: dict[str, Any] | None = None
    versions: dict[str, Text] = {}


class Line(BaseModel):
    """A line of metrics.jsonl."""

    model_config = EXACT

    epoch: Epoch
    loss: Finite | None = None
    adv_loss: Finite | None = None
    valid: dict[str, Finite] | None = None
    seconds: Seconds | None = None


PROGRESS: TypeAdapter[Progress] = TypeAdapter(Progress)


def progress_of(body: Mapping[str, Any], folder: Path, where: Path) -> Progress:
    """The body of state.json. RunError for fields of another version, and for wrong values."""
    known = {entry.name for entry in fields(Progress)}
    if known != body.keys():
        odd = ", ".join(sorted(known ^ body.keys()))
        raise RunError(f"{folder} was written by another version of advrec (fields: {odd})")
    progress = checked(PROGRESS.validate_python, dict(body), where)
    missing = Progress().seconds.keys() - progress.seconds.keys()
    if missing:
        raise damaged(where, f"seconds has no {' and no '.join(sorted(missing))}")
    return progress


def history_of(content: bytes, where: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without the fields that they leave out."""
    return [
        checked(Line.model_validate, parsed(line, where), where).model_dump(exclude_none=True)
        for line in content.splitlines()
    ]


def is_count(tensor: Tensor) -> bool:
    """Is it a single whole number from 0, with room to count on?"""
    if tensor.numel() != 1 or tensor.is_floating_point() or tensor.is_complex():
        return False
    return 0 <= int(tensor) < 2**62


def parsed(content: bytes, where: Path) -> Any:
    """The JSON of a file. RunError if it is not JSON, or of a depth that no file of ours has."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else f"is {error}"
        raise damaged(where, f"it is not JSON: it {reason}") from error


def checked(validate: Callable[[Any], T], content: Any, where: Path) -> T:
    """`validate(content)`, or a RunError that names every wrong field."""
    try:
        return validate(content)
    except ValidationError as error:
        raise damaged(where, "; ".join(wrong_fields(error))) from error


def damaged(path: Path, reason: str) -> RunError:
    """The error for a file that was truncated, changed or lost."""
    return RunError(f"{path} is damaged: {reason}")
