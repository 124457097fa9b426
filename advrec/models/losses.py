"""Losses of triplets (u, i, j), and the squared norms of their rows.

BPR ranks the positive item above the negative one; BCE makes one likely and the other unlikely.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from advrec import ops

SAMPLE_KEYS: Final = ("user", "positive", "negative")
"""Keys of noise of samples: the three vectors of a triplet."""

LOSSES: Final = ("bpr", "bce")
"""Values of the option `loss` of a model of triplets."""


def loss_of_scores(
    loss: str,
    positive: Tensor,  # [B], ŷ_ui
    negative: Tensor,  # [B], ŷ_uj
) -> Tensor:  # [B]
    """The loss of each triplet.

    bpr: softplus(−(ŷ_ui − ŷ_uj)) (Rendle et al., UAI 2009).
    bce: softplus(−ŷ_ui) + softplus(ŷ_uj), the cross-entropy of σ(ŷ) with label 1 for i, 0 for j.
    """
    if loss == "bce":
        return -functional.logsigmoid(positive) - functional.logsigmoid(-negative)
    return -functional.logsigmoid(positive - negative)


def triplet_losses(
    loss: str,  # of LOSSES
    user_table: Tensor,  # [U, d]
    item_table: Tensor,  # [I, d]
    triplets: Tensor,  # [3, B] int32
    samples: Mapping[str, Tensor],  # all of SAMPLE_KEYS, [B, d] each, or nothing
) -> Tensor:  # [B]
    """The loss of dot products, each triplet's vectors moved by their own noise."""
    if loss == "bpr" and not samples:
        return -functional.logsigmoid(ops.triplet_margin(user_table, item_table, triplets))
    tables = (user_table, item_table, item_table)
    rows = [table.index_select(0, ids) for table, ids in zip(tables, triplets, strict=True)]
    if samples:
        rows = [row + samples[key] for row, key in zip(rows, SAMPLE_KEYS, strict=True)]
    user, positive, negative = rows
    return loss_of_scores(loss, (user * positive).sum(1), (user * negative).sum(1))


def squared_norms(
    embedding: Tensor,  # [U+I, d], users first
    triplets: Tensor,  # [3, B] int32
    n_users: int,
) -> Tensor:  # scalar
    """Σ over the triplets of ½(‖p_u‖² + ‖q_i‖² + ‖q_j‖²)."""
    rows = torch.cat([triplets[0], triplets[1] + n_users, triplets[2] + n_users])
    return ops.total(embedding.index_select(0, rows).square()) / 2
