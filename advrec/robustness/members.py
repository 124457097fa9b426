"""The attacks of a suite: what each knows, and the noise that it proposes at a budget.

A member is a line in STANDARD: its name, its knowledge, and a function that makes it ready on a
`Ground` (the model, the data and the ball, with what several members need computed once) and gives
back what proposes noise for a size. None: it is not an attack on this model and site.

`label_free`: what an attacker or an accident can do that knows the model and its training pairs;
`oracle`: with the held-out items at hand, as robust accuracy uses true labels: no attacker has
them, and what is left is a bound of stability.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor

from advrec.choices import Part
from advrec.evaluation.evaluate import Evaluation, evaluate
from advrec.models.base import Noise, Recommender
from advrec.ops.positives import Positives
from advrec.robustness import margin, score_search, surrogate
from advrec.robustness.ball import Ball, ball_of, exposure
from advrec.robustness.goal import AttackObjective, evaluating
from advrec.robustness.ranking import SaturatingSoftmax, SmoothNdcg, pulled_back
from advrec.robustness.search import Plan
from advrec.robustness.target import Target, target_of

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset

KNOWLEDGE: Final = ("label_free", "oracle")
RANDOM_DRAWS: Final = 3
TRIAL_STEPS: Final = 5
"""Of Frank–Wolfe, after which only the most harmful of the four temperatures continues."""
STEPS: Final = 20
TRANSFER_STEPS: Final = 10
"""On the surrogate: what is carried over is a direction."""

Propose = Callable[[float], Iterator[dict[str, Tensor]]]


@dataclass(eq=False)
class Ground:
    """One model at one site on one data set, and how noise is judged."""

    model: Recommender
    dataset: Dataset
    ball: Ball
    part: Part
    ks: tuple[int, ...]
    metrics: tuple[str, ...]
    metric: str  # that decides, such as "NDCG@20"
    k: int  # its cut-off
    seed: int
    clean: Evaluation
    loaded: Mapping[str, Noise] = field(default_factory=dict)  # noise from files, by name
    queries: int = score_search.QUERIES

    @property
    def plan(self) -> Plan:
        """The loss of training at this site, one step."""
        return Plan(site=self.ball.site, norm=self.ball.norm, seed=self.seed)

    @functools.cached_property
    def positives(self) -> Positives:
        """The training pairs."""
        return Positives.from_pairs(self.dataset.train, next(self.model.parameters()).device)

    def rankings(self, noise: Noise) -> Evaluation:
        """The metrics under noise."""
        return evaluate(
            self.model, self.dataset, part=self.part, ks=self.ks, metrics=self.metrics, noise=noise
        )

    def figure(self, noise: Noise) -> float:
        """The metric that decides, under noise."""
        return self.rankings(noise).values[self.metric]

    @functools.cache  # noqa: B019 - a ground lives as long as its suite
    def target(self, labels: str, own: int = 1) -> Target:
        """What labels mean here."""
        return target_of(self.model, self.dataset, labels, self.part, self.k, self.figure, own)

    @functools.cache  # noqa: B019
    def rank(self, labels: str, own: int = 1) -> SmoothNdcg:
        """The objective of the ranking with these labels."""
        plan = Plan(site=self.ball.site, norm=self.ball.norm, objective="ndcg", labels=labels)
        target = self.target(labels, own)
        return SmoothNdcg(self.model, self.positives, plan, target, self.ball)

    @property
    def has_vectors(self) -> bool:
        """Are scores dot products?"""
        return type(self.model).vectors is not Recommender.vectors


class Member(NamedTuple):
    """One attack of a suite."""

    name: str
    knowledge: str  # of KNOWLEDGE
    ready: Callable[[Ground], Propose | None]


def _random(ground: Ground) -> Propose:
    """Gaussian directions of full length in every row that may move."""
    start = ground.model.noise_like(ground.ball.site, ground.ball.norm, None)

    def propose(size: float) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(ground.seed)
        for _ in range(RANDOM_DRAWS):
            drawn = {
                key: torch.randn(value.shape, generator=generator).to(value)
                for key, value in start.items()
            }
            yield ground.ball.stretched(drawn, size)

    return propose


def bpr(ground: Ground, labels: str) -> AttackObjective | None:
    """The loss of training with these labels; None where it has none but those of training."""
    if labels != "train" and ground.model.batch_kind != "triplets":
        return None
    plan = Plan(site=ground.ball.site, norm=ground.ball.norm, seed=ground.seed, labels=labels)
    target = None if labels == "train" else ground.target(labels)
    return AttackObjective(ground.model, ground.positives, plan, target, ground.ball)


def _fast(labels: str) -> Callable[[Ground], Propose | None]:
    """One step on the loss of training."""

    def ready(ground: Ground) -> Propose | None:
        objective = bpr(ground, labels)
        if objective is None:
            return None
        grads = objective.grads
        return lambda size: iter([ground.ball.vertex(grads, size)])

    return ready


def _saturating(ground: Ground) -> Propose:
    """One step on the saturating softmax of the held-out items, at 2τ."""
    plan = Plan(site=ground.ball.site, norm=ground.ball.norm, objective="softmax", labels="test")
    target = ground.target("test")
    objective = SaturatingSoftmax(ground.model, ground.positives, plan, target, ground.ball)
    settled = plan.settled(ground.model)
    generator = torch.Generator()
    return lambda size: objective.candidates(settled, size, generator)


def _ranking(labels: str, own: int = 1) -> Callable[[Ground], Propose]:
    """Frank–Wolfe on the smooth NDCG: a few steps at four temperatures, the rest at the best."""

    def ready(ground: Ground) -> Propose:
        objective = ground.rank(labels, own)

        def propose(size: float) -> Iterator[dict[str, Tensor]]:
            base = objective.temperature_at(size)
            trials = []
            for factor in objective.temperatures:
                delta = _climbed(objective, objective.start, base * factor, size, 0, TRIAL_STEPS)
                trial = ground.ball.within(delta, size)
                trials.append((ground.figure(trial), factor, delta))
                yield trial
            _, factor, delta = min(trials, key=lambda trial: trial[0])
            yield _climbed(objective, delta, base * factor, size, TRIAL_STEPS, STEPS)

        return propose

    return ready


def _climbed(
    objective: SmoothNdcg, delta: Noise, temperature: Tensor, size: float, first: int, last: int
) -> dict[str, Tensor]:
    """Steps `first` to `last` of Frank–Wolfe at one temperature."""
    moved = dict(delta)
    for step in range(first, last):
        _, grads = objective.gradient_at(moved, temperature)
        moved = objective.ascended(moved, grads, size, step)
    return moved


def _transfer(ground: Ground) -> Propose | None:
    """The ranking attack on a surrogate's own first items, carried over to this model."""
    tables = ground.model.tables(ground.ball.site)
    other = surrogate.surrogate(ground.dataset)
    n = ground.dataset.n_users
    items = other.tables("ego")["ego"][n:]
    if (
        surrogate.carried(torch.zeros(n + len(items), items.shape[1]), items, tables, ground.ball)
        is None
    ):
        return None
    shown = exposure(other, ground.dataset, ground.part, ground.k)
    ball = ball_of(other, "ego", "row", side=ground.ball.side, unit="rho", exposure=shown)
    plan = Plan(site="ego", norm="row", objective="ndcg", labels="self")
    target = target_of(other, ground.dataset, "self", ground.part, ground.k, lambda _: 0.0)
    positives = Positives.from_pairs(ground.dataset.train)
    objective = SmoothNdcg(other, positives, plan, target, ball)
    scale = ground.ball.share(tables)

    def propose(size: float) -> Iterator[dict[str, Tensor]]:
        share = size * scale
        tau = objective.temperature_at(share)
        noise = _climbed(objective, objective.start, tau, share, 0, TRANSFER_STEPS)["ego"]
        moved = surrogate.carried(noise, items, tables, ground.ball)
        assert moved is not None
        yield ground.ball.stretched(moved, size)

    return propose


