"""`advrec leaderboard`: entries measured in one way, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advrec.options import OUTPUT
from advrec_cli import inputs
from advrec_cli.console import emit_json, note, show_reports
from advrec_cli.help import examples
from advrec_cli.options import Given, Json, Quiet, split_list, takes
from advrec_cli.settings import named
from advrec_cli.values import BadValue

EPILOG = examples(
    "advrec leaderboard  # the tables of bench/leaderboard",
    "advrec study bench/leaderboard.toml --only data=debian,model=MF  # trains; then",
    "advrec leaderboard --from runs/studies/leaderboard --only data=debian,model=MF",
)

FIELDS = ("data", "model", "training")
EXTERNAL = "External noise"


@takes(named("device", "threads", "kernels"))
def leaderboard(
    given: Given,
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Folder of the entries, one JSON file each.")
    ] = Path("bench/leaderboard"),
    study: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="STUDY",
            help="First measure the finished runs of a study and write their entries. What is"
            " measured is kept, so that it can be stopped and called again.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="FIELD=LABEL",
            help="With --from: only these lines of the study; data=, model= or training=.",
            show_default=False,
        ),
    ] = None,
    external: Annotated[
        Path | None,
        typer.Option(
            "--external",
            metavar="NOISE.npz",
            help="Noise that others have found: arrays users and items, to be added to the vectors"
            " that 'advrec export' writes. Its budget is measured, and it is kept where it is worse"
            " than the attacks; with --entry and --run.",
            rich_help_panel=EXTERNAL,
            show_default=False,
        ),
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option(
            "--entry",
            metavar="NAME",
            help="The entry that it breaks: the name of its file.",
            rich_help_panel=EXTERNAL,
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="The folder of the run that it was found on, one of the entry's.",
            rich_help_panel=EXTERNAL,
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            metavar="TEXT",
            help="Who found it.",
            rich_help_panel=EXTERNAL,
            show_default=False,
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE.md",
            help="Also write the tables.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the leaderboard: trainings of models, measured under the same attacks and certificates.

    Each data set has one table, ordered by what the worst attack found leaves at a relative budget
    of 5 %. Entries come from the runs of a study (bench/leaderboard.toml is the project's own), at
    ρ 1, 5 and 20 % and ε 0.5, both sides.
    """
    from advrec.config.file import ConfigFile
    from advrec.errors import UsageError
    from advrec.report.table import write_tables

    with inputs.computing(given, ConfigFile()):
        from advrec.auditing.leaderboard import add_external, entries_of_study, read_entries
        from advrec.report.leaderboard import leaderboard_tables
        from advrec.runs.run import Run

        if study is not None:
            for path in entries_of_study(
                study, folder, only=_only(only or []), say=lambda text: note(text, quiet=quiet)
            ):
                note(f"  {path}", quiet=quiet)
        if external is not None:
            if entry is None or run is None:
                raise UsageError("--external needs --entry and --run")
            added = add_external(folder, entry, Run.open(run), external, source)
            kept = ", ".join(
                f"{name} {noise[name]:g}" for noise in added for name in ("rho", "eps")
                if name in noise
            )  # fmt: skip
            note(
                f"{external}: " + (f"worse than the attacks at {kept}; kept" if kept else
                "not worse than the attacks at a budget that holds it; not kept"),
                quiet=quiet,
            )  # fmt: skip
        entries = read_entries(folder)
    tables = leaderboard_tables(entries)
    if json:
        emit_json({"entries": entries})
    else:
        show_reports(tables)
    if out is not None:
        write_tables(tables, out)


def _only(given: list[str]) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for text in split_list(given):
        field, equals, label = text.partition("=")
        if not equals or field not in FIELDS:
            raise BadValue(
                f"must be {', '.join(f'{name}=…' for name in FIELDS)}, got {text!r}", flag="--only"
            )
        chosen.setdefault(field, []).append(label)
    return chosen
