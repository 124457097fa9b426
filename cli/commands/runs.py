"""`advrec runs`: a list of all run folders, or everything about one of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advrec_cli.console import count, duration, emit_json, escaped, facts, figure, note, show, table
from advrec_cli.help import examples
from advrec_cli.options import Given, Json, RunsDir, takes

if TYPE_CHECKING:
    from advrec.runs.run import Run

EPILOG = examples(
    "advrec runs  # every run, the most recent first",
    "advrec runs mf-debian-1  # its options, its progress, its last epochs",
    "advrec runs --json  # for a program",
)

STATES = {None: "unfinished", "epochs": "finished", "patience": "stopped early"}
LAST_EPOCHS = 5


@takes()
def runs(
    _: Given,
    *,
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run, by name or path; by default all are listed."),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs, or show one: its resolved options, its folder and its results.

    The figure is the best one on the validation part, that of the epoch whose weights the run
    keeps. An unfinished run continues with --resume RUN, to the same bits.
    """
    from advrec.runs import find

    if run is not None:
        _one(find.find(run, runs_dir), json)
        return
    every = find.all_runs(runs_dir)
    if json:
        emit_json({"runs_dir": str(runs_dir), "runs": [_summary(entry) for entry in every]})
        return
    if not every:
        note(f"no runs in {runs_dir}; 'advrec pretrain' makes the first one")
        return
    columns = ["run", "model", "data", "phase", "epoch", "best validation", "state"]
    shown = table(columns, left=4)
    for entry in every:
        progress = entry.progress
        shown.add_row(
            f"[bold]{escaped(entry.name)}[/]",
            escaped(entry.config.model),
            escaped(entry.origin.dataset),
            entry.config.phase,
            f"{progress.epoch}/{entry.config.epochs}",
            f"{escaped(entry.config.metric)} {figure(progress.best_value)}",
            STATES.get(progress.stopped, progress.stopped or ""),
        )
    show(shown)


def document(run: Run) -> dict[str, Any]:
    """A run as `--json` shows it: summary, path, and the configuration it was made with."""
    return {
        **_summary(run),
        "data": run.data,
        "train": run.config.given(),
        "versions": run.versions,
    }


def _summary(run: Run) -> dict[str, Any]:
    return {**run.summary(), "path": str(run.path)}


def _one(run: Run, json: bool) -> None:
    history = run.history()
    if json:
        emit_json({**document(run), "history": history})
        return
    progress = run.progress
    state = STATES.get(progress.stopped, progress.stopped or "")
    best = f"{run.config.metric} {figure(progress.best_value)} at epoch {progress.best_epoch}"
    pairs: list[tuple[str, object]] = [
        ("folder", run.path),
        ("model", f"{run.config.model}, {run.config.phase}"),
        ("data", f"{run.origin.dataset} ({run.origin.data_digest[:12]})"),
        ("state", f"{state}, epoch {progress.epoch} of {run.config.epochs}"),
        ("best validation", best),
        ("time", ", ".join(f"{name} {duration(s)}" for name, s in progress.seconds.items())),
        ("peak memory", f"{count(progress.peak_bytes >> 20)} MiB"),
        ("last checkpoint", time.strftime("%Y-%m-%d %H:%M", time.localtime(progress.updated))),
    ]
    if run.origin.parent is not None:
        pairs.insert(3, ("started from", f"{run.origin.parent}, epoch {run.origin.parent_epoch}"))
    facts(pairs, title=run.name)
    show("")
    facts(run.config.given().items(), title="Options")
    show("")
    facts(run.versions.items(), title="Versions")
    if history:
        lines = [_flat(line) for line in history[-LAST_EPOCHS:]]
        names = list(dict.fromkeys(name for line in lines for name in line))
        shown = table(list(map(escaped, names)), title=f"Last {len(lines)} epochs", left=0)
        for line in lines:
            shown.add_row(*(_cell(line.get(name)) for name in names))
        show("")
        show(shown)


def _flat(line: dict[str, Any]) -> dict[str, Any]:
    """A line of metrics.jsonl with its validation figures as columns of their own."""
    return {**{k: v for k, v in line.items() if k != "valid"}, **line.get("valid", {})}


def _cell(value: object) -> str:
    return (
        figure(value) if isinstance(value, float) else "" if value is None else escaped(str(value))
    )
