"""`advrec study`: models × data sets × seeds, before and after adversarial training, as a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from advrec_cli.commands.study_progress import StudyProgress
from advrec_cli.console import emit_json, note, show, show_reports
from advrec_cli.help import examples
from advrec_cli.options import Given, Json, Quiet, not_one_of, takes
from advrec_cli.settings import RUNS, named

if TYPE_CHECKING:
    from advrec.study import StudyResult

EPILOG = examples(
    "advrec study bench/studies/debian-mf.toml  # again after Ctrl-C: it resumes",
    "advrec study s.toml --jobs 2 --threads 1  # two cells at once",
    "advrec study s.toml --only model=MF --only seed=0,1",
    "advrec study s.toml --data ml-1m=~/ml-1m-loo --out results/ml-1m",
)

STUDY = "Study"
FIELDS = ("data", "model", "training", "seed")


@takes(named("device", "threads", "kernels"))
def study(
    given: Given,
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.toml",
            help="The study file, as described in docs/studies.md.",
            exists=True,
            dir_okay=False,
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="FIELD=LABEL[,…]",
            help="Make only these cells: data=, model=, training= or seed= with labels of the"
            " file. May be repeated; a cell must match every field.",
            rich_help_panel=STUDY,
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="LABEL=PATH",
            help="Path of a data set of the file on this machine. May be repeated.",
            rich_help_panel=STUDY,
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            help="Number of cells to make at once, each in its own process; without --threads they"
            " share the cores.",
            rich_help_panel=STUDY,
        ),
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar="",
            help="List the cells and whether they are made; make none.",
            rich_help_panel=STUDY,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of the study. [dim]\\[default: runs/studies/NAME OF FILE][/]",
            rich_help_panel=RUNS,
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train and attack every model of a study file on every data set with every seed, before and
    after adversarial training, and make one table with intervals and paired tests.

    Every cell of the table is a run folder. Run the command again after Ctrl-C, a crash or an edit
    of the file, and only what is missing is made. Tables, figures and every number of every seed
    are in results.md and results.json of the study's folder.
    """
    from advrec.study import run_study

    folder = Path("runs", "studies", file.stem) if out is None else out
    labels = _only(only or [])
    places = dict(_pair(text, "--data") for text in data or [])
    if dry_run:
        _list_cells(file, folder, labels, places, given, json=json, quiet=quiet)
        return
    with StudyProgress(quiet=quiet) as watcher:
        result = run_study(
            file,
            folder,
            only=labels,
            data=places,
            jobs=jobs,
            overrides=given.train,
            command=["advrec", *sys.argv[1:]],
            on_event=watcher,
        )
    if json:
        emit_json(result.document)
    else:
        _present(result)
    note(f"kept in {folder}/results.md and results.json", quiet=quiet)
    if result.failures:
        from advrec.errors import ExitCode

        raise typer.Exit(int(ExitCode.CHECK_FAILED))


def _present(result: StudyResult) -> None:
    """The tables and the conclusion; the sentences about each line are in results.md."""
    show_reports(result.tables)
    for sentence in result.conclusion:
        show("")
        show(sentence.replace("**", ""))
    if result.missing:
        show("")
        show(f"Incomplete: {len(result.missing)} cells are missing.")
    for failure in result.failures:
        show(f"Failed: {failure.cell.label}: {failure.message} {failure.hint or ''}".rstrip())


def _list_cells(
    file: Path,
    folder: Path,
    only: dict[str, list[str]],
    data: dict[str, str],
    given: Given,
    *,
    json: bool,
    quiet: bool,
) -> None:
    from advrec.study.expand import make_plan
    from advrec.study.plan import choose, with_parents
    from advrec.study.run import read_data
    from advrec.study.schedule import load_result
    from advrec.study.spec import read_study

    spec = read_study(file)
    facts = read_data(spec, file, data, lambda event: note(event.message, quiet=quiet))
    cells = make_plan(spec, facts, given.train, str(file))
    chosen = with_parents(choose(cells, only), cells)
    lines = [(cell, load_result(folder, cell) is not None) for cell in chosen]
    if json:
        emit_json(
            {
                "cells": [
                    {
                        **{name: getattr(cell, name) for name in FIELDS},
                        "run": cell.run,
                        "made": finished,
                    }
                    for cell, finished in lines
                ]
            }
        )
        return
    for cell, finished in lines:
        show(f"{'made   ' if finished else 'to make'}  {cell.label}")


def _only(texts: Sequence[str]) -> dict[str, list[str]]:
    """`["model=MF", "seed=0,1"]` → labels by field."""
    chosen: dict[str, list[str]] = {}
    for text in texts:
        name, labels = _pair(text, "--only")
        if name not in FIELDS:
            raise not_one_of(name, FIELDS, "--only")
        chosen.setdefault(name, []).extend(part.strip() for part in labels.split(","))
    return chosen


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=flag)
    return name.strip(), value.strip() if flag != "--data" else str(
        Path(value.strip()).expanduser()
    )
