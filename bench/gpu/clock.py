"""Time on the device, between two events, of contenders in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

BLOCK_MS = 50.0
"""Calls are repeated until they take about this long, so that a launch's jitter does not count."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call."""

    least: float
    median: float


def in_turn(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Each call's time, A B C A B C …; everything is called twice before anything is timed."""
    repeats = {}
    for name, call in calls.items():
        call()
        call()
        repeats[name] = max(1, int(BLOCK_MS / max(_block(call, 1), 1e-3)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_block(call, repeats[name]))
    return {name: Timing(min(t), statistics.median(t)) for name, t in times.items()}


def _block(call: Callable[[], object], repeats: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / repeats


def copy_rate(mebibytes: int, rounds: int) -> float:
    """Bytes per second that a copy within the device reads and writes."""
    source = torch.zeros(mebibytes * 2**18, device="cuda")
    target = torch.empty_like(source)
    timing = in_turn({"copy": lambda: target.copy_(source)}, rounds)["copy"]
    return 2 * source.numel() * 4 / (timing.least * 1e-3)
