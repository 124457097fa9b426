"""Scores of triplets, and rows brought to one length."""

from __future__ import annotations

import torch
from torch import Tensor


def triplet_margin(
    user_table: Tensor,  # [U, d]
    item_table: Tensor,  # [I, d]
    triplets: Tensor,  # [3, B] int32: u, i, j
) -> Tensor:  # [B]
    """p_u·q_i − p_u·q_j. Differentiable in both tables; a row's gradients are summed."""
    if triplets.dim() != 2 or triplets.shape[0] != 3:
        raise ValueError(f"triplets are {tuple(triplets.shape)}, expected [3, B]")
    users = user_table.index_select(0, triplets[0])
    positive = item_table.index_select(0, triplets[1])
    negative = item_table.index_select(0, triplets[2])
    return (users * positive).sum(1) - (users * negative).sum(1)


def triplet_margin_backward(
    grad: Tensor,  # [B]
    user_table: Tensor,  # [U, d]
    item_table: Tensor,  # [I, d]
    triplets: Tensor,  # [3, B] int32: u, i, j
) -> tuple[Tensor, Tensor]:  # [U, d], [I, d]
    """The gradient of Σ_b grad[b]·margin[b] in both tables; that of a row is summed."""
    users = user_table.index_select(0, triplets[0])
    positive = item_table.index_select(0, triplets[1])
    negative = item_table.index_select(0, triplets[2])
    by_item = grad.unsqueeze(1) * users
    d_user = torch.zeros_like(user_table)
    d_item = torch.zeros_like(item_table)
    d_user.index_add_(0, triplets[0], grad.unsqueeze(1) * (positive - negative))
    d_item.index_add_(0, triplets[1], by_item).index_add_(0, triplets[2], by_item, alpha=-1)
    return d_user, d_item


def normalize_rows(
    x: Tensor,  # [R, d]
    eps: float,
) -> Tensor:  # [R, d]
    """Each row with its direction kept and its L2 norm set to eps; a row of zeros stays."""
    largest = x.abs().amax(1, keepdim=True)
    # By the largest entry first: a tiny gradient's square is 0 in float32, the gradient is not.
    unit = torch.where(largest > 0, x / largest, x)
    norms = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
    return torch.where(norms > 0, unit * (eps / norms), unit)
