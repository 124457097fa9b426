"""Smooth losses of rankings for models whose scores are not dot products, through autograd.

The scores of a block of users at a time are computed with a graph back to the noise, and the slopes
of the loss in the scores (`advrec.ops.reference.smooth_rank`) are taken back along it, so that
memory does not grow with users × items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec.data.dataset import Pairs
from advrec.models.base import Noise, Recommender
from advrec.ops.reference.smooth_rank import SMOOTH
from advrec.robustness.rank_loss import ideal_weights

BLOCK_SCORES: Final = 1 << 18
"""Scores of users × items in a block: what a model computes on the way may be many times that."""


def loss_of_scores(
    smooth: str,  # "ndcg" or "softmax"
    model: Recommender,
    noise: Noise,
    temperature: Tensor,  # [U] τ_u > 0
    relevant: Pairs,
    known: Pairs,  # relevant and masked items together: those that are not rivals
    k: int,
    *,
    gradient: bool = False,
) -> tuple[float, dict[str, Tensor]]:
    """L over all relevant items at Θ + noise and, if asked for, its gradient in the noise."""
    weights = torch.from_numpy(ideal_weights(relevant, k))
    sums = {key: torch.zeros_like(value) for key, value in noise.items()}
    total = 0.0
    for users in _blocks(relevant, model.n_items):
        at = {key: value.detach().requires_grad_(gradient) for key, value in noise.items()}
        ids = torch.from_numpy(users).to(temperature.device)
        with torch.set_grad_enabled(gradient):
            scores = model.scores(ids, at)  # [B, I]
        with torch.no_grad():
            losses, slopes = _slopes(
                smooth, scores.detach(), temperature[ids], weights, users, relevant, known, k
            )
        total += losses
        if gradient:
            grads = torch.autograd.grad(scores, tuple(at.values()), slopes, allow_unused=True)
            for key, grad in zip(at, grads, strict=True):
                if grad is not None:
                    sums[key] += grad
    return total, sums


def shift_of_scores(model: Recommender, noise: Noise) -> Tensor:
    """[U] the mean length by which noise moves the scores of each user."""
    parts = []
    step = max(1, BLOCK_SCORES // model.n_items)
    device = next(iter(noise.values())).device
    with torch.no_grad():
        for users in torch.split(torch.arange(model.n_users, device=device), step):
            parts.append((model.scores(users, noise) - model.scores(users)).abs().mean(1))
    return torch.cat(parts)


def _slopes(
    smooth: str,
    scores: Tensor,  # [B, I]
    temperature: Tensor,  # [B]
    weights: Tensor,  # [U]
    users: NDArray[np.int64],  # [B]
    relevant: Pairs,
    known: Pairs,
    k: int,
) -> tuple[float, Tensor]:
    """The loss of a block and its slopes in the scores, [B, I]."""
    device = scores.device
    rows, own = _rows(relevant, users, device)
    known_rows, known_items = _rows(known, users, device)
    by_score = torch.zeros_like(scores)
    total = 0.0
    # A user with many relevant items has a row for each: as many users at a time as fit.
    most = max(1, 4 * BLOCK_SCORES // scores.shape[1])
    for first in range(0, len(rows), most):
        row, item = rows[first : first + most], own[first : first + most]
        mine = torch.zeros(len(row), scores.shape[1], dtype=torch.bool, device=device)
        masked = torch.zeros_like(scores, dtype=torch.bool)
        masked[known_rows, known_items] = True
        mine |= masked[row]
        tau = temperature[row][:, None]
        x = (scores[row] - scores[row, item][:, None]) / tau
        x[mine] = -torch.inf
        of_user = weights[torch.from_numpy(users)].to(scores)[row]
        losses, slopes = SMOOTH[smooth](x, of_user, k)
        slopes = slopes / tau
        place = torch.arange(len(row), device=device)
        slopes[place, item] = -slopes.sum(1)  # 0 before: an item is not its own rival
        total += float(losses.double().sum())
        by_score.index_add_(0, row, slopes)
    return total, by_score


def _blocks(relevant: Pairs, n_items: int) -> Iterator[NDArray[np.int64]]:
    """The users that have relevant items, a block at a time."""
    users = np.flatnonzero(relevant.user_degrees())
    step = max(1, BLOCK_SCORES // n_items)
    for first in range(0, len(users), step):
        yield users[first : first + step]


def _rows(pairs: Pairs, users: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    """For each pair of these users its place in the block and its item."""
    counts = np.diff(pairs.indptr)[users]
    starts = pairs.indptr[users]
    rows = np.repeat(np.arange(len(users)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    items = pairs.items[starts[rows] + within].astype(np.int64)
    return torch.from_numpy(rows).to(device), torch.from_numpy(items).to(device)
