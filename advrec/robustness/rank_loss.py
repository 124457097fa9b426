"""Smooth losses of rankings and their gradients in the vectors: what ranking attacks raise.

For a relevant item i of user u and its rivals j (items that are neither masked nor relevant),
x_j = (s_uj − s_ui)/τ_u. Both losses are sums over all relevant items:

- `ndcg`: with the smooth rank r = 1 + Σ_j σ(x_j) and the cut-off c = σ((K + ½ − r)/(K/2)),

      L = −Σ_u (1/IDCG_u) Σ_i c/log2(1 + r),   ∂L/∂x_j = G·σ′(x_j),
      G = (1/IDCG_u)·[c(1 − c)/(K/2)/log2(1 + r) + c/(ln 2·(1 + r)·log2²(1 + r))];

- `softmax`: with p = 1/(1 + Σ_j e^{x_j}), L = −Σ p and ∂L/∂x_j = p²·e^{x_j}.

Both saturate: a pair that is lost or far from being lost has no gradient. Item rows are shared, and
a loss that keeps growing on lost pairs would spend them there. Then ∂L/∂s_uj = (∂L/∂x_j)/τ_u,
∂L/∂s_ui = −Σ_j of these, dP = (∂L/∂S)Q and dQ = (∂L/∂S)ᵀP, a block of relevant items at a time:
there is never a users × items matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from advrec import ops
from advrec.data.dataset import Pairs
from advrec.evaluation.scorer import rows_of

BLOCK_NUMBERS: Final = 1 << 21
"""Entries of the largest temporary matrix, relevant items × all items."""

Smooth = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""x [n, I], −inf for items that are not rivals and overwritten; 1/IDCG [n]; K → the loss [n] and
∂L/∂x [n, I]."""


class RankLoss(NamedTuple):
    """L, and its gradient in the vectors."""

    loss: float
    users: Tensor  # [U, d]
    items: Tensor  # [I, d]


def ndcg(x: Tensor, weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Minus the smooth NDCG@k."""
    above = x.sigmoid_()
    rank = 1 + above.sum(1)
    inside = torch.sigmoid((k + 0.5 - rank) / (k / 2))
    logs = torch.log2(1 + rank)
    slope = inside * (1 - inside) / (k / 2) / logs
    slope += inside / (math.log(2) * (1 + rank) * logs.square())
    derivative = torch.addcmul(above, above, above, value=-1)  # σ′
    return -weights * inside / logs, derivative.mul_((weights * slope)[:, None])


def softmax(x: Tensor, weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Minus the probability of the relevant item among its rivals; saturates, unlike its log."""
    del weights, k  # every relevant item counts alike, at every rank
    x.clamp_(max=torch.finfo(x.dtype).max)  # ∞ − ∞ is not a number
    peak = x.amax(1, keepdim=True).clamp_min_(0)
    own, others = torch.exp(-peak), x.sub_(peak).exp_()
    total = own + others.sum(1, keepdim=True)
    probability = own / total
    return -probability[:, 0], others.mul_(probability / total)


def rank_loss(
    smooth: Smooth,
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
    temperature: Tensor,  # [U] τ_u > 0
    relevant: Pairs,
    known: Pairs,  # relevant and masked items together: those that are not rivals
    k: int,
) -> RankLoss:
    """L over all relevant items, and its gradient."""
    device = users.device
    owners, own = relevant.users().astype(np.int64), relevant.items.astype(np.int64)
    counts = relevant.user_degrees().clip(1, k)
    ideal = 1 / np.cumsum(1 / np.log2(np.arange(k) + 2.0))[counts - 1]  # [U]
    total, d_users, d_items = 0.0, torch.zeros_like(users), torch.zeros_like(items)
    step = max(1, BLOCK_NUMBERS // max(1, len(items)))
    for first in range(0, len(owners), step):
        block = owners[first : first + step]
        indptr, cells = rows_of(known, block)
        arrays = (
            block,
            own[first : first + step],
            np.repeat(np.arange(len(block)), np.diff(indptr)),
            cells.astype(np.int64),
            ideal[block],
        )
        user, item, row, column, weights = (torch.from_numpy(a).to(device) for a in arrays)
        vectors = users[user]  # one per relevant item, so a user may stand here several times
        scores = ops.product(vectors, items.T)  # [n, I]
        place = torch.arange(len(user), device=device)
        tau = temperature[user][:, None]
        x = scores.sub_(scores[place, item][:, None]).div_(tau)
        x[row, column] = -torch.inf
        losses, slopes = smooth(x, weights.to(scores), k)
        total += float(ops.total(losses.double()))
        slopes.div_(tau)  # ∂L/∂s_uj
        slopes[place, item] = -slopes.sum(1)  # 0 before: an item is not its own rival
        d_users.index_add_(0, user, ops.product(slopes, items))
        d_items += ops.product(slopes.T, vectors)
    return RankLoss(total, d_users, d_items)
