"""Smooth losses of rankings and their gradients in the vectors, a block of pairs at a time.

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
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from advrec.ops.reference.rank import Rows

BLOCK_NUMBERS: Final = 1 << 21
"""Entries of the largest temporary matrix, relevant items × all items."""

Smooth = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""x [n, I], −inf for items that are not rivals and overwritten; 1/IDCG [n]; K → the loss [n] and
∂L/∂x [n, I]."""


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


SMOOTH: Final[Mapping[str, Smooth]] = {"ndcg": ndcg, "softmax": softmax}


def smooth_rank(
    smooth: str,
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
    temperature: Tensor,  # [U] τ_u > 0
    weights: Tensor,  # [U] float64, 1/IDCG of the user
    relevant: Rows,
    known: Rows,  # relevant and masked items together: those that are not rivals
    k: int,
) -> tuple[Tensor, Tensor, Tensor]:  # L [1] float64, ∂L/∂P [U, d], ∂L/∂Q [I, d]
    """The loss over all relevant items, and its gradients in the vectors."""
    if smooth not in SMOOTH or k < 1:
        raise ValueError(f"smooth is {smooth!r} and k {k}, expected {', '.join(SMOOTH)}, k >= 1")
    device = users.device
    indptr, own = relevant[0].to(device), relevant[1].to(device).long()
    known_indptr, known_items = (rows.to(device) for rows in known)
    owners = torch.repeat_interleave(torch.arange(len(users), device=device), indptr.diff())
    loss = torch.zeros(1, dtype=torch.float64, device=device)
    d_users, d_items = torch.zeros_like(users), torch.zeros_like(items)
    step = max(1, BLOCK_NUMBERS // max(1, len(items)))
    for first in range(0, len(owners), step):
        user, item = owners[first : first + step], own[first : first + step]
        place = torch.arange(len(user), device=device)
        starts = known_indptr[user]
        lengths = known_indptr[user + 1] - starts
        row = torch.repeat_interleave(place, lengths)
        within = torch.arange(len(row), device=device) - (lengths.cumsum(0) - lengths)[row]
        column = known_items[starts[row] + within].long()
        vectors = users[user]  # one per relevant item, so a user may stand here several times
        scores = vectors @ items.T  # [n, I]
        tau = temperature[user][:, None]
        x = scores.sub_(scores[place, item][:, None]).div_(tau)
        x[row, column] = -torch.inf
        losses, slopes = SMOOTH[smooth](x, weights.to(device)[user].to(scores), k)
        loss += losses.double().sum()
        slopes.div_(tau)  # ∂L/∂s_uj
        slopes[place, item] = -slopes.sum(1)  # 0 before: an item is not its own rival
        d_users.index_add_(0, user, slopes @ items)
        d_items.addmm_(slopes.T, vectors)
    return loss, d_users, d_items
