"""Results as tables that people and programs can read: plain data first, then Markdown or JSON.

A table keeps the numbers as they were computed; rounding happens in Markdown only. The plots of
the same results are in `advrec.report.figures`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from advrec.choices import Noise
from advrec.errors import UsageError
from advrec.robustness.perturb import NORMS
from advrec.system import files

if TYPE_CHECKING:
    from advrec.evaluation.evaluate import Evaluation
    from advrec.report.stats import Comparison, Summary
    from advrec.robustness.attack import AttackResult

Cell: TypeAlias = "str | int | float | None"
NOTHING = "–"  # where there is no number


@dataclass(frozen=True)
class Column:
    """A column's name, and how its floats are shown (a format specification)."""

    name: str
    format: str = ".4f"

    def show(self, cell: Cell) -> str:
        """The cell as text; no number is a dash."""
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return NOTHING
        if isinstance(cell, float):
            return format(cell, self.format)
        return f"{cell:,}" if isinstance(cell, int) else cell


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns, and notes that belong to all of it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells under {len(self.columns)} columns")

    def to_dict(self) -> dict[str, object]:
        """Plain data; a number that is not finite becomes None, which JSON can hold."""
        names = [column.name for column in self.columns]
        return {
            "title": self.title,
            "columns": names,
            "rows": [dict(zip(names, map(_finite, row), strict=True)) for row in self.rows],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """`to_dict` as one JSON document, with all digits."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """A Markdown table that is also aligned as plain text; numbers to the right."""
        header = [_escape(column.name) for column in self.columns]
        body = [
            [_escape(column.show(cell)) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]
        right = [
            any(isinstance(row[place], (int, float)) for row in self.rows)
            for place in range(len(header))
        ]
        widths = [
            max(3, *(len(line[place]) for line in [header, *body])) for place in range(len(header))
        ]
        rule = [
            "-" * (width - 1) + (":" if is_number else "-")
            for width, is_number in zip(widths, right, strict=True)
        ]
        lines = [f"**{_escape(self.title)}**", ""]
        for line in [header, rule, *body]:
            cells = [
                cell.rjust(width) if is_number else cell.ljust(width)
                for cell, width, is_number in zip(line, widths, right, strict=True)
            ]
            lines.append(f"| {' | '.join(cells)} |")
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"

    def write(self, path: str | Path) -> Path:
        """Writes the table as .md or .json, by the ending; whole or not at all.

        Raises:
            UsageError: another ending.
            RunError: a path that cannot be written.
        """
        path = Path(path)
        writers = {".md": self.to_markdown, ".json": self.to_json}
        writer = writers.get(path.suffix.lower())
        if writer is None:
            raise UsageError(
                f"{path} ends in {path.suffix or 'nothing'!r}; wanted .md or .json.",
                hint=f"for example {path.with_suffix('.md')}",
            )
        files.write(path, writer())
        return path


@dataclass(frozen=True)
class Curve:
    """What becomes of a metric as eps grows: one line of the robustness figure."""

    model: str  # "MF": one panel each
    training: str  # "pretrained", "adversarially trained": one colour each
    noise: Noise
    clean: float  # the metric without noise
    eps: tuple[float, ...]  # L2 norm of a row's perturbation, ascending
    values: tuple[float, ...]  # the metric at each eps
    low: tuple[float, ...] | None = None  # an interval around the values, as over seeds
    high: tuple[float, ...] | None = None
    relative_eps: tuple[float, ...] | None = None  # eps over the mean row norm of the table
    norm: str = "row"  # what has length eps: every row, or the whole table ("joint", "tensor")

    def __post_init__(self) -> None:
        for name in ("values", "low", "high", "relative_eps"):
            series = getattr(self, name)
            if series is not None and len(series) != len(self.eps):
                raise ValueError(f"{len(self.eps)} values of eps, but {len(series)} of {name}")

    @property
    def lost(self) -> tuple[float, ...]:
        """The share of the clean metric that is gone at each eps; below 0 is a gain."""
        if not self.clean:
            return tuple(math.nan for _ in self.values)
        return tuple(1 - value / self.clean for value in self.values)


def attack_curve(
    results: Sequence[AttackResult],  # of one model and one kind of noise
    metric: str,  # "NDCG@20": must be among the evaluated ones
    *,
    model: str,
    training: str,
) -> Curve:
    """The results of one attack as a curve, in the order of eps.

    Raises:
        UsageError: no results, or a metric that was not evaluated.
    """
    if not results:
        raise UsageError("There are no attacks to make a curve of.")
    ordered = sorted(results, key=lambda result: result.eps)
    known = ordered[0].clean.values
    if metric not in known:
        raise UsageError(
            f"The attack was not evaluated by {metric!r}.", hint=f"there are {', '.join(known)}"
        )
    plan = ordered[0].plan
    return Curve(
        model=model,
        training=training,
        noise="random" if plan.kind == "random" else "adversarial",
        clean=known[metric],
        eps=tuple(result.eps for result in ordered),
        values=tuple(result.noisy.values[metric] for result in ordered),
        relative_eps=tuple(result.budget.relative for result in ordered),
        norm=plan.norm or "row",
    )


def evaluation_table(evaluations: Mapping[str, Evaluation], title: str = "Evaluation") -> Table:
    """One row a model, one column a metric. How it was measured stands below, always."""
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


def robustness_table(curves: Sequence[Curve], metric: str, title: str = "Robustness") -> Table:
    """One row for each model, training, noise and eps; the relative budget where it is known."""
    with_relative = any(curve.relative_eps is not None for curve in curves)
    columns = [Column("model"), Column("training"), Column("noise"), Column("eps", "g")]
    if with_relative:
        columns.append(Column("of mean norm", ".1%"))
    columns += [Column(metric), Column("clean"), Column("lost", ".1%")]
    rows = []
    for curve in curves:
        relative = curve.relative_eps or (None,) * len(curve.eps)
        for eps, share, value, lost in zip(
            curve.eps, relative, curve.values, curve.lost, strict=True
        ):
            budget = (eps, share) if with_relative else (eps,)
            about = (curve.model, curve.training, curve.noise)
            rows.append((*about, *budget, value, curve.clean, lost))
    norms = " or ".join(dict.fromkeys(eps_label(curve.norm) for curve in curves))
    note = f"{norms}. lost: share of the clean figure."
    return Table(title, tuple(columns), tuple(rows), (note,) if curves else ())


def eps_label(norm: str) -> str:
    """What eps is a length of, in words."""
    return f"eps: L2 norm of {NORMS[norm].label} perturbation"


def seeds_table(
    summaries: Mapping[str, Mapping[str, Summary]],  # model → metric → summary over seeds
    title: str = "Over seeds",
) -> Table:
    """One row for each model and metric: mean, interval and number of seeds."""
    rows = tuple(
        (model, metric, summary.mean, summary.low, summary.high, summary.std, summary.n)
        for model, metrics in summaries.items()
        for metric, summary in metrics.items()
    )
    confidences = {s.confidence for metrics in summaries.values() for s in metrics.values()}
    note = " and ".join(f"{confidence:.0%}" for confidence in sorted(confidences))
    columns = [Column(name) for name in ("model", "metric", "mean", "low", "high", "std", "seeds")]
    notes = (f"low, high: {note} t-interval of the mean.",) if note else ()
    return Table(title, tuple(columns), rows, notes)


def comparison_table(
    comparisons: Mapping[str, Comparison],  # metric → comparison
    names: tuple[str, str] = ("A", "B"),
    title: str = "Comparison",
) -> Table:
    """One row a metric: both means, the difference with its interval, effect and p-values."""
    columns = (
        Column("metric"),
        Column(names[0]),
        Column(names[1]),
        Column("difference", "+.4f"),
        Column("low", "+.4f"),
        Column("high", "+.4f"),
        Column("relative", "+.1%"),
        Column("effect", "+.2f"),
        Column("p (t)", ".2g"),
        Column("p (Wilcoxon)", ".2g"),
        Column("pairs"),
    )
    fields = ("a", "b", "difference", "low", "high", "relative", "effect", "p_t", "p_wilcoxon", "n")
    rows = tuple(
        (metric, *(getattr(comparison, field) for field in fields))
        for metric, comparison in comparisons.items()
    )
    return Table(title, columns, rows, (f"difference: {names[0]} − {names[1]}, paired.",))


def _way(evaluation: Evaluation) -> str:
    users = f"{evaluation.n_users:,} users"
    if evaluation.n_skipped:
        users += f" ({evaluation.n_skipped:,} without relevant items left out)"
    part = {"test": "test part", "valid": "validation part"}[evaluation.part]
    return f"{part}, {evaluation.protocol}, {users}"


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
