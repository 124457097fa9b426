"""The command tree: which commands there are, in what order, and what `advrec` alone prints."""

from __future__ import annotations

from typing import Annotated

import typer

from advrec_cli import (
    adv_train,
    attack,
    data,
    doctor,
    evaluate,
    export,
    models,
    pretrain,
    recommend,
    runs,
)
from advrec_cli.console import tolerate_narrow_encodings
from advrec_cli.failures import CommandGroup
from advrec_cli.options import examples

FLOW = "Four steps"
USE = "Use a model"
LOOK = "Look around"

EPILOG = examples(
    "advrec pretrain  # 1. train a recommender with BPR on the embedded data",
    "advrec adv-train --eps 0.5  # 2. train it on against the worst noise of norm 0.5",
    "advrec attack --noise both  # 3. disturb its parameters; see what it costs",
    "advrec eval  # 4. measure it on the held-out test part",
)

app = typer.Typer(
    name="advrec",
    cls=CommandGroup,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        doctor.print_version()
        raise typer.Exit


@app.callback(invoke_without_command=True)
def advrec(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of advrec, torch and the compiled core.",
            callback=_version,
            is_eager=True,
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print a full traceback when something fails.")
    ] = False,
) -> None:
    """Train recommenders that survive perturbation, and measure how robust one is.

    Each step takes the result of the one before; every option has a default that is printed and
    saved with the run. Results go to stdout (or --json), progress to stderr.
    """
    del version, debug
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("pretrain", rich_help_panel=FLOW, epilog=pretrain.EPILOG)(pretrain.pretrain)
app.command("adv-train", rich_help_panel=FLOW, epilog=adv_train.EPILOG)(adv_train.adv_train)
app.command("attack", rich_help_panel=FLOW, epilog=attack.EPILOG)(attack.attack)
app.command("eval", rich_help_panel=FLOW, epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("recommend", rich_help_panel=USE, epilog=recommend.EPILOG)(recommend.recommend)
app.command("export", rich_help_panel=USE, epilog=export.EPILOG)(export.export)
app.add_typer(data.app, name="data", rich_help_panel=LOOK)
app.command("models", rich_help_panel=LOOK, epilog=models.EPILOG)(models.models)
app.command("runs", rich_help_panel=LOOK, epilog=runs.EPILOG)(runs.runs)
app.command("doctor", rich_help_panel=LOOK, epilog=doctor.EPILOG)(doctor.doctor)


def main(args: list[str] | None = None) -> int:
    """Run `advrec` with these arguments (the process's own where None); return the exit code."""
    tolerate_narrow_encodings()
    return int(app(args=args, prog_name="advrec", standalone_mode=False) or 0)
