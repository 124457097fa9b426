"""From a study file to its tables."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from advrec.data import load_dataset
from advrec.errors import ConfigError, RunError, UsageError
from advrec.report.table import Table
from advrec.study.expand import make_plan
from advrec.study.figures import draw
from advrec.study.plan import Cell, DataFacts, choose, with_parents
from advrec.study.results import Line, Test, gather, make_tests
from advrec.study.schedule import Failure, OnStudyEvent, Schedule, StudyEvent, load_result
from advrec.study.spec import StudySpec, data_config, read_study
from advrec.study.table import (
    cost_table,
    data_table,
    line_data,
    lost_tables,
    noise_tables,
    test_data,
    test_table,
)
from advrec.study.verdict import LEGEND, conclusion, sentences
from advrec.system import files
from advrec.system.locks import RunLock

MARKDOWN, JSON = "results.md", "results.json"


@dataclass(frozen=True)
class StudyResult:
    """The results of a study, and what of it is missing."""

    out: Path
    lines: list[Line]
    tests: list[Test]  # of every metric
    tables: list[Table]
    conclusion: list[str]  # sentences: where it helps and where it does not
    sentences: list[str]  # a few for each model and data set
    figures: list[Path]
    cells: int  # in total
    missing: list[Cell]  # not made yet
    failures: list[Failure]
    document: dict[str, Any]  # results.json


def _silent(event: StudyEvent) -> None:
    """The default `on_event`."""


def run_study(
    path: str | Path,
    out: str | Path,
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    data: Mapping[str, str | Path] | None = None,
    jobs: int = 1,
    overrides: Mapping[str, Any] | None = None,
    command: Sequence[str] | None = None,
    on_event: OnStudyEvent = _silent,
) -> StudyResult:
    """Make every cell of the study file at `path` that is missing, then the tables and figures.

    Args:
        out: the folder of the study: cells/, runs/, results.md, results.json, *.png.
        only: labels to make, by "data", "model", "training" or "seed"; the pretrainings that they
            need are made too. The tables show all finished cells.
        data: label of a data set → its path, in place of the one in the file.
        jobs: number of cells made at once, each in its own process.
        overrides: threads, device, kernels. Without threads, the jobs share the cores.
        command: the command line, for the head of the tables.

    Raises:
        ConfigError, UsageError, DataError: a study that is wrong; raised before it starts.
        Interrupted: Ctrl-C, after the running cells were saved and the tables written.
    """
    spec, out, settings = read_study(path), Path(out), dict(overrides or {})
    if jobs < 1:
        raise UsageError(f"jobs must be at least 1, got {jobs}")
    if jobs > 1 and not settings.get("threads"):
        settings["threads"] = max(1, (os.cpu_count() or 1) // jobs)
    facts = read_data(spec, path, data or {}, on_event)
    cells = make_plan(spec, facts, settings, str(path))
    chosen = with_parents(choose(cells, only or {}), cells)
    try:
        for folder in (out / "cells", out / "runs"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out} cannot be created: {error.strerror}") from error
    with RunLock(out, "used"):
        threads = int(settings.get("threads", 0))
        schedule = Schedule(chosen, out, jobs=jobs, threads=threads, on_event=on_event)
        try:
            schedule.run()
        finally:
            result = report(spec, facts, cells, out, command or [], schedule.failures, on_event)
    return result


def read_data(
    spec: StudySpec, path: str | Path, data: Mapping[str, str | Path], on_event: OnStudyEvent
) -> dict[str, DataFacts]:
    """Read every data set once, so that a wrong path is an error before training starts."""
    for label in data:
        if label not in spec.data:
            raise UsageError(
                f"study {path} has no data {label!r}", hint=f"choose from {', '.join(spec.data)}"
            )
    facts = {}
    for label, section in spec.data.items():
        given = {**section, "data": str(Path(data[label]).absolute())} if label in data else section
        where = f"[data.{label}] of {path}"
        config = data_config(given, Path(path).absolute().parent, where)
        on_event(StudyEvent("note", message=f"reading {label}: {config.data}"))
        dataset = load_dataset(config)
        facts[label] = DataFacts.of(dataset, config.model_dump(exclude_none=True))
    return facts


def report(
    spec: StudySpec,
    facts: Mapping[str, DataFacts],
    cells: Sequence[Cell],
    out: Path,
    command: Sequence[str],
    failures: Sequence[Failure],
    on_event: OnStudyEvent,
) -> StudyResult:
    """Tables, sentences and figures of all finished cells, written into `out`."""
    lines = gather(cells, out)
    distinct = {cell.key: cell for cell in cells}  # labels may share a cell
    missing = [cell for cell in distinct.values() if load_result(out, cell) is None]
    _same_data(lines, facts)
    by_metric = {metric: make_tests(lines, metric) for metric in spec.metrics}
    main, first = spec.metrics[0], by_metric[spec.metrics[0]]
    tables = _tables(lines, facts, spec, first)
    figures: dict[str, Path] = {}
    if lines:
        try:
            figures = dict(draw(lines, main, out))
        except UsageError as error:  # no matplotlib
            on_event(StudyEvent("note", message=f"no figures: {error}"))
    head = _head(lines, command)
    result = StudyResult(
        out=out,
        lines=lines,
        tests=[test for tests in by_metric.values() for test in tests],
        tables=tables,
        conclusion=conclusion(first),
        sentences=sentences(first),
        figures=list(figures.values()),
        cells=len(distinct),
        missing=missing,
        failures=list(failures),
        document={},
    )
    document = _document(spec, facts, result, head)
    result.document.update(document)
    files.write(out / JSON, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    files.write(out / MARKDOWN, _markdown(spec, result, head, figures))
    return result


def _tables(
    lines: Sequence[Line], facts: Mapping[str, DataFacts], spec: StudySpec, tests: Sequence[Test]
) -> list[Table]:
    if not lines:
        return []
    way = "Ranked among " + (
        "the whole catalogue" if spec.sampled is None else f"{spec.sampled} sampled negatives"
    )
    tables = [table for metric in spec.metrics for table in noise_tables(lines, metric, way)]
    tables += lost_tables(lines, spec.metrics[0])
    if tests:
        tables.append(test_table(tests, spec.metrics[0]))
    return [*tables, cost_table(lines), data_table(facts)]


def _head(lines: Sequence[Line], command: Sequence[str]) -> dict[str, Any]:
    """How the results were made: the command, and each versions and machine with its cell count."""
    results = [result for line in lines for result in line.results.values()]
    makers: dict[str, int] = {}
    for result in {result["key"]: result for result in results}.values():
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        threads = f"{result['threads']} thread" + ("" if result["threads"] == 1 else "s")
        text = f"{versions}; {result['machine']}; {threads} per cell"
        makers[text] = makers.get(text, 0) + 1
    return {"command": shlex.join(command), "made_by": makers}


def _document(
    spec: StudySpec, facts: Mapping[str, DataFacts], result: StudyResult, head: Mapping[str, Any]
) -> dict[str, Any]:
    """results.json: everything that the tables show, and the values behind it."""
    data = {
        label: {k: v for k, v in asdict(fact).items() if k != "section"}
        for label, fact in facts.items()
    }
    document = {
        "title": spec.title,
        **head,
        "metrics": spec.metrics,
        "sampled": spec.sampled,
        "seeds": spec.seeds,
        "data": data,
        "complete": not result.missing,
        "missing": [cell.label for cell in result.missing],
        "failures": [
            {"cell": failure.cell.label, "message": failure.message, "hint": failure.hint}
            for failure in result.failures
        ],
        "conclusion": result.conclusion,
        "sentences": result.sentences,
        "lines": [line_data(line) for line in result.lines],
        "tests": [test_data(test) for test in result.tests],
        "figures": [path.name for path in result.figures],
    }
    cleaned: dict[str, Any] = _finite(document)
    return cleaned


def _markdown(
    spec: StudySpec, result: StudyResult, head: Mapping[str, Any], figures: Mapping[str, Path]
) -> str:
    parts = [f"# {spec.title}"]
    if spec.about:
        parts.append(spec.about.strip())
    if head["command"]:
        parts.append(f"    {head['command']}")
    parts += [f"{text} ({count} cells)." for text, count in head["made_by"].items()]
    if result.missing:
        count = f"{len(result.missing)} of {result.cells}"
        parts.append(f"**Incomplete: {count} cells are missing.**")
    parts += [f"**Failed:** {f.cell.label}: {f.message}" for f in result.failures]
    if result.sentences:
        parts += ["## What the numbers show", *result.conclusion]
        parts += ["\n".join(f"- {sentence}" for sentence in result.sentences), LEGEND]
    parts.append("## Tables")
    parts += [table.to_markdown().rstrip() for table in result.tables]
    if figures:
        parts.append("## Figures")
        parts += [f"![{about}]({path.name})" for about, path in figures.items()]
    return "\n\n".join(parts) + "\n"


def _same_data(lines: Sequence[Line], facts: Mapping[str, DataFacts]) -> None:
    """ConfigError if a finished cell was made from other data than the plan's."""
    for line in lines:
        for result in line.results.values():
            if result["data_digest"] != facts[line.data].digest:
                raise ConfigError(f"a cell of {line.label} was made from other data")


def _finite(value: Any) -> Any:
    """Non-finite numbers become null: JSON does not have them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
