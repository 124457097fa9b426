"""A search that sees scores only: what an attack without gradients does to item rows.

Random search as Square Attack does it (Andriushchenko et al., ECCV 2020): a share of the item rows,
which shrinks with the queries, gets new random directions of full length, and the change stays if
the loss of the ranking rose. A query is the scores of a sample of users under one noise; the loss
is the smooth NDCG of each one's own first items. Obligatory where an operation has no gradient.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from advrec.data.dataset import Pairs
from advrec.models.base import Noise, Recommender
from advrec.robustness.ball import Ball
from advrec.robustness.goal import evaluating
from advrec.robustness.score_loss import loss_of_scores
from advrec.robustness.target import Target

QUERIES: Final = 2000
SAMPLE_USERS: Final = 64
SHARE: Final = 0.3
"""Of the rows, at the first query."""


def search_scores(
    model: Recommender,
    ball: Ball,
    target: Target,
    temperature: Tensor,  # [U]
    size: float,
    *,
    queries: int = QUERIES,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The noise on item rows, or on all rows where there are none of items, after the queries."""
    draw = np.random.default_rng(seed)
    start = model.noise_like(ball.site, ball.norm, None)
    sample = _sample(target, draw)
    generator = torch.Generator().manual_seed(seed)

    def loss(noise: Noise) -> float:
        with torch.no_grad(), evaluating(model):
            lists = sample.relevant, sample.known
            return loss_of_scores("ndcg", model, noise, temperature, *lists, sample.k)[0]

    movable = _movable(ball, start)
    best = ball.stretched(_directions(start, movable, generator), size)
    most = max(loss(best), loss(start))
    for query in range(2, queries):
        share = SHARE * (1 - query / queries) ** 2 + 1 / max(1, sum(map(len, movable.values())))
        chosen = {
            key: rows[torch.from_numpy(draw.random(len(rows)) < share)]
            for key, rows in movable.items()
        }
        moved = {key: value.clone() for key, value in best.items()}
        fresh = ball.stretched(_directions(start, chosen, generator), size)
        for key, rows in chosen.items():
            moved[key][rows] = fresh[key][rows]
        if ball.norm != "row":
            moved = ball.stretched(moved, size)
        reached = loss(moved)
        if reached > most:
            best, most = moved, reached
    return ball.within(best, size)


def _sample(target: Target, draw: np.random.Generator) -> Target:
    """The target of some users only."""
    users = np.flatnonzero(target.relevant.user_degrees())
    kept = draw.choice(users, min(SAMPLE_USERS, len(users)), replace=False)
    owners = target.relevant.users()
    inside = np.isin(owners, kept)
    n = len(target.relevant.indptr) - 1
    relevant = Pairs.from_coo(
        owners[inside], target.relevant.items[inside], n, target.relevant.n_items
    )
    return Target(relevant, target.known, target.k, target.figure)


def _movable(ball: Ball, start: Noise) -> dict[str, Tensor]:
    """The rows that are searched over: those of items, or all where there are none."""
    of_items = {
        key: owner["items"] for key, owner in ball.owners.items() if "items" in owner
    }
    rows = {}
    for key, value in start.items():
        first, last = of_items.get(key, (0, 0) if of_items else (0, len(value)))
        some = torch.arange(first, last)
        if key in ball.live:
            some = some[ball.live[key][some.to(value.device), 0].cpu()]
        rows[key] = some
    return rows


def _directions(
    start: Noise, rows: dict[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    noise = {key: torch.zeros_like(value) for key, value in start.items()}
    for key, some in rows.items():
        drawn = torch.randn(len(some), start[key].shape[-1], generator=generator)
        noise[key][some.to(start[key].device)] = drawn.to(start[key])
    return noise
