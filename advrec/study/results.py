"""What finished cells say together: for each line of the table its figures over seeds, and tests.

Seeds are paired: one seed gives two trainings of a line the same initial values, the same stream
of triplets and the same attack, so their differences are compared, not their means. The split of
the data is the same for all seeds: intervals are about training, not about other data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from advrec.report.stats import Comparison, Summary, compare, summarize
from advrec.study.plan import Cell, Measures
from advrec.study.schedule import load_result
from advrec.study.spec import PRETRAINED

LEVEL = 0.05
"""A difference is called one when its paired t-test has a p below this."""


class Noise(NamedTuple):
    """A noise that a line was measured under."""

    site: str
    kind: str  # "random" or "adversarial"
    eps: float

    def __str__(self) -> str:
        return f"{self.kind} noise of ε = {self.eps:g}"


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

    def noises(self) -> Iterator[Noise]:
        """Every noise that it was measured under."""
        for site in self.measures.sites:
            for kind in self.measures.noise:
                for eps in self.measures.eps:
                    yield Noise(site, kind, eps)

    def values(self, metric: str, noise: Noise | None = None) -> dict[int, float]:
        """Seed → figure, clean or under a noise."""
        if noise is None:
            return {seed: found["clean"]["metrics"][metric] for seed, found in self.results.items()}
        return {
            seed: _attack(found, noise)["metrics"][metric] for seed, found in self.results.items()
        }

    def summary(self, metric: str, noise: Noise | None = None) -> Summary:
        """The figure over seeds."""
        return summarize(list(self.values(metric, noise).values()))

    def lost(self, metric: str, noise: Noise) -> Summary | None:
        """The share of the clean figure that a noise costs, over seeds; None where that is 0."""
        clean, noisy = self.values(metric), self.values(metric, noise)
        if not all(clean.values()):
            return None
        return summarize([1 - noisy[seed] / clean[seed] for seed in clean])

    def budget(self, noise: Noise) -> float:
        """The noise's length beside the mean length of what it is added to, mean over seeds."""
        shares = [_attack(found, noise)["budget"]["relative"] for found in self.results.values()]
        return math.fsum(shares) / len(shares)

    def mean(self, *path: str) -> float:
        """The mean over seeds of a number in the results, such as `seconds.train`."""
        found = []
        for result in self.results.values():
            value: Any = result
            for name in path:
                value = value[name]
            found.append(float(value))
        return math.fsum(found) / len(found)

    def curve(self) -> list[tuple[float, float]]:
        """(epochs trained in all, validation figure), the mean over seeds where all have one."""
        curves = [
            {result["started_after"] + epoch: value for epoch, value in result["validation"]}
            for result in self.results.values()
        ]
        shared = [epoch for epoch in curves[0] if all(epoch in curve for curve in curves)]
        return [
            (epoch, math.fsum(curve[epoch] for curve in curves) / len(curves)) for epoch in shared
        ]


def _attack(result: Mapping[str, Any], noise: Noise) -> Mapping[str, Any]:
    for found in result["attacks"]:
        if (found["site"], found["noise"], found["eps"]) == noise:
            return dict(found)
    raise KeyError(noise)


def gather(cells: Sequence[Cell], out: Path) -> list[Line]:
    """The lines of all cells that are made, in the order of the plan; without any seed, no line."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.data, cell.model, cell.training), []).append(cell)
    lines = []
    for members in groups.values():
        first = members[0]
        results = {}
        for cell in members:
            found = load_result(out, cell)
            if found is not None:
                results[cell.seed] = found
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
    noise: Noise | None  # None: clean
    comparison: Comparison

    @property
    def verdict(self) -> str:
        """`helps`, `hurts`, `no difference` (that so few seeds could tell) or `untested`."""
        p = self.comparison.p_t
        if math.isnan(p):
            return "untested"
        if p >= LEVEL:
            return "no difference"
        return "helps" if self.comparison.difference > 0 else "hurts"


def make_tests(lines: Sequence[Line], metric: str) -> list[Test]:
    """Each adversarial training against the pretraining and the controls beside it.

    Clean and under every adversarial noise, over the seeds that both have.
    """
    tests = []
    for line in lines:
        if line.kind != "adversarial":
            continue
        for other in others(line, lines):
            seeds = [seed for seed in line.seeds if seed in other.results]
            if not seeds:
                continue
            noises = [noise for noise in line.noises() if noise.kind == "adversarial"]
            for noise in (None, *noises):
                a, b = line.values(metric, noise), other.values(metric, noise)
                comparison = compare([a[seed] for seed in seeds], [b[seed] for seed in seeds])
                tests.append(Test(line, other, metric, noise, comparison))
    return tests


def others(line: Line, lines: Sequence[Line]) -> list[Line]:
    """What an adversarial training is compared with: controls first, then the pretraining."""
    beside = [
        other
        for other in lines
        if (other.data, other.model) == (line.data, line.model) and other.kind != "adversarial"
    ]
    return sorted(beside, key=lambda other: other.kind == PRETRAINED)
