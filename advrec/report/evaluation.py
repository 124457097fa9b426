"""Evaluations as tables: models side by side, and one model against another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from advrec.report.table import Column, Table

if TYPE_CHECKING:
    from advrec.evaluation.evaluate import Evaluation
    from advrec.report.stats import Comparison


def evaluation_table(evaluations: Mapping[str, Evaluation], title: str = "Evaluation") -> Table:
    """One row per model, one column per metric. The notes always say how it was measured."""
    names = list(dict.fromkeys(name for e in evaluations.values() for name in e.values))
    rows = tuple(
        (label, *(evaluation.values.get(name) for name in names))
        for label, evaluation in evaluations.items()
    )
    ways: dict[str, list[str]] = {}
    for label, evaluation in evaluations.items():
        ways.setdefault(_way(evaluation), []).append(label)
    if len(ways) == 1:
        notes = tuple(f"{way}." for way in ways)
    else:
        notes = (
            "These rows were measured differently and must not be compared:",
            *(f"{', '.join(labels)}: {way}." for way, labels in ways.items()),
        )
    return Table(title, (Column("model"), *map(Column, names)), rows, notes)


def comparison_table(
    comparisons: Mapping[str, Comparison],  # metric → comparison
    names: tuple[str, str],  # of A and of B
    title: str,
) -> Table:
    """One row per metric: both means, the difference with its interval, and p-values."""
    columns = (
        Column("metric"),
        Column("A"),
        Column("B"),
        Column("A − B", "+.4f"),
        Column("95 % interval"),
        Column("relative", "+.1%"),
        Column("p (t)", ".2g"),
        Column("p (W)", ".2g"),
    )
    rows = tuple(
        (
            metric,
            c.a,
            c.b,
            c.difference,
            f"{c.low:+.4f} {c.high:+.4f}",
            c.relative,
            c.p_t,
            c.p_wilcoxon,
        )
        for metric, c in comparisons.items()
    )
    note = (
        f"A: {names[0]}; B: {names[1]}; p: of a paired t-test, and of Wilcoxon's signed-rank test."
    )
    return Table(title, columns, rows, (note,))


def _way(evaluation: Evaluation) -> str:
    users = f"{evaluation.n_users:,} users"
    if evaluation.n_skipped:
        users += f" ({evaluation.n_skipped:,} without relevant items left out)"
    part = {"test": "test part", "valid": "validation part"}[evaluation.part]
    return f"{part}, {evaluation.protocol}, {users}"
