"""What finished cells show together: for each line of the table its figures over seeds, and tests.

Seeds are paired: one seed gives all trainings of a model the same initial values, the same stream
of triplets and the same attack, so their differences are compared, not their means. The split of
the data is the same for all seeds: intervals are about training, not about other data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from advrec.report.stats import (
    Comparison,
    Summary,
    benjamini_hochberg,
    compare,
    holm,
    summarize,
)
from advrec.robustness.attack import share_lost
from advrec.study.plan import Cell, Measures
from advrec.study.schedule import load_result
from advrec.study.spec import PRETRAINED

LEVEL = 0.05
"""A difference counts when its paired t-test has a p below this."""


class Attack(NamedTuple):
    """One noise that a line was measured under."""

    site: str
    noise: str  # "random" or "adversarial"
    eps: float

    def to_dict(self) -> dict[str, Any]:
        """As results.json has it."""
        return {"site": self.site, "kind": self.noise, "eps": self.eps}


@dataclass(frozen=True)
class Line:
    """One line of the table: a training of a model on a data set, over its finished seeds."""

    data: str
    model: str
    training: str
    kind: str
    planned: int  # seeds
    measures: Measures
    results: Mapping[int, Mapping[str, Any]]  # seed → result of its cell

    @property
    def label(self) -> str:
        """`debian / MF / APR`."""
        return f"{self.data} / {self.model} / {self.training}"

    @property
    def seeds(self) -> list[int]:
        """The seeds that are finished."""
        return list(self.results)

    def attacks(self) -> Iterator[Attack]:
        """Every noise that it was measured under."""
        for site in self.measures.sites:
            for noise in self.measures.noise:
                for eps in self.measures.eps:
                    yield Attack(site, noise, eps)

    def values(self, metric: str, attack: Attack | None = None) -> dict[int, float]:
        """Seed → figure, clean or under an attack."""
        measured = {
            seed: result["clean"] if attack is None else _under(result, attack)
            for seed, result in self.results.items()
        }
        return {seed: entry["metrics"][metric] for seed, entry in measured.items()}

    def summary(self, metric: str, attack: Attack | None = None) -> Summary:
        """The figure over seeds."""
        return summarize(list(self.values(metric, attack).values()))

    def lost(self, metric: str, attack: Attack) -> Summary | None:
        """The share of the clean figure that is lost, over seeds; None where a clean one is 0."""
        clean, attacked = self.values(metric), self.values(metric, attack)
        if not all(clean.values()):
            return None
        return summarize([share_lost(clean[seed], attacked[seed]) for seed in clean])

    def budget(self, attack: Attack) -> float:
        """The norm of the noise relative to what it is added to, mean over seeds."""
        shares = [_under(result, attack)["budget"]["relative"] for result in self.results.values()]
        return math.fsum(shares) / len(shares)

    def mean(self, *path: str) -> float:
        """The mean over seeds of a number in the results, such as `seconds.train`."""
        values = []
        for result in self.results.values():
            value: Any = result
            for name in path:
                value = value[name]
            values.append(float(value))
        return math.fsum(values) / len(values)

    def curve(self) -> list[tuple[float, float]]:
        """(epochs trained in total, validation figure): means, at epochs that all seeds have."""
        curves = [
            {result["started_after"] + epoch: value for epoch, value in result["validation"]}
            for result in self.results.values()
        ]
        shared = [epoch for epoch in curves[0] if all(epoch in curve for curve in curves)]
        return [
            (epoch, math.fsum(curve[epoch] for curve in curves) / len(curves)) for epoch in shared
        ]


def _under(result: Mapping[str, Any], attack: Attack) -> Mapping[str, Any]:
    for entry in result["attacks"]:
        if (entry["site"], entry["noise"], entry["eps"]) == attack:
            return dict(entry)
    raise KeyError(attack)


def gather(cells: Sequence[Cell], out: Path) -> list[Line]:
    """The lines of all finished cells, in the order of the plan; a line has at least one seed."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.data, cell.model, cell.training), []).append(cell)
    lines = []
    for members in groups.values():
        first = members[0]
        results = {}
        for cell in members:
            result = load_result(out, cell)
            if result is not None:
                results[cell.seed] = result
        if results:
            lines.append(
                Line(
                    first.data,
                    first.model,
                    first.training,
                    first.kind,
                    len(members),
                    first.measures,
                    results,
                )
            )
    order = list(dict.fromkeys((cell.data, cell.model) for cell in cells))
    return sorted(lines, key=lambda line: order.index((line.data, line.model)))


@dataclass(frozen=True)
class Test:
    """An adversarially trained line against one that is not, seed by seed."""

    line: Line
    against: Line
    metric: str
    attack: Attack | None  # None: clean
    comparison: Comparison
    p_holm: float = math.nan  # p_t, corrected for all tests of the study's table
    p_bh: float = math.nan

    @property
    def verdict(self) -> str:
        """`helps`, `hurts`, `no difference` (that these seeds could show) or `untested`."""
        p = self.comparison.p_t
        if math.isnan(p):
            return "untested"
        if p >= LEVEL:
            return "no difference"
        return "helps" if self.comparison.difference > 0 else "hurts"


def make_tests(lines: Sequence[Line], metric: str) -> list[Test]:
    """Each adversarial training against the pretraining and the controls of its model.

    Clean and under every adversarial noise, over the seeds that both have. All of them are one
    family: the corrected p-values are those of the paired t-tests together.
    """
    tests = []
    for line in lines:
        if line.kind != "adversarial":
            continue
        for other in others(line, lines):
            seeds = [seed for seed in line.seeds if seed in other.results]
            if not seeds:
                continue
            attacks = [attack for attack in line.attacks() if attack.noise == "adversarial"]
            for attack in (None, *attacks):
                a, b = line.values(metric, attack), other.values(metric, attack)
                comparison = compare([a[seed] for seed in seeds], [b[seed] for seed in seeds])
                tests.append(Test(line, other, metric, attack, comparison))
    p = [test.comparison.p_t for test in tests]
    return [
        replace(test, p_holm=float(by_holm), p_bh=float(by_bh))
        for test, by_holm, by_bh in zip(tests, holm(p), benjamini_hochberg(p), strict=True)
    ]


def others(line: Line, lines: Sequence[Line]) -> list[Line]:
    """What an adversarial training is compared with: controls first, then the pretraining."""
    opponents = [
        other
        for other in lines
        if (other.data, other.model) == (line.data, line.model) and other.kind != "adversarial"
    ]
    return sorted(opponents, key=lambda other: other.kind == PRETRAINED)
