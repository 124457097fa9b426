"""MF and LightGCN as a careful user of plain PyTorch would write them for a GPU.

Only the sampler is advrec's, so that both sides train on the same triplets. The
adjacency is CSR (cuSPARSE, converted once), the propagation's backward is the propagation, sums run
instead of stacks, Adam is torch's fused one. This is a fair baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

Losses = Callable[[Tensor, Tensor], Tensor]  # table [N, d], batch [3, B] -> [B]


class _Symmetric(torch.autograd.Function):
    """Â x, whose backward is Â too."""

    @staticmethod
    def forward(ctx: object, adjacency: Tensor, x: Tensor) -> Tensor:
        ctx.adjacency = adjacency  # type: ignore[attr-defined]
        return adjacency @ x

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        return None, ctx.adjacency @ grad  # type: ignore[attr-defined]


def propagate(adjacency: Tensor, x: Tensor, layers: int) -> Tensor:
    """mean over k = 0..K of Â^k x."""
    total = hop = x
    for _ in range(layers):
        hop = _Symmetric.apply(adjacency, hop)
        total = total + hop
    return total / (layers + 1)


def margins(vectors: Tensor, batch: Tensor, n_users: int) -> Tensor:
    """p_u·(q_i − q_j)."""
    user, positive, negative = vectors[batch[0]], batch[1] + n_users, batch[2] + n_users
    return (user * (vectors[positive] - vectors[negative])).sum(1)


def step(
    table: torch.nn.Parameter,  # [N, d]
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    batch: Tensor,  # [3, B] int64
    *,
    adv_weight: float,
    eps: float,
    reg: float,
    n_users: int,
    mean: bool,
) -> Tensor:
    """One step of BPR, or of APR with the perturbation on the table, a row a budget."""
    share = 1 / batch.shape[1] if mean else 1.0
    clean = losses(table, batch).sum() * share
    total = clean
    if adv_weight:
        (gamma,) = torch.autograd.grad(clean, table, retain_graph=True)
        delta = eps * functional.normalize(gamma, dim=1, eps=1e-30)
        total = clean + adv_weight * losses(table + delta, batch).sum() * share
    if reg:
        rows = torch.cat([batch[0], batch[1] + n_users, batch[2] + n_users])
        total = total + reg * share * 0.5 * table[rows].square().sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    optimizer.step()
    return clean.detach()


def batches(draw: Callable[[int], Tensor], steps: int) -> Iterator[Tensor]:
    """The batches of an epoch, as int64, again and again."""
    at = 0
    while True:
        yield draw(at % steps).long()
        at += 1
