"""The tables of an audit, from its JSON document alone: the page and the screen show the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from advrec.report import practical
from advrec.report.table import Cell, Column, Table

Document = Mapping[str, Any]

KNOWS: Final = {
    "random": "nothing",
    "label_free": "model and training data",
    "oracle": "the held-out items, too",
}


def glance_table(document: Document) -> Table:
    """One row per model: clean, the bracket at the headline budget, areas, ρ½, flags."""
    headline = _percent(document["headline"])
    columns = (
        Column("model"),
        Column("trained"),
        Column(f"clean {document['metric']}"),
        Column(f"certified, ρ = {headline}"),
        Column("oracle"),
        Column("label-free"),
        Column("ρ½", ".1%"),
        Column("area", ".3f"),
        Column("flags"),
    )
    rows = []
    for subject in document["subjects"]:
        point = point_at(subject["rho"], document["headline"])
        rows.append(
            (
                subject["name"],
                f"{subject['model']}, {subject['trained']}",
                subject["clean"][document["metric"]],
                point.get("certified"),
                point.get("oracle"),
                point.get("label_free"),
                subject["half"]["oracle"],
                subject["area"]["oracle"],
                len(subject["flags"]),
            )
        )
    return Table(
        "At a glance",
        columns,
        tuple(rows),
        (
            f"Certified: no perturbation of ρ = {headline} leaves less. Oracle: the worst attack "
            "found with the held-out labels; label-free: without them. The truth lies between "
            "certified and oracle. ρ½: the relative budget at which the oracle attack has taken "
            "half. Area: what is left of the clean figure under it, averaged over log ρ (1 is "
            "untouched).",
        ),
    )


def bracket_table(subject: Document, kind: str, metric: str) -> Table:
    """The numbers of the figure: one row per budget of `kind`, "rho" or "eps"."""
    relative = kind == "rho"
    columns = [
        Column("ρ" if relative else "ε", ".3g"),
        Column("certified"),
        Column("oracle"),
        Column("label-free"),
        Column("random"),
        Column("certified lost", ".1%"),
        Column("oracle lost", ".1%"),
        Column("label-free lost", ".1%"),
    ]
    raw = relative and any("certified_raw" in point for point in subject[kind])
    if raw:
        columns.append(Column("certified, as stored"))
    clean = subject["clean"][metric]

    def lost(value: float | None) -> float | None:
        return None if value is None or not clean else round(1 - value / clean, 4) + 0.0

    rows = []
    for point in subject[kind]:
        figures = [point.get(name) for name in ("certified", "oracle", "label_free", "random")]
        size = _percent(point["budget"]) if relative else f"{point['budget']:g}"
        cells: list[Cell] = [size, *figures, *(lost(value) for value in figures[:3])]
        rows.append((*cells, point.get("certified_raw")) if raw else tuple(cells))
    what = "relative budgets" if relative else "absolute budgets"
    return Table(f"{subject['name']}: {metric} by {what}", tuple(columns), tuple(rows))


def suite_table(subject: Document, metric: str, kind: str, size: float) -> Table:
    """Every attack of the suite at one budget, the strongest first."""
    members = [
        member
        for member in subject["members"]
        if member["budget"] == kind and member["size"] == size
    ]
    members.sort(key=lambda member: member["value"])
    shown = f"ρ = {_percent(size)}" if kind == "rho" else f"ε = {size:g}"
    columns = (Column("attack"), Column("knows"), Column(metric), Column("lost", ".1%"))
    rows = tuple(
        (
            member["name"],
            KNOWS[member["knowledge"]],
            member["value"],
            None if member["lost"] is None else round(member["lost"], 4) + 0.0,
        )
        for member in members
    )
    return Table(f"{subject['name']}: every attack at {shown}", columns, rows)


def practical_table(subject: Document, metric: str) -> Table:
    """What storing and serving cost, each noise with its measured row norms."""
    rows = tuple(practical.practical_row(entry, metric) for entry in subject["practical"])
    kinds = {str(row[0]).partition(":")[0] for row in rows}
    privacy = (practical.PRIVACY,) if "gaussian-dp" in kinds else ()
    return Table(
        f"{subject['name']}: what storing and serving cost",
        practical.practical_columns(),
        rows,
        (*practical.notes(metric), *privacy),
    )


def groups_table(subject: Document, document: Document) -> Table:
    """Whom the damage hits: kinds of users and items under the worst label-free noise."""
    columns = (
        Column("group"),
        Column("size"),
        Column("measured by"),
        Column("clean"),
        Column("attacked"),
        Column("lost", ".1%"),
    )
    rows = tuple(
        (
            group["name"],
            group["size"],
            group["figure"],
            group["clean"],
            group["attacked"],
            round(1 - group["attacked"] / group["clean"], 4) + 0.0 if group["clean"] else None,
        )
        for group in subject["groups"]
    )
    return Table(
        f"{subject['name']}: whom it hits",
        columns,
        rows,
        (f"Under the worst label-free noise at ρ = {_percent(document['headline'])}.",),
    )


def items_table(subject: Document) -> Table:
    """The items that lose most of their places, by name."""
    columns = (
        Column("item"),
        Column("hits"),
        Column("hits lost"),
        Column("share lost", ".0%"),
        Column("median radius", ".2%"),
    )
    rows = tuple(
        (
            entry["name"],
            entry["hits"],
            entry["lost"],
            entry["lost"] / entry["hits"],
            entry["radius"],
        )
        for entry in subject["worst_items"]
    )
    return Table(
        f"{subject['name']}: items hit worst",
        columns,
        rows,
        (
            "Hits: held-out items in their users' top lists. Median radius: the relative budget "
            "within which half of these hits are sure to stay.",
        ),
    )


def users_table(subject: Document) -> Table:
    """The users whose figure falls most, by id."""
    columns = (
        Column("user"),
        Column("training pairs"),
        Column("clean"),
        Column("attacked"),
        Column("first item now"),
        Column("first item then"),
    )
    fields = ("name", "pairs", "clean", "attacked", "before", "after")
    rows = tuple(tuple(entry[field] for field in fields) for entry in subject["worst_users"])
    return Table(f"{subject['name']}: users hit worst", columns, rows)


def point_at(points: Sequence[Document], size: float) -> Document:
    """The point of this budget; empty if there is none."""
    return next((point for point in points if point["budget"] == size), {})


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
