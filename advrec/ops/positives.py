"""The training pairs in the form that the sampler of triplets (u, i, j) draws from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from advrec.data.dataset import Pairs
from advrec.errors import DataError

ATTACK_EPOCH = 2**31 - 1
"""An epoch that no training reaches: the attack's negatives are fresh for every seed."""


@dataclass(frozen=True, eq=False)
class Positives:
    """The pairs that can be drawn as (u, i), and all of train, which no negative j may be in.

    A user who has seen every item has no negative: all of their pairs are left out of the drawing.
    """

    pair_users: Tensor  # [P'] int32, ascending
    pair_items: Tensor  # [P'] int32
    active_users: Tensor  # [A] int32, ascending: the users in pair_users, 0 < degree < I
    indptr: Tensor  # [U+1] int64 \ all of train: the items of user u are
    items: Tensor  # [P] int32    / items[indptr[u]:indptr[u+1]], ascending
    n_items: int

    @classmethod
    def from_pairs(cls, pairs: Pairs, device: torch.device | str = "cpu") -> Positives:
        """Raises DataError if there is nothing to draw."""
        users, degrees = pairs.users(), pairs.user_degrees()
        active = (degrees > 0) & (degrees < pairs.n_items)
        if not active.any():
            raise DataError(
                f"no triplet can be drawn from {len(pairs)} training pairs of {pairs.n_users} "
                f"users and {pairs.n_items} items",
                hint="at least one user needs an item they have seen and one they have not",
            )
        items = drawn = torch.from_numpy(pairs.items)  # shared with the data set, not copied
        if not (active | (degrees == 0)).all():
            keep = active[users]
            users, drawn = users[keep], torch.from_numpy(pairs.items[keep])
        return cls(
            pair_users=torch.from_numpy(users),
            pair_items=drawn,
            active_users=torch.from_numpy(np.flatnonzero(active).astype(np.int32)),
            indptr=torch.from_numpy(pairs.indptr),
            items=items,
            n_items=pairs.n_items,
        ).to(device)

    @property
    def n_users(self) -> int:
        """U, with the users who are never drawn."""
        return self.indptr.numel() - 1

    def __len__(self) -> int:
        """P', the number of pairs that can be drawn; an epoch has `negatives` triplets for each."""
        return self.pair_users.numel()

    def to(self, device: torch.device | str) -> Positives:
        """The same pairs on another device."""
        return Positives(
            pair_users=self.pair_users.to(device),
            pair_items=self.pair_items.to(device),
            active_users=self.active_users.to(device),
            indptr=self.indptr.to(device),
            items=self.items.to(device),
            n_items=self.n_items,
        )
