"""Masked full ranking in plain torch: a block of scores, −∞ where seen, topk."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

BLOCK = 1024  # users; more is not faster, and takes memory


def top(
    users: Tensor,  # [B, d]
    items: Tensor,  # [I, d]
    seen: sparse.csr_matrix,  # [B, I]
    k: int,
) -> Tensor:  # [B, k] int64
    """The k best items of each user, best first."""
    blocks = []
    for first in range(0, len(users), BLOCK):
        scores = users[first : first + BLOCK] @ items.T
        start, end = seen.indptr[first], seen.indptr[min(first + BLOCK, len(users))]
        counts = np.diff(seen.indptr[first : first + BLOCK + 1])
        rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
        scores[rows, torch.from_numpy(seen.indices[start:end].astype(np.int64))] = -torch.inf
        blocks.append(scores.topk(k, dim=1).indices)
    return torch.cat(blocks)


def recall_and_ndcg(
    ids: Tensor,  # [B, k]
    relevant: sparse.csr_matrix,  # [B, I]
) -> tuple[float, float]:
    """Means over users who have something relevant."""
    found = ids.numpy()
    rows = np.repeat(np.arange(len(found)), found.shape[1])
    hits = np.asarray(relevant[rows, found.ravel()]).reshape(found.shape) > 0
    counts = np.diff(relevant.indptr)
    gains = 1 / np.log2(np.arange(found.shape[1]) + 2)
    ideal = np.cumsum(gains)[np.minimum(counts, found.shape[1]) - 1]
    return float((hits.sum(1) / counts).mean()), float(((hits * gains).sum(1) / ideal).mean())
