"""Several files, each with codes of its own, become one set of interactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.data.interactions import Interactions
from advrec.data.readers.places import TIME_UNITS, YEARS
from advrec.errors import DataError


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one file; `part` is TRAIN, VALID or TEST, None unless the files are a split."""

    part: int | None
    users: NDArray[np.int32]  # [n] codes into user_ids
    items: NDArray[np.int32]  # [n]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    ratings: NDArray[np.float64] | None = None  # [n]
    timestamps: NDArray[np.float64] | None = None  # [n]
    notes: tuple[str, ...] = ()


def merge(
    parts: Sequence[Part],
    *,
    name: str,
    source: str,
    format: str,
    names: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Interactions:
    """Code ids by first appearance over all files. Raises DataError where there is no pair."""
    users, user_ids = _recode([part.users for part in parts], [part.user_ids for part in parts])
    items, item_ids = _recode([part.items for part in parts], [part.item_ids for part in parts])
    if not len(users):
        raise DataError("no interactions: no user has items", path=source)
    split = len(parts) > 1 or parts[0].part is not None
    timestamps = _join([part.timestamps for part in parts])
    if timestamps is not None:
        _refuse_two_units(timestamps, source)
    labels = [np.full(len(part.users), part.part or 0, dtype=np.int8) for part in parts]
    return Interactions(
        name=name,
        source=source,
        format=format,
        users=users,
        items=items,
        user_ids=user_ids,
        item_ids=item_ids,
        ratings=_join([part.ratings for part in parts]),
        timestamps=timestamps,
        parts=np.concatenate(labels) if split else None,
        names=names,
        notes=(*notes, *(note for part in parts for note in part.notes)),
    )


def _refuse_two_units(timestamps: NDArray[np.float64], source: str) -> None:
    """Seconds in some rows and milliseconds in others cannot be put in order."""
    inside = [
        (timestamps >= YEARS[0] * unit) & (timestamps < YEARS[1] * unit) for unit in TIME_UNITS
    ]
    examples = [float(timestamps[mask.argmax()]) for mask in inside if mask.any()]
    if len(examples) > 1 and sum(mask.mean() for mask in inside) >= 0.99:
        raise DataError(
            "the timestamps are in different units, such as seconds and milliseconds: "
            + " and ".join(f"{value:.0f}" for value in examples),
            path=source,
            hint="write them in one unit (dates count as seconds), or leave them out with "
            "--timestamp-col none",
        )


def refuse_different_columns(parts: Sequence[Part], paths: Sequence[Path]) -> None:
    """Check that all files of a split have ratings or none has; the same for timestamps."""
    for role in ("ratings", "timestamps"):
        have = [getattr(part, role) is not None for part in parts]
        if len(set(have)) > 1:
            one, other = paths[have.index(True)].name, paths[have.index(False)].name
            raise DataError(
                f"{one} has {role}, {other} has none",
                path=paths[0].parent,
                hint="name the columns, or leave them out with rating_col or timestamp_col none",
            )


def once_each(sentences: Mapping[str, str]) -> list[str]:
    """Sentences by file name; files with the same sentence share it."""
    files: dict[str, list[str]] = {}
    for name, sentence in sentences.items():
        files.setdefault(sentence, []).append(name)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in files.items()]


def _recode(
    codes: Sequence[NDArray[np.int32]], ids: Sequence[Sequence[str]]
) -> tuple[NDArray[np.int32], list[str]]:
    if len(ids) == 1:
        return codes[0], list(ids[0])
    known: dict[str, int] = {}
    recoded = []
    for own_codes, own_ids in zip(codes, ids, strict=True):
        table = [known.setdefault(text, len(known)) for text in own_ids]
        recoded.append(np.array(table, dtype=np.int32)[own_codes])
    return np.concatenate(recoded), list(known)


def _join(columns: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """One column over all files, None unless every file has it."""
    present = [column for column in columns if column is not None]
    return np.concatenate(present) if len(present) == len(columns) else None
