"""A suite of attacks as tables: the bracket of every budget, the members, what flags say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from advrec.report.table import Cell, Column, Table
from advrec.robustness.attack import share_lost

if TYPE_CHECKING:
    from advrec.robustness.promotion import Promotion
    from advrec.robustness.suite import MemberResult, SuiteResult

Suites = Sequence[tuple[str, "SuiteResult"]]
"""The suites of one command, under the names that tables give the models."""

BUDGETS: Final = {
    "eps": "ε: the length by which every row, or the whole under norm joint or tensor, may move.",
    "rho": "ρ: share of a user's norm, and of the exposure-weighted mean norm of the items; where"
    " one table does not hold both, of the mean row norm; under norm joint or tensor of the whole.",
}

KNOWLEDGE: Final = (
    "Label-free: the worst noise found with the model and its training pairs. Oracle: the worst of"
    " all, with the held-out items at hand, which no attacker has: a bound of stability. Certified:"
    " what no noise within the budget can go below."
)


def suite_tables(suites: Suites, flags: Mapping[str, Sequence[Mapping[str, str]]]) -> list[Table]:
    """The headlines, the members and, where it was asked for, the table of choices.

    `flags`: further flags by the name of the model, as `flags.raised_between` gives them.
    """
    tables = [_headlines(suites, flags), _members(suites)]
    if any(suite.grid for _, suite in suites):
        tables.append(_grid(suites))
    return tables


def _headlines(suites: Suites, flags: Mapping[str, Sequence[Mapping[str, str]]]) -> Table:
    """One row per model and budget."""
    first = suites[0][1]
    metric = first.metric
    columns = (
        Column("run"),
        Column("site"),
        _budget_column(first.unit),
        Column(f"clean {metric}"),
        Column("label-free"),
        Column("lost", ".1%"),
        Column("oracle"),
        Column("lost", ".1%"),
        Column("certified"),
        Column("worst member"),
    )
    rows: list[tuple[Cell, ...]] = []
    for name, suite in suites:
        clean = suite.clean.values[metric]
        for level in suite.levels:
            blind = level.worst_label_free
            rows.append(
                (
                    name,
                    suite.site,
                    _rounded(level.size),
                    clean,
                    blind.evaluation.values[metric],
                    _lost(clean, blind, metric),
                    level.worst.evaluation.values[metric],
                    _lost(clean, level.worst, metric),
                    None if level.certified is None else level.certified.get(metric),
                    level.worst.name,
                )
            )
    notes = [_protocol(suites), KNOWLEDGE, BUDGETS[first.unit]]
    notes += [note for name, suite in suites for note in _remarks(name, suite)]
    for name, suite in suites:
        for flag in [*suite.flags, *flags.get(name, ())]:
            notes.append(f"{name}: FLAG {flag['name']}. {flag['raised']} {flag['means']}"
                         f" {flag['do']}")  # fmt: skip
    return Table(f"{metric} under the suite {first.suite or 'of files'}", columns, tuple(rows),
                 tuple(notes))  # fmt: skip


def _members(suites: Suites) -> Table:
    """One row per model, budget and member: its own noise at this budget."""
    metric = suites[0][1].metric
    columns = (
        Column("run"),
        _budget_column(suites[0][1].unit),
        Column("member"),
        Column("knows"),
        Column(metric),
        Column("lost", ".1%"),
        Column("seconds", ".1f"),
    )
    rows = tuple(
        (
            name,
            _rounded(level.size),
            member.name,
            member.knowledge.replace("_", "-"),
            member.evaluation.values[metric],
            _lost(suite.clean.values[metric], member, metric),
            member.seconds,
        )
        for name, suite in suites
        for level in suite.levels
        for member in level.members
    )
    left_out = [
        f"{name}: not attacks on this site: {', '.join(suite.left_out)}."
        for name, suite in suites
        if suite.left_out
    ]
    return Table("Members", columns, rows, tuple(left_out))


def _grid(suites: Suites) -> Table:
    """Objective × labels × steps, the labels side by side."""
    first = suites[0][1]
    columns = (
        Column("run"),
        _budget_column(first.unit),
        Column("labels"),
        Column("objective"),
        Column("steps"),
        Column(first.metric),
        Column("lost", ".1%"),
    )
    rows = [
        (
            name,
            _rounded(float(cell["size"])),
            str(cell["labels"]),
            str(cell["objective"]),
            int(cell["steps"]),
            float(cell["value"]),
            math.nan if cell["lost"] is None else round(float(cell["lost"]), 4) + 0.0,
        )
        for name, suite in suites
        for labels in ("train", "self", "test")
        for cell in suite.grid
        if cell["labels"] == labels
    ]
    notes = ("One start each; compare objectives within the same labels.",)
    return Table("Objective, labels and steps", columns, tuple(rows), notes)


def promotion_table(results: Sequence[tuple[str, Sequence[Promotion]]]) -> Table:
    """One row per model, item and budget."""
    first = results[0][1][0]
    columns = (
        Column("run"),
        Column("goal"),
        Column("item"),
        _budget_column(first.unit),
        Column("before", ".2%"),
        Column("after", ".2%"),
    )
    rows = tuple(
        (name, each.goal, each.item, _rounded(each.size), each.before, each.after)
        for name, of_run in results
        for each in of_run
    )
    places = ", ".join(
        dict.fromkeys(f"{e.site} ({e.norm})" for _, of_run in results for e in of_run)
    )
    notes = (
        f"{first.part} part; only the item's own row moves, at {places}. Exposure: the share of"
        f" users whose top {first.k} holds the item.",
    )
    return Table(f"Exposure@{first.k} of items", columns, rows, notes)


def _protocol(suites: Suites) -> str:
    first = suites[0][1]
    places = dict.fromkeys(f"{suite.site} ({suite.norm})" for _, suite in suites)
    moving = "" if first.side == "both" else f"; only rows of {first.side} move"
    return (
        f"{first.part} part, {first.clean.protocol}, {first.clean.n_users:,} users; noise at"
        f" {' or '.join(places)}{moving}."
    )


def _remarks(name: str, suite: SuiteResult) -> list[str]:
    """What is to be said of one suite's budget and certificate."""
    notes = []
    if suite.unit == "rho":
        form = "in canonical form" if suite.canonical else "in the norms as stored"
        notes.append(f"{name}: ρ is counted {form}.")
    if suite.stored is not None:
        notes.append(
            f"{name}: at ρ = {suite.stored['rho']:.1%} one step of the saturating softmax leaves"
            f" {suite.stored['canonical']:.4f}, counted in the norms as stored"
            f" {suite.stored['as_stored']:.4f}."
        )
    if suite.violations is not None:
        below = f"{suite.violations:,} of {suite.clean.n_users:,} users"
        notes.append(f"{name}: {below} have less under some member than is certified.")
    return notes


def _budget_column(unit: str) -> Column:
    return Column("ρ", ".1%") if unit == "rho" else Column("ε", "g")


def _rounded(size: float) -> float:
    return float(f"{size:.6g}")


def _lost(clean: float, result: MemberResult, metric: str) -> float:
    return round(share_lost(clean, result.evaluation.values[metric]), 4) + 0.0  # no -0.0%
