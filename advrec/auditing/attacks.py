"""The attacks of an audit, at absolute and at relative budgets.

Relative budgets are taken in canonical form, and one more freedom is used there: a user's scale
changes no ranking, and a relative budget scales with it. With all users brought to the norm q̄, the
exposure-weighted mean item norm, the budget ρ is the same as an absolute ε = ρ·q̄ for every row of
both tables, so that every attack works on it unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from advrec.auditing.damage import Lists, top_lists
from advrec.choices import Part
from advrec.errors import UsageError
from advrec.evaluation.evaluate import Evaluation, evaluate
from advrec.models.base import Recommender
from advrec.ops.positives import Positives
from advrec.robustness.attack import share_lost
from advrec.robustness.budget import canonical, item_scale
from advrec.robustness.certify import METRICS, Certificate, threat_of
from advrec.robustness.search import OBJECTIVES, Plan, seek
from advrec.robustness.target import target_of
from advrec.runs.subject import model_of_vectors

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset

Say = Callable[[str], None]
KNOWLEDGE: Final = ("random", "label_free", "oracle")


class Way(NamedTuple):
    """One attack: what it knows, how noise is searched for, and whether a quick audit makes it."""

    name: str
    knowledge: str  # one of KNOWLEDGE
    plan: Mapping[str, Any]
    quick: bool = True


WAYS: Final = (
    Way("random directions", "random", {"noise": "random", "restarts": 3}),
    Way("BPR of training pairs, one step", "label_free", {}),
    Way("softmax of the own first item, one step", "label_free", {"objective": "softmax"}),
    Way(
        "NDCG of the own first item, 5 steps",
        "label_free",
        {"objective": "ndcg", "steps": 5, "restarts": 1},
        quick=False,
    ),
    Way("BPR of held-out items, one step", "oracle", {"labels": "test"}),
    Way(
        "softmax of held-out items, one step",
        "oracle",
        {"objective": "softmax", "labels": "test"},
    ),
    Way(
        "NDCG of held-out items, 5 steps",
        "oracle",
        {"objective": "ndcg", "labels": "test", "steps": 5, "restarts": 1},
        quick=False,
    ),
)
"""Every attack of an audit."""


@dataclass(frozen=True, eq=False)
class Member:
    """One attack at one budget."""

    budget: str  # "rho" or "eps"
    size: float
    way: Way
    evaluation: Evaluation
    noise: dict[str, Tensor]
    model: Recommender  # that the noise is added to: for "rho", the vectors in canonical form

    def lists(self, dataset: Dataset, part: Part, k: int) -> Lists:
        """What users are shown under the noise."""
        return top_lists(self.model, dataset, self.noise, part, k)

    def to_dict(self, clean: Evaluation, metric: str) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        value = self.evaluation.values[metric]
        lost = share_lost(clean.values[metric], value)
        return {
            "budget": self.budget,
            "size": self.size,
            "name": self.way.name,
            "knowledge": self.way.knowledge,
            "value": value,
            "lost": lost if clean.values[metric] else None,
        }


@dataclass(frozen=True, eq=False)
class Attacked:
    """Every attack on one model, at every budget."""

    clean: Evaluation
    members: tuple[Member, ...]

    def at(self, budget: str, size: float) -> list[Member]:
        """The attacks at one budget, those of a smaller one included: their noise fits, too."""
        return [m for m in self.members if m.budget == budget and m.size <= size]

    def worst(self, budget: str, size: float, knowledge: str, metric: str) -> Member | None:
        """The strongest attack with this knowledge, or less of it, within the budget."""
        known = KNOWLEDGE[: KNOWLEDGE.index(knowledge) + 1]
        fitting = [m for m in self.at(budget, size) if m.way.knowledge in known]
        return min(fitting, key=lambda m: m.evaluation.values[metric], default=None)

    def figures(self, budget: str, size: float, metric: str) -> dict[str, float | None]:
        """What the strongest attack of each knowledge leaves."""
        return {
            knowledge: None if worst is None else worst.evaluation.values[metric]
            for knowledge in KNOWLEDGE
            for worst in [self.worst(budget, size, knowledge, metric)]
        }

    def violations(self, certificate: Certificate, metric: str) -> int:
        """Users for whom some attack within a budget left less than is certified: must be 0."""
        broken = np.zeros(len(self.clean.users), bool)
        for size in certificate.budgets:
            bound = certificate.per_user(size)[metric]
            for member in self.at(certificate.budget, size):
                broken |= bound > member.evaluation.per_user[metric] + 1e-9
        return int(broken.sum())


def attacks_on(
    model: Recommender,
    dataset: Dataset,
    site: str,
    *,
    rho: Sequence[float],
    eps: Sequence[float],
    k: int,
    part: Part,
    seed: int,
    quick: bool,
    say: Say,
) -> Attacked:
    """Make every attack that the model takes; a relative one where its rows are its vectors."""
    clean = evaluate(model, dataset, part=part, ks=[k], metrics=METRICS)
    members: list[Member] = []
    ways = [way for way in WAYS if way.quick or not quick]
    make = functools.partial(_members, dataset=dataset, k=k, part=part, seed=seed, say=say)
    if eps:
        members += make("eps", model, site, ways, {size: size for size in eps})
    relative = _equal_rows(model, dataset, site, k, part) if rho else None
    if relative is not None:
        rows, length = relative
        members += make("rho", rows, "ego", ways, {size: size * length for size in rho})
    return Attacked(clean, tuple(members))


def _members(
    budget: str,
    model: Recommender,
    site: str,
    ways: Sequence[Way],
    sizes: Mapping[float, float],  # budget → ε of the noise on this model
    *,
    dataset: Dataset,
    k: int,
    part: Part,
    seed: int,
    say: Say,
) -> Iterator[Member]:
    metric = f"NDCG@{k}"

    def rankings(noise: Mapping[str, Tensor]) -> Evaluation:
        return evaluate(model, dataset, part=part, ks=[k], metrics=METRICS, noise=noise)

    def figure(noise: Mapping[str, Tensor]) -> float:
        return rankings(noise).values[metric]

    positives = Positives.from_pairs(dataset.train, next(model.parameters()).device)
    for way in ways:
        try:
            plan = Plan(site=site, norm="row", seed=seed, **way.plan).settled(model)
        except UsageError:
            continue  # not an attack on this model
        say(f"  {'ρ' if budget == 'rho' else 'ε'}: {way.name}")
        objective = OBJECTIVES[plan.objective]
        aims = objective.needs_target or not plan.usual
        labels = str(plan.labels)
        target = target_of(model, dataset, labels, part, k, figure) if aims else None
        goal = objective(model, positives, plan, target)
        before: list[dict[str, Tensor]] = []
        for size in sorted(sizes):
            noise = seek(goal.at(sizes[size]), plan, sizes[size], before)
            before = [noise] if goal.keeps_smaller else []
            yield Member(budget, size, way, rankings(noise), noise, model)


def _equal_rows(
    model: Recommender, dataset: Dataset, site: str, k: int, part: Part
) -> tuple[Recommender, float] | None:
    """The vectors in canonical form with all users at norm q̄, and q̄; None if rows are not those."""
    try:
        threat = threat_of(model, site, "both")
    except UsageError:
        return None
    if not threat.tables:
        return None
    lists = top_lists(model, dataset, None, part, k)
    shown = torch.from_numpy(np.bincount(lists.ids[lists.ids >= 0], minlength=dataset.n_items))
    form = canonical(threat.users, threat.items, shown)
    length = item_scale(form.items, shown)
    norms = form.users.norm(dim=1, keepdim=True)
    users = torch.where(norms > 0, form.users * (length / norms), form.users)
    return model_of_vectors(users.float(), form.items.float()), length
