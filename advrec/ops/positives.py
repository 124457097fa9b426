"""The training pairs in the form that the sampler of triplets (u, i, j) draws from."""

from __future__ import annotations

from dataclasses import InitVar, dataclass

import numpy as np
import torch
from torch import Tensor

from advrec.data.dataset import Pairs
from advrec.errors import DataError
from advrec.ops import proof

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
    proven: InitVar[bool] = False
    """Are these the tensors of pairs that were checked, on another device?"""

    def __post_init__(self, proven: bool) -> None:
        """Raises ValueError for tensors that a kernel could not follow."""
        if proven:
            return
        proof.count("n_items", self.n_items)
        proof.kind("indptr", self.indptr, like=self.indptr, dtype=torch.int64)
        for name in ("pair_users", "pair_items", "active_users", "items"):
            proof.kind(name, getattr(self, name), like=self.indptr, dtype=torch.int32)
            proof.count(name, len(getattr(self, name)))
        if len(self.pair_users) != len(self.pair_items):
            raise ValueError(
                f"pair_items must be as many as pair_users, {len(self.pair_users)}, got"
                f" {len(self.pair_items)}"
            )
        if not len(self.indptr):
            raise ValueError("indptr must have one entry more than users, got none")
        proof.offsets("indptr", self.indptr, self.n_users, len(self.items))
        proof.ids("pair_users", self.pair_users, self.n_users)
        proof.ids("pair_items", self.pair_items, self.n_items)
        proof.ids("items", self.items, self.n_items)
        proof.ids("active_users", self.active_users, self.n_users)
        drawn = torch.cat([self.pair_users, self.active_users]).long()
        degrees = self.indptr.diff()[drawn]
        # Who has seen every item has no negative: the sampler would look for one for ever.
        if bool(((degrees < 1) | (degrees >= self.n_items)).any()):
            raise ValueError("users that are drawn must have seen an item and not seen another")
        # The sampler searches a row by halving, and counts what is missing from it.
        rises = self.items.diff() > 0
        starts = self.indptr[1:-1]
        rises[starts[(starts > 0) & (starts < len(self.items))] - 1] = True
        if not bool(rises.all()):
            raise ValueError("items must ascend within each user's row")

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
            proven=True,
        )
