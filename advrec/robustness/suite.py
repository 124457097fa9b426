"""A suite of attacks at one threat model: the strongest noise of each knowledge, at every budget.

Two headlines: label-free, what an attacker or an accident can do that knows no held-out item, and
oracle, a bound of stability with these labels at hand (`members`). At a budget the worst noise is
the worst of all members there and at smaller budgets, by the metric: so it never rises with the
budget, and no member does more harm than it says.

Where the site has a certificate, certified ≤ attacked is checked for every user and every member.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from advrec.choices import Part
from advrec.errors import UsageError
from advrec.evaluation.evaluate import Evaluation, evaluate
from advrec.evaluation.metrics import DEFAULT_KS, metric_specs
from advrec.models.base import Noise, Recommender
from advrec.robustness import score_search
from advrec.robustness.attack import share_lost
from advrec.robustness.ball import ball_of, exposure
from advrec.robustness.certify import CERTIFIED, Certificate, certify, threat_of
from advrec.robustness.flags import Evidence, raised
from advrec.robustness.members import (
    SUITES,
    Ground,
    Member,
    Propose,
    loaded_member,
)
from advrec.robustness.probes import as_stored, beyond, grid, zero_gradients
from advrec.robustness.search import Plan
from advrec.validation import did_you_mean

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset

METRICS: Final = ("NDCG", "Recall", "HR")
NOTHING: Final = "no noise"
"""The worst where every member helps the model: no noise lies in every ball."""

RHO: Final = (0.01, 0.05, 0.2)
"""Relative budgets, unless others are given."""

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class MemberResult:
    """The strongest noise of one member at one budget."""

    name: str
    knowledge: str  # "label_free" or "oracle"
    size: float  # the budget it was made at
    measured: float  # the budget it needs, as measured
    evaluation: Evaluation
    seconds: float
    noise: Mapping[str, Tensor] | None = field(default=None, repr=False)
    """Kept for the worst noise of each knowledge only."""

    def to_dict(self, clean: Evaluation) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        values = self.evaluation.values
        lost = {name: share_lost(clean.values[name], value) for name, value in values.items()}
        return {
            "member": self.name,
            "knowledge": self.knowledge,
            "made_at": self.size,
            "measured": self.measured,
            "metrics": dict(values),
            "lost": {name: share if clean.values[name] else None for name, share in lost.items()},
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, eq=False)
class Level:
    """What the suite found at one budget."""

    size: float
    members: tuple[MemberResult, ...]  # each member's own noise at this budget
    worst: MemberResult  # of any knowledge, of this budget or a smaller one
    worst_label_free: MemberResult
    certified: Mapping[str, float] | None  # metrics at the deciding K; None: no certificate


@dataclass(frozen=True, eq=False)
class SuiteResult:
    """A suite on one model at one site."""

    suite: str
    site: str
    norm: str
    side: str
    unit: str  # "eps" or "rho"
    canonical: bool  # relative budgets are counted in canonical form
    part: Part
    metric: str  # that decides between candidates
    clean: Evaluation
    levels: tuple[Level, ...]  # ascending
    left_out: tuple[str, ...]  # members that are not attacks on this model and site
    flags: tuple[Mapping[str, str], ...]
    violations: int | None  # users with less than is certified, must be 0; None: no certificate
    row_norm: float  # mean row norm of what is perturbed
    stored: Mapping[str, float] | None  # one member's figure in canonical form and as stored
    grid: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0

    def at(self, size: float) -> Level:
        """The level of a budget; KeyError for another."""
        for level in self.levels:
            if level.size == size:
                return level
        raise KeyError(size)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        document: dict[str, Any] = {
            "suite": self.suite,
            "site": self.site,
            "norm": self.norm,
            "side": self.side,
            "form": "canonical" if self.canonical else "as stored",
            "part": self.part,
            "metric": self.metric,
            "row_norm": self.row_norm,
            "clean": self.clean.to_dict(),
            "budgets": [],
            "left_out": list(self.left_out),
            "violations": self.violations,
            "flags": [dict(flag) for flag in self.flags],
            "seconds": round(self.seconds, 2),
        }
        for level in self.levels:
            entry: dict[str, Any] = {
                self.unit: level.size,
                "worst": level.worst.to_dict(self.clean),
            }
            if level.worst_label_free is not None:
                entry["worst_label_free"] = level.worst_label_free.to_dict(self.clean)
            if level.certified is not None:
                entry["certified"] = dict(level.certified)
            entry["members"] = [member.to_dict(self.clean) for member in level.members]
            document["budgets"].append(entry)
        if self.stored is not None:
            document["norms_as_stored"] = dict(self.stored)
        if self.grid:
            document["grid"] = [dict(cell) for cell in self.grid]
        return document


def run_suite(
    model: Recommender,
    dataset: Dataset,
    *,
    suite: str = "standard",
    eps: float | Sequence[float] | None = None,
    rho: float | Sequence[float] | None = None,
    site: str | None = None,
    norm: str | None = None,
    side: str = "both",
    part: Part = "test",
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = METRICS,
    seed: int = 0,
    loaded: Mapping[str, Noise] | None = None,
    with_grid: bool = False,
    queries: int | None = None,
    certificate: bool = True,
    clean: Evaluation | None = None,
    say: Say = lambda _: None,
) -> SuiteResult:
    """Make every attack of a suite at every budget and keep the worst by the first metric.

    Args:
        suite: "standard", "apr" (the attack of the papers alone), or "" for noise from files only.
        eps, rho: absolute budgets (per row, or as the norm says) or relative ones; by default
            ρ = 1, 5 and 20 %. They exclude each other.
        site: where noise is added; by default the model's first site with a certificate, or first.
        norm: what has the length of the budget; by default the site's first.
        side: "both", "users" or "items": whose rows move.
        part: "test" or "valid"; labels `test` mean the part that is measured.
        ks, metrics: what is measured; the first metric at the first k decides.
        loaded: noise from files, by name: evaluated at the budgets that hold it, oracle.
        with_grid: also the table objective × labels × steps, at the largest budget.
        queries: of the search that sees scores only; by default 2,000.
        certificate: check certified ≤ attacked where the site has a certificate.
        clean: the evaluation without noise, if it was already made with the same options.
        say: told what is being done.

    Raises:
        UsageError: an option that is unknown, out of range or not one of the model's, or noise
            from a file that no budget holds.
    """
    began = time.perf_counter()
    members = _members(suite, loaded or {})
    unit, sizes = _sizes(eps, rho)
    plan = Plan(site=site or usual_site(model), norm=norm, seed=seed).settled(model)
    place, measure = str(plan.site), str(plan.norm)
    first = metric_specs(metrics, ks)[0]
    k = first.k or max(ks, default=DEFAULT_KS[0])
    shown = exposure(model, dataset, part, k) if unit == "rho" else None
    ball = ball_of(model, place, measure, side=side, unit=unit, exposure=shown)
    if clean is None:
        clean = evaluate(model, dataset, part=part, ks=ks, metrics=metrics)
    ground = Ground(
        model, dataset, ball, part, tuple(ks), tuple(metrics), str(first), k, seed, clean,
        dict(loaded or {}),
        score_search.QUERIES if queries is None else queries,
    )  # fmt: skip
    _check_loaded(ground, max(sizes))
    proof = _certificate(ground, sizes) if certificate else None
    ready: list[tuple[Member, Propose]] = []
    left_out = []
    for member in members:
        propose = member.ready(ground)
        if propose is None:
            left_out.append(member.name)
        else:
            ready.append((member, propose))
    levels: list[Level] = []
    violated = np.zeros(clean.n_users, dtype=bool)
    for size in sizes:
        results = []
        for member, propose in ready:
            say(f"{_shown(unit, size)}: {member.name}")
            result = _strongest(ground, member, propose, size)
            if result is not None:
                results.append(result)
                violated |= _below(proof, size, result)
        levels.append(_level(ground, size, results, levels[-1] if levels else None, proof))
    violations = None if proof is None else int(violated.sum())
    stored = as_stored(ground, sizes[-1], shown) if unit == "rho" and suite == "standard" else None
    tables = model.tables(place)
    row_norm = float(torch.cat([t.double().norm(dim=-1).flatten() for t in tables.values()]).mean())
    evidence = Evidence(
        metric=str(first),
        unit=unit,
        clean=clean.values[str(first)],
        figures=tuple(
            (level.size, {m.name: m.evaluation.values[str(first)] for m in level.members})
            for level in levels
        ),
        knowledge={member.name: member.knowledge for member in members},
        violations=violations,
        zero_share=zero_gradients(ground) if suite == "standard" else None,
        beyond=beyond(ground, row_norm) if suite == "standard" else None,
        row_norm=row_norm,
        stored=stored,
        floored=ball.form is not None and ball.form.floored,
    )
    cells = tuple(grid(ground, sizes[-1], say)) if with_grid else ()
    return SuiteResult(
        suite=suite,
        site=place,
        norm=measure,
        side=side,
        unit=unit,
        canonical=ball.form is not None,
        part=part,
        metric=str(first),
        clean=clean,
        levels=tuple(levels),
        left_out=tuple(left_out),
        flags=tuple(raised(evidence)),
        violations=violations,
        row_norm=row_norm,
        stored=stored,
        grid=cells,
        seconds=time.perf_counter() - began,
    )


def _members(suite: str, loaded: Mapping[str, Noise]) -> tuple[Member, ...]:
    if suite and suite not in SUITES:
        raise UsageError(
            f"unknown suite {suite!r}: choose {' or '.join(SUITES)}",
            hint=did_you_mean(suite, SUITES),
        )
    members = (*SUITES.get(suite, ()), *(loaded_member(name) for name in loaded))
    if not members:
        raise UsageError("a suite needs members: choose standard or apr, or give noise")
    return members


def _sizes(
    eps: float | Sequence[float] | None, rho: float | Sequence[float] | None
) -> tuple[str, list[float]]:
    """The kind of budget and its sizes, ascending; each must be above 0."""
    if eps is not None and rho is not None:
        raise UsageError("eps and rho exclude each other", hint="give one of them")
    unit, given = ("eps", eps) if eps is not None else ("rho", RHO if rho is None else rho)
    sizes = [given] if isinstance(given, (int, float)) else list(given)
    for size in sizes:
        if not 0 < size < float("inf"):
            raise UsageError(f"{unit} must be a finite number above 0, got {size}")
    if not sizes:
        raise UsageError(f"a suite needs at least one {unit}, got none")
    return unit, sorted({float(size) for size in sizes})


def usual_site(model: Recommender) -> str:
    """The model's first site with a certificate, or its first."""
    return next(iter(CERTIFIED.get(model.name, {})), model.site(None).name)


