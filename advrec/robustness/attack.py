"""What noise of a given size does to a trained model: the worst there is, and random noise."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from advrec.choices import Part
from advrec.errors import UsageError
from advrec.evaluation.evaluate import Evaluation, evaluate
from advrec.evaluation.metrics import DEFAULT_KS, DEFAULT_METRICS, metric_specs
from advrec.models.base import Noise, Recommender
from advrec.ops.positives import Positives
from advrec.robustness import perturb
from advrec.robustness.ball import ball_of, exposure
from advrec.robustness.goal import AttackObjective
from advrec.robustness.search import DEFAULT_OBJECTIVE, OBJECTIVES, Plan, seek
from advrec.robustness.target import Target, target_of

if TYPE_CHECKING:
    from torch import Tensor

    from advrec.data.dataset import Dataset


@dataclass(frozen=True, eq=False)
class AttackResult:
    """One noise: how large it is, what it does to the loss, and what to the rankings."""

    plan: Plan  # with site and norm filled in
    eps: float  # the size of the noise; of a relative budget ρ
    budget: perturb.Budget  # as measured on the noise
    clean_loss: float  # mean of the objective over its triplets or relevant items
    attacked_loss: float  # the same at Θ + Δ
    clean: Evaluation
    attacked: Evaluation  # at Θ + Δ
    side: str = "both"  # whose rows moved
    unit: str = "eps"  # "rho": the budget is relative
    as_stored: Evaluation | None = None
    """Of a relative budget in canonical form: under the noise for the norms as stored."""
    noise: Mapping[str, Tensor] | None = field(default=None, repr=False)

    @property
    def lost(self) -> dict[str, float]:
        """Metric → the share that the noise takes, 0.13 for 13 %; NaN where the clean one is 0."""
        return {
            name: share_lost(value, self.attacked.values[name])
            for name, value in self.clean.values.items()
        }

    def to_dict(self) -> dict[str, object]:
        """Everything but the arrays, ready for JSON; `change` is −lost, null where undefined."""
        plan = asdict(self.plan)
        objective = {name: plan.pop(name) for name in ("objective", "labels")}
        return {
            "kind": plan.pop("noise"),
            **plan,
            **({} if self.plan.usual else objective),
            **({} if self.side == "both" else {"side": self.side}),
            self.unit: self.eps,
            "budget": asdict(self.budget),
            "clean_loss": self.clean_loss,
            "noisy_loss": self.attacked_loss,
            "clean": self.clean.to_dict(),
            "noisy": self.attacked.to_dict(),
            "change": {
                name: None if math.isnan(share) else 0.0 - share  # not −share: no -0.0
                for name, share in self.lost.items()
            },
            **({} if self.as_stored is None else {"noisy_as_stored": self.as_stored.to_dict()}),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AttackResult:
        """The result that `to_dict` wrote, without the arrays; KeyError for anything else."""
        options = ("site", "norm", "steps", "step_size", "restarts", "seed")
        return cls(
            plan=Plan(
                noise=content["kind"],
                **{name: content[name] for name in options},
                objective=content.get("objective", DEFAULT_OBJECTIVE),
                labels=content.get("labels", AttackObjective.labels),
            ),
            eps=content["rho"] if "rho" in content else content["eps"],
            budget=perturb.Budget(**content["budget"]),
            clean_loss=content["clean_loss"],
            attacked_loss=content["noisy_loss"],
            clean=Evaluation.from_dict(content["clean"]),
            attacked=Evaluation.from_dict(content["noisy"]),
            side=content.get("side", "both"),
            unit="rho" if "rho" in content else "eps",
            as_stored=Evaluation.from_dict(content["noisy_as_stored"])
            if "noisy_as_stored" in content
            else None,
        )


def share_lost(clean: float, attacked: float) -> float:
    """The share of a figure that noise takes; below 0 is a gain, NaN where there was nothing."""
    return 1 - attacked / clean if clean else math.nan


def attack(
    model: Recommender,
    dataset: Dataset,
    *,
    noise: str | Sequence[str] = "adversarial",
    eps: float | Sequence[float] | None = None,
    rho: float | Sequence[float] | None = None,
    side: str = "both",
    site: str | Sequence[str] | None = None,
    norm: str | Mapping[str, str] | None = None,
    steps: int | None = None,
    step_size: float | None = None,
    restarts: int | None = None,
    seed: int = 0,
    objective: str = DEFAULT_OBJECTIVE,
    labels: str | None = None,
    part: Part = "test",
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
    sampled: int | None = None,
    sampled_seed: int = 0,
    clean: Evaluation | None = None,
) -> list[AttackResult]:
    """Evaluate the model as it is and under every noise: one result per site, noise and eps.

    In the order of the arguments: all noises and eps of the first site, then the next site. Γ is
    computed once per site. The model is left as it was.

    Objectives of rankings keep the noise with the smallest value of the first metric, and try the
    noise of every smaller eps as well: more eps never makes it weaker.

    Args:
        noise: "adversarial", "random", or several.
        eps: the norm of the noise, or several; by default 0.5.
        rho: relative budgets instead, 0.05 for 5 % (see `robustness.ball`). Where there is a
            canonical form, the result under norms as stored is in `as_stored`.
        side: "both", "users" or "items": whose rows move.
        site: where the noise is added; several names, a combination such as "encoder+hidden", or
            "all". By default the model's first site.
        norm: what has norm eps: one for every site, or by the name of the site. By default each
            site's first norm that whole tables can have.
        steps, step_size: of adversarial noise; random noise alone must not have them. By default
            one step, for objective "ndcg" 20.
        restarts: number of starts; the strongest noise is kept. By default 1, for "ndcg" 4: there
            they are temperatures.
        objective: what adversarial noise raises, a name in `robustness.search.OBJECTIVES`: "bpr"
            (the model's own loss), "softmax" or "ndcg" (the ranking itself).
        labels: what it takes as relevant: "train", "self" (the model's own first item per user) or
            "test" (the items of `part`). By default "train" for "bpr", otherwise "self".
        clean: the evaluation without noise, if it was already made with the same options.

    Raises:
        UsageError: an option that is unknown, out of range or not one of the model's; and what
            `evaluate` raises.
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

    noises = [noise] if isinstance(noise, str) else list(noise)
    unit, sizes = budgets(eps, rho)
    if not (noises and sizes):
        raise UsageError(f"an attack needs at least one {'eps' if noises else 'noise'}, got none")
    sites = attacked_sites(model, site)
    norms = _norms(sites, norm)

    def plan(kind: str, place: str) -> Plan:
        if kind == "random" and "adversarial" in noises:  # the climb is the other noise's
            temperatures = getattr(OBJECTIVES.get(objective), "most_restarts", None)
            starts = None if temperatures else restarts
            own = Plan(kind, place, norms[place], restarts=starts, seed=seed)
        else:
            climb = (steps, step_size, restarts)
            own = Plan(kind, place, norms[place], *climb, seed, objective, labels)
        return own.settled(model)

    plans = {place: [plan(kind, place) for kind in noises] for place in sites}
    positives = Positives.from_pairs(dataset.train, next(model.parameters()).device)
    without = rankings(None) if clean is None else clean
    first = metric_specs(metrics, ks)[0]

    @functools.cache
    def target(whose: str) -> Target:
        cutoff = first.k or max(ks, default=DEFAULT_KS[0])
        figure = lambda delta: rankings(delta).values[str(first)]  # noqa: E731
        return target_of(model, dataset, whose, part, cutoff, figure)

    results = []
    shown = None
    if unit == "rho":
        shown = exposure(model, dataset, part, first.k or max(ks, default=DEFAULT_KS[0]))
    for name, here in plans.items():
        ball = ball_of(model, name, str(here[0].norm), side=side, unit=unit, exposure=shown)
        stored = None
        if ball.form is not None:
            options: dict[str, Any] = {"side": side, "unit": unit, "exposure": shown}
            stored = ball_of(model, name, str(here[0].norm), **options, as_stored=True)
        for _, alike in groupby(here, key=lambda own: (own.objective, own.labels)):
            group = list(alike)
            sought, kind = group[0], OBJECTIVES[group[0].objective]
            aims = kind.needs_target or not sought.usual
            aim = target(str(sought.labels)) if aims else None
            goal = kind(model, positives, sought, aim, ball)
            for planned in group:
                of_size = _by_size(goal, planned, sizes, without, rankings)
                if stored is not None:
                    goal.ball = stored
                    raw = _by_size(goal, planned, sizes, without, rankings)
                    goal.ball = ball
                    for size, result in of_size.items():
                        of_size[size] = replace(result, as_stored=raw[size].attacked)
                results += [of_size[size] for size in sizes]
            del goal  # Γ is as large as the tables: not two at a time
    return results


def budgets(
    eps: float | Sequence[float] | None, rho: float | Sequence[float] | None
) -> tuple[str, list[float]]:
    """The kind of budget, "eps" or "rho", and its sizes. Raises UsageError for both."""
    if eps is not None and rho is not None:
        raise UsageError("eps and rho exclude each other", hint="give one of them")
    unit, given = ("eps", 0.5 if eps is None else eps) if rho is None else ("rho", rho)
    sizes = [float(given)] if isinstance(given, (int, float)) else [float(size) for size in given]
    for size in sizes:
        if not 0 <= size < math.inf:
            raise UsageError(f"{unit} must be a number from 0 up, got {size}")
    return unit, sizes


def _by_size(
    goal: AttackObjective,
    plan: Plan,
    sizes: Sequence[float],
    clean: Evaluation,
    rankings: Callable[[Noise], Evaluation],
) -> dict[float, AttackResult]:
    """The result of every eps, from the smallest up: a ranking attack tries the noise before."""
    tables = goal.model.tables(goal.site)
    results: dict[float, AttackResult] = {}
    before: list[dict[str, Tensor]] = []
    for size in sorted(set(sizes)):
        sized = goal.at(size)
        delta = seek(sized, plan, size, before)
        before = [delta] if goal.keeps_smaller else []
        results[size] = AttackResult(
            plan=plan,
            eps=float(size),
            budget=goal.ball.measure(delta, tables),
            clean_loss=sized.clean_loss / sized.entries,
            attacked_loss=sized.loss(delta) / sized.entries,
            clean=clean,
            attacked=rankings(delta),
            side=goal.ball.side,
            unit=goal.ball.unit,
            noise=delta,
        )
    return results


def attacked_sites(model: Recommender, site: str | Sequence[str] | None) -> list[str]:
    """The names of the sites that `site` means to `attack`, each once. Raises UsageError."""
    names = [site] if isinstance(site, str) else site
    if names is None:
        return [model.site(None).name]
    if "all" in names:
        return [site.name for site in model.sites if site.table_norms]
    return [site.name for site in model.sites_of("+".join(names))]


def _norms(sites: Sequence[str], norm: str | Mapping[str, str] | None) -> dict[str, str | None]:
    """The norm of each site; UsageError for a norm of a site that is not attacked."""
    if not isinstance(norm, Mapping):
        return dict.fromkeys(sites, norm)
    for name in norm:
        if name not in sites:
            raise UsageError(f"norm names site {name!r}, but the attack is at {', '.join(sites)}")
    return {name: norm.get(name) for name in sites}
