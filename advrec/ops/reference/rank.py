"""Rankings of all items for a user, in a total order: no two implementations differ on ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec.native.fixed import product

Rows = tuple[Tensor, Tensor]  # indptr [B+1] int64, items [nnz] int32: a set of items for each user


@dataclass(frozen=True, eq=False)
class Ranking:
    """The k best items of B users."""

    ids: Tensor  # [B, k] int32; -1 where a user has fewer than k candidates
    scores: Tensor  # [B, k]; -inf there
    hits: Tensor  # [B, k] bool: is the item relevant?
    above: Tensor  # [nnz of relevant] int64, or [0] if it was not asked for


def rank_topk(
    user_vectors: Tensor,  # [B, d]
    item_vectors: Tensor,  # [I, d]
    mask: Rows,
    relevant: Rows,
    k: int,
    count_above: bool = False,
) -> Ranking:
    """`rank_scores` of the dot products."""
    return rank_scores(product(user_vectors, item_vectors.T), mask, relevant, k, count_above)


def rank_scores(
    scores: Tensor,  # [B, I], finite
    mask: Rows,
    relevant: Rows,
    k: int,
    count_above: bool = False,
) -> Ranking:
    """The k unmasked items with the highest score.

    Order: higher score, then not relevant before relevant (a tie counts against the hit), then
    lower id. `above[n]` is how many unmasked items that are not relevant score at least as high as
    the n-th relevant item. A masked item never appears, even if it is relevant.
    """
    if k < 1 or scores.dim() != 2:
        raise ValueError(f"k is {k}, scores are {tuple(scores.shape)}; expected k >= 1 and [B, I]")
    table = scores.detach().cpu().numpy()
    n_users, n_items = table.shape
    masked, relevant_rows = _rows(mask, n_users, "mask"), _rows(relevant, n_users, "relevant")
    ids = np.full((n_users, k), -1, dtype=np.int32)
    best = np.full((n_users, k), -np.inf, dtype=table.dtype)
    hits = np.zeros((n_users, k), dtype=np.bool_)
    above: list[NDArray[np.int64]] = []
    for user, row in enumerate(table):
        is_relevant = np.zeros(n_items, dtype=np.bool_)
        is_relevant[relevant_rows[user]] = True
        candidate = np.ones(n_items, dtype=np.bool_)
        candidate[masked[user]] = False
        items = np.flatnonzero(candidate)
        # lexsort's last key is the first to count; the sort is stable, so lower ids come first
        order = items[np.lexsort((is_relevant[items], -row[items]))][:k]
        ids[user, : len(order)] = order
        best[user, : len(order)] = row[order]
        hits[user, : len(order)] = is_relevant[order]
        if count_above:
            others = row[candidate & ~is_relevant]
            above.extend(np.array([(others >= row[item]).sum()]) for item in relevant_rows[user])
    counts = np.concatenate(above) if above else np.zeros(0, dtype=np.int64)
    arrays = (ids, best, hits, counts.astype(np.int64))
    return Ranking(*(torch.from_numpy(array).to(scores.device) for array in arrays))


def _rows(rows: Rows, n_users: int, name: str) -> list[NDArray[np.int32]]:
    indptr, items = rows[0].cpu().numpy(), rows[1].cpu().numpy()
    if len(indptr) != n_users + 1 or indptr[-1] != len(items):
        raise ValueError(
            f"{name} has {len(indptr) - 1} rows and {len(items)} items up to {indptr[-1]}; "
            f"expected {n_users} rows"
        )
    return [items[indptr[user] : indptr[user + 1]] for user in range(n_users)]
