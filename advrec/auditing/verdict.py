"""The verdict: three sentences that a reader who stops there should have read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]


def verdict(subject: Document, metric: str, headline: float) -> list[str]:
    """What is sure and what was broken, what it takes without labels, what practice costs."""
    point = next(point for point in subject["rho"] if point["budget"] == headline)
    clean = subject["clean"][metric]
    return [
        _bracket(point, clean, metric, headline),
        _knowledge(subject, point, clean, headline),
        _practice(subject, metric),
    ]


def _bracket(point: Document, clean: float, metric: str, headline: float) -> str:
    budget = f"a perturbation of {_percent(headline)} of the row norms"
    sure, broken = point.get("certified"), point.get("oracle")
    have = f"its {metric} of {clean:.3f}"
    if not clean:
        return f"Its {metric} is 0, so there is nothing that {budget} could take."
    if sure is None:
        if broken is None:
            return f"Nothing was measured of what {budget} leaves of {have}."
        return (
            f"The strongest attack found leaves {_share(broken, clean)} of {have} under {budget};"
            " there is no certificate for this model, so the truth may be worse."
        )
    if broken is None:
        return f"At least {_share(sure, clean)} of {have} is certain to survive {budget}."
    return (
        f"Under {budget}, at least {_share(sure, clean)} of {have} is certain to survive, and the"
        f" strongest attack found, which knows the held-out items, leaves {_share(broken, clean)}."
    )


def _knowledge(subject: Document, point: Document, clean: float, headline: float) -> str:
    free, blind = point.get("label_free"), point.get("random")
    gone = subject["half"]["oracle"]
    parts = []
    if free is not None and clean:
        text = f"an attacker without those labels takes {_lost(free, clean)} at this budget"
        if blind is not None:
            text += f" and random noise of the same size {_lost(blind, clean)}"
        parts.append(text)
    if gone is not None:
        parts.append(f"half is lost at ρ = {_percent(round(gone, 3))}")
    elif clean and all(at.get("oracle") is not None for at in subject["rho"]):
        last = subject["rho"][-1]
        survives = last["oracle"] >= clean / 2
        size = _percent(last["budget"]) if survives else _percent(subject["rho"][0]["budget"])
        parts.append(
            f"half survives every attack made up to ρ = {size}"
            if survives
            else f"half is lost below ρ = {size}"
        )
    if not parts:
        return f"No attack was made at ρ = {_percent(headline)}."
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def _practice(subject: Document, metric: str) -> str:
    """Can it be stored as int8, and how stale may it get?"""
    if not subject["practical"]:
        return f"What storing it costs was not measured: {subject['practical_refused']}."
    by_kind = {entry["kind"].partition(":")[0]: entry for entry in subject["practical"]}
    told = []
    for kind in ("int8", "int4", "staleness"):
        if kind in by_kind:
            entry = by_kind[kind]
            clean, left = entry["clean"][metric], entry["metrics"][metric]
            change = 1 - left / clean if clean else 0.0
            cost = f"costs {100 * change:.1f} %" if change >= 0.0005 else "costs nothing"
            text = f"{_STORED[kind].format(**entry)} {cost}"
            if entry["inside"] is not None:
                text += f" (sure to keep {100 * entry['inside']:.0f} % of the hits)"
            told.append(text)
    if not told:
        return "Neither quantised nor older vectors were measured."
    return _listed(told) + "."


_STORED = {
    "int8": "Storing the vectors as int8",
    "int4": "as int4",
    "staleness": "serving the {side} of {of}",
}


def _listed(parts: Sequence[str]) -> str:
    text = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    return text[0].upper() + text[1:]


def _share(value: float, clean: float) -> str:
    return f"{100 * value / clean:.0f} %"


def _lost(value: float, clean: float) -> str:
    return f"{100 * max(0.0, 1 - value / clean):.0f} %"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
