"""One picture of all comparisons: how many times as long as advrec, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHADES = ("#c7cdd6", "#8fa3bf", "#4f6d96")


def draw(document: dict[str, Any], path: Path) -> bool:
    """Write the picture; False, and none written, without matplotlib or anything to show."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    bars = _bars(document)
    if not bars:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    groups = list(dict.fromkeys(bar["group"] for bar in bars))
    height = sum(0.26 * len([b for b in bars if b["group"] == g]) + 0.55 for g in groups)
    figure, axes = plt.subplots(figsize=(8.5, max(2.0, height)), layout="constrained")
    position, ticks, names = 0.0, [], []
    counts = sorted({bar["threads"] for bar in bars})
    for group in groups:
        axes.text(1.0, position, f" {group}", va="center", fontsize=8.5, fontweight="bold")
        position += 0.45
        for bar in (b for b in bars if b["group"] == group):
            shade = SHADES[-1 - counts[::-1].index(bar["threads"]) % len(SHADES)]
            axes.barh(position, bar["ratio"] - 1, left=1.0, height=0.2, color=shade)
            axes.text(bar["ratio"], position, f" {bar['ratio']:.3g}×", va="center", fontsize=7)
            ticks.append(position)
            names.append(f"{bar['name']}, {bar['threads']} thread{'s' * (bar['threads'] > 1)}")
            position += 0.26
        position += 0.1
    axes.set_yticks(ticks, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("times as long as advrec with as many threads")
    axes.spines[["top", "right", "left"]].set_visible(False)
    if document["quick"]:
        axes.set_title("A quick run: these figures mean nothing", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True


def _bars(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "group": part["title"],
            "name": timing["name"],
            "threads": timing["threads"],
            "ratio": timing["ratio"]["value"],
        }
        for section in document["sections"]
        for part in section["parts"]
        if part["kind"] == "timings"
        for timing in part["timings"]
        if timing["ratio"] is not None
    ]
