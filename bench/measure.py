"""Timing in turn, A B C A B C …: a machine that drifts drifts for all of them alike.

Every contender is called once before anything is timed. A block of calls lasts long enough for the
clock; the order of the contenders moves on by one each round; slow ones take part in fewer rounds.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench import threads


@dataclass(frozen=True)
class Contender:
    """One implementation of the work."""

    name: str
    call: Callable[[], object]
    work: float = 1.0  # units of work in a call: steps, triplets, users
    remark: str = ""  # what is different about it
    threads: tuple[int, ...] | None = None  # numbers of threads it can use; None: any


@dataclass(frozen=True)
class Pace:
    """How long to measure."""

    rounds: int = 5
    block_seconds: float = 0.2  # calls are repeated until they take about this long
    contender_seconds: float = 10.0  # slow contenders stop after about this long, …
    least_rounds: int = 2  # … but not before so many rounds
    pause: float = 0.02  # before each block: another pool's threads may still be spinning


QUICK = Pace(rounds=1, block_seconds=0.0, contender_seconds=0.0, least_rounds=1, pause=0.0)
"""To see that everything works. The figures mean nothing."""


@dataclass
class Timing:
    """Seconds for one unit of work, one figure per round."""

    name: str
    threads: int
    rounds: list[float] = field(default_factory=list)
    remark: str = ""

    @property
    def best(self) -> float:
        return min(self.rounds)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """How far the slowest round lies above the fastest: 0.1 is 10 %."""
        return max(self.rounds) / self.best - 1


@dataclass(frozen=True)
class Ratio:
    """How many times as long `other` took: of the minima, and least and most within one round."""

    value: float
    low: float
    high: float


def ratio(ours: Timing, other: Timing) -> Ratio:
    """The ratio of two contenders of one race."""
    each = [b / a for a, b in zip(ours.rounds, other.rounds, strict=False)]
    return Ratio(other.best / ours.best, min(each), max(each))


def race(contenders: Sequence[Contender], n_threads: int, pace: Pace) -> list[Timing]:
    """Measure every contender that can use that many threads, in turn."""
    threads.use(n_threads)
    runners = [c for c in contenders if c.threads is None or n_threads in c.threads]
    timings = [Timing(c.name, n_threads, [], c.remark) for c in runners]
    calls, rounds = [], []
    for runner in runners:
        once = _seconds(runner, 1)
        n_calls = max(1, math.ceil(pace.block_seconds / max(once, 1e-9)))
        affordable = int(pace.contender_seconds / max(once * n_calls, 1e-9))
        calls.append(n_calls)
        rounds.append(min(pace.rounds, max(pace.least_rounds, affordable)))
    for number in range(max(rounds, default=0)):
        for place in range(len(runners)):
            who = (place + number) % len(runners)
            if number < rounds[who]:
                time.sleep(pace.pause)
                seconds = _seconds(runners[who], calls[who])
                timings[who].rounds.append(seconds / calls[who] / runners[who].work)
    return timings


def _seconds(runner: Contender, calls: int) -> float:
    gc.collect()
    started = time.perf_counter()
    for _ in range(calls):
        runner.call()
    return time.perf_counter() - started