def _check_loaded(ground: Ground, largest: float) -> None:
    for name, noise in ground.loaded.items():
        size = ground.ball.size_of(noise)
        if size > largest:
            unit = ground.ball.unit
            raise UsageError(
                f"the noise of {name} measures {_shown(unit, size)}, more than the largest budget,"
                f" {_shown(unit, largest)}"
            )


def _strongest(
    ground: Ground, member: Member, propose: Propose, size: float
) -> MemberResult | None:
    """The noise of a member that does most harm, cut to the budget; None if it has none."""
    began = time.perf_counter()
    best: tuple[Evaluation, Mapping[str, Tensor]] | None = None
    for candidate in propose(size):
        noise = ground.ball.within(candidate, size)
        evaluation = ground.rankings(noise)
        value = evaluation.values[ground.metric]
        if best is None or value < best[0].values[ground.metric]:
            best = evaluation, noise
    if best is None:
        return None
    return MemberResult(
        name=member.name,
        knowledge=member.knowledge,
        size=size,
        measured=ground.ball.size_of(best[1]),
        evaluation=best[0],
        seconds=time.perf_counter() - began,
        noise=best[1],
    )


def _level(
    ground: Ground,
    size: float,
    results: Sequence[MemberResult],
    before: Level | None,
    proof: Certificate | None,
) -> Level:
    """The worst of this budget and of the one before; other noise is let go."""

    def figure(result: MemberResult) -> float:
        return result.evaluation.values[ground.metric]

    blind = [result for result in results if result.knowledge == "label_free"]
    if before is None:
        start = ground.model.noise_like(ground.ball.site, ground.ball.norm, None)
        kept_before = [MemberResult(NOTHING, "label_free", 0.0, 0.0, ground.clean, 0.0, start)] * 2
    else:
        kept_before = [before.worst, before.worst_label_free]
    worst = min([*results, kept_before[0]], key=figure)
    worst_blind = min([*blind, kept_before[1]], key=figure)
    kept = [
        result if result is worst or result is worst_blind else _without_noise(result)
        for result in results
    ]
    certified = None if proof is None else proof.at(size)
    return Level(size, tuple(kept), worst, worst_blind, certified)


