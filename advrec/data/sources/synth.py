"""Synthetic interactions of any size: as skewed as real ones, seeded, written as a stream.

How many pairs a user has, and how often an item is drawn, fall with the rank as a power (Zipf,
flattened at the head: the figures of Gowalla and MovieLens are of this kind). Which items a user
takes depends on popularity alone: there is no taste to learn, only work to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.errors import DataError, UsageError
from advrec.system.drafts import Draft

USER_HEAD, USER_EXPONENT = 20, 0.6  # the user of rank r has pairs in proportion to (r+20)^-0.6
ITEM_HEAD, ITEM_EXPONENT = 50, 0.8
MOST_SHARE = 0.25  # of the items that one user may have: drawing without repetition stays quick
BLOCK_PAIRS = 1 << 18  # of whole users, drawn and written at once: what memory depends on
REDRAWS = 16  # of items that the user has already, before unseen ones are chosen directly

OnPairs = Callable[[int, int], None]
Part = tuple[NDArray[np.int64], NDArray[np.int64]]
"""A block of users: the number of items of each, and the items by user, ascending."""


def write_synthetic(
    out: str | Path,
    *,
    users: int,
    items: int,
    pairs: int,
    seed: int = 0,
    test_ratio: float = 0.2,
    progress: OnPairs | None = None,
) -> list[Path]:
    """Write `pairs` different pairs of a user and an item in LightGCN text; returns the files.

    `out` ending in .txt is one file. Otherwise it is a folder with train.txt and test.txt:
    `test_ratio` of each user's pairs, chosen at random, are for testing, and at least one is not.
    Every user has a pair; an item that is never drawn is in no file. Memory: some bytes for each
    user and item, and one block of pairs. The same arguments give the same bytes with one numpy.

    Raises UsageError for numbers that do not fit together or an `out` that exists, DataError where
    it cannot be written.
    """
    target = Path(out)
    if target.exists():
        raise UsageError(f"{target} already exists", hint="choose another name or delete it")
    if target.suffix not in ("", ".txt"):
        raise UsageError(
            f"{target} must end in .txt (one file) or have no ending (a folder), got"
            f" {target.suffix!r}"
        )
    _check(users, items, pairs, seed, test_ratio)
    one_file = bool(target.suffix)
    names = [target.name] if one_file else ["train.txt", "test.txt"]
    folder = target.parent if one_file else target
    blocks = _blocks(users, items, pairs, seed, None if one_file else test_ratio)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Draft(target) as draft:
            _write(draft.folder, names, blocks, progress, pairs)
            return draft.move(names, folder)
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror or error})", path=target) from None


def user_degrees(
    users: int, items: int, pairs: int, rng: np.random.Generator
) -> NDArray[np.int64]:  # [users], at least 1 each, their sum is `pairs`
    """How many pairs each user has: a power of the rank, ranks dealt to users at random."""
    most = max(1, int(items * MOST_SHARE))
    weights = (np.arange(users) + USER_HEAD) ** -USER_EXPONENT
    share = np.ones(users)
    while True:  # what the cap takes away from the head goes to the others
        free = share < most
        missing = pairs - share.sum()
        if missing < 0.5:
            break
        share[free] = np.minimum(most, share[free] + missing * weights[free] / weights[free].sum())
    degrees = np.floor(share).astype(np.int64)
    short = pairs - int(degrees.sum())
    # rounding leaves less than one pair per user: to those who lost most of one, below the cap
    degrees[np.argsort(-(share - degrees), kind="stable")[:short]] += 1
    return rng.permutation(degrees)


def _check(users: int, items: int, pairs: int, seed: int, test_ratio: float) -> None:
    for name, number in (("users", users), ("items", items), ("pairs", pairs)):
        if not 1 <= number < 2**31:
            raise UsageError(f"{name} must be in [1, 2^31), got {number}")
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed must be in [0, 2^63), got {seed}")
    if not 0 < test_ratio < 1:
        raise UsageError(f"test_ratio must be between 0 and 1, got {test_ratio}")
    if items > 100 * pairs:  # the time and memory for them would be for nothing
        raise UsageError(
            f"items must be at most {100 * pairs:,} for {pairs:,} pairs, got {items:,}"
        )
    most = users * max(1, int(items * MOST_SHARE))
    if not users <= pairs <= most:
        raise UsageError(
            f"pairs must be in [{users:,}, {most:,}] for {users:,} users and {items:,} items, got "
            f"{pairs:,}",
            hint=f"every user has a pair, and none has more than {MOST_SHARE:.0%} of the items",
        )


def _blocks(
    users: int, items: int, pairs: int, seed: int, test_ratio: float | None
) -> Iterator[tuple[int, list[Part]]]:
    """Blocks of users: the first user, and train and test, or everything in one part."""
    rng = np.random.default_rng(seed)
    degrees = user_degrees(users, items, pairs, rng)
    popularity = np.cumsum((np.arange(items) + ITEM_HEAD) ** -ITEM_EXPONENT)
    popularity /= popularity[-1]
    names = rng.permutation(items)  # of each rank: ids say nothing about popularity
    ends = np.cumsum(degrees)
    first = 0
    while first < users:
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + BLOCK_PAIRS, side="right")))
        block = degrees[first:last]
        owners = np.repeat(np.arange(len(block)), block)
        drawn = np.sort(owners * items + names[_draw(block, popularity, rng)]) % items
        if test_ratio is None:
            yield first, [(block, drawn)]
        else:
            n_test = np.floor(test_ratio * block).astype(np.int64)
            held = _held_out(block, n_test, rng)
            yield first, [(block - n_test, drawn[~held]), (n_test, drawn[held])]
        first = last


def _draw(
    degrees: NDArray[np.int64],
    popularity: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:  # [sum of degrees] ranks of items by user, no item twice
    items = len(popularity)
    owners = np.repeat(np.arange(len(degrees)), degrees)
    keys = np.zeros(0, dtype=np.int64)
    for _ in range(REDRAWS):
        ranks = np.searchsorted(popularity, rng.random(len(owners)), side="right")
        fresh = owners * items + np.minimum(ranks, items - 1)
        keys = np.union1d(keys, fresh)
        missing = degrees - np.bincount(keys // items, minlength=len(degrees))
        owners = np.repeat(np.arange(len(degrees)), missing)
        if not len(owners):
            return keys % items
    for user in np.flatnonzero(missing):
        start, end = np.searchsorted(keys, [user * items, (user + 1) * items])
        unseen = np.setdiff1d(np.arange(items), keys[start:end] % items)
        chosen = rng.choice(unseen, size=int(missing[user]), replace=False)
        keys = np.insert(keys, end, np.sort(user * items + chosen))
    return np.sort(keys) % items


def _held_out(
    degrees: NDArray[np.int64],
    n_test: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:  # [sum of degrees]
    """True for n_test of each user's pairs, chosen at random."""
    owners = np.repeat(np.arange(len(degrees)), degrees)
    order = np.lexsort((rng.random(len(owners)), owners))  # shuffled within each user
    place = np.arange(len(owners)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
    held = np.zeros(len(owners), dtype=np.bool_)
    held[order] = place < n_test[owners]
    return held


def _lines(first: int, part: Part) -> list[str]:
    """A line for each user that has items."""
    counts, items = part
    lines = []
    start = 0
    for user, end in enumerate(np.cumsum(counts).tolist(), start=first):
        if end > start:
            lines.append(" ".join(map(str, [user, *items[start:end].tolist()])) + "\n")
        start = end
    return lines


def _write(
    folder: Path,
    names: list[str],
    blocks: Iterator[tuple[int, list[Part]]],
    progress: OnPairs | None,
    pairs: int,
) -> None:
    done = 0
    with ExitStack() as stack:
        files = [
            stack.enter_context((folder / name).open("w", encoding="ascii", newline="\n"))
            for name in names
        ]
        for first, parts in blocks:
            for file, part in zip(files, parts, strict=True):
                file.writelines(_lines(first, part))
                done += len(part[1])
            if progress is not None:
                progress(done, pairs)
