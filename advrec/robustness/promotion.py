"""Targeted noise: promote or demote one item by moving its own row.

Exposure@K of item t is the share of users whose list of K holds it. To promote it,

    Σ_u σ((s_ut − s_u^(K))/τ_u)

is raised over q_t's row alone, s_u^(K) the K-th best score of the other items that user u can be
shown, in 30 steps of Frank–Wolfe; to demote it, the sign is flipped. The step with the best
exposure is kept. τ_u = .1·δ_u, where δ_u is how far the whole budget can move s_ut, measured along
the first gradient; users who have the item already are left out of the sum, not of the share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from advrec.choices import Part
from advrec.data.dataset import Pairs
from advrec.errors import DataError, UsageError
from advrec.evaluation.scorer import merged_rows, scoring
from advrec.models.base import Noise, Recommender
from advrec.robustness.attack import budgets
from advrec.robustness.ball import Ball, ball_of, compared, exposure
from advrec.robustness.goal import evaluating
from advrec.robustness.score_loss import BLOCK_SCORES
from advrec.robustness.search import Plan
from advrec.validation import did_you_mean

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset

STEPS: Final = 30
GOALS: Final = ("promote", "demote")


@dataclass(frozen=True)
class Promotion:
    """What moving one item's row does to its exposure."""

    goal: str  # "promote" or "demote"
    item: str
    site: str
    norm: str
    unit: str  # "eps" or "rho"
    size: float
    measured: float  # the budget it needs
    k: int
    part: Part
    before: float  # exposure@K without noise
    after: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "goal": self.goal,
            "item": self.item,
            "site": self.site,
            "norm": self.norm,
            self.unit: self.size,
            "measured": self.measured,
            "part": self.part,
            f"exposure@{self.k}": {"before": self.before, "after": self.after},
        }


def promote(
    model: Recommender,
    dataset: Dataset,
    items: Sequence[str],
    *,
    goal: str = "promote",
    eps: float | Sequence[float] | None = None,
    rho: float | Sequence[float] | None = None,
    site: str | None = None,
    norm: str | None = None,
    k: int = 20,
    part: Part = "test",
) -> list[Promotion]:
    """Promote or demote each item, at each budget; one result per item and size.

    Raises UsageError for a goal, budget or site that makes no sense, DataError for an unknown item.
    """
    if goal not in GOALS:
        raise UsageError(f"unknown goal {goal!r}: choose {' or '.join(GOALS)}")
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    unit, sizes = budgets(eps, rho)
    targets = [_dense(item, dataset) for item in items]
    plan = Plan(site=site, norm=norm).settled(model)
    place, measure = str(plan.site), str(plan.norm)
    shown = exposure(model, dataset, part, k) if unit == "rho" else None
    whole = ball_of(model, place, measure, unit=unit, exposure=shown)
    if not any("items" in owners for owners in whole.owners.values()):
        raise UsageError(
            f"site {place!r} of model {model.name!r} has no rows of items, so none can be moved"
        )
    hidden = [dataset.train, dataset.valid] if part == "test" else [dataset.train]
    everyone = np.arange(dataset.n_users)
    known = Pairs(*merged_rows(hidden, everyone), dataset.n_items)
    results = []
    for item, target in zip(items, targets, strict=True):
        attempt = _Attempt(model, dataset, _only(whole, target), target, known, k, goal)
        for size in sizes:
            noise, after = attempt.best(size)
            measured = attempt.ball.size_of(noise)
            results.append(
                Promotion(
                    goal,
                    item,
                    place,
                    measure,
                    unit,
                    size,
                    measured,
                    k,
                    part,
                    attempt.before,
                    after,
                )
            )
    return results


