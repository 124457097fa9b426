"""What is in a file or folder, and how training would read and split it; nothing is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.data.config import DataConfig
from advrec.data.filters import UniquePairs, unique_pairs
from advrec.data.interactions import PART_NAMES, Interactions
from advrec.data.load import describe_items, divide_pairs, read_interactions, rule_for
from advrec.data.unseen import unseen_notes
from advrec.errors import DataError

FIRST = 5  # how many ids are shown

# Unit of a count since 1970, its values below the year 5000, and how many make a second.
TIME_UNITS = (("seconds", 1e11, 1), ("milliseconds", 1e14, 1e3), ("microseconds", 1e17, 1e6))


@dataclass(frozen=True)
class Spread:
    """Smallest, median, mean and largest of some numbers."""

    least: float
    median: float
    mean: float
    most: float

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> Spread:
        """The spread of an array with at least one number."""
        floats = values.astype(np.float64)
        return cls(
            float(floats.min()),
            float(np.median(floats)),
            float(floats.mean()),
            float(floats.max()),
        )


@dataclass(frozen=True)
class Times:
    """The range of the timestamps; as dates where they look like a count since 1970."""

    first: float
    last: float
    unit: str | None  # "seconds" … or None: only the order is known
    first_date: str | None  # ISO 8601, UTC
    last_date: str | None


@dataclass(frozen=True)
class Inspection:
    """What is in the data; `notes` are sentences on how it was understood, and why."""

    data: str
    name: str
    format: str
    rows: int  # interactions in the files
    pairs: int  # different ones, after min_rating and k_core
    repeated: int  # rows that name a pair again, also in another part of the split
    users: int
    items: int
    density: float  # pairs / (users · items)
    parts: dict[str, int] | None  # rows of each part of a given split
    pairs_per_user: Spread
    pairs_per_item: Spread
    ratings: Spread | None
    timestamps: Times | None
    first_users: tuple[str, ...]
    first_items: tuple[str, ...]
    named_items: int  # items that have a name
    split: str  # the rule that the options choose here
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Everything, as JSON can hold it."""
        return asdict(self)


def inspect(data: str | Path | DataConfig = "debian", **options: object) -> Inspection:
    """Read a data set and describe it; the arguments are those of `load_dataset`.

    Files of item features and names are read and matched. Raises ConfigError and DataError as
    `load_dataset` does, but not for a split that leaves nothing to train or test on: what is in the
    files is still shown, with the reason as the last note.
    """
    config = data if isinstance(data, DataConfig) else DataConfig.of(str(data), **options)
    rows = read_interactions(config)
    pairs = unique_pairs(rows, min_rating=config.min_rating, k_core=config.k_core)
    n_users, n_items = len(pairs.user_ids), len(pairs.item_ids)
    names, notes = _split_and_described(rows, pairs, config)
    return Inspection(
        data=config.data,
        name=rows.name,
        format=rows.format,
        rows=len(rows),
        pairs=len(pairs.users),
        repeated=_repeated(rows),
        users=n_users,
        items=n_items,
        density=len(pairs.users) / (n_users * n_items),
        parts=_parts(rows),
        pairs_per_user=Spread.of(np.bincount(pairs.users, minlength=n_users)),
        pairs_per_item=Spread.of(np.bincount(pairs.items, minlength=n_items)),
        ratings=None if rows.ratings is None else Spread.of(rows.ratings),
        timestamps=None if rows.timestamps is None else _times(rows.timestamps),
        first_users=tuple(pairs.user_ids[:FIRST]),
        first_items=tuple(pairs.item_ids[:FIRST]),
        named_items=names,
        split=rule_for(rows, pairs, config),
        notes=notes,
    )


def _split_and_described(
    rows: Interactions, pairs: UniquePairs, config: DataConfig
) -> tuple[int, tuple[str, ...]]:
    """How many items have a name, and the notes that a training would start with."""
    own = None
    if rows.names is not None:
        own = [rows.names.get(item, item) for item in pairs.item_ids]
    items = describe_items(config, pairs.item_ids, own)
    named = 0
    if config.item_names is None and rows.names is not None:
        named = sum(item in rows.names for item in pairs.item_ids)
    elif items.names is not None:
        named = sum(name != item for name, item in zip(items.names, pairs.item_ids, strict=True))
    try:
        dataset = divide_pairs(rows, pairs, config)
        unseen = unseen_notes(dataset, items_have_features=config.features is not None)
        return named, (*dataset.notes, *unseen, *items.notes)
    except DataError as error:
        refused = f"training refuses this: {error}" + (f" ({error.hint})" if error.hint else "")
        return named, (*rows.notes, *pairs.notes, *items.notes, refused)


def _repeated(rows: Interactions) -> int:
    keys = np.sort(rows.users.astype(np.int64) * len(rows.item_ids) + rows.items)
    return int((keys[1:] == keys[:-1]).sum())


def _parts(rows: Interactions) -> dict[str, int] | None:
    if rows.parts is None:
        return None
    counts = np.bincount(rows.parts, minlength=len(PART_NAMES)).tolist()
    return dict(zip(PART_NAMES, counts, strict=True))


def _times(timestamps: NDArray[np.float64]) -> Times:
    first, last = float(timestamps.min()), float(timestamps.max())
    for unit, limit, per_second in TIME_UNITS:
        if first > 0 and last < limit:
            if last / per_second < 1e8:  # before 1973: a running number rather than a time
                break
            return Times(first, last, unit, _date(first / per_second), _date(last / per_second))
    return Times(first, last, None, None, None)


def _date(seconds: float) -> str:
    moment = datetime.fromtimestamp(int(seconds), tz=timezone.utc)
    return moment.isoformat().replace("+00:00", "Z")
