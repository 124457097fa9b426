"""The lines of a study as tables, and as plain data for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from advrec.report.stats import Summary
from advrec.report.table import NOTHING, Cell, Column, Table
from advrec.study.plan import DataFacts
from advrec.study.results import Attack, Line, Test

MEANS = "mean ± half of the 95 % t-interval"


def data_table(facts: Mapping[str, DataFacts]) -> Table:
    """What was trained and tested on."""
    names = ("data", "users", "items", "train", "validation", "test", "digest")
    rows = tuple(
        (label, f.n_users, f.n_items, f.n_train, f.n_valid, f.n_test, f.digest[:12])
        for label, f in facts.items()
    )
    return Table("Data", tuple(map(Column, names)), rows)


def noise_tables(lines: Sequence[Line], metric: str, way: str) -> list[Table]:
    """One row per line and site: the figure clean and under noise. One table per set of ε."""
    tables = []
    for (noises, eps), members in _by_noises(lines).items():
        heads = [f"{noise} {size:g}" for noise in noises for size in eps]
        rows = []
        for line, site in _sites(members):
            attacks = [Attack(site, noise, size) for noise in noises for size in eps]
            figures = [line.summary(metric, attack) for attack in (None, *attacks)]
            cells = [plus_minus(figure) for figure in figures]
            rows.append((line.data, line.model, site, line.training, *cells))
        names = ("data", "model", "noise at", "training", "clean", *heads)
        notes = (f"{_over(members)} {way}. Noise: kind and ε.",)
        tables.append(Table(f"{metric} under noise", tuple(map(Column, names)), tuple(rows), notes))
    return tables


def lost_tables(lines: Sequence[Line], metric: str) -> list[Table]:
    """As `noise_tables`: the share of the clean figure that noise costs, and ε in proportion."""
    tables = []
    for (noises, eps), members in _by_noises(lines).items():
        heads = [f"{noise} {size:g}" for noise in noises for size in eps]
        rows: list[tuple[Cell, ...]] = []
        for line, site in _sites(members):
            attacks = [Attack(site, noise, size) for noise in noises for size in eps]
            lost = [line.lost(metric, attack) for attack in attacks]
            cells = [NOTHING if share is None else plus_minus_percent(share) for share in lost]
            budget = line.budget(Attack(site, noises[-1], eps[0]))
            rows.append((line.data, line.model, site, line.training, budget, *cells))
        columns = (
            *map(Column, ("data", "model", "noise at", "training")),
            Column(f"ε {eps[0]:g} of mean norm", ".1%"),
            *map(Column, heads),
        )
        notes = (
            f"{_over(members)} Below 0 is a gain. ε {eps[0]:g} of mean norm: the norm of the noise "
            "as measured, relative to the mean norm of what it is added to.",
        )
        tables.append(Table(f"Share of {metric} that noise costs", columns, tuple(rows), notes))
    return tables


def test_table(tests: Sequence[Test], metric: str) -> Table:
    """Every paired comparison: the adversarially trained line minus the other."""
    columns = (
        *map(Column, ("data", "model", "training", "against", "noise at", "ε")),
        Column("difference", "+.4f"),
        Column("low", "+.4f"),
        Column("high", "+.4f"),
        Column("relative", "+.1%"),
        Column("p (t)", ".2g"),
        Column("p (Holm)", ".2g"),
        Column("p (BH)", ".2g"),
        Column("p (Wilcoxon)", ".2g"),
        Column("seeds"),
        Column("verdict"),
    )
    rows = tuple(
        (
            test.line.data,
            test.line.model,
            test.line.training,
            test.against.training,
            "clean" if test.attack is None else test.attack.site,
            "" if test.attack is None else f"{test.attack.eps:g}",
            test.comparison.difference,
            test.comparison.low,
            test.comparison.high,
            test.comparison.relative,
            test.comparison.p_t,
            test.p_holm,
            test.p_bh,
            test.comparison.p_wilcoxon,
            test.comparison.n,
            test.verdict,
        )
        for test in tests
    )
    notes = (
        "low, high: 95 % t-interval of the difference. Noise: adversarial. Holm, BH "
        "(Benjamini–Hochberg): p (t) corrected for all tests of this table.",
    )
    return Table(f"Adversarial training against without, {metric}", columns, rows, notes)


def cost_table(lines: Sequence[Line]) -> Table:
    """Epochs, time and memory of every line, means over its seeds."""
    columns = (
        *map(Column, ("data", "model", "training")),
        Column("seeds"),
        Column("epochs"),
        Column("best epoch"),
        Column("s per epoch", ".3f"),
        Column("training s", ".1f"),
        Column("validation s", ".1f"),
        Column("measuring s", ".1f"),
        Column("memory MiB", ".0f"),
    )
    rows: list[tuple[Cell, ...]] = []
    for line in lines:
        own = line.mean("epochs")
        if line.kind == "continued":  # its run also has the epochs of the pretraining
            before = _pretraining(line, lines)
            own = own - before.mean("epochs") if before else math.nan
        train = line.mean("seconds", "train")
        rows.append(
            (
                line.data,
                line.model,
                line.training,
                len(line.results),
                _epochs(line),
                _range([result["best_epoch"] for result in line.results.values()]),
                train / own if own else math.nan,
                train,
                line.mean("seconds", "evaluate"),
                line.mean("seconds", "measure"),
                line.mean("peak_bytes") / 2**20,
            )
        )
    notes = (
        "Means over seeds, of each training's own epochs, in wall-clock time; several cells may "
        "have run at once. best epoch: the one kept, counted from the start of that training "
        "(continued: of the pretraining). memory: the peak of a cell's process, interpreter and "
        "libraries included.",
    )
    return Table("Time and memory", columns, tuple(rows), notes)


def plus_minus(figure: Summary) -> str:
    """`.5312 ± .0012`, and without an interval for one seed."""
    half = _half(figure)
    return f"{figure.mean:.4f}" + ("" if half is None else f" ± {half:.4f}")


def plus_minus_percent(share: Summary) -> str:
    """`34.9 ± 0.8 %`."""
    half = _half(share)
    mean = round(100 * share.mean, 1) + 0.0  # no -0.0
    return f"{mean:.1f}" + ("" if half is None else f" ± {100 * half:.1f}") + " %"


def line_data(line: Line) -> dict[str, Any]:
    """Everything about a line, with the value of every seed."""
    metrics = line.measures.metrics
    return {
        "data": line.data,
        "model": line.model,
        "training": line.training,
        "kind": line.kind,
        "seeds": line.seeds,
        "seeds_planned": line.planned,
        "config": {
            name: value
            for name, value in next(iter(line.results.values()))["config"].items()
            if name != "seed"
        },
        "clean": {metric: _summary_data(line, metric, None) for metric in metrics},
        "noise": [
            {
                **attack.to_dict(),
                "budget_relative": line.budget(attack),
                "metrics": {metric: _summary_data(line, metric, attack) for metric in metrics},
                "lost": {
                    metric: None if (lost := line.lost(metric, attack)) is None else asdict(lost)
                    for metric in metrics
                },
            }
            for attack in line.attacks()
        ],
        "epochs": [result["epochs"] for result in line.results.values()],
        "best_epoch": [result["best_epoch"] for result in line.results.values()],
        "seconds": {name: line.mean("seconds", name) for name in ("train", "evaluate", "measure")},
        "peak_bytes": [result["peak_bytes"] for result in line.results.values()],
        "runs": [result["run"] for result in line.results.values()],
        "validation": [list(point) for point in line.curve()],
    }


def test_data(test: Test) -> dict[str, Any]:
    """A paired comparison as plain data."""
    return {
        "data": test.line.data,
        "model": test.line.model,
        "training": test.line.training,
        "against": test.against.training,
        "metric": test.metric,
        "noise": None if test.attack is None else test.attack.to_dict(),
        **asdict(test.comparison),
        "p_holm": test.p_holm,
        "p_bh": test.p_bh,
        "verdict": test.verdict,
    }


def _summary_data(line: Line, metric: str, attack: Attack | None) -> dict[str, Any]:
    values = line.values(metric, attack)
    return {**asdict(line.summary(metric, attack)), "values": list(values.values())}


def _by_noises(
    lines: Sequence[Line],
) -> dict[tuple[tuple[str, ...], tuple[float, ...]], list[Line]]:
    groups: dict[tuple[tuple[str, ...], tuple[float, ...]], list[Line]] = {}
    for line in lines:
        key = (tuple(line.measures.noise), tuple(line.measures.eps))
        groups.setdefault(key, []).append(line)
    return groups


def _sites(lines: Sequence[Line]) -> list[tuple[Line, str]]:
    """(line, site): site by site, all trainings of a model together."""
    pairs = [(line, site) for line in lines for site in line.measures.sites]
    order = list(dict.fromkeys((line.data, line.model) for line in lines))
    return sorted(
        pairs,
        key=lambda pair: (
            order.index((pair[0].data, pair[0].model)),
            pair[0].measures.sites.index(pair[1]),
        ),
    )


def _over(lines: Sequence[Line]) -> str:
    counts = sorted({len(line.results) for line in lines})
    seeds = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    if counts == [1]:
        return "One seed: no interval."
    return f"{MEANS[0].upper()}{MEANS[1:]} over {seeds} seeds."


def _half(figure: Summary) -> float | None:
    half = (figure.high - figure.low) / 2
    return None if math.isnan(half) else half


def _pretraining(line: Line, lines: Sequence[Line]) -> Line | None:
    for other in lines:
        if (other.data, other.model, other.kind) == (line.data, line.model, "pretrained"):
            return other
    return None


def _epochs(line: Line) -> str:
    return _range([result["epochs"] for result in line.results.values()])


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low}–{high}"
