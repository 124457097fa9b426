"""Certified radii: how far vectors must move before one item can overtake another.

A user vector p scores items i and j by p·q_i and p·q_j. With w = q_i − q_j and m = p·w > 0, let the
user's row move by at most r_u·ε and the rows of the two items by r_i·ε and r_j·ε, r_e = r_i + r_j.
Item j cannot reach item i exactly if ε is below

    ε* = m / √(r_e²‖p‖² + r_u²‖w‖² + 2·r_u·r_e·√(‖p‖²‖w‖² − m²)).

Proof. δq_i − δq_j ranges over the ball of radius r_e·ε. A vector within r_u·ε of p can turn by at
most arcsin(r_u·ε/‖p‖), one within r_e·ε of w by arcsin(r_e·ε/‖w‖). In the plane of p and w both
turns add up, and by the triangle inequality on the sphere no larger angle can be closed. So the
inner product stays positive if and only if the sum is below arcsin(m/(‖p‖‖w‖)); when the cosine of
the sum is squared the terms in ε⁴ cancel, which leaves ε*. In one dimension vectors cannot turn,
and ε* is min(‖p‖/r_u, |w|/r_e).

Rounding. The certificate is about scores as float32 computes them. Rounded dot products of
dimension d differ from exact ones by at most γ·‖p′‖(‖q_i′‖ + ‖q_j′‖) together, γ ≈ d·2⁻²⁴. An item
row that moves by γ·(‖q_i′‖ + ‖q_j′‖) more could do as much, so rounding is a fixed part of the
items' reach (`slack`): it is taken off m and added to the norms before the formula, which rises in
m and falls in both norms. Rounding of a perturbed row to storage is a fixed part of its own reach.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec import ops

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


@dataclass(frozen=True, eq=False)
class Lists:
    """Ragged rows of item ids, one per user."""

    indptr: NDArray[np.int64]  # [U + 1]
    items: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Radii:
    """For every relevant item of every user: its rivals' radii, and its own."""

    users: NDArray[np.int64]  # [n] dense ids, ascending
    items: NDArray[np.int64]  # [n]
    ranks: NDArray[np.int64]  # [n] 1 is the top; ties count against the item
    rivals: NDArray[np.float64]  # [n, k] the k smallest ε* of non-relevant items, ascending
    stays: NDArray[np.float64]  # [n] below this ε the item is among the top k; 0: it is not now
    reach: Reach = field(repr=False)


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
    relevant: Lists,
    masked: Lists,
    k: int,
) -> Radii:
    """The k smallest radii of every relevant item, a block of pairs at a time.

    In plain torch: all pairs × all items, float64. Memory is a block and does not grow with either.
    """
    scan = _Scan(users.double(), items.double(), reach, masked, relevant, k)
    owners = np.repeat(np.arange(len(users)), np.diff(relevant.indptr))
    step = max(1, BLOCK_NUMBERS // max(1, len(items)))
    parts = [
        scan.block(owners[first : first + step], relevant.items[first : first + step])
        for first in range(0, len(owners), step)
    ]
    ranks, rivals, stays = (
        (np.concatenate(part) for part in zip(*parts, strict=True))
        if parts
        else (np.empty(0, np.int64), np.empty((0, k)), np.empty(0))
    )
    return Radii(owners, relevant.items.astype(np.int64), ranks, rivals, stays, reach)


class _Scan:
    """What stays the same from block to block."""

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        reach: Reach,
        masked: Lists,
        relevant: Lists,
        k: int,
    ) -> None:
        self.users, self.items, self.reach, self.k = users, items, reach, k
        self.masked, self.relevant = masked, relevant
        self.user_norms, self.item_norms = users.norm(dim=1), items.norm(dim=1)
        self.levers = self.user_norms if reach.levers is None else reach.levers
        self.rounding = 1.001 * (users.shape[1] + 8) * UNIT

    def block(
        self,
        owners: NDArray[np.int64],  # [n] users, ascending
        items: NDArray[np.int32],  # [n]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Ranks [n], the k smallest radii of non-relevant items [n, k], the k-th of any [n]."""
        users, own = torch.from_numpy(owners), torch.from_numpy(items.astype(np.int64))
        distinct, place = torch.unique_consecutive(users, return_inverse=True)
        scores = (ops.product(self.users[distinct], self.items.T))[place]  # [n, I]
        margins = scores.gather(1, own[:, None]) - scores
        hidden = self._cells(self.masked, owners)
        rows = torch.arange(len(own))
        ties = margins == 0
        ties[self._cells(self.relevant, owners)] = False
        above = ties.logical_or_(margins < 0)
        above[hidden] = False
        above[rows, own] = False
        radius = self._radius(margins, users, own)
        radius[hidden] = torch.inf
        radius[rows, own] = torch.inf
        stays = _smallest(radius, self.k)[:, -1].clone()
        radius[self._cells(self.relevant, owners)] = torch.inf  # they push an item out, no metric
        return above.sum(1).numpy() + 1, _smallest(radius, self.k).numpy(), stays.numpy()

    def _radius(self, margins: Tensor, users: Tensor, own: Tensor) -> Tensor:
        """ε* of every pair and item [n, I], less what rounding could do."""
        reach, p = self.reach, self.user_norms[users, None]
        norms = self.item_norms[own, None] + self.item_norms
        slack = self.rounding * norms + reach.item_slack[own, None] + reach.item_slack
        user_slack = reach.user_slack[users, None]
        # ‖q_i − q_j‖ from a product of matrices; what cancels in it is far below the slack.
        squares = self.item_norms[own, None] ** 2 + self.item_norms**2
        w = squares.sub_(2 * (ops.product(self.items[own], self.items.T))).clamp_min_(0).sqrt_()
        sure = margins - slack * p - user_slack * (w + slack)
        grow = 1 + self.rounding  # rounding in proportion to the budget
        r_u = reach.users[users, None] * grow
        r_e = (reach.items[own, None] + reach.items) * grow
        if self.users.shape[1] == 1:
            radius = pair_radius(sure, p - user_slack, w - slack, r_u, r_e, dim=1)
        else:
            radius = pair_radius(sure, self.levers[users, None] + user_slack, w + slack, r_u, r_e)
        return radius.masked_fill_(p * norms < TINY, 0.0)

    def _cells(self, lists: Lists, owners: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The cells (row, item) of a block that `lists` names."""
        starts, lengths = lists.indptr[owners], lists.indptr[owners + 1] - lists.indptr[owners]
        rows = np.repeat(np.arange(len(owners)), lengths)
        first = np.cumsum(lengths) - lengths
        places = np.arange(len(rows)) - first[rows] + starts[rows]
        return torch.from_numpy(rows), torch.from_numpy(lists.items[places].astype(np.int64))


def _smallest(values: Tensor, k: int) -> Tensor:
    """The k smallest of each row, ascending; inf where there are fewer."""
    width = min(k, values.shape[1])
    chosen = values.topk(width, dim=1, largest=False).values
    if width == k:
        return chosen
    return torch.nn.functional.pad(chosen, (0, k - width), value=torch.inf)
