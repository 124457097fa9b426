"""Smooth losses of rankings and their gradients in the vectors: what ranking attacks raise.

Formulas are in `advrec.ops.reference.smooth_rank`. Both losses saturate: a pair that is lost or far
from being lost has no gradient. Item rows are shared, and a loss that keeps growing on lost pairs
would spend them there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec import ops
from advrec.data.dataset import Pairs


class RankLoss(NamedTuple):
    """L, and its gradient in the vectors."""

    loss: float
    users: Tensor  # [U, d]
    items: Tensor  # [I, d]


def rank_loss(
    smooth: str,  # "ndcg" or "softmax"
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
    temperature: Tensor,  # [U] τ_u > 0
    relevant: Pairs,
    known: Pairs,  # relevant and masked items together: those that are not rivals
    k: int,
) -> RankLoss:
    """L over all relevant items, and its gradient."""
    own, others = (
        (torch.from_numpy(pairs.indptr), torch.from_numpy(pairs.items))
        for pairs in (relevant, known)
    )
    weights = torch.from_numpy(ideal_weights(relevant, k))
    loss, *gradients = ops.smooth_rank(smooth, users, items, temperature, weights, own, others, k)
    return RankLoss(float(loss), *gradients)


def ideal_weights(relevant: Pairs, k: int) -> NDArray[np.float64]:
    """[U] 1/IDCG@k of each user."""
    counts = relevant.user_degrees().clip(1, k)
    ideal: NDArray[np.float64] = np.cumsum(1 / np.log2(np.arange(k) + 2.0))[counts - 1]
    return 1 / ideal
