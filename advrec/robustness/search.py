"""The search for noise on whole tables: what is raised (an objective), and how (a plan).

Γ is the gradient of the objective over *all* training pairs, each with one fresh negative, and Δ
moves every row of the table by eps: training perturbs only the rows of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from advrec.choices import NOISES, SAMPLE_NORMS
from advrec.errors import UsageError
from advrec.models.base import Noise, Recommender
from advrec.ops.positives import Positives
from advrec.robustness import perturb

DEFAULT_OBJECTIVE: Final = "bpr"


@dataclass(frozen=True)
class Plan:
    """How one noise is searched for; the same plan on the same model gives the same noise."""

    noise: str = "adversarial"  # "random": the control, same rows and row norms
    site: str | None = None  # None: the model's first
    norm: str | None = None  # None: the site's first that whole tables can have
    steps: int = 1  # 1: the fast gradient method; more: projected gradient ascent
    step_size: float | None = None  # None: 2.5·eps/steps
    restarts: int = 1  # adversarial noise: the first starts at no noise, the others at random
    seed: int = 0  # of the negatives, the directions and the starts
    objective: str = DEFAULT_OBJECTIVE  # what adversarial noise raises: a key of OBJECTIVES

    def __post_init__(self) -> None:
        if self.noise not in NOISES:
            raise UsageError(f"unknown noise {self.noise!r}: choose {' or '.join(NOISES)}")
        if self.objective not in OBJECTIVES:
            raise UsageError(
                f"unknown objective {self.objective!r}: choose {' or '.join(OBJECTIVES)}"
            )
        for name, value in (("steps", self.steps), ("restarts", self.restarts)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise UsageError(f"step_size must be a number above 0, got {self.step_size}")
        if self.noise == "random" and (self.steps > 1 or self.step_size is not None):
            raise UsageError(
                "random noise takes no steps: steps must be 1 and step_size unset",
                hint="use adversarial noise",
            )

    def settled(self, model: Recommender) -> Plan:
        """The plan with the names that site and norm have in this model. Raises UsageError."""
        site = model.site(self.site)
        whole = site.table_norms
        norm = self.norm or (whole or site.norms)[0]
        if norm in SAMPLE_NORMS:
            raise UsageError(
                f"norm {norm!r} perturbs the triplets of a batch; an attack perturbs whole tables",
                hint=f"use {' or '.join(whole)}" if whole else None,
            )
        return replace(self, site=model.check_site(site.name, norm).name, norm=norm)


class AttackObjective:
    """A loss over all of train as a function of the noise at one site of one model.

    This class is the objective "bpr": the loss that the model is trained with. Another objective
    is a subclass with a `losses` of its own (and a `draw`, if it needs other batches) and an entry
    in OBJECTIVES; the search uses nothing else.
    """

    def __init__(self, model: Recommender, positives: Positives, plan: Plan) -> None:
        """Draw the batches and take the gradient at no noise: one pass over train.

        Of the plan, site, norm and seed are used. Raises UsageError for a site or norm that the
        model does not have.
        """
        settled = plan.settled(model)
        assert settled.site is not None
        assert settled.norm is not None
        self.model, self.site, self.norm = model, settled.site, settled.norm
        self.batches = tuple(self.draw(positives, plan.seed))
        start = model.noise_like(self.site, self.norm, None)
        self.clean_loss, self.grads = self.gradient(start)  # summed over all entries; Γ

    def draw(self, positives: Positives, seed: int) -> Iterable[Tensor]:
        """The batches that the loss is summed over, together all of train once."""
        return self.model.attack_batches(positives, seed)

    def losses(self, batch: Tensor, noise: Noise) -> Tensor:
        """The loss of each entry of a batch at Θ + noise, [B]; differentiable in the noise."""
        return self.model.losses(batch, noise)

    @property
    def entries(self) -> int:
        """Triplets (or users) in all batches."""
        return sum(batch.shape[-1] for batch in self.batches)

    def loss(self, noise: Noise) -> float:
        """The loss at Θ + noise, summed over all entries."""
        with torch.no_grad(), _evaluating(self.model):
            return sum(float(self.losses(b, noise).double().sum()) for b in self.batches)

    def gradient(self, noise: Noise) -> tuple[float, dict[str, Tensor]]:
        """The loss at Θ + noise and its gradient there, both summed over all entries."""
        total = 0.0
        sums = {key: torch.zeros_like(value) for key, value in noise.items()}
        with torch.enable_grad(), _evaluating(self.model):
            for batch in self.batches:
                at = {key: value.detach().requires_grad_() for key, value in noise.items()}
                losses = self.losses(batch, at)
                grads = torch.autograd.grad(losses.sum(), tuple(at.values()))
                total += float(losses.detach().double().sum())
                for key, grad in zip(at, grads, strict=True):
                    sums[key] += grad
        return total, sums


OBJECTIVES: Final[dict[str, type[AttackObjective]]] = {DEFAULT_OBJECTIVE: AttackObjective}
"""Every objective by its name. A new one is its class and a line here."""


def noise_for(
    model: Recommender,
    positives: Positives,
    *,
    noise: str = "adversarial",
    eps: float,
    site: str | None = None,
    norm: str | None = None,
    steps: int = 1,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
    objective: str = DEFAULT_OBJECTIVE,
) -> dict[str, Tensor]:
    """The noise on whole tables to pass to `Recommender.vectors`, `scores` or `evaluate`.

    Of all candidates (the fast gradient point, every point on the way of every restart) the one
    with the largest loss over the same triplets: steps and restarts never make it weaker.
    Random noise has the row norms of the fast gradient's; of several restarts the worst is kept.
    Raises UsageError for an option that is unknown, out of range or not one of the model's.
    """
    plan = Plan(noise, site, norm, steps, step_size, restarts, seed, objective)
    return seek(OBJECTIVES[objective](model, positives, plan), plan, eps)


def seek(objective: AttackObjective, plan: Plan, eps: float) -> dict[str, Tensor]:
    """The noise within eps with the largest loss among those that the plan visits."""
    generator = torch.Generator().manual_seed(plan.seed)
    grads, norm = objective.grads, objective.norm
    if plan.noise == "random":
        draws = (
            perturb.random_like(grads, eps=eps, norm=norm, generator=generator)
            for _ in range(plan.restarts)
        )
        return next(draws) if plan.restarts == 1 else _worst(objective, draws)
    fast = perturb.fgm(grads, eps=eps, norm=norm)
    if plan.steps == plan.restarts == 1 and plan.step_size is None:
        return fast
    return _worst(objective, _ascents(objective, fast, plan, eps, generator))


def _worst(
    objective: AttackObjective, candidates: Iterator[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The candidate with the largest loss, the earliest of equals."""
    worst = next(candidates)
    largest = objective.loss(worst)
    for delta in candidates:
        loss = objective.loss(delta)
        if loss > largest:
            worst, largest = delta, loss
    return worst


def _ascents(
    objective: AttackObjective,
    fast: dict[str, Tensor],
    plan: Plan,
    eps: float,
    generator: torch.Generator,
) -> Iterator[dict[str, Tensor]]:
    """Every point of every restart: normalised gradient steps, each projected onto the ball."""
    yield fast
    norm = objective.norm
    size = 2.5 * eps / plan.steps if plan.step_size is None else plan.step_size
    for restart in range(plan.restarts):
        if restart == 0:
            delta = {key: torch.zeros_like(grad) for key, grad in objective.grads.items()}
        else:
            delta = perturb.random_start(objective.grads, eps=eps, norm=norm, generator=generator)
        for _ in range(plan.steps):
            step = perturb.fgm(objective.gradient(delta)[1], eps=size, norm=norm)
            moved = {key: delta[key] + step[key] for key in delta}
            delta = perturb.project(moved, eps=eps, norm=norm)
            yield delta


@contextmanager
def _evaluating(model: Recommender) -> Iterator[None]:
    """Evaluation mode, so no dropout; afterwards the model is in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
