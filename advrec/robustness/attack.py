"""What the worst perturbation of a given size does to a trained model, and a random one beside it.

Γ is the gradient of the loss over *all* training pairs, each with one fresh negative, and Δ moves
every row of the table by eps: much more than the batch's rows that training perturbs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from advrec.choices import NOISES, SAMPLE_NORMS, Part
from advrec.errors import UsageError
from advrec.evaluation.evaluate import Evaluation, evaluate
from advrec.evaluation.metrics import DEFAULT_KS, DEFAULT_METRICS
from advrec.models.base import Noise, Recommender
from advrec.ops.positives import Positives
from advrec.robustness import perturb
from advrec.robustness.objective import gradient

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset


@dataclass(frozen=True)
class Plan:
    """How a noise is sought; the same plan on the same model finds the same noise."""

    kind: str = "adversarial"  # "random": the control, same rows and row norms
    site: str | None = None  # None: the model's first
    norm: str | None = None  # None: the site's first that whole tables can have
    steps: int = 1  # 1: the fast gradient method; more: projected gradient ascent
    step_size: float | None = None  # None: 2.5·eps/steps
    restarts: int = 1  # for adversarial noise the first starts at no noise, others at random
    seed: int = 0  # of the negatives, the directions and the starts

    def __post_init__(self) -> None:
        if self.kind not in NOISES:
            raise UsageError(f"unknown noise {self.kind!r}: choose {' or '.join(NOISES)}")
        for name, value in (("steps", self.steps), ("restarts", self.restarts)):
            if value < 1:
                raise UsageError(f"{name} is {value}; wanted at least 1.")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise UsageError(f"step_size is {self.step_size}; wanted a number above 0.")
        if self.kind == "random" and (self.steps > 1 or self.step_size is not None):
            raise UsageError("Random noise takes no steps.", hint="use noise 'adversarial'")

    def settled(self, model: Recommender) -> tuple[str, str]:
        """The site's own name and the norm, as this model has them. Raises UsageError."""
        site = model.site(self.site)
        whole = site.table_norms
        norm = self.norm or (whole or site.norms)[0]
        if norm in SAMPLE_NORMS:
            raise UsageError(
                f"norm {norm!r} perturbs the triplets of a batch; an attack perturbs whole tables",
                hint=f"use {' or '.join(whole)}" if whole else None,
            )
        return model.check_site(site.name, norm).name, norm


@dataclass(frozen=True, eq=False)
class AttackResult:
    """One noise: how large it is, what it does to the loss, and what to the rankings."""

    plan: Plan  # with site and norm filled in
    eps: float
    budget: perturb.Budget  # as measured on the noise
    clean_loss: float  # mean over the training triplets
    noisy_loss: float  # the same at Θ + Δ
    clean: Evaluation
    noisy: Evaluation

    @property
    def change(self) -> dict[str, float]:
        """Each metric's relative change, −0.13 for 13 % lost; NaN where the clean one is 0."""
        return {
            name: self.noisy.values[name] / value - 1 if value else math.nan
            for name, value in self.clean.values.items()
        }

    def to_dict(self) -> dict[str, object]:
        """Everything but the arrays, ready for JSON; a change that is undefined is null."""
        change = {key: None if math.isnan(x) else x for key, x in self.change.items()}
        return {
            **asdict(self.plan),
            "eps": self.eps,
            "budget": asdict(self.budget),
            "clean_loss": self.clean_loss,
            "noisy_loss": self.noisy_loss,
            "clean": self.clean.to_dict(),
            "noisy": self.noisy.to_dict(),
            "change": change,
        }


def attack(
    model: Recommender,
    dataset: Dataset,
    *,
    noise: str = "adversarial",
    eps: float | Sequence[float] = 0.5,
    site: str | None = None,
    norm: str | None = None,
    steps: int = 1,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
    part: Part = "test",
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    sampled: int | None = None,
    sampled_seed: int = 0,
    clean: Evaluation | None = None,
) -> list[AttackResult]:
    """Evaluate the model as it is and under one noise of each eps; one result an eps, in order.

    Γ is computed once for all of them. `clean` spares the evaluation without noise where the caller
    has made it with the same options. The model is left as it was.
    Raises UsageError for what the model cannot do, and what `evaluate` raises.
    """

    def rankings(delta: Noise | None) -> Evaluation:
        return evaluate(
            model,
            dataset,
            part=part,
            ks=ks,
            metrics=metrics,
            noise=delta,
            sampled=sampled,
            sampled_seed=sampled_seed,
        )

    plan = Plan(noise, site, norm, steps, step_size, restarts, seed)
    budgets = [eps] if isinstance(eps, (int, float)) else list(eps)
    positives = Positives.from_pairs(dataset.train, next(model.parameters()).device)
    surface = Surface.of(model, positives, plan)
    tables = model.tables(surface.site)
    without = rankings(None) if clean is None else clean
    results = []
    for size in budgets:
        delta = surface.seek(plan, size)
        results.append(
            AttackResult(
                plan=replace(plan, site=surface.site, norm=surface.norm),
                eps=float(size),
                budget=perturb.measure(delta, tables, surface.norm),
                clean_loss=surface.clean_loss / surface.entries,
                noisy_loss=surface.loss(delta) / surface.entries,
                clean=without,
                noisy=rankings(delta),
            )
        )
    return results


