"""The bracket figure as inline SVG: a metric between its certified bound and the worst attack.

Budgets stand on a logarithmic axis with the clean figure at its left end. Colours, dashes and dots
come from the page's style sheet, so that the figure follows light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Final

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 12, 48
LINES: Final = {
    "random": "random noise",
    "label_free": "worst attack without labels",
    "oracle": "worst attack with the held-out labels",
    "certified": "certified: nothing goes below",
}
"""The curves from the weakest to the strongest, and what the legend calls them."""


def legend(curves: Sequence[str]) -> str:
    """What the lines are, as an HTML list."""
    entries = [
        f'<li><svg viewBox="0 0 44 14" aria-hidden="true"><path class="curve {_css(name)}"'
        f' d="M2 7H42"/></svg>{escape(LINES[name])}</li>'
        for name in LINES
        if name in curves
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'


def bracket(
    points: Sequence[Mapping[str, Any]],  # "budget", and a figure or None for each of LINES
    clean: float,
    *,
    metric: str,
    axis: str,  # what the budget is
    relative: bool,  # budgets as percent
    top: float | None = None,  # of the axis, to compare figures
) -> str:
    """The figure of one model and one kind of budget; every point has its numbers as a tooltip."""
    budgets = [float(point["budget"]) for point in points]

    def shown(size: float) -> str:
        return f"{100 * size:g} %" if relative else f"{size:g}"

    places = _log_places(budgets)
    high = max(clean, top or 0.0) * 1.05 or 1.0
    step = _step(high)

    def x(place: float) -> float:
        return LEFT + place * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1 - value / high) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for level in range(int(high / step) + 1):
        at = y(level * step)
        kind = "grid" if level else "axis"
        parts.append(f'<path class="{kind}" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{level * step:.2g}</text>'
        )
    for text, place in [("0", 0.0), *zip(map(shown, budgets), places, strict=True)]:
        parts.append(
            f'<text x="{x(place):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">'
            f"{escape(text)}</text>"
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(axis)}</text>"
    )
    texts = [shown(budget) for budget in budgets]
    series = {
        name: [(0.0, clean, "0")]
        + [
            (place, float(point[name]), text)
            for point, place, text in zip(points, places, texts, strict=True)
            if point.get(name) is not None
        ]
        for name in LINES
    }
    drawn = {name: dots for name, dots in series.items() if len(dots) > 1}
    if "certified" in drawn and "oracle" in drawn:
        edge = [*drawn["oracle"], *reversed(drawn["certified"])]
        corners = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b, _ in edge)
        parts.append(f'<polygon class="band" points="{corners}"/>')
    for name, dots in drawn.items():
        line = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b, _ in dots)
        parts.append(f'<path class="curve {_css(name)}" d="M{line}"/>')
    for name, dots in drawn.items():
        for place, value, text in dots:
            told = f"{LINES[name]}, {text}: {metric} {value:.4f}"
            parts.append(
                f'<circle class="dot {_css(name)}" cx="{x(place):.1f}" cy="{y(value):.1f}" r="4">'
                f"<title>{escape(told)}</title></circle>"
            )
    words = _summary(points, clean, metric, shown)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">'
        f"{''.join(parts)}</svg>"
    )


def _css(name: str) -> str:
    return name.replace("_", "")


def _log_places(budgets: Sequence[float]) -> list[float]:
    """Places from 0 to 1: no noise at 0, then the budgets by their logarithm."""
    logs = [math.log(budget) for budget in budgets]
    span = (logs[-1] - logs[0]) or 1.0
    first = 0.14
    return [first + (1 - first) * (log - logs[0]) / span for log in logs]


def _step(high: float) -> float:
    """A round distance of grid lines, of which four to eight fit below `high`."""
    rough = high / 5
    base = 10.0 ** math.floor(math.log10(rough))
    return min((base * m for m in (1, 2, 5, 10)), key=lambda step: abs(step - rough))


def _summary(
    points: Sequence[Mapping[str, Any]], clean: float, metric: str, shown: Callable[[float], str]
) -> str:
    """The figure in words, for those who cannot see it."""
    told = [f"{metric} {clean:.3f} without noise"]
    for point in points:
        bounds = [point.get("certified"), point.get("oracle")]
        words = " to ".join(f"{value:.3f}" for value in bounds if value is not None)
        if words:
            told.append(f"{words} at {shown(point['budget'])}")
    return "; ".join(told)
