"""What an attack found, as tables, as a JSON document and as a figure."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advrec.choices import NOISES
from advrec_cli.console import emit_json, plain, show, show_report

if TYPE_CHECKING:
    from advrec.report.table import Table
    from advrec.robustness.attack import AttackResult
    from advrec.runs.run import Run


def present(
    found: Sequence[tuple[Run, list[AttackResult]]], *, json: bool, out: Path | None
) -> None:
    """Tables or JSON on stdout, and a file of either where one was asked for."""
    from advrec.system import files

    metrics = dict.fromkeys(name for _, results in found for name in results[0].clean.values)
    tables = [_table(found, metric) for metric in metrics]
    if json:
        emit_json(document(found))
    else:
        for place, made in enumerate(tables):
            if place:
                show("")
            show_report(made)
    if out is None:
        return
    if out.suffix.lower() == ".json":
        files.write(out, json_text.dumps(plain(document(found)), indent=2) + "\n")
    elif len(tables) == 1 or out.suffix.lower() != ".md":
        tables[0].write(out)  # refuses other endings
    else:
        files.write(out, "\n".join(made.to_markdown() for made in tables))


def _table(found: Sequence[tuple[Run, list[AttackResult]]], metric: str) -> Table:
    """One row for each run, noise and ε: the budget as measured, and what it costs of a metric."""
    from advrec.report.table import Column, Table

    sites = dict.fromkeys(f"{r.plan.site} ({r.plan.norm})" for _, results in found for r in results)
    several = len(sites) > 1
    columns = (
        Column("run"),
        *([Column("site")] if several else []),
        Column("noise"),
        Column("ε", "g"),
        Column("budget", ".4g"),
        Column("relative", ".1%"),
        Column("clean"),
        Column("attacked"),
        Column("lost", ".1%"),
    )
    rows = []
    for run, results in found:
        for result in results:
            if metric in result.clean.values:
                rows.append(
                    (
                        run.name,
                        *([result.plan.site] if several else []),
                        result.plan.noise,
                        result.eps,
                        result.budget.absolute,
                        result.budget.relative,
                        result.clean.values[metric],
                        result.attacked.values[metric],
                        round(result.lost[metric], 4) + 0.0,  # no -0.0%
                    )
                )
    first = found[0][1][0]
    how = f"{first.clean.part} part, {first.clean.protocol}, {first.clean.n_users:,} users"
    notes = (
        f"{how}; noise at {' or '.join(sites)}.",
        "budget: the largest norm in the noise, as measured; relative: its share of the mean one in"
        " the table.",
    )
    return Table(f"{metric} under noise", columns, tuple(rows), notes)


def document(found: Sequence[tuple[Run, list[AttackResult]]]) -> dict[str, Any]:
    """Every result in full: the plan, the budget as measured, losses and metrics."""
    return {
        "runs": [
            {
                "run": run.name,
                "path": str(run.path),
                "model": run.config.model,
                "phase": run.config.phase,
                "data_digest": run.origin.data_digest,
                "epoch": run.progress.best_epoch,
                "results": [result.to_dict() for result in results],
            }
            for run, results in found
        ]
    }


def draw(found: Sequence[tuple[Run, list[AttackResult]]], path: Path) -> None:
    """The curves of all runs for the first metric that all of them have."""
    from advrec.report.figures import robustness_plot
    from advrec.report.table import attack_curve

    metric = next(iter(found[0][1][0].clean.values))
    curves = []
    for run, results in found:
        sites = dict.fromkeys(result.plan.site for result in results)
        for site, kind in product(sites, NOISES):
            name = f"{run.name}, {site}" if len(sites) > 1 else run.name
            chosen = [r for r in results if (r.plan.site, r.plan.noise) == (site, kind)]
            if chosen:
                curves.append(attack_curve(chosen, metric, model=run.config.model, training=name))
    robustness_plot(curves, metric, path)
