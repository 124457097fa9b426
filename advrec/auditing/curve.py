"""Two numbers that say what a curve over budgets says: its area, and where half is gone."""

from __future__ import annotations

import math
from collections.abc import Sequence


def area(budgets: Sequence[float], values: Sequence[float], clean: float) -> float:
    """What is left of the clean figure, averaged over log budget by the trapezoid rule.

    1 is untouched; budgets ascend from above 0. NaN with fewer than two, or nothing to lose.
    """
    if len(budgets) < 2 or not clean:
        return math.nan
    logs = [math.log(budget) for budget in budgets]
    total = sum(
        (logs[n + 1] - logs[n]) * (values[n] + values[n + 1]) / 2 for n in range(len(logs) - 1)
    )
    return total / (logs[-1] - logs[0]) / clean


def half(budgets: Sequence[float], values: Sequence[float], clean: float) -> float:
    """The budget at which half of the clean figure is lost, interpolated in log budget.

    NaN where that is below the smallest budget or above the largest, so that nothing is
    extrapolated.
    """
    kept = [value / clean for value in values] if clean else []
    for n in range(len(kept) - 1):
        if kept[n] >= 0.5 > kept[n + 1]:
            part = (kept[n] - 0.5) / (kept[n] - kept[n + 1])
            low, high = math.log(budgets[n]), math.log(budgets[n + 1])
            return math.exp(low + part * (high - low))
    return math.nan
