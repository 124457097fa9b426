"""Objectives that attack the ranking itself: smooth NDCG at K and the saturating softmax.

Search: Frank–Wolfe, Δ ← Δ + 2/(t + 2)·(Δ* − Δ) with Δ* = eps·Γ/‖Γ‖: no step size, and every point
lies in the ball. What has no gradient stays where it is: its rankings are lost already, and moving
it back to 0 would restore them. The restarts differ in their temperature, and the end of each is a
candidate; the one with the smallest metric is kept.

The temperature of user u is in proportion to how far noise of this size moves its scores,
τ_u = .1·(δ_q·‖p_u‖ + δ_p·q̄), where δ_p and δ_q are the mean lengths by which the fast gradient step
of the loss of training moves user and item vectors (eps, where the vectors are the perturbed rows)
and q̄ is the mean item norm. One temperature for all users would take the gradient from a user whose
vector is merely scaled, which changes no ranking. Under a relative budget δ_p is that of the user,
and τ_u = .2·ρ·‖p_u‖·q̄ where the vectors are the perturbed rows. A model without vectors has
τ_u = .3 times the mean length by which the step moves the user's scores.

The gradient of the loss in the vectors is a pass of the core; autograd takes it back to the noise.
Without vectors the scores of a block of users at a time are taken back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from advrec import ops
from advrec.errors import UsageError
from advrec.models.base import Noise, Recommender
from advrec.ops.positives import Positives
from advrec.robustness import perturb, rank_loss
from advrec.robustness.ball import Ball
from advrec.robustness.goal import AttackObjective, evaluating
from advrec.robustness.score_loss import loss_of_scores, shift_of_scores

if TYPE_CHECKING:
    from advrec.robustness.search import Plan
    from advrec.robustness.target import Target


class SmoothNdcg(AttackObjective):
    """The objective "ndcg": minus the smooth NDCG of the relevant items at the metric's K."""

    smooth = "ndcg"
    labels = "self"
    steps = 20
    restarts = 4
    most_restarts = 4
    step_sizes = False
    needs_target = True
    keeps_smaller = True
    temperatures: ClassVar[tuple[float, ...]] = (1.0, 0.5, 2.0, 0.25)
    """In units of τ_u, one per restart."""

    target: Target

    def __init__(
        self,
        model: Recommender,
        positives: Positives,
        plan: Plan,
        target: Target | None = None,
        ball: Ball | None = None,
    ) -> None:
        """Takes the gradient of the loss of training once, for the temperatures."""
        self.check(model, plan)
        settled = plan.settled(model)
        assert settled.site is not None
        assert settled.norm is not None
        if target is None:
            raise UsageError(
                f"objective {plan.objective!r} needs the data set, got training pairs only",
                hint="use advrec.attack",
            )
        self.model, self.site, self.norm = model, settled.site, settled.norm
        self.ball = ball or Ball(settled.site, settled.norm)
        self.target, self.batches = target, ()
        self.start = model.noise_like(self.site, self.norm, None)
        self.grads = AttackObjective(model, positives, plan.of_training()).grads
        self.temperature, self.clean_loss = self.temperature_at(0.0), 0.0

    @classmethod
    def check(cls, model: Recommender, plan: Plan) -> None:
        """Any model with vectors or scores has a ranking."""

    @property
    def entries(self) -> int:
        """Relevant items of all users."""
        return len(self.target.relevant)

    def at(self, eps: float) -> SmoothNdcg:
        """The objective with the temperatures for noise of this size."""
        sized = copy.copy(self)
        sized.temperature = self.temperature_at(eps) * self.temperatures[0]
        sized.clean_loss = sized.loss(self.start)
        return sized

    def loss(self, noise: Noise) -> float:
        """L at Θ + noise."""
        with torch.no_grad(), evaluating(self.model):
            vectors = self.model.vectors(noise)
            if vectors is None:
                lists = self.target.relevant, self.target.known
                return loss_of_scores(
                    self.smooth, self.model, noise, self.temperature, *lists, self.target.k
                )[0]
            return self._rank_loss(*vectors, self.temperature).loss

    def gradient(self, noise: Noise) -> tuple[float, dict[str, Tensor]]:
        """L at Θ + noise and its gradient there."""
        return self.gradient_at(noise, self.temperature)

    def harm(self, noise: Noise) -> float:
        """Minus the metric under the noise."""
        return -self.target.figure(noise)

    def candidates(
        self,
        plan: Plan,
        eps: float,
        generator: torch.Generator,  # noqa: ARG002 - nothing here is random
    ) -> Iterator[dict[str, Tensor]]:
        """The end of Frank–Wolfe at every temperature."""
        assert plan.steps is not None
        base = self.temperature_at(eps)
        for factor in self.temperatures[: plan.restarts]:
            delta = self.start
            for step in range(plan.steps):
                _, grads = self.gradient_at(delta, base * factor)
                delta = self.ascended(delta, grads, eps, step)
            yield self.ball.within(delta, eps)

    def ascended(self, delta: Noise, grads: Noise, eps: float, step: int) -> dict[str, Tensor]:
        """One step of Frank–Wolfe, the first is 0; what has no gradient stays where it is."""
        vertex = self.ball.vertex(grads, eps)
        peaks = perturb.NORMS[self.norm].peaks(grads)
        pace = 2 / (step + 2)
        return {
            key: torch.where(peaks[key] > 0, at + pace * (vertex[key] - at), at)
            for key, at in delta.items()
        }

    @torch.no_grad()
    def temperature_at(self, eps: float) -> Tensor:
        """τ_u of the formula above, [U]; small but not 0 for users that noise does not move."""
        fast = self.ball.vertex(self.grads, eps)
        with evaluating(self.model):
            clean = self.model.vectors(self.start)
            if clean is None:
                return shift_of_scores(self.model, fast) * 0.3
            if self.ball.rates is not None:
                tau = (0.1 * eps * self.ball.rates).to(clean[0])
            else:
                moved = self.model.vectors(fast)
                assert moved is not None
                tau = 0.1 * self._shifts(clean, moved)
        floor = torch.finfo(tau.dtype).eps * (clean[0].norm(dim=1) * _mean(clean[1].norm(dim=1)))
        return torch.maximum(tau, floor).clamp_min_(torch.finfo(tau.dtype).tiny)

    def _shifts(self, clean: tuple[Tensor, Tensor], moved: tuple[Tensor, Tensor]) -> Tensor:
        """δ_q·‖p_u‖ + δ_p·q̄."""
        users, items = (after - before for before, after in zip(clean, moved, strict=True))
        of_users = _mean_shift(users)
        if self.ball.unit == "rho":
            own = users.norm(dim=1)
            of_users = torch.where(own > 0, own, of_users)
        by_items = _mean_shift(items) * clean[0].norm(dim=1)
        sums: Tensor = by_items + of_users * _mean(clean[1].norm(dim=1))
        return sums

    def gradient_at(self, noise: Noise, temperature: Tensor) -> tuple[float, dict[str, Tensor]]:
        """L and its gradient at this temperature of each user, [U]."""
        with evaluating(self.model):
            if type(self.model).vectors is Recommender.vectors:
                target = self.target
                of_scores = (self.smooth, self.model, noise, temperature)
                return loss_of_scores(
                    *of_scores, target.relevant, target.known, target.k, gradient=True
                )
            loss = 0.0

            def slopes(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
                nonlocal loss
                loss, *by_vector = self._rank_loss(users, items, temperature)
                return by_vector[0], by_vector[1]

            grads = pulled_back(self.model, noise, slopes)
        return loss, grads

    def _rank_loss(self, users: Tensor, items: Tensor, tau: Tensor) -> rank_loss.RankLoss:
        target = self.target
        return rank_loss.rank_loss(
            self.smooth, users, items, tau, target.relevant, target.known, target.k
        )


def pulled_back(
    model: Recommender,
    noise: Noise,
    slopes: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> dict[str, Tensor]:
    """The gradient in the noise, from that in the vectors under it, which `slopes` gives."""
    at = {key: value.detach().requires_grad_() for key, value in noise.items()}
    with torch.enable_grad():
        vectors = model.vectors(at)
        assert vectors is not None
        with torch.no_grad():
            by_vector = slopes(*vectors)
        moved = [(v, by) for v, by in zip(vectors, by_vector, strict=True) if v.requires_grad]
        grads = torch.autograd.grad(
            [v for v, _ in moved],
            tuple(at.values()),
            [by for _, by in moved],
            allow_unused=True,
        )
    return {
        key: torch.zeros_like(value) if grad is None else grad
        for (key, value), grad in zip(noise.items(), grads, strict=True)
    }


class SaturatingSoftmax(SmoothNdcg):
    """The objective "softmax": minus the probability of each relevant item, in one step."""

    smooth = "softmax"
    steps = 1
    restarts = 1
    temperatures = (2.0, 1.0, 0.5, 0.25)


def _mean(values: Tensor) -> Tensor:
    return ops.total(values) / len(values)


def _mean_shift(change: Tensor) -> Tensor:
    """The mean length of the rows that are not zero; 0 where all are."""
    lengths = change.norm(dim=1)
    mean: Tensor = ops.total(lengths) / (lengths > 0).sum().clamp_min(1)
    return mean
