"""Samplers of triplets as people write them: with numpy at once, and one by one in Python."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from advrec.data import Pairs


def vectorised(train: Pairs, count: int, rng: np.random.Generator) -> NDArray[np.int64]:  # [3, n]
    """A user, one of their items, items until none is seen: each a draw for all at once."""
    keys = train.keys()
    active = np.flatnonzero(train.user_degrees())
    users = active[rng.integers(0, len(active), count)]
    degrees = train.indptr[users + 1] - train.indptr[users]
    items = train.items[train.indptr[users] + rng.integers(0, degrees)].astype(np.int64)
    negatives = rng.integers(0, train.n_items, count)
    open_ = np.arange(count)
    while len(open_):
        wanted = users[open_] * train.n_items + negatives[open_]
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        open_ = open_[keys[places] == wanted]
        negatives[open_] = rng.integers(0, train.n_items, len(open_))
    return np.stack([users, items, negatives])


def one_by_one(
    rows: list[NDArray[np.int32]],  # the items of each user
    n_items: int,
    count: int,
    rng: np.random.RandomState,
) -> NDArray[np.int64]:  # [3, n]
    """The Python loop of LightGCN-PyTorch, as it is described: users at random, a positive, a
    negative drawn until the user's array does not contain it."""
    made = []
    for user in rng.randint(0, len(rows), count):
        seen = rows[user]
        if len(seen) == 0:
            continue
        item = seen[rng.randint(0, len(seen))]
        while True:
            negative = rng.randint(0, n_items)
            if negative not in seen:
                break
        made.append((user, item, negative))
    return np.array(made).T
