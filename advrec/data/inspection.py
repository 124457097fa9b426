"""What is in a file or folder, and what would be made of it: nothing is split or trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.data.config import DataConfig
from advrec.data.filters import unique_pairs
from advrec.data.interactions import PART_NAMES, Interactions
from advrec.data.load import read_interactions
from advrec.data.split import choose_rule

FIRST = 5  # how many ids are shown

# Largest value in a unit that is before the year 5000, by what one divides to get seconds.
TIME_UNITS = (("seconds", 1e11, 1), ("milliseconds", 1e14, 1e3), ("microseconds", 1e17, 1e6))


@dataclass(frozen=True)
class Spread:
    """The spread of some numbers."""

    least: float
    median: float
    mean: float
    most: float

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> Spread:
        """Of an array with at least one number."""
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
    """What `inspect` saw; `notes` says in sentences what was understood and why."""

    data: str
    name: str
    format: str
    rows: int  # interactions as they stand in the files
    pairs: int  # different ones, after min_rating and k_core if those were given
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
    named_items: int  # items with a name to show
    split: str  # what split the options lead to
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Everything, as JSON can hold it."""
        return asdict(self)


def inspect(data: str | Path | DataConfig = "debian", **options: object) -> Inspection:
    """Read a data set and describe it; the arguments are those of `load_dataset`.

    Raises ConfigError and DataError as `load_dataset` does.
    """
    config = data if isinstance(data, DataConfig) else DataConfig.of(str(data), **options)
    rows = read_interactions(config)
    pairs = unique_pairs(rows, min_rating=config.min_rating, k_core=config.k_core)
    n_users, n_items = len(pairs.user_ids), len(pairs.item_ids)
    split = choose_rule(
        config.split,
        given=pairs.parts is not None,
        embedded=rows.format == "embedded",
        timestamps=pairs.timestamps is not None,
    )
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
        named_items=sum(item in rows.names for item in pairs.item_ids) if rows.names else 0,
        split=split,
        notes=(*rows.notes, *pairs.notes),
    )


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