def _without_noise(result: MemberResult) -> MemberResult:
    return MemberResult(
        result.name, result.knowledge, result.size, result.measured, result.evaluation,
        result.seconds,
    )  # fmt: skip


def _certificate(ground: Ground, sizes: Sequence[float]) -> Certificate | None:
    """What is certified at these budgets; None where nothing is."""
    ball = ground.ball
    if ball.norm != "row":
        return None
    try:
        threat_of(ground.model, ball.site, ball.side)
    except UsageError:
        return None
    budget: dict[str, Any] = {ball.unit: list(sizes)}
    return certify(
        ground.model, ground.dataset, **budget, site=ball.site, side=ball.side, k=ground.k,
        part=ground.part,
    )  # fmt: skip


def _below(
    proof: Certificate | None, size: float, result: MemberResult
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """[users] who have less under the noise than is certified, in any metric of both."""
    below = np.zeros(len(result.evaluation.users), dtype=bool)
    if proof is not None:
        for metric, bound in proof.per_user(size).items():
            attacked = result.evaluation.per_user.get(metric)
            if attacked is not None:
                below |= bound > attacked + 1e-9
    return below


def _shown(unit: str, size: float) -> str:
    return f"ρ = {100 * size:.4g} %" if unit == "rho" else f"ε = {size:.4g}"
