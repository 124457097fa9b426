"""From rows as read to unique pairs: rating threshold, repeated pairs, k-core, new dense ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advrec.data.interactions import PART_NAMES, TEST, TRAIN, VALID, Interactions
from advrec.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class UniquePairs:
    """Pairs sorted by user and item, each once, with what a split needs to know of them."""

    users: NDArray[np.int32]  # [P]
    items: NDArray[np.int32]  # [P]
    order: NDArray[np.int64]  # [P] row of the file that represents the pair
    timestamps: NDArray[np.float64] | None  # [P]
    parts: NDArray[np.int8] | None  # [P]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    notes: tuple[str, ...]


def unique_pairs(rows: Interactions, *, min_rating: float | None, k_core: int) -> UniquePairs:
    """Apply `min_rating`, merge repeated pairs, keep the k-core; in this order.

    Without `min_rating`, ratings that are labels (0 and 1) drop the rows that are not positive.
    A repeated pair keeps its earliest row (in time, then in the file). A pair that is in more
    than one part of a given split stays in the first of train, valid, test. Users and items are
    dropped only by a filter; without one, every id that the files name is kept.

    Raises ConfigError where there are no ratings to compare, DataError where nothing is left.
    """
    notes: list[str] = []
    keep = np.arange(len(rows), dtype=np.int64)
    if min_rating is not None:
        keep = _well_rated(rows, keep, min_rating, notes)
    else:
        keep = _positive(rows, keep, notes)
    filtered = min_rating is not None or k_core > 0 or len(keep) < len(rows)
    keep = _first_rows(rows, keep, notes)
    users, items = rows.users[keep], rows.items[keep]
    if k_core > 0:
        inside = k_core_mask(users, items, len(rows.user_ids), len(rows.item_ids), k_core)
        if not inside.any():
            raise DataError(
                f"the {k_core}-core is empty: no set of users and items has {k_core} pairs each",
                path=rows.source,
                hint="lower k_core",
            )
        keep, users, items = keep[inside], users[inside], items[inside]
        notes.append(f"{k_core}-core: {int(inside.sum()):,} of {len(inside):,} pairs kept")
    user_ids, item_ids = rows.user_ids, rows.item_ids
    if filtered:
        users, user_ids = _compact(users, user_ids, "users", notes)
        items, item_ids = _compact(items, item_ids, "items", notes)
    return UniquePairs(
        users=users,
        items=items,
        order=keep,
        timestamps=None if rows.timestamps is None else rows.timestamps[keep],
        parts=None if rows.parts is None else rows.parts[keep],
        user_ids=user_ids,
        item_ids=item_ids,
        notes=tuple(notes),
    )


def k_core_mask(
    users: NDArray[np.int32],  # [P]
    items: NDArray[np.int32],  # [P]
    n_users: int,
    n_items: int,
    k: int,
) -> NDArray[np.bool_]:  # [P]
    """The pairs of the largest subset in which every user and every item has at least k pairs."""
    alive = np.ones(len(users), dtype=np.bool_)
    while True:
        user_degrees = np.bincount(users[alive], minlength=n_users)
        item_degrees = np.bincount(items[alive], minlength=n_items)
        following = alive & (user_degrees[users] >= k) & (item_degrees[items] >= k)
        if following.sum() == alive.sum():
            return following
        alive = following


def _well_rated(
    rows: Interactions, keep: NDArray[np.int64], least: float, notes: list[str]
) -> NDArray[np.int64]:
    if rows.ratings is None:
        raise ConfigError(
            f"min_rating {least:g}: {rows.source} has no ratings",
            hint="name the column with rating_col, or leave min_rating out",
        )
    kept = keep[rows.ratings[keep] >= least]
    if not len(kept):
        raise DataError(
            f"no interaction is rated {least:g} or higher; the highest is {rows.ratings.max():g}",
            path=rows.source,
            hint="lower min_rating",
        )
    dropped = len(keep) - len(kept)
    notes.append(f"{dropped:,} of {len(keep):,} interactions are rated below {least:g}: dropped")
    return kept


def _positive(rows: Interactions, keep: NDArray[np.int64], notes: list[str]) -> NDArray[np.int64]:
    """Drop the negatives if the ratings are labels: 0 and 1, or -1 and 1."""
    if rows.ratings is None or not np.isin(rows.ratings, (-1.0, 0.0, 1.0)).all():
        return keep
    kept = keep[rows.ratings > 0]
    dropped = len(keep) - len(kept)
    if not len(kept):
        raise DataError(
            "the ratings are labels, and none of them is 1",
            path=rows.source,
            hint="to count every row as an interaction: --rating-col none",
        )
    if dropped:
        notes.append(
            f"the ratings are labels: {dropped:,} of {len(keep):,} rows are labelled "
            "0 or less and are not interactions: dropped (--rating-col none keeps them)"
        )
    return kept


def _keys(rows: Interactions, keep: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows.users[keep].astype(np.int64) * max(len(rows.item_ids), 1) + rows.items[keep]


def _first_rows(rows: Interactions, keep: NDArray[np.int64], notes: list[str]) -> NDArray[np.int64]:
    """One row per pair, ordered by user and item."""
    keys = _keys(rows, keep)
    ranks: list[NDArray[np.generic]] = [keep]  # last resort: file order
    if rows.timestamps is not None:
        ranks.append(rows.timestamps[keep])
    if rows.parts is not None:
        ranks.append(rows.parts[keep])
    order = np.lexsort((*ranks, keys))
    sorted_keys = keys[order]
    first = np.ones(len(keys), dtype=np.bool_)
    first[1:] = sorted_keys[1:] != sorted_keys[:-1]
    _note_repeats(rows, keep[order], first, notes)
    return keep[order[first]]


def _note_repeats(
    rows: Interactions,
    order: NDArray[np.int64],  # rows by pair, the kept one first
    first: NDArray[np.bool_],  # the kept ones among them
    notes: list[str],
) -> None:
    crossing = np.zeros(len(order), dtype=np.bool_)
    if rows.parts is not None:
        parts = rows.parts[order]
        kept_part = parts[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
        for stays, leaves in ((TRAIN, VALID), (TRAIN, TEST), (VALID, TEST)):
            here = ~first & (kept_part == stays) & (parts == leaves)
            crossing |= here
            if here.any():
                notes.append(
                    f"{_count(here, 'pair is', 'pairs are')} in both {PART_NAMES[stays]} and "
                    f"{PART_NAMES[leaves]}: dropped from {PART_NAMES[leaves]}"
                )
    repeats = ~first & ~crossing
    if repeats.any():
        notes.append(f"{_count(repeats, 'repeated pair was', 'repeated pairs were')} merged")


def _count(mask: NDArray[np.bool_], one: str, many: str) -> str:
    count = int(mask.sum())
    return f"{count:,} {one if count == 1 else many}"


def _compact(
    codes: NDArray[np.int32], ids: Sequence[str], what: str, notes: list[str]
) -> tuple[NDArray[np.int32], Sequence[str]]:
    """Renumber so that ids without any pair disappear; the order of the rest stays."""
    used = np.unique(codes)
    if len(used) < len(ids):
        notes.append(f"{len(ids) - len(used):,} of {len(ids):,} {what} have no pair left: dropped")
    return np.searchsorted(used, codes).astype(np.int32), [ids[code] for code in used.tolist()]
