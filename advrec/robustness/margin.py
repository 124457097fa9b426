"""Minimum-norm margin attack: every user turns towards the items that are easiest to lift.

For each relevant item i of user u the K rivals j of smallest radius ρ_uij (`radius`) are kept: the
budget at which j can overtake i. At a budget of size s, pairs within 2·s push: the user's row along
q_j − q_i, and the item rows by the sum of the users' pushes, j along p_u and i against it. All
pushes are unit vectors, since what counts is the direction that is shortest to the tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from advrec.data.dataset import Pairs
from advrec.robustness.radius import pair_radius

BLOCK_NUMBERS: Final = 1 << 21
"""Entries of the largest temporary matrix, pairs × items."""

REACH: Final = 2.0
"""Pairs push whose radius is at most this many times the budget."""


@dataclass(frozen=True, eq=False)
class Rivals:
    """For every relevant item the rivals that the least noise lifts above it."""

    users: Tensor  # [n] int64
    items: Tensor  # [n]
    rivals: Tensor  # [n, K]
    radii: Tensor  # [n, K] float64, 0 where the rival is above already, ∞ where there are fewer


def nearest_rivals(
    users: Tensor,  # [U, d] as the budget is counted
    items: Tensor,  # [I, d]
    user_reach: Tensor,  # [U] how far a user's row can move per unit of the budget
    item_reach: float,
    relevant: Pairs,
    known: Pairs,
    k: int,
) -> Rivals:
    """The K rivals of smallest radius of every relevant item; a block of pairs at a time."""
    p, q = users.double().cpu(), items.double().cpu()
    owners = torch.from_numpy(relevant.users()).long()
    own = torch.from_numpy(relevant.items).long()
    squares = q.square().sum(1)
    lists = known.indptr, torch.from_numpy(known.items).long()
    step = max(1, BLOCK_NUMBERS // len(q))
    count = min(k, len(q))
    parts = []
    for first in range(0, len(owners), step):
        u, i = owners[first : first + step], own[first : first + step]
        scores = p[u] @ q.T
        margin = scores.gather(1, i[:, None]) - scores
        apart = (squares[i][:, None] + squares - 2 * (q[i] @ q.T)).clamp_min_(0).sqrt_()
        reach = user_reach[u].double().cpu()[:, None]
        radii = pair_radius(
            margin, p[u].norm(dim=1)[:, None], apart, reach, torch.tensor(2 * item_reach), q.shape[1]
        )
        for row, user in enumerate(u.tolist()):
            radii[row, lists[1][lists[0][user] : lists[0][user + 1]]] = torch.inf
        smallest = radii.nan_to_num_(nan=torch.inf).topk(count, largest=False)
        parts.append((smallest.values, smallest.indices))
    if not parts:
        empty = torch.zeros(0, count)
        return Rivals(owners, own, empty.long(), empty.double())
    return Rivals(owners, own, torch.cat([p[1] for p in parts]), torch.cat([p[0] for p in parts]))


def pushes(
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
    nearest: Rivals,
    size: float,
) -> tuple[Tensor, Tensor]:
    """The direction in which each vector moves at a budget of this size, [U, d] and [I, d]."""
    by_user, by_item = torch.zeros_like(users), torch.zeros_like(items)
    unit_users = functional.normalize(users, dim=1)
    pairs = nearest.users, nearest.items
    for column in range(nearest.rivals.shape[1]):
        near = (nearest.radii[:, column] <= REACH * size).to(users.device)
        u, i = (ids.to(users.device)[near] for ids in pairs)
        j = nearest.rivals[:, column].to(users.device)[near]
        by_user.index_add_(0, u, functional.normalize(items[j] - items[i], dim=1))
        by_item.index_add_(0, j, unit_users[u])
        by_item.index_add_(0, i, -unit_users[u])
    return by_user, by_item