def _score_search(ground: Ground) -> Propose:
    """Random search that sees scores only."""

    def propose(size: float) -> Iterator[dict[str, Tensor]]:
        objective = ground.rank("self")
        yield score_search.search_scores(
            ground.model,
            ground.ball,
            objective.target,
            objective.temperature_at(size),
            size,
            queries=ground.queries,
            seed=ground.seed,
        )

    return propose


def _margin(ground: Ground) -> Propose | None:
    """Every user towards the items that the least noise lifts above the held-out ones."""
    if not ground.has_vectors:
        return None
    model, ball, target = ground.model, ground.ball, ground.target("test")
    with torch.no_grad(), evaluating(model):
        vectors = model.vectors()
    assert vectors is not None
    users, items = (table.detach() for table in vectors)
    if ball.form is not None:
        users, items = users.double() @ ball.form.users, items.double() @ ball.form.items
    of_users = torch.ones(len(users), dtype=torch.float64)
    of_items = 1.0
    if ball.unit == "rho":
        of_users, of_items = (
            users.double().norm(dim=1),
            float(items.detach().double().norm(dim=1).mean()),
        )
    nearest = margin.nearest_rivals(
        users, items, of_users, of_items, target.relevant, target.known, ground.k
    )
    start = model.noise_like(ball.site, ball.norm, None)

    def propose(size: float) -> Iterator[dict[str, Tensor]]:
        with evaluating(model):
            grads = pulled_back(
                model, start, lambda users, items: margin.pushes(users, items, nearest, size)
            )
        yield ball.vertex(grads, size)

    return propose


def loaded_member(name: str) -> Member:
    """Noise from a file, at the budgets that hold it."""

    def ready(ground: Ground) -> Propose:
        noise = {key: value.clone() for key, value in ground.loaded[name].items()}
        measured = ground.ball.size_of(noise)
        return lambda size: iter([noise] if measured <= size else [])

    return Member(name, "oracle", ready)


APR: Final = (Member("BPR, train, 1 step", "label_free", _fast("train")),)
STANDARD: Final = (
    Member("random, 3 draws", "label_free", _random),
    *APR,
    Member("ranking, own first item", "label_free", _ranking("self", 1)),
    Member("ranking, own first 5 items", "label_free", _ranking("self", 5)),
    Member("transfer from a surrogate", "label_free", _transfer),
    Member("scores only", "label_free", _score_search),
    Member("BPR, test, 1 step", "oracle", _fast("test")),
    Member("softmax, test, 1 step", "oracle", _saturating),
    Member("ranking, test", "oracle", _ranking("test")),
    Member("minimum norm, test", "oracle", _margin),
)
SUITES: Final[Mapping[str, tuple[Member, ...]]] = {"standard": STANDARD, "apr": APR}
"""The members of each suite."""
