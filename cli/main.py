"""The command tree: the commands, their order, and what `advrec` prints without a command."""

from __future__ import annotations

from typing import Annotated

import typer

from advrec_cli.commands import (
    adv_train,
    attack,
    certify,
    compare,
    data,
    doctor,
    evaluate,
    export,
    features,
    models,
    pretrain,
    recommend,
    runs,
    study,
)
from advrec_cli.console import tolerate_narrow_encodings
from advrec_cli.failures import CommandGroup
from advrec_cli.help import Command, examples, paragraphs

FLOW = "Four steps"
USE = "Use a model"
LOOK = "Look around"

EPILOG = examples(
    "advrec pretrain  # 1. train a recommender on the embedded data",
    "advrec adv-train --eps 0.5"
    "  # 2. keep training it, now against the worst perturbation of norm 0.5",
    "advrec attack --noise both  # 3. perturb its parameters and see what that costs",
    "advrec eval  # 4. measure it on the held-out test part",
)

ABOUT = paragraphs(
    """
    Train recommenders that survive perturbation, and measure how robust one is.

    Each step takes the result of the step before. Every option has a default, which is printed and
    saved with the run. Results go to stdout (as JSON with --json), progress to stderr.
    """
)

app = typer.Typer(
    name="advrec",
    cls=CommandGroup,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        doctor.print_version()
        raise typer.Exit


@app.callback(invoke_without_command=True, help=ABOUT)
def advrec(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            help="Print the versions of advrec, torch and the compiled core.",
            callback=_version,
            is_eager=True,
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", metavar="", help="Print a full traceback when something fails."),
    ] = False,
) -> None:
    """The options of `advrec` itself; without a command it prints its help."""
    del version, debug
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for panel, name, command, epilog in (
    (FLOW, "pretrain", pretrain.pretrain, pretrain.EPILOG),
    (FLOW, "adv-train", adv_train.adv_train, adv_train.EPILOG),
    (FLOW, "attack", attack.attack, attack.EPILOG),
    (FLOW, "eval", evaluate.evaluate, evaluate.EPILOG),
    (USE, "certify", certify.certify, certify.EPILOG),
    (USE, "compare", compare.compare, compare.EPILOG),
    (USE, "study", study.study, study.EPILOG),
    (USE, "recommend", recommend.recommend, recommend.EPILOG),
    (USE, "export", export.export, export.EPILOG),
    (USE, "features", features.features, features.EPILOG),
    (LOOK, "models", models.models, models.EPILOG),
    (LOOK, "runs", runs.runs, runs.EPILOG),
    (LOOK, "doctor", doctor.doctor, doctor.EPILOG),
):
    app.command(name, cls=Command, rich_help_panel=panel, epilog=epilog)(command)
app.add_typer(data.app, name="data", rich_help_panel=LOOK)


def main(args: list[str] | None = None) -> int:
    """Run `advrec` with these arguments (default: the process's own); return the exit code."""
    tolerate_narrow_encodings()
    return int(app(args=args, prog_name="advrec", standalone_mode=False) or 0)
