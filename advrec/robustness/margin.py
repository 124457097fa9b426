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

BLOCK_NUMBERS: Final = 1 << 20
"""Entries of the largest temporary matrix, pairs × items."""

CANDIDATES: Final = 10
"""Times K: the best-scoring items that are considered."""

REACH: Final = 2.0
"""Pairs push whose radius is at most this many times the budget."""


@dataclass(frozen=True, eq=False)
class Rivals:
    """For every relevant item the rivals that the least noise lifts above it."""

    users: Tensor  # [n] int64
    items: Tensor  # [n]
    rivals: Tensor  # [n, K]
    radii: Tensor  # [n, K] float64, ∞ where there are fewer


def nearest_rivals(
    users: Tensor,  # [U, d] as the budget is counted
    items: Tensor,  # [I, d]
    user_reach: Tensor,  # [U] how far a user's row can move per unit of the budget
    item_reach: float,
    relevant: Pairs,
    known: Pairs,
    k: int,
) -> Rivals:
    """The K rivals below each relevant item among the top K that least noise lifts above it.

    Among the 10·K items that score best. What is lost already has no rivals: pushing it further
    would spend rows that are shared.
    """
    p, q = users.detach().cpu(), items.detach().cpu()
    owners, own = (torch.from_numpy(ids).long() for ids in (relevant.users(), relevant.items))
    count = min(k, len(q))
    step = max(1, BLOCK_NUMBERS // len(q))
    parts = []
    for first in range(0, len(owners), step):
        u, i = owners[first : first + step], own[first : first + step]
        scores = p[u] @ q.T
        mine = scores.gather(1, i[:, None])
        rows, columns = _cells(known, u)
        scores[rows, columns] = -torch.inf
        best = scores.topk(min(CANDIDATES * k, len(q)))
        j = best.indices
        users_of, rivals = p[u].double(), q[j].double()  # [B, d], [B, C, d]
        apart = (q[i].double()[:, None] - rivals).norm(dim=2)
        margin = torch.where(best.values > -torch.inf, mine - best.values, -torch.inf).double()
        lost = (margin <= 0).sum(1, keepdim=True) >= k + (best.values == -torch.inf).sum(
            1, keepdim=True
        )
        reach = user_reach.cpu()[u].double()[:, None]
        radii = pair_radius(
            margin.clamp_min(0),
            users_of.norm(dim=1)[:, None],
            apart,
            reach,
            torch.tensor(2 * item_reach),
            q.shape[1],
        )
        radii = torch.where((margin <= 0) | lost, torch.inf, radii).nan_to_num_(
            nan=torch.inf, posinf=torch.inf
        )
        nearest = radii.topk(min(count, radii.shape[1]), largest=False)
        parts.append((j.gather(1, nearest.indices), nearest.values))
    if not parts:
        empty = torch.zeros(0, count)
        return Rivals(owners, own, empty.long(), empty.double())
    return Rivals(owners, own, *(torch.cat(each) for each in zip(*parts, strict=True)))


def _cells(pairs: Pairs, users: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of the items of these users, in a matrix with a row for each."""
    indptr, items = torch.from_numpy(pairs.indptr), torch.from_numpy(pairs.items).long()
    counts = indptr.diff()[users]
    rows = torch.repeat_interleave(torch.arange(len(users)), counts)
    within = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    return rows, items[indptr[users][rows] + within]


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
