"""A search that sees scores only: what an attack without gradients does to item rows.

Random search as Square Attack does it (Andriushchenko et al., ECCV 2020): a share of the item rows,
which shrinks with the queries, gets new random directions of full length, and the change stays if
the loss of the ranking rose. A query is the scores of a sample of users under one noise; the loss
is the smooth NDCG of each one's own first item. Obligatory where an operation has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch import Tensor

from advrec.models.base import Noise, Recommender
from advrec.ops.reference.smooth_rank import ndcg
from advrec.robustness.ball import Ball
from advrec.robustness.goal import evaluating
from advrec.robustness.target import Target

QUERIES: Final = 2000
SAMPLE_USERS: Final = 32
SHARE: Final = 0.3
"""Of the rows, at the first query."""

POOL: Final = 20
"""Queries that draw their rows from the same directions, with random signs."""


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
    with _one_thread():
        return _searched(model, ball, target, temperature, size, queries, seed)


def _searched(
    model: Recommender,
    ball: Ball,
    target: Target,
    temperature: Tensor,
    size: float,
    queries: int,
    seed: int,
) -> dict[str, Tensor]:
    draw = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    start = model.noise_like(ball.site, ball.norm, None)
    loss = _Loss(model, target, temperature, draw)
    movable = _movable(ball, start)
    rows = sum(map(len, movable.values()))

    def directions() -> dict[str, Tensor]:
        return ball.stretched(_directions(start, movable, generator), size)

    best = directions()
    most = loss(best)
    for query in range(1, queries):
        if query % POOL == 1:  # directions for all rows at once: a query uses a share of them
            pool = directions()
        share = SHARE * (1 - query / queries) ** 2 + 1 / max(1, rows)
        sign = 1 - 2 * int(draw.integers(2))
        chosen = {
            key: some[torch.from_numpy(np.flatnonzero(draw.random(len(some)) < share)).to(some)]
            for key, some in movable.items()
        }
        before = {key: best[key][some] for key, some in chosen.items()}
        whole = best
        for key, some in chosen.items():
            best[key][some] = sign * pool[key][some]
        if ball.norm != "row":
            best = ball.stretched(best, size)
        reached = loss(best)
        if reached > most:
            most = reached
            continue
        best = whole
        for key, some in chosen.items():
            best[key][some] = before[key]
    return ball.within(best, size)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of torch: what a query computes is too little to be worth waiting for a second."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Loss:
    """A query: minus the smooth NDCG of some users' own first items, summed, from their scores."""

    def __init__(
        self, model: Recommender, target: Target, temperature: Tensor, draw: np.random.Generator
    ) -> None:
        everyone = np.flatnonzero(target.relevant.user_degrees())
        users = np.sort(draw.choice(everyone, min(SAMPLE_USERS, len(everyone)), replace=False))
        self.model, self.k = model, target.k
        self.users = torch.from_numpy(users).to(temperature.device)
        self.own = torch.tensor([int(target.relevant.of(user)[0]) for user in users])
        self.own = self.own.to(temperature.device)[:, None]
        hidden = torch.zeros(len(users), model.n_items, dtype=torch.bool)
        for row, user in enumerate(users):
            hidden[row, torch.from_numpy(target.known.of(user).astype(np.int64))] = True
        self.hidden = hidden.to(temperature.device)
        self.tau = temperature.detach()[self.users][:, None]
        self.weights = torch.ones(len(users), dtype=temperature.dtype, device=temperature.device)

    def __call__(self, noise: Noise) -> float:
        with torch.no_grad(), evaluating(self.model):
            scores = self.model.scores(self.users, noise)
        x = (scores - scores.gather(1, self.own)) / self.tau
        x[self.hidden] = -torch.inf
        return float(ndcg(x, self.weights, self.k)[0].double().sum())


def _movable(ball: Ball, start: Noise) -> dict[str, Tensor]:
    """The rows that are searched over: those of items, or all where there are none."""
    of_items = {key: owner["items"] for key, owner in ball.owners.items() if "items" in owner}
    rows = {}
    for key, value in start.items():
        first, last = of_items.get(key, (0, 0) if of_items else (0, len(value)))
        some = torch.arange(first, last)
        if key in ball.live:
            some = some[ball.live[key][some.to(value.device), 0].cpu()]
        rows[key] = some.to(value.device)
    return rows


def _directions(
    start: Noise, rows: dict[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    noise = {key: torch.zeros_like(value) for key, value in start.items()}
    for key, some in rows.items():
        drawn = torch.randn(len(some), start[key].shape[-1], generator=generator)
        noise[key][some] = drawn.to(start[key])
    return noise
