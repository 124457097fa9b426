"""What a claim's script hands back: tables of timings, checks, targets, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.measure import Ratio, Timing, ratio

OURS = "advrec"
RESOLVED = 1.3
"""Ratios nearer to 1 than this say nothing on a machine that drifts."""


@dataclass(frozen=True)
class Unit:
    """How seconds for a unit of work are shown: as a time, or as a rate."""

    label: str  # "ms per step", "million triplets/s"
    factor: float  # what the seconds (or the rate) are multiplied by
    rate: bool = False

    def show(self, seconds: float) -> float:
        return self.factor / seconds if self.rate else self.factor * seconds


@dataclass(frozen=True)
class Check:
    """That a contender computed the same as the others, or how far off it is."""

    who: str
    what: str  # with how it is measured and what is allowed; the same text for every contender
    ok: bool
    found: str = ""


@dataclass(frozen=True)
class Target:
    """A bound: how many times as fast as the fastest of `against`; without any, the least rate or
    the most time."""

    text: str
    bound: float
    against: tuple[str, ...] = ()  # names of timings; empty: the shown value of `ours` itself
    ours: str = OURS
    at_most: bool = False  # the bound is the most that `against` may take, not the least


@dataclass(frozen=True)
class Verdict:
    """The outcome of a target."""

    text: str
    threads: int
    found: str
    state: str  # reached, missed, unresolved, not measured


@dataclass
class Table:
    """One comparison: the same work by several, at several numbers of threads."""

    title: str
    unit: Unit
    timings: list[Timing] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    note: str = ""
    ours: str = OURS

    def of(self, n_threads: int) -> dict[str, Timing]:
        return {t.name: t for t in self.timings if t.threads == n_threads}

    def thread_counts(self) -> list[int]:
        return list(dict.fromkeys(t.threads for t in self.timings))

    def ratio(self, timing: Timing) -> Ratio | None:
        """The ratio to ours with as many threads."""
        ours = self.of(timing.threads).get(self.ours)
        return None if ours is None or timing.name == self.ours else ratio(ours, timing)

    def verdicts(self) -> list[Verdict]:
        return [self._verdict(target, n) for target in self.targets for n in self.thread_counts()]

    def _verdict(self, target: Target, n_threads: int) -> Verdict:
        timings = self.of(n_threads)
        ours = timings.get(target.ours)
        if ours is None:
            return Verdict(target.text, n_threads, "–", "not measured")
        if not target.against:
            value = self.unit.show(ours.best)
            good = value >= target.bound if self.unit.rate else value <= target.bound
            state = "reached" if good else "missed"
            return Verdict(target.text, n_threads, f"{value:.3g} {self.unit.label}", state)
        others = [timings[name] for name in target.against if name in timings]
        if not others:
            return Verdict(target.text, n_threads, "–", "not measured")
        fastest = min(others, key=lambda timing: timing.best)
        found = ratio(ours, fastest)
        if target.at_most:
            state = "reached" if found.value <= target.bound else "missed"
        elif found.value < target.bound:
            state = "missed"
        elif found.value < RESOLVED:
            state = "unresolved"
        else:
            state = "reached"
        return Verdict(target.text, n_threads, f"{found.value:.3g}× {fastest.name}", state)


@dataclass
class Facts:
    """A table of anything else: a roofline, a curve, an account of where time went."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    checks: list[Check] = field(default_factory=list)
    note: str = ""


Part = Table | Facts


@dataclass
class Section:
    """All results of one claim."""

    name: str
    title: str
    parts: list[Part] = field(default_factory=list)
    seconds: float = 0.0
    foreign: float | None = None  # share of the machine that others used meanwhile
    failure: str = ""  # why it ended early

    @property
    def ok(self) -> bool:
        return not self.failure and all(check.ok for part in self.parts for check in part.checks)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok, "parts": [_part_json(part) for part in self.parts]}


def _part_json(part: Part) -> dict[str, Any]:
    values: dict[str, Any] = asdict(part)
    if isinstance(part, Table):
        values["kind"] = "timings"
        for timing, row in zip(part.timings, values["timings"], strict=True):
            relative = part.ratio(timing)
            row |= {"best": timing.best, "median": timing.median, "spread": timing.spread}
            row["ratio"] = None if relative is None else asdict(relative)
        values["verdicts"] = [asdict(verdict) for verdict in part.verdicts()]
    else:
        values["kind"] = "facts"
    return values
