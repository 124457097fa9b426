"""One picture of all comparisons: how many times as long as advrec, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.results import OURS

SHADES = ("#4f6d96", "#b3bfd1", "#8a8f98")  # the most threads first


def draw(document: dict[str, Any], path: Path) -> bool:
    """Write the picture; False, and none written, without matplotlib or anything to show."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    groups = _groups(document)
    if not groups:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    counts = sorted({n for rows in groups.values() for bars in rows.values() for n in bars})[::-1]
    rows_in_all = sum(len(rows) for rows in groups.values())
    height = 0.8 + 0.3 * rows_in_all + 0.45 * len(groups)
    figure, axes = plt.subplots(figsize=(8.5, height), layout="constrained")
    position, ticks, names = 0.0, [], []
    for title, rows in groups.items():
        axes.text(1.0, position, f" {title}", va="center", fontsize=8.5, fontweight="bold")
        position += 0.75
        for name, bars in rows.items():
            ticks.append(position)
            names.append(name)
            width = 0.8 / len(counts)
            for place, count in enumerate(counts):
                if count not in bars:
                    continue
                at = position + (place - (len(counts) - 1) / 2) * width
                shade = SHADES[place % len(SHADES)]
                axes.barh(at, bars[count] - 1, left=1.0, height=0.9 * width, color=shade)
                text = f" {bars[count]:.3g}×"
                axes.text(max(1.0, bars[count]), at, text, va="center", fontsize=6.5)
            position += 1.0
        position += 0.5
    axes.set_yticks(ticks, names, fontsize=7.5)
    axes.set_ylim(position - 0.5, -0.7)
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("times as long as advrec with as many threads", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles = [
        plt.Rectangle((0, 0), 1, 1, color=SHADES[place % len(SHADES)])
        for place in range(len(counts))
    ]
    labels = [f"{count} thread{'s' * (count > 1)}" for count in counts]
    figure.legend(handles, labels, fontsize=7.5, frameon=False, loc="outside upper right", ncols=3)
    if document["quick"]:
        axes.set_title("A quick run: these figures mean nothing", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True


def _groups(document: dict[str, Any]) -> dict[str, dict[str, dict[int, float]]]:
    """Title of a comparison → name of a peer → number of threads → ratio."""
    groups: dict[str, dict[str, dict[int, float]]] = {}
    for section in document["sections"]:
        for part in section["parts"]:
            if part["kind"] != "timings" or part["ours"] != OURS:
                continue
            for timing in part["timings"]:
                if timing["ratio"] is not None and not timing["name"].startswith(OURS):
                    rows = groups.setdefault(part["title"], {})
                    bars = rows.setdefault(timing["name"], {})
                    bars[timing["threads"]] = timing["ratio"]["value"]
    return groups
