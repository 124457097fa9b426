"""Certified radii by the formula: every pair of a relevant item and another, in float64.

Formula and proof are in `advrec.robustness.radius`. Rounding: an item row that moves by
γ·(‖q_i‖ + ‖q_j‖) more could do to scores what float32 does, so it is a fixed part of the items'
reach, and what storage does to a perturbed row of that row's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from advrec.ops.reference.rank import Rows

UNIT: Final = 2.0**-24
"""Half a unit in the last place of float32, relative."""

TINY: Final = 1e-20
"""‖p‖(‖q_i‖ + ‖q_j‖) below this: products may underflow, so nothing is certified."""

BLOCK_NUMBERS: Final = 1 << 22
"""Entries of the largest temporary matrix, pairs × items."""


@dataclass(frozen=True, eq=False)
class Reach:
    """How far each row can move: `per_budget`·ε + `slack`, all float64."""

    users: Tensor  # [U] per unit of the budget
    items: Tensor  # [I]
    user_slack: Tensor  # [U] rounding, for any budget
    item_slack: Tensor  # [I]
    levers: Tensor | None = None  # [U] what an item's move is multiplied by; None: ‖p_u‖
    exact: bool = True  # False: sound, but rows share their noise (LightGCN, `ego`)


def pair_radius(
    margin: Tensor,  # m = p·(q_i − q_j), any shape
    user_norm: Tensor,  # ‖p‖
    difference_norm: Tensor,  # ‖q_i − q_j‖
    user_reach: Tensor,  # r_u
    items_reach: Tensor,  # r_e = r_i + r_j
    dim: int = 2,
) -> Tensor:
    """ε* of the formula above in float64, 0 where m ≤ 0; broadcasts."""
    if dim == 1:  # no turning: either factor has to change its sign
        radius = torch.minimum(user_norm / user_reach, difference_norm / items_reach)
    else:
        p, w = user_norm * items_reach, difference_norm * user_reach
        across = (user_norm * difference_norm) ** 2 - margin**2
        # The root is rounded up: a larger denominator is a smaller radius.
        across = across.clamp_min(0).sqrt() * (1 + 1e-9) * user_reach * items_reach
        radius = margin / (p**2 + w**2 + 2 * across).sqrt() * (1 - 1e-9)
    return torch.where(margin > 0, radius, torch.zeros_like(radius))


def smallest_radii(
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
    reach: Reach,
    masked: Rows,
    relevant: Rows,
    k: int,
) -> tuple[Tensor, Tensor, Tensor]:  # ranks [n], rivals [n, k], stays [n]
    """For every relevant item: its rank, the k smallest radii of its rivals, the k-th of any item.

    Ranks count ties with rivals against the item; radii are ascending and float64, infinite where
    a user has fewer rivals. A block of pairs × all items at a time.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scan = _Scan(users.double(), items.double(), reach, masked, relevant, k)
    indptr, own = relevant[0], relevant[1].long()
    owners = torch.repeat_interleave(torch.arange(len(users)), indptr.diff())
    step = max(1, BLOCK_NUMBERS // max(1, len(items)))
    parts = [
        scan.block(owners[first : first + step], own[first : first + step])
        for first in range(0, len(owners), step)
    ]
    if not parts:
        return owners, users.new_empty((0, k), dtype=torch.float64), users.new_empty(0).double()
    ranks, rivals, stays = (torch.cat(part) for part in zip(*parts, strict=True))
    return ranks, rivals, stays


class _Scan:
    """What stays the same from block to block."""

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        reach: Reach,
        masked: Rows,
        relevant: Rows,
        k: int,
    ) -> None:
        self.users, self.items, self.reach, self.k = users, items, reach, k
        self.masked, self.relevant = masked, relevant
        self.user_norms, self.item_norms = users.norm(dim=1), items.norm(dim=1)
        self.levers = self.user_norms if reach.levers is None else reach.levers
        self.rounding = 1.001 * (users.shape[1] + 8) * UNIT

    def block(
        self,
        users: Tensor,  # [n] ascending
        own: Tensor,  # [n] items
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ranks [n], the k smallest radii of non-relevant items [n, k], the k-th of any [n]."""
        distinct, place = torch.unique_consecutive(users, return_inverse=True)
        scores = (self.users[distinct] @ self.items.T)[place]  # [n, I]
        margins = scores.gather(1, own[:, None]) - scores
        hidden = _cells(self.masked, users)
        rows = torch.arange(len(own))
        ties = margins == 0
        ties[_cells(self.relevant, users)] = False
        above = ties.logical_or_(margins < 0)
        above[hidden] = False
        above[rows, own] = False
        radius = self._radius(margins, users, own)
        radius[hidden] = torch.inf
        radius[rows, own] = torch.inf
        stays = _smallest(radius, self.k)[:, -1].clone()
        radius[_cells(self.relevant, users)] = torch.inf  # they push an item out, no metric
        return above.sum(1) + 1, _smallest(radius, self.k), stays

    def _radius(self, margins: Tensor, users: Tensor, own: Tensor) -> Tensor:
        """ε* of every pair and item [n, I], less what rounding could do."""
        reach, p = self.reach, self.user_norms[users, None]
        norms = self.item_norms[own, None] + self.item_norms
        slack = self.rounding * norms + reach.item_slack[own, None] + reach.item_slack
        user_slack = reach.user_slack[users, None]
        # ‖q_i − q_j‖ from a product of matrices; what cancels in it is far below the slack.
        squares = self.item_norms[own, None] ** 2 + self.item_norms**2
        w = squares.sub_(2 * (self.items[own] @ self.items.T)).clamp_min_(0).sqrt_()
        sure = margins - slack * p - user_slack * (w + slack)
        grow = 1 + self.rounding  # rounding in proportion to the budget
        r_u = reach.users[users, None] * grow
        r_e = (reach.items[own, None] + reach.items) * grow
        if self.users.shape[1] == 1 and reach.levers is None:
            radius = pair_radius(sure, p - user_slack, w - slack, r_u, r_e, dim=1)
        else:
            radius = pair_radius(sure, self.levers[users, None] + user_slack, w + slack, r_u, r_e)
        return radius.masked_fill_(p * norms < TINY, 0.0)


def _cells(rows: Rows, users: Tensor) -> tuple[Tensor, Tensor]:
    """The cells (row, item) that the users' rows name."""
    indptr, items = rows
    starts, lengths = indptr[users], indptr[users + 1] - indptr[users]
    row = torch.repeat_interleave(torch.arange(len(users)), lengths)
    first = lengths.cumsum(0) - lengths
    places = torch.arange(len(row)) - first[row] + starts[row]
    return row, items[places].long()


def _smallest(values: Tensor, k: int) -> Tensor:
    """The k smallest of each row, ascending; inf where there are fewer."""
    width = min(k, values.shape[1])
    chosen = values.topk(width, dim=1, largest=False).values
    if width == k:
        return chosen
    return torch.nn.functional.pad(chosen, (0, k - width), value=torch.inf)
