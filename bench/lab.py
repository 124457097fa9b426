"""What a claim's script works with: the data, the settings, the available peers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from bench import peers
from bench.measure import Contender, Pace, Timing, race
from bench.results import Check
from bench.workload import Workload, open_workload

T = TypeVar("T")


@dataclass
class Lab:
    """Settings of a run."""

    pace: Pace
    threads: tuple[int, ...]
    quick: bool
    scratch: Path
    data: str | None = None
    checkouts: dict[str, Path] = field(default_factory=dict)
    largest: int = 10_000_000  # pairs, of the curve over sizes
    _made: dict[str, object] = field(default_factory=dict)

    @cached_property
    def work(self) -> Workload:
        self.say("opening the data")
        return open_workload(self.data, quick=self.quick, scratch=self.scratch)

    @property
    def most_threads(self) -> int:
        return max(self.threads)

    def few(self, many: T, tiny: T) -> T:
        """What is for measuring, or what is for a quick run."""
        return tiny if self.quick else many

    def race(self, contenders: list[Contender], threads: tuple[int, ...] = ()) -> list[Timing]:
        """All of them at every number of threads."""
        timings = []
        for count in threads or self.threads:
            names = " · ".join(c.name for c in contenders)
            self.say(f"{names}; {count} thread{'s' * (count > 1)}")
            timings += race(contenders, count, self.pace)
        return timings

    def peer(self, name: str, make: Callable[[], T], missing: list[str]) -> T | None:
        """A peer, made once per run; None, and a line in `missing`, if it is unavailable."""
        if name in self._made:
            return self._made[name]  # type: ignore[return-value]
        reason = peers.why_missing(name.split(":", maxsplit=1)[0], self.checkouts)
        if reason is None:
            try:
                self._made[name] = make()
                return self._made[name]  # type: ignore[return-value]
            except Exception as error:
                reason = f"{name} does not work here: {type(error).__name__}: {error}"
        if reason not in missing:
            missing.append(reason)
        return None

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def same(who: str, what: str, found: float, limit: float, how: str) -> Check:
    """A check that a measured difference stays within what rounding explains."""
    return Check(who, f"{what} ({how}, at most {limit:.0e})", bool(found <= limit), f"{found:.0e}")
