"""Triplets (u, i, j) from a counter: any part of an epoch, in any order, on any device.

A word w becomes a number below n as (w·n) >> 32. Streams keep the counters of different purposes
apart: 0 negatives, 1 users and their items, 2 keys of the permutation.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec.ops.positives import Positives
from advrec.ops.reference.philox import MASK, philox4x32

_NEGATIVES, _USERS, _KEYS = 0, 1, 2
_ATTEMPTS = 32
_ROUNDS = 6

Words: TypeAlias = NDArray[np.uint64]
Ids: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = tuple[Ids, NDArray[np.int32]]  # indptr [U+1], items [P]: all of train


def sample_triplets(
    pos: Positives,
    *,
    seed: int,
    epoch: int,
    first: int,
    count: int,
    negatives: int = 1,
    sampling: str = "pairs",
) -> Tensor:  # [3, count] int32: u, i, j
    """Triplets first … first + count − 1 of an epoch of P'·negatives.

    sampling "pairs": every pair once for each negative, in an order of the epoch's own.
    sampling "users": a user uniformly, then one of their items (LightGCN's code).
    j is uniform over the items that u has not seen. `seed` has 64 bits, `epoch` 32.
    Raises ValueError for another sampling or a range that leaves the epoch.
    """
    total = len(pos) * negatives
    if sampling not in ("pairs", "users"):
        raise ValueError(f"unknown sampling {sampling!r}: choose pairs, users")
    if negatives < 1 or first < 0 or count < 0 or first + count > total:
        raise ValueError(
            f"triplets {first}..{first + count} are not all in an epoch of {len(pos)} pairs "
            f"with {negatives} negatives each"
        )
    draw = _Draw(seed, epoch)
    indptr, row_items = pos.indptr.cpu().numpy(), pos.items.cpu().numpy()
    t = np.arange(first, first + count, dtype=np.uint64)
    p = t // np.uint64(negatives)
    if sampling == "pairs":
        index = _permute(p, len(pos), draw)
        users = pos.pair_users.cpu().numpy()[index].astype(np.int64)
        items = pos.pair_items.cpu().numpy()[index].astype(np.int64)
    else:
        words = draw(p, _USERS, 0)
        active = pos.active_users.cpu().numpy()
        users = active[_below(words[0], len(active))].astype(np.int64)
        degrees = indptr[users + 1] - indptr[users]
        items = row_items[indptr[users] + _below(words[1], degrees)].astype(np.int64)
    unseen = _negatives(t, users, (indptr, row_items), pos.n_items, draw)
    triplets = np.stack([users, items, unseen]).astype(np.int32)
    return torch.from_numpy(triplets).to(pos.items.device)


class _Draw:
    """philox under the key of one seed and the counters of one epoch."""

    def __init__(self, seed: int, epoch: int) -> None:
        self.key = (seed & MASK, (seed >> 32) & MASK)
        self.epoch = epoch & MASK

    def __call__(self, t: Words, stream: int, attempt: int) -> Words:  # [4, ...]
        last = (stream << 24) | attempt
        return philox4x32((t & np.uint64(MASK), t >> np.uint64(32), self.epoch, last), self.key)


def _below(words: Words, limit: int | Ids) -> Ids:
    """Each 32-bit word as a number in [0, limit)."""
    result: Ids = (words * np.asarray(limit, dtype=np.uint64) >> np.uint64(32)).astype(np.int64)
    return result


def _negatives(t: Words, users: Ids, seen: Rows, n_items: int, draw: _Draw) -> Ids:
    """The first of 32 × 4 words that names an unseen item; if there is none, one by its rank."""
    indptr, items = seen
    chosen = np.full(len(t), -1, dtype=np.int64)
    for attempt in range(_ATTEMPTS):
        open_ = np.flatnonzero(chosen < 0)
        if not open_.size:
            return chosen
        for word in draw(t[open_], _NEGATIVES, attempt):
            candidates = _below(word, n_items)
            fits = (chosen[open_] < 0) & ~_seen(users[open_], candidates, seen)
            chosen[open_[fits]] = candidates[fits]
    for n in np.flatnonzero(chosen < 0):
        row = items[indptr[users[n]] : indptr[users[n] + 1]]
        unseen = np.setdiff1d(np.arange(n_items), row)
        chosen[n] = unseen[_below(draw(t[n : n + 1], _NEGATIVES, _ATTEMPTS)[0], len(unseen))[0]]
    return chosen


def _seen(users: Ids, candidates: Ids, seen: Rows) -> NDArray[np.bool_]:
    """Is each candidate in its user's row? Binary search in all rows at once."""
    indptr, items = seen
    low, end = indptr[users], indptr[users + 1]
    high = end.copy()
    while (low < high).any():
        middle = (low + high) // 2
        right = (low < high) & (items[np.minimum(middle, len(items) - 1)] < candidates)
        high = np.where(right, high, np.minimum(middle, high))
        low = np.where(right, middle + 1, low)
    equal: NDArray[np.bool_] = items[np.minimum(low, len(items) - 1)] == candidates
    return equal & (low < end)


def _permute(p: Words, n: int, draw: _Draw) -> Ids:
    """The epoch's permutation of [0, n), as a Feistel network that is walked until it is inside.

    Six rounds over the b bits that n needs, split into la and lb; no table of n entries.
    """
    bits = max(2, (n - 1).bit_length())
    right_bits = np.uint64(bits - bits // 2)
    left_mask = np.uint64((1 << (bits // 2)) - 1)
    right_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    keys = draw(np.arange(_ROUNDS, dtype=np.uint64), _KEYS, 0)[0]
    result = p.copy()
    outside = np.ones(len(p), dtype=np.bool_)
    while outside.any():
        x = result[outside]
        left, right = x >> right_bits, x & right_mask
        for turn, key in enumerate(keys):
            if turn % 2 == 0:
                left = left ^ (_mix(right, key) & left_mask)
            else:
                right = right ^ (_mix(left, key) & right_mask)
        result[outside] = (left << right_bits) | right
        outside = result >= np.uint64(n)
    index: Ids = result.astype(np.int64)
    return index


def _mix(value: Words, key: np.uint64) -> Words:
    """The round function: a 32-bit finaliser of value and key."""
    low = np.uint64(MASK)
    h: Words = (value * np.uint64(0x9E3779B1) + key) & low
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x85EBCA6B)) & low
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(0xC2B2AE35)) & low
    h ^= h >> np.uint64(16)
    return h