def noise_for(
    model: Recommender,
    positives: Positives,
    *,
    kind: str = "adversarial",
    eps: float,
    site: str | None = None,
    norm: str | None = None,
    steps: int = 1,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The noise on whole tables to pass to `Recommender.vectors`, `scores` or `evaluate`.

    Of all candidates (the fast gradient point, every point on the way of every restart) the one
    with the largest loss over the same triplets: steps and restarts never make it weaker.
    Random noise has the row norms of the fast gradient's; of several restarts the worst is kept.
    Raises UsageError for a kind, site, norm or number that makes no sense.
    """
    plan = Plan(kind, site, norm, steps, step_size, restarts, seed)
    return Surface.of(model, positives, plan).seek(plan, eps)


@dataclass(frozen=True, eq=False)
class Surface:
    """The loss over all of train as a function of the noise at one site of one model."""

    model: Recommender
    batches: tuple[Tensor, ...]  # from Recommender.attack_batches
    site: str
    norm: str
    clean_loss: float  # summed over all entries of all batches
    grads: Mapping[str, Tensor]  # Γ, at no noise

    @classmethod
    def of(cls, model: Recommender, positives: Positives, plan: Plan) -> Surface:
        """Draw the triplets and take the gradient at no noise: one pass over train."""
        site, norm = plan.settled(model)
        batches = tuple(model.attack_batches(positives, plan.seed))
        loss, grads = _loss_and_gradient(model, batches, site, norm, None)
        return cls(model, batches, site, norm, loss, grads)

    @property
    def entries(self) -> int:
        """Triplets (or users) in all batches."""
        return sum(batch.shape[-1] for batch in self.batches)

    def loss(self, noise: Noise) -> float:
        """The loss at Θ + noise, summed over all entries."""
        with torch.no_grad(), _deterministic(self.model):
            return sum(float(self.model.losses(b, noise).double().sum()) for b in self.batches)

    def seek(self, plan: Plan, eps: float) -> dict[str, Tensor]:
        """The worst noise within eps that the plan finds."""
        generator = torch.Generator().manual_seed(plan.seed)
        if plan.kind == "random":
            draws = (
                perturb.random_like(self.grads, eps=eps, norm=self.norm, generator=generator)
                for _ in range(plan.restarts)
            )
            return next(draws) if plan.restarts == 1 else self._worst(draws)
        fast = perturb.fgm(self.grads, eps=eps, norm=self.norm)
        if plan.steps == plan.restarts == 1 and plan.step_size is None:
            return fast
        return self._worst(self._ascents(fast, plan, eps, generator))

    def _worst(self, candidates: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The candidate with the largest loss, the earliest of equals."""
        worst = next(candidates)
        largest = self.loss(worst)
        for noise in candidates:
            loss = self.loss(noise)
            if loss > largest:
                worst, largest = noise, loss
        return worst

    def _ascents(
        self,
        fast: dict[str, Tensor],
        plan: Plan,
        eps: float,
        generator: torch.Generator,
    ) -> Iterator[dict[str, Tensor]]:
        """Every point of every restart: normalised gradient steps, each projected onto the ball."""
        yield fast
        size = 2.5 * eps / plan.steps if plan.step_size is None else plan.step_size
        for restart in range(plan.restarts):
            if restart == 0:
                noise = {key: torch.zeros_like(grad) for key, grad in self.grads.items()}
            else:
                noise = perturb.random_start(
                    self.grads, eps=eps, norm=self.norm, generator=generator
                )
            for _ in range(plan.steps):
                grads = self._gradient(noise)
                step = perturb.fgm(grads, eps=size, norm=self.norm)
                moved = {key: noise[key] + step[key] for key in noise}
                noise = perturb.project(moved, eps=eps, norm=self.norm)
                yield noise

    def _gradient(self, noise: Noise) -> Mapping[str, Tensor]:
        return _loss_and_gradient(self.model, self.batches, self.site, self.norm, noise)[1]


def _loss_and_gradient(
    model: Recommender,
    batches: Sequence[Tensor],
    site: str,
    norm: str,
    noise: Noise | None,
) -> tuple[float, dict[str, Tensor]]:
    """The loss at a noise and its gradient there, both summed over the batches."""
    total = 0.0
    at = model.noise_like(site, norm, None) if noise is None else noise
    sums = {key: torch.zeros_like(value) for key, value in at.items()}
    with _deterministic(model):
        for batch in batches:
            losses, grads = gradient(model, batch, site=site, norm=norm, at=at)
            total += float(losses.detach().double().sum())
            for key, grad in grads.items():
                sums[key] += grad
    return total, sums


@contextmanager
def _deterministic(model: Recommender) -> Iterator[None]:
    """Evaluation mode, no dropout; the model is given back in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
