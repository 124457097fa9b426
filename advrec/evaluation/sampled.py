"""Sampled negatives: each test item is ranked against N random items instead of the catalogue.

Cheap, common in papers, and not comparable with full rankings (Krichene & Rendle, KDD 2020). So it
is an option, and every table says when it was used. The negatives depend only on the seed, the user
and the data set, not on the model, the block size or the machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from advrec.data.dataset import Dataset, Pairs
from advrec.errors import DataError
from advrec.evaluation.scorer import Rows, Scorer, merged_rows, rows_of

CHUNK_USERS = 1024  # users with one random stream; part of what a seed means, so never change it


def sampled_ranks(
    scorer: Scorer,
    dataset: Dataset,
    relevant: Pairs,
    count: int,
    seed: int,  # [0, 2^64)
) -> Iterator[tuple[NDArray[np.int64], Rows, NDArray[np.int64], NDArray[np.int64]]]:
    """Rank every relevant item against `count` negatives of its own.

    Negatives are distinct, uniform over the items that the user has in neither train, validation
    nor test; a user who has fewer than `count` such items is given all of them.

    Yields, some users at a time:
        users [B], those with relevant items; their (indptr, items) of relevant items, nnz in all;
        above [nnz], the negatives that score at least as high as the item (ties against the hit);
        n_negatives [nnz].
    """
    everything = [dataset.train, dataset.valid, dataset.test]
    active = np.flatnonzero(relevant.user_degrees())
    for chunk in range(0, dataset.n_users, CHUNK_USERS):
        first, last = np.searchsorted(active, [chunk, chunk + CHUNK_USERS])
        users = active[first:last]
        if not len(users):
            continue
        key = np.array([seed, chunk // CHUNK_USERS], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        rows = rows_of(relevant, users)
        owners = np.repeat(np.arange(len(users)), np.diff(rows[0]))
        negatives = draw_absent(merged_rows(everything, users), owners, dataset.n_items, count, rng)
        candidates = np.column_stack((rows[1], np.maximum(negatives, 0)))
        scores = scorer.scores_of(users[owners], candidates)
        present = negatives >= 0
        above = ((scores[:, 1:] >= scores[:, :1]) & present).sum(axis=1)
        yield users, rows, above, present.sum(axis=1)


def sampled_protocol(
    dataset: Dataset,
    users: NDArray[np.int64],  # [B], those who are evaluated
    count: int,
    seed: int,
) -> str:
    """How tables name such a ranking: with the number of negatives there are, not that asked for.

    Raises DataError if no user has a negative: any order would be perfect.
    """
    parts = (dataset.train, dataset.valid, dataset.test)
    known = np.sum([pairs.user_degrees()[users] for pairs in parts], axis=0)  # [B]
    left = dataset.n_items - known
    fewest, most = min(count, int(left.min())), min(count, int(left.max()))
    if most == 0:
        raise DataError(
            f"no user has an item left to draw as a negative: {dataset.n_items:,} items, and every "
            "user has all of them in train, validation or test",
            hint="leave sampled out: a full ranking needs no negatives of its own",
        )
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    asked = "" if most == count else f" ({count} asked for)"
    return f"sampled, {number} negatives{asked}, seed {seed}"


def draw_absent(
    known: Rows,  # items that must not be drawn, one row per user
    owners: NDArray[np.integer],  # [R] the row of `known` that each draw belongs to
    n_items: int,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """`count` distinct items absent from the owner's row, uniformly  -> [R, count], -1 for none."""
    indptr, items = known
    available = n_items - np.diff(indptr)[owners]  # [R]
    numbers = np.full((len(owners), count), -1, dtype=np.int64)
    scarce = available <= 2 * count
    numbers[scarce] = _by_shuffling(available[scarce], count, rng)
    numbers[~scarce] = _by_redrawing(available[~scarce], count, rng)

    # The r-th absent item is r + (number of known items m with item_m − m <= r).
    row_of_known = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    absent_below = items - (np.arange(len(items)) - indptr[row_of_known])
    width = n_items + 1
    before = np.searchsorted(
        row_of_known * width + absent_below,
        (owners[:, None] * width + np.maximum(numbers, 0)).ravel(),
        side="right",
    ).reshape(numbers.shape)
    drawn = numbers + before - indptr[owners][:, None]
    return np.where(numbers >= 0, drawn, -1).astype(np.int32)


def _by_shuffling(
    available: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """`count` distinct numbers below available[r] <= 2·count, -1 where there are fewer."""
    width = int(available.max(initial=0))
    keys = rng.random((len(available), width))
    keys[np.arange(width) >= available[:, None]] = np.inf
    order = np.argsort(keys, axis=1, kind="stable")[:, :count]
    order[np.arange(order.shape[1]) >= available[:, None]] = -1
    missing = count - order.shape[1]
    return np.pad(order, ((0, 0), (0, missing)), constant_values=-1)


def _by_redrawing(
    available: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """`count` distinct numbers below available[r] > 2·count: draw, and redraw what repeats.

    Which number repeats is as likely as any other, so the set that remains is uniform.
    """
    numbers = _below(available[:, None], rng.random((len(available), count)))
    rows = np.arange(len(available))
    while len(rows):
        block = np.sort(numbers[rows], axis=1)
        repeated = np.zeros(block.shape, dtype=np.bool_)
        repeated[:, 1:] = block[:, 1:] == block[:, :-1]
        again, _ = np.nonzero(repeated)
        block[repeated] = _below(available[rows[again]], rng.random(len(again)))
        numbers[rows] = block
        rows = rows[repeated.any(axis=1)]
    return numbers


def _below(limits: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    # random() is below 1 by 2^-53 at least, and limits below 2^31: the product stays below limits
    return (uniform * limits).astype(np.int64)