class _Attempt:
    """One item and one goal."""

    def __init__(
        self,
        model: Recommender,
        dataset: Dataset,
        ball: Ball,
        target: int,
        known: Pairs,
        k: int,
        goal: str,
    ) -> None:
        self.model, self.dataset, self.ball, self.target = model, dataset, ball, target
        self.k, self.sign = min(k, dataset.n_items), 1.0 if goal == "promote" else -1.0
        owners = known.users().astype(np.int64)
        self.free = np.ones(dataset.n_users, dtype=bool)  # who can be shown the item
        self.free[owners[known.items == target]] = False
        unseen = np.flatnonzero(self.free)
        self.known = known
        self.others = Pairs.from_coo(
            np.concatenate([owners, unseen]),
            np.concatenate([known.items, np.full(len(unseen), target)]),
            dataset.n_users,
            dataset.n_items,
        )
        self.start = model.noise_like(ball.site, ball.norm, None)
        self.fixed: Tensor | None = None
        self.before = self.exposure(self.start)

    def exposure(self, noise: Noise) -> float:
        """The share of users whose list holds the item."""
        holds = sum(int((ids == self.target).sum()) for _, ids, _ in self._lists(noise, self.known))
        return holds / self.dataset.n_users

    def best(self, size: float) -> tuple[dict[str, Tensor], float]:
        """The noise with the best exposure on the way, and that exposure.

        On the way the users are counted whose score of the item is above the bar.
        """
        best, most = dict(self.start), -np.inf
        delta, tau = dict(self.start), self._temperature(size)
        for step in range(STEPS + 1):
            bars = self._bars(delta)
            grads, scores = self._gradient(delta, bars, tau)
            exposed = self.sign * int(((scores > bars).cpu().numpy() & self.free).sum())
            if exposed > most:
                best, most = delta, exposed
            vertex = self.ball.vertex(grads, size)
            pace = 2 / (step + 2)
            delta = {key: at + pace * (vertex[key] - at) for key, at in delta.items()}
        noise = self.ball.within(best, size)
        after, before = self.exposure(noise), self.before
        return (noise, after) if self.sign * (after - before) > 0 else (dict(self.start), before)

    def _lists(
        self, noise: Noise, hidden: Pairs
    ) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Tensor]]:
        """Users, their lists and the scores in these, a block at a time."""
        with scoring(self.model, self.dataset, noise) as scorer:
            step = scorer.block_users()
            for first in range(0, self.dataset.n_users, step):
                users = np.arange(first, min(first + step, self.dataset.n_users))
                nothing = (np.zeros(len(users) + 1, np.int64), np.empty(0, np.int32))
                ranking = scorer.rank(users, merged_rows([hidden], users), nothing, self.k)
                yield users, ranking.ids.cpu().numpy(), ranking.scores

    def _bars(self, noise: Noise) -> Tensor:
        """[U] the K-th best score of the other items; −∞ where there are fewer.

        The same under all noise where the item's row moves its own vector only.
        """
        if self.fixed is not None:
            return self.fixed
        bars = []
        for _, ids, scores in self._lists(noise, self.others):
            last = torch.from_numpy(ids[:, -1] >= 0).to(scores.device)
            bars.append(torch.where(last, scores[:, -1], -torch.inf))
        whole = torch.cat(bars)
        if compared(self.model, self.ball.site):
            self.fixed = whole
        return whole

    def _gradient(
        self, noise: Noise, bars: Tensor, tau: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The gradient of what is raised, and the target's scores [U]; without τ of Σ_u s_ut."""
        at = {key: value.detach().requires_grad_() for key, value in noise.items()}
        sums = {key: torch.zeros_like(value) for key, value in noise.items()}
        parts = []
        users = torch.from_numpy(np.flatnonzero(self.free)).to(next(iter(noise.values())).device)
        with torch.enable_grad(), evaluating(self.model):
            whole = type(self.model).vectors is not Recommender.vectors
            size = len(users) if whole else max(1, BLOCK_SCORES // self.model.n_items)
            for block in torch.split(users, size):
                scores = self._scores(block, at)
                gaps = scores if tau is None else torch.sigmoid((scores - bars[block]) / tau[block])
                total = self.sign * gaps.sum()
                grads = torch.autograd.grad(total, tuple(at.values()), allow_unused=True)
                for key, grad in zip(at, grads, strict=True):
                    if grad is not None:
                        sums[key] += grad
                parts.append(scores.detach())
        every = torch.zeros(self.dataset.n_users, device=users.device)
        every = every.to(parts[0].dtype) if parts else every
        if parts:
            every[users] = torch.cat(parts)
        return sums, every

    def _scores(self, users: Tensor, noise: Noise) -> Tensor:
        vectors = self.model.vectors(noise)
        if vectors is None:
            return self.model.scores(users, noise)[:, self.target]
        return vectors[0].index_select(0, users) @ vectors[1][self.target]

    def _temperature(self, size: float) -> Tensor:
        """τ_u, [U]: a tenth of how far the whole budget moves the item's score."""
        nothing = torch.zeros(self.dataset.n_users)
        grads, scores = self._gradient(self.start, nothing, None)
        _, moved = self._gradient(self.ball.vertex(grads, size), nothing, None)
        shift = (moved - scores).abs()
        floor = float(shift.mean()) * 1e-3 + torch.finfo(shift.dtype).tiny
        return 0.1 * shift.clamp_min(floor)


def _only(ball: Ball, item: int) -> Ball:
    """The same ball, in which one item's rows alone may move."""
    live, lengths = {}, {}
    for key, owners in ball.owners.items():
        if "items" not in owners and ball.norm == "row":
            rows = next(iter(owners.values()), (0, 0))[1]
            live[key] = torch.zeros(rows, 1, dtype=torch.bool)
        elif "items" in owners:
            first, last = owners["items"]
            live[key] = torch.zeros(last, 1, dtype=torch.bool)
            live[key][first + item] = True
        if ball.norm == "row":
            own = ball.lengths.get(key)
            whole = torch.ones(len(live[key]), 1, dtype=torch.float64) if own is None else own
            lengths[key] = whole * live[key].to(whole.device)
        else:
            lengths[key] = ball.lengths.get(key, torch.ones((), dtype=torch.float64))
    live = {key: rows.to(lengths[key].device) for key, rows in live.items()}
    return Ball(ball.site, ball.norm, "items", ball.unit, lengths, live, ball.owners, ball.form)


def _dense(item: str, dataset: Dataset) -> int:
    ids = list(dataset.item_ids)
    try:
        return ids.index(item)
    except ValueError:
        raise DataError(
            f"data set {dataset.name!r} has no item {item!r} among its {dataset.n_items:,} items",
            hint=did_you_mean(item, ids[:20_000]) or f"item ids look like {', '.join(ids[:3])}",
        ) from None
