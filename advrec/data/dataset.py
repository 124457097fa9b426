"""Pairs of users and items, and a `Dataset`: three sets of them, which all of advrec works on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Pairs:
    """(user, item) pairs in compressed rows: no pair twice, items ascending within a user."""

    indptr: NDArray[np.int64]  # [U+1]; the items of user u are items[indptr[u]:indptr[u+1]]
    items: NDArray[np.int32]  # [P]
    n_items: int

    @classmethod
    def from_coo(
        cls,
        users: ArrayLike,  # [n] ints in [0, n_users)
        items: ArrayLike,  # [n] ints in [0, n_items)
        n_users: int,
        n_items: int,
    ) -> Pairs:
        """Sort pairs that come in any order; a repeated pair counts once.

        Raises ValueError for an id outside its range.
        """
        user = np.asarray(users, dtype=np.int64)
        item = np.asarray(items, dtype=np.int64)
        if user.shape != item.shape or user.ndim != 1:
            raise ValueError(f"users and items differ in shape: {user.shape} and {item.shape}")
        for name, ids, limit in (("user", user, n_users), ("item", item, n_items)):
            if ids.size and (ids.min() < 0 or ids.max() >= limit):
                raise ValueError(
                    f"{name} ids must be in 0..{limit - 1}, got {ids.min()}..{ids.max()}"
                )
        keys = np.sort(user * n_items + item)
        keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))] if len(keys) else keys
        width = max(n_items, 1)
        degrees = np.bincount(keys // width, minlength=n_users)
        indptr = np.zeros(n_users + 1, dtype=np.int64)
        np.cumsum(degrees, out=indptr[1:])
        return cls(indptr, (keys % width).astype(np.int32), n_items)

    @classmethod
    def empty(cls, n_users: int, n_items: int) -> Pairs:
        """A set without pairs."""
        return cls(np.zeros(n_users + 1, dtype=np.int64), np.zeros(0, dtype=np.int32), n_items)

    @property
    def n_users(self) -> int:
        """The number of users U."""
        return len(self.indptr) - 1

    def __len__(self) -> int:
        """The number of pairs P."""
        return len(self.items)

    def users(self) -> NDArray[np.int32]:  # [P]
        """The user of each pair, in the order of `items`."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.indptr))

    def of(self, user: int) -> NDArray[np.int32]:
        """The items of one user, ascending."""
        return self.items[self.indptr[user] : self.indptr[user + 1]]

    def keys(self) -> NDArray[np.int64]:  # [P]
        """user · n_items + item of each pair, ascending: for numpy's set functions."""
        return self.users().astype(np.int64) * self.n_items + self.items

    def user_degrees(self) -> NDArray[np.int64]:  # [U]
        """How many items each user has."""
        return np.diff(self.indptr)

    def item_degrees(self) -> NDArray[np.int64]:  # [I]
        """How many users each item has."""
        return np.bincount(self.items, minlength=self.n_items).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train, validation and test pairs over the same users and items.

    The three sets are disjoint: validation and test pairs are never in `train`. Ids are dense ints;
    `user_ids` and `item_ids` map them to the strings of the file.
    """

    name: str
    source: str
    n_users: int
    n_items: int
    train: Pairs
    valid: Pairs
    test: Pairs
    user_ids: Sequence[str]  # [U]
    item_ids: Sequence[str]  # [I]
    item_names: Sequence[str] | None = None  # [I], for people to read
    item_features: NDArray[np.float32] | None = None  # [I, F]
    split: str | None = None  # the rule that made the three sets; None: as given
    notes: tuple[
        str, ...
    ] = ()  # how the files were understood, what was merged, dropped, warned of

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over the counts, the ids and the three sets: the same on every platform.

        Names, features and notes are left out: they do not change the pairs.
        """
        state = hashlib.sha256(b"advrec dataset 1\n")
        state.update(f"{self.n_users} {self.n_items}\n".encode())
        for ids in (self.user_ids, self.item_ids):
            _update_with_strings(state, ids)
        for pairs in (self.train, self.valid, self.test):
            state.update(f"{len(pairs)}\n".encode())
            state.update(pairs.indptr.astype("<i8").tobytes())
            state.update(pairs.items.astype("<i4").tobytes())
        return state.hexdigest()


def _update_with_strings(state: hashlib._Hash, strings: Iterable[str]) -> None:
    """Hash strings so that no two different lists of them give the same bytes."""
    encoded = [text.encode() for text in strings]
    state.update(np.array([len(text) for text in encoded], dtype="<i8").tobytes())
    state.update(b"".join(encoded))
