"""What attacks cost, as tables and as curves over eps: the one place that lays them out.

Everything here starts from `AttackResult`s, computed just now or read back from a run folder. The
figure that draws the curves is in `advrec.report.figures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from advrec.choices import NOISES, Noise
from advrec.errors import UsageError
from advrec.report.suite import BUDGETS
from advrec.report.table import Column, Table
from advrec.robustness.attack import share_lost
from advrec.robustness.flags import RAW_DIFFERS
from advrec.robustness.perturb import NORMS

if TYPE_CHECKING:
    from advrec.robustness.attack import AttackResult


@dataclass(frozen=True)
class Attacked:
    """The attacks on one trained model, under the name that tables give it."""

    name: str  # "mf-debian-1": a row
    model: str  # "mf": a panel of the figure
    results: Sequence[AttackResult]

    @property
    def metrics(self) -> list[str]:
        """What was measured: "NDCG@20", …"""
        return list(self.results[0].clean.values)

    @property
    def sites(self) -> list[str]:
        """Where noise was added, in the order of the attacks."""
        return list(dict.fromkeys(str(result.plan.site) for result in self.results))


@dataclass(frozen=True)
class Curve:
    """What becomes of a metric as eps grows: one line of the robustness figure."""

    model: str  # "MF": one panel each
    training: str  # "pretrained", "adversarially trained": one colour each
    noise: Noise
    clean: float  # the metric without noise
    eps: tuple[float, ...]  # the norm of the noise, ascending
    attacked: tuple[float, ...]  # the metric at each eps
    low: tuple[float, ...] | None = None  # an interval around the values, as over seeds
    high: tuple[float, ...] | None = None
    norm: str = "row"  # what has length eps: every row, or the whole table ("joint", "tensor")
    unit: str = "eps"  # "rho": the budget is relative

    def __post_init__(self) -> None:
        for name in ("attacked", "low", "high"):
            series = getattr(self, name)
            if series is not None and len(series) != len(self.eps):
                raise ValueError(f"{len(self.eps)} values of eps, but {len(series)} of {name}")

    @property
    def lost(self) -> tuple[float, ...]:
        """The share of the clean metric that is gone at each eps; below 0 is a gain."""
        return tuple(share_lost(self.clean, value) for value in self.attacked)


def attack_tables(attacks: Sequence[Attacked]) -> list[Table]:
    """A table per metric: one row per model, site, noise and eps, the budget as measured."""
    metrics = dict.fromkeys(name for attacked in attacks for name in attacked.metrics)
    return [_attack_table(attacks, metric) for metric in metrics]


def _attack_table(attacks: Sequence[Attacked], metric: str) -> Table:
    places = dict.fromkeys(
        f"{result.plan.site} ({result.plan.norm})"
        for attacked in attacks
        for result in attacked.results
    )
    several = len(places) > 1
    results = [result for attacked in attacks for result in attacked.results]
    relative = any(result.unit == "rho" for result in results)
    stored = any(result.as_stored is not None for result in results)
    columns = (
        Column("run"),
        *([Column("site")] if several else []),
        Column("noise"),
        Column("ρ", ".1%") if relative else Column("ε", "g"),
        Column("budget", ".4g"),
        Column("relative", ".1%"),
        Column("clean"),
        Column("attacked"),
        Column("lost", ".1%"),
        *([Column("attacked, norms as stored")] if stored else []),
    )
    rows = tuple(
        (
            attacked.name,
            *([result.plan.site] if several else []),
            _noise_label(result),
            result.eps,
            result.budget.absolute,
            result.budget.relative,
            result.clean.values[metric],
            result.attacked.values[metric],
            round(result.lost[metric], 4) + 0.0,  # no -0.0%
            *([_as_stored(result, metric)] if stored else []),
        )
        for attacked in attacks
        for result in attacked.results
        if metric in result.clean.values
    )
    first = attacks[0].results[0].clean
    sides = dict.fromkeys(f"; rows of {r.side} move" for r in results if r.side != "both")
    notes = (
        f"{first.part} part, {first.protocol}, {first.n_users:,} users; noise at "
        f"{' or '.join(places)}{''.join(sides)}.",
        *_knowledge(attacks),
        *([BUDGETS["rho"]] if relative else []),
        *_differing(attacks, metric),
        "budget: the largest norm in the noise, as measured; relative: as a share of the mean norm"
        " in the table.",
    )
    return Table(f"{metric} under noise", columns, rows, notes)


def _as_stored(result: AttackResult, metric: str) -> float | None:
    return None if result.as_stored is None else result.as_stored.values[metric]


def _differing(attacks: Sequence[Attacked], metric: str) -> list[str]:
    """The models whose losses in canonical form and by the norms as stored differ."""
    names = []
    for attacked in attacks:
        for result in attacked.results:
            stored = _as_stored(result, metric)
            if stored is None:
                continue
            clean = result.clean.values[metric]
            one, other = clean - result.attacked.values[metric], clean - stored
            if abs(one - other) > RAW_DIFFERS * max(abs(one), abs(other)):
                names.append(attacked.name)
    if not names:
        return []
    return [
        f"{', '.join(dict.fromkeys(names))}: norms as stored give losses that differ by more than"
        f" {RAW_DIFFERS:.0%}: they depend on how the vectors happen to be scaled."
    ]


KNOWLEDGE: Final = {
    "train": "train: relevant are the training pairs.",
    "self": "self: relevant is the model's own first item for each user; no labels are used.",
    "test": "test: relevant are the held-out items, which no attacker knows: a bound of the worst.",
}


def _noise_label(result: AttackResult) -> str:
    """ "adversarial", with objective and labels where they are not the loss on training pairs."""
    plan = result.plan
    return plan.noise if plan.usual else f"{plan.noise} ({plan.objective}, {plan.labels})"


def _knowledge(attacks: Sequence[Attacked]) -> list[str]:
    """What the labels in the column of noises mean."""
    plans = [result.plan for attacked in attacks for result in attacked.results]
    labels = dict.fromkeys(str(plan.labels) for plan in plans if not plan.usual)
    return [KNOWLEDGE[label] for label in labels]


def attack_curves(attacks: Sequence[Attacked], metric: str) -> list[Curve]:
    """A curve per model, site and noise; the model's name says the site where there are several.

    Raises:
        UsageError: no attacks, or a metric that was not evaluated.
    """
    curves = []
    for attacked in attacks:
        sites = attacked.sites
        for site, noise in product(sites, NOISES):
            own = [r for r in attacked.results if (r.plan.site, r.plan.noise) == (site, noise)]
            if own:
                name = f"{attacked.name}, {site}" if len(sites) > 1 else attacked.name
                curves.append(attack_curve(own, metric, model=attacked.model, training=name))
    return curves


def attack_curve(
    results: Sequence[AttackResult],  # of one model, one site and one noise
    metric: str,  # "NDCG@20": must be among the evaluated ones
    *,
    model: str,
    training: str,
) -> Curve:
    """The results of one attack as a curve, in the order of eps.

    Raises:
        UsageError: no results, or a metric that was not evaluated.
    """
    if not results:
        raise UsageError("a curve needs at least one attack, got none")
    ordered = sorted(results, key=lambda result: result.eps)
    known = ordered[0].clean.values
    if metric not in known:
        raise UsageError(
            f"the attack was not evaluated by {metric!r}", hint=f"choose from {', '.join(known)}"
        )
    plan = ordered[0].plan
    return Curve(
        model=model,
        training=training,
        noise="random" if plan.noise == "random" else "adversarial",
        clean=known[metric],
        eps=tuple(result.eps for result in ordered),
        attacked=tuple(result.attacked.values[metric] for result in ordered),
        norm=plan.norm or "row",
        unit=ordered[0].unit,
    )


def eps_label(norm: str, unit: str = "eps") -> str:
    """What eps is a length of, in words."""
    if unit == "rho":
        return "rho: share of the norm of what is perturbed"
    return f"eps: L2 norm of {NORMS[norm].label} perturbation"
