"""The leaderboard as tables: one per data set, ordered by the worst oracle figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from advrec.report.table import Cell, Column, Table

HEADLINE = 0.05
EPS = 0.5


def leaderboard_tables(entries: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Means over seeds; most robust first, by the oracle figure at ρ = 5 %."""
    by_data: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_data.setdefault((entry["data"], entry["data_digest"]), []).append(entry)
    return [_table(*key, group) for key, group in sorted(by_data.items())]


def _table(data: str, digest: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    ranked = sorted(entries, key=lambda entry: -_or(_figure(entry, "rho", HEADLINE, "worst"), -1))
    for place, entry in enumerate(ranked, 1):
        mark = ""
        if entry["footnote"]:
            mark = f" [{len(notes) + 1}]"
            notes.append(f"[{len(notes) + 1}] {entry['footnote']}")
        threat = entry["threat"]
        rows.append(
            (
                place,
                f"{entry['model']}, {entry['training']}{mark}",
                fmean(entry["clean"]),
                _claimed(entry),
                _figure(entry, "rho", HEADLINE, "label_free"),
                _figure(entry, "rho", HEADLINE, "oracle"),
                _figure(entry, "rho", HEADLINE, "external"),
                _figure(entry, "rho", HEADLINE, "certified"),
                _figure(entry, "eps", EPS, "oracle"),
                f"{threat['site']}, {threat['side']}, {threat['norm']}",
                len(entry["seeds"]),
                ", ".join(entry["flags"]) or "none",
            )
        )
    metric = entries[0]["metric"]
    columns = (
        Column("#"),
        Column("entry"),
        Column(f"clean {metric}"),
        Column("claimed"),
        Column("label-free, ρ 5 %"),
        Column("oracle, ρ 5 %"),
        Column("external"),
        Column("certified, ρ 5 %"),
        Column("oracle, ε 0.5"),
        Column("threat model"),
        Column("seeds"),
        Column("flags"),
    )
    return Table(
        f"{data} ({digest[:12]})",
        columns,
        tuple(rows),
        (
            f"{metric} on the {entries[0]['part']} part, means over seeds; ordered by the worse of"
            " oracle and external. Claimed: what the paper or the project says is left. External: "
            "noise found by others, checked for its budget. Threat model: site, side, norm.",
            *notes,
        ),
    )


def _figure(entry: Mapping[str, Any], kind: str, size: float, name: str) -> float | None:
    """The mean over seeds at a budget; "worst": of oracle and external per seed."""
    points = [point for point in entry[kind] if point["budget"] == size]
    point: Mapping[str, Any] = points[0] if points else {}
    external = [noise["value"] for noise in entry["external"] if noise.get(kind) == size]
    if name == "external":
        return min(external, default=None)
    if name == "worst":
        values = [value for value in (_mean(point.get("oracle")), *external) if value is not None]
        return min(values, default=None)
    return _mean(point.get(name))


def _mean(values: Sequence[float] | None) -> float | None:
    return None if not values else fmean(values)


def _claimed(entry: Mapping[str, Any]) -> float | None:
    claimed = entry["claimed"]
    return None if claimed is None else float(claimed["value"])


def _or(value: float | None, other: float) -> float:
    return other if value is None or math.isnan(value) else value
