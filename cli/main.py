"""The command tree: the commands, their order, and what `advrec` prints without a command.

Only the module of the command that was typed is imported; the help of `advrec` needs all of them.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer

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


class Entry(NamedTuple):
    """A line of the command tree: the panel of the help, and what is in `advrec_cli.commands`."""

    panel: str
    module: str
    function: str | None  # None: the module is a group of commands, its `app`


COMMANDS: Mapping[str, Entry] = {
    "pretrain": Entry(FLOW, "pretrain", "pretrain"),
    "adv-train": Entry(FLOW, "adv_train", "adv_train"),
    "attack": Entry(FLOW, "attack", "attack"),
    "eval": Entry(FLOW, "evaluate", "evaluate"),
    "audit": Entry(USE, "audit", "audit"),
    "certify": Entry(USE, "certify", "certify"),
    "leaderboard": Entry(USE, "leaderboard", "leaderboard"),
    "compare": Entry(USE, "compare", "compare"),
    "study": Entry(USE, "study", "study"),
    "recommend": Entry(USE, "recommend", "recommend"),
    "export": Entry(USE, "export", "export"),
    "features": Entry(USE, "features", "features"),
    "models": Entry(LOOK, "models", "models"),
    "runs": Entry(LOOK, "runs", "runs"),
    "doctor": Entry(LOOK, "doctor", "doctor"),
    "data": Entry(LOOK, "data", None),
}


def _command(name: str) -> Any:
    """Import a command and build its parser."""
    panel, place, function = COMMANDS[name]
    module = import_module(f"advrec_cli.commands.{place}")
    tree = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
    if function is None:
        tree.add_typer(module.app, name=name, rich_help_panel=panel)
    else:
        register = tree.command(name, cls=Command, rich_help_panel=panel, epilog=module.EPILOG)
        register(getattr(module, function))
    return typer.main.get_group(tree).commands[name]


class Commands(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        if name not in self._built:
            self._built[name] = _command(name)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Root(CommandGroup):
    """The root of the tree."""

    commands: Any  # typer's type is a dict

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """The names, in the order of the help."""
        return list(COMMANDS)


app = typer.Typer(
    name="advrec",
    cls=Root,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from advrec_cli.commands import doctor

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


def main(args: list[str] | None = None) -> int:
    """Run `advrec` with these arguments (default: the process's own); return the exit code."""
    from advrec.system.interrupt import terminate_as_ctrl_c

    tolerate_narrow_encodings()
    terminate_as_ctrl_c()
    # Python would search everything that torch has imported for garbage before it ends: a quarter
    # of a second.
    atexit.register(gc.freeze)
    return int(app(args=args, prog_name="advrec", standalone_mode=False) or 0)
