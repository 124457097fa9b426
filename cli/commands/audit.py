"""`advrec audit`: attacks, certificates and practical noise of trained models as one report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advrec.choices import PRACTICAL_NOISES
from advrec.options import OUTPUT
from advrec_cli import inputs
from advrec_cli.console import emit_json, note, plain, show, show_report
from advrec_cli.help import examples
from advrec_cli.options import (
    MEASURE,
    PRACTICE,
    ConfigFile,
    Given,
    HeldOut,
    ItemsFile,
    Json,
    Quiet,
    RunNames,
    RunsDir,
    StaleSide,
    StaleVectors,
    UsersFile,
    numbers,
    shares,
    split_list,
    takes,
    with_default,
)
from advrec_cli.settings import RUN_DATA, named, reworded

if TYPE_CHECKING:
    from advrec.runs.subject import Subject

EPILOG = examples(
    "advrec audit  # the newest run and the one that it started from, into one HTML file",
    "advrec audit mf-debian-1 mf-debian-1-apr --quick",
    "advrec audit --users U.npy --items I.npy --data interactions.csv --out audit.html",
    "advrec audit mf-debian-1 --stale last-week.npz  # what last week's item vectors would cost",
)

BUDGET = "Budget"
SEED = reworded("seed", "Seed of random directions, lost rows and private noise.")


@takes([RUN_DATA, SEED], named("device", "threads", "kernels"))
def audit(
    given: Given,
    *,
    runs: RunNames = None,
    users: UsersFile = None,
    items: ItemsFile = None,
    rho: Annotated[
        list[str] | None,
        typer.Option(
            "--rho",
            metavar="X%[,X%…]",
            help=with_default(
                "Relative budgets: shares of the rows' norms.", "1%,2%,5%,10%,20%,50%"
            ),
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None,
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            metavar="X[,X…]",
            help=with_default(
                "Absolute budgets: the L2 norm by which each row may move.", "0.1,0.2,0.5,1"
            ),
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None,
    headline: Annotated[
        str,
        typer.Option(
            "--headline",
            metavar="X%",
            help="The relative budget of the verdict.",
            rich_help_panel=BUDGET,
        ),
    ] = "5%",
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            metavar="NAME",
            help=with_default(
                "What moves; 'advrec models' lists the sites.",
                "the model's first with a certificate",
            ),
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            metavar="",
            help="Fewer budgets (ρ 1, 5 and 20 %, ε 0.5) and only attacks of one step.",
            rich_help_panel=BUDGET,
        ),
    ] = False,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise",
            metavar="KIND[:AMOUNT]",
            help=with_default(
                f"Kinds of practical noise: {', '.join(PRACTICAL_NOISES)}. May be repeated, or hold"
                " commas.",
                "all; dropout-rows:1%, gaussian-dp:8",
            ),
            rich_help_panel=PRACTICE,
            show_default=False,
        ),
    ] = None,
    stale: StaleVectors = None,
    stale_side: StaleSide = "items",
    k: Annotated[
        int,
        typer.Option("-k", "--k", metavar="K", help="Cut-off.", min=1, rich_help_panel=MEASURE),
    ] = 20,
    part: HeldOut = "test",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE.html",
            help=with_default(
                "Where to write the report; the JSON document goes next to it.",
                "audit.html in the run folder",
            ),
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Audit a run, or anybody's vectors: one HTML report that says how robust they are.

    It starts with a verdict of three sentences per model. Then what attacks leave and what is
    certain to survive, over relative and absolute budgets; every attack of the suite; what int8,
    older vectors, lost rows or private release would cost; which users and items are hit worst;
    flags that say where a figure misleads; and the commands that make it again.

    The report is one file without scripts that needs no network. The same figures are written as
    JSON next to it.
    """
    from advrec.report.audit import glance_table

    file = inputs.config_file(config)
    options: dict[str, Any] = {
        "headline": shares([headline], "--headline")[0],
        "site": site,
        "k": k,
        "quick": quick,
        "part": part,
        "seed": {**file.train, **given.train}.get("seed", 0),
    }
    if noise:
        options["noise"] = tuple(split_list(noise))
    with inputs.computing(given, file) as device:
        from advrec.auditing import measure

        if out is not None:
            measure.check_report(out)
        from advrec.runs.subject import stale_for

        options["rho"] = (
            shares(rho, "--rho") if rho else (measure.QUICK_RHO if quick else measure.RHO)
        )
        options["eps"] = (
            numbers(eps, float, "--eps") if eps else (measure.QUICK_EPS if quick else measure.EPS)
        )
        settled = measure.AuditOptions(**options)
        loader = inputs.Loader(given, file, device)
        subjects = list(
            inputs.subjects(runs or [], users, items, loader=loader, runs_dir=runs_dir, quiet=quiet)
        )
        older = [stale_for(subject, stale, stale_side, runs_dir) for subject in subjects]
        document = plain(
            measure.audit(
                subjects,
                settled,
                stale=older,
                commands=_commands(subjects),
                say=lambda text: note(text, quiet=quiet),
            )
        )
    path, copy = measure.write_report(document, out or _home(subjects[-1]) / "audit.html")
    note(f"report in {path}, the same as JSON in {copy}", quiet=quiet)
    if json:
        emit_json(document)
        return
    for subject in document["subjects"]:
        show(f"{subject['name']}: {' '.join(subject['verdict'])}\n")
    show_report(glance_table(document))
    show(f"\nThe report: {path}")


def _home(subject: Subject) -> Path:
    """Where the report lies by default."""
    return Path() if subject.run is None else subject.run.path


def _commands(subjects: Sequence[Subject]) -> list[str]:
    """What was typed, and what makes the runs' own figures again."""
    typed = ["advrec", *sys.argv[1:]]
    lines = [shlex.join(typed)]
    for subject in subjects:
        if subject.run is not None:
            name = shlex.quote(str(subject.run.path))
            lines += [f"advrec certify {name} --rho 1%,2%,5%,10%,20%,50%", f"advrec eval {name}"]
    return lines
