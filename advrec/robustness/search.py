"""The search for noise on whole tables: which objective is raised, and how (a plan).

By default Γ is the gradient of the model's loss over *all* training pairs, each with one fresh
negative, and Δ moves every row of the table by eps: training perturbs only the rows of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from advrec.choices import LABELS, NOISES, SAMPLE_NORMS
from advrec.errors import UsageError
from advrec.models.base import Recommender
from advrec.ops.positives import Positives
from advrec.robustness.goal import AttackObjective
from advrec.robustness.ranking import SaturatingSoftmax, SmoothNdcg
from advrec.validation import did_you_mean

if TYPE_CHECKING:
    from advrec.robustness.target import Target

DEFAULT_OBJECTIVE: Final = "bpr"


@dataclass(frozen=True)
class Plan:
    """How one noise is searched for; the same plan on the same model gives the same noise."""

    noise: str = "adversarial"  # "random": the control, same rows and row norms
    site: str | None = None  # None: the model's first
    norm: str | None = None  # None: the site's first that whole tables can have
    steps: int | None = None  # None: the objective's; 1 is the fast gradient method
    step_size: float | None = None  # None: 2.5·eps/steps
    restarts: int | None = None  # None: the objective's
    seed: int = 0  # of the negatives, the directions and the starts
    objective: str = DEFAULT_OBJECTIVE  # what adversarial noise raises: a key of OBJECTIVES
    labels: str | None = None  # what it takes as relevant, see `target`; None: the objective's

    def __post_init__(self) -> None:
        if self.noise not in NOISES:
            raise UsageError(f"unknown noise {self.noise!r}: choose {' or '.join(NOISES)}")
        if self.objective not in OBJECTIVES:
            raise UsageError(
                f"unknown objective {self.objective!r}: choose {' or '.join(OBJECTIVES)}",
                hint=did_you_mean(self.objective, OBJECTIVES),
            )
        goal = OBJECTIVES[self.objective]
        for name in ("steps", "restarts", "labels"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(goal, name))
        if self.labels not in LABELS:
            raise UsageError(f"unknown labels {self.labels!r}: choose {' or '.join(LABELS)}")
        for name, value in (("steps", self.steps), ("restarts", self.restarts)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise UsageError(f"step_size must be a number above 0, got {self.step_size}")
        if self.step_size is not None and not goal.step_sizes:
            raise UsageError(
                f"objective {self.objective!r} has no step size, got step_size {self.step_size:g}"
            )
        most = goal.most_restarts
        if most is not None and self.restarts is not None and self.restarts > most:
            raise UsageError(
                f"objective {self.objective!r} has at most {most} restarts, one per temperature,"
                f" got {self.restarts}"
            )
        if self.noise == "random":
            self._check_random()

    def _check_random(self) -> None:
        if not self.usual:
            raise UsageError(
                "random noise has neither objective nor labels",
                hint="use adversarial noise",
            )
        if self.steps != 1 or self.step_size is not None:
            raise UsageError(
                "random noise takes no steps: steps must be 1 and step_size unset",
                hint="use adversarial noise",
            )

    @property
    def usual(self) -> bool:
        """Is it the loss of training on training pairs that is raised?"""
        return (self.objective, self.labels) == (DEFAULT_OBJECTIVE, AttackObjective.labels)

    def of_training(self) -> Plan:
        """The one step that raises the loss of training, at the same site and with this seed."""
        return Plan(site=self.site, norm=self.norm, seed=self.seed)

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
        OBJECTIVES[self.objective].check(model, self)
        return replace(self, site=model.check_site(site.name, norm).name, norm=norm)


OBJECTIVES: Final[dict[str, type[AttackObjective]]] = {
    DEFAULT_OBJECTIVE: AttackObjective,
    "softmax": SaturatingSoftmax,
    "ndcg": SmoothNdcg,
}
"""Every objective by its name. A new one is its class and a line here."""


def noise_for(
    model: Recommender,
    positives: Positives,
    *,
    noise: str = "adversarial",
    eps: float,
    site: str | None = None,
    norm: str | None = None,
    steps: int | None = None,
    step_size: float | None = None,
    restarts: int | None = None,
    seed: int = 0,
    objective: str = DEFAULT_OBJECTIVE,
    labels: str | None = None,
    target: Target | None = None,
) -> dict[str, Tensor]:
    """The noise on whole tables to pass to `Recommender.vectors`, `scores` or `evaluate`.

    Of all candidates (the fast gradient point, every point on the way of every restart) the one
    with the largest loss over the same triplets: steps and restarts never make it weaker. Of the
    objectives of rankings, which need a `target`: the end of every restart with the smallest
    figure of the target.
    Random noise has the row norms of the fast gradient's; of several restarts the worst is kept.
    Raises UsageError for an option that is unknown, out of range or not one of the model's.
    """
    plan = Plan(noise, site, norm, steps, step_size, restarts, seed, objective, labels)
    return seek(OBJECTIVES[objective](model, positives, plan, target).at(eps), plan, eps)


def seek(
    objective: AttackObjective,
    plan: Plan,
    eps: float,
    known: Iterable[dict[str, Tensor]] = (),
) -> dict[str, Tensor]:
    """The noise within eps that does most harm among those that the plan visits.

    `known`: further candidates of adversarial noise, such as the noise of a smaller eps.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    if plan.noise == "random":
        assert plan.restarts is not None
        return _worst(
            objective,
            (
                objective.ball.random_like(objective.grads, eps, generator)
                for _ in range(plan.restarts)
            ),
        )
    return _worst(objective, chain(known, objective.candidates(plan, eps, generator)))


def _worst(
    objective: AttackObjective, candidates: Iterator[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The candidate that does most harm, the earliest of equals; one alone is not measured."""
    worst = next(candidates)
    most = None
    for delta in candidates:
        if most is None:
            most = objective.harm(worst)
        harm = objective.harm(delta)
        if harm > most:
            worst, most = delta, harm
    return worst
