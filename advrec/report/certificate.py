"""Certificates as a table: what is sure to be left of a metric within each budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from advrec.report.table import Column, Table

if TYPE_CHECKING:
    from advrec.robustness.certify import Certificate

RAW_DIFFERS = 0.1  # of the certified figure: then the table says that the norms as stored mislead


def certificate_table(certificates: Sequence[tuple[str, Certificate]], metric: str) -> Table:
    """One row per model and budget: the clean figure, its certified lower bound, the share."""
    relative = any(certificate.raw is not None for _, certificate in certificates)
    budget = certificates[0][1].budget
    columns = [
        Column("model"),
        Column("site"),
        Column("side"),
        Column("median radius", ".1%" if budget == "rho" else ".3f"),
        Column("ρ", ".1%") if budget == "rho" else Column("ε", "g"),
        Column(f"clean {metric}"),
        Column("certified"),
        Column("at most lost", ".1%"),
    ]
    if relative:
        columns.append(Column("certified, norms as stored"))
    rows: list[tuple[str | float | None, ...]] = []
    for name, certificate in certificates:
        clean = certificate.clean[metric]
        for size in certificate.budgets:
            bound = certificate.at(size)[metric]
            cells: list[str | float | None] = [
                name,
                certificate.site,
                certificate.side,
                certificate.median_radius,
                float(f"{size:.3g}"),
                clean,
                bound,
                1 - bound / clean if clean else None,
            ]
            if relative:
                raw = certificate.raw
                cells.append(None if raw is None else certificate.at(size, raw)[metric])
            rows.append(tuple(cells))
    return Table("Certified robustness", tuple(columns), tuple(rows), _notes(certificates, metric))


def _notes(certificates: Sequence[tuple[str, Certificate]], metric: str) -> tuple[str, ...]:
    first = certificates[0][1]
    part = {"test": "test part", "valid": "validation part"}[first.part]
    notes = [
        f"{part}; norm row. No perturbation within the budget, however it was found, leaves "
        f"less than the certified {metric}. Median radius: of held-out items that are among the "
        f"top {first.k} now."
    ]
    sound = [name for name, certificate in certificates if not certificate.exact]
    if sound:
        notes.append(
            f"{', '.join(sound)}: sound, not exact: users and items share the rows that move."
        )
    if first.budget == "rho":
        notes.append(
            "ρ: share of a user's norm, and of the exposure-weighted mean norm of the items; in "
            "canonical form, which no change of basis or scale of the vectors alters, where the "
            "perturbed rows are the vectors themselves."
        )
    for name, certificate in certificates:
        if certificate.floored:
            notes.append(
                f"{name}: too few users or directions for the canonical form; small eigenvalues of "
                "a covariance were raised."
            )
        if certificate.raw is not None and any(
            abs(certificate.at(size, certificate.raw)[metric] - certificate.at(size)[metric])
            > RAW_DIFFERS * max(certificate.at(size)[metric], 1e-12)
            for size in certificate.budgets
        ):
            notes.append(
                f"{name}: norms as stored give figures that differ by more than "
                f"{RAW_DIFFERS:.0%}: they depend on how the vectors happen to be scaled."
            )
    return tuple(notes)
