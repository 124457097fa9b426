"""Practical noise as a table: what it takes, how large it is, and what is sure to stay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from advrec.report.table import Cell, Column, Table

if TYPE_CHECKING:
    from advrec.robustness.practical import PracticalResult

ABOUT: Final = {
    "int8": "8-bit integers, one scale per row",
    "int4": "4-bit integers, one scale per row",
    "bf16": "numbers rounded to bfloat16",
    "float16": "numbers rounded to float16",
    "staleness": "vectors of an older model",
    "dropout-rows": "a share of the rows lost, replaced by the mean",
    "gaussian-dp": "users' rows clipped and released under local differential privacy",
}
"""What happens to the vectors, by the name of the noise."""

PRIVACY: Final = (
    "gaussian-dp protects the released row (δ 1e-5); it guarantees nothing about training data."
)


def practical_table(results: Sequence[tuple[str, Sequence[PracticalResult]]], metric: str) -> Table:
    """One row per model and noise."""
    rows = [
        (name, *practical_row(result.to_dict(), metric))
        for name, each in results
        for result in each
    ]
    kinds = {result.kind.partition(":")[0] for _, each in results for result in each}
    return Table(
        f"{metric} under noise of practice",
        (Column("run"), *practical_columns()),
        tuple(rows),
        (*notes(metric), *([PRIVACY] if "gaussian-dp" in kinds else [])),
    )


def practical_columns() -> tuple[Column, ...]:
    """The columns of `practical_row`."""
    return (
        Column("noise"),
        Column("lost", ".2%"),
        Column("sure to stay", ".1%"),
        Column("inside ε", ".3g"),
        Column("inside ρ", ".2%"),
        Column("mean row, users", ".1%"),
        Column("items", ".1%"),
        Column("what happens"),
    )


def practical_row(entry: Mapping[str, Any], metric: str) -> tuple[Cell, ...]:
    """One noise, from its plain data."""
    clean = entry["clean"][metric]
    name = entry["kind"].partition(":")[0]
    return (
        entry["kind"],
        round(1 - entry["metrics"][metric] / clean, 4) + 0.0 if clean else math.nan,
        entry["inside"],
        float(entry["eps"]),
        entry["rho"],
        entry["users"]["relative"],
        entry["items"]["relative"],
        f"{entry['side']} of {entry['of']}" if "of" in entry else ABOUT[name],
    )


def notes(metric: str) -> tuple[str, ...]:
    """What the columns mean."""
    return (
        f"Lost: the share of {metric}. Sure to stay: of the held-out items in the top lists, those "
        "that no noise of these very row norms can push out, whatever its direction. Inside ε, ρ: "
        "the smallest budget that holds the noise. Mean row: length of the noise, as a share of "
        "the mean row norm.",
    )
