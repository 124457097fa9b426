"""How `--help` looks: typer's panels, then the examples, each on its own line.

typer prints an epilog differently from version to version, so it is printed here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from advrec_cli.console import stdout
from advrec_cli.values import check_texts


def examples(*lines: str) -> str:
    """An epilog of example command lines; `  # text` after a line describes it."""
    split = [line.partition("  # ") for line in lines]
    width = max((len(command) for command, _, remark in split if remark), default=0)
    shown = ["[bold]Examples[/]"]
    for command, _, remark in split:
        gap = " " * (width - len(command))
        shown.append(f"  [cyan]{command}[/]" + (f"{gap}  [dim]# {remark}[/]" if remark else ""))
    return "\n".join(shown)


def paragraphs(docstring: str | None) -> str:
    """A docstring with each paragraph on one line: the terminal breaks it to its width."""
    texts = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(text.split("\n")) for text in texts)


def _help_with_examples(command: Any, format_help: Callable[[], None]) -> None:
    """Print the help without the epilog, then the epilog unchanged."""
    epilog, command.epilog = command.epilog, None
    try:
        format_help()
    finally:
        command.epilog = epilog
    if epilog:
        stdout().print(epilog, soft_wrap=True)


class Command(TyperCommand):
    """A command whose epilog keeps its lines, and whose texts are checked before all else."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        check_texts(self.params, self.callback)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of this command to stdout."""
        _help_with_examples(self, lambda: super(Command, self).format_help(ctx, formatter))

    def get_help_option(self, ctx: Any) -> Any:
        """The `--help` flag; it takes no value, so it shows none."""
        return _flag(super().get_help_option(ctx))


class Group(TyperGroup):
    """A group of commands whose epilog keeps its lines."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of this group to stdout."""
        _help_with_examples(self, lambda: super(Group, self).format_help(ctx, formatter))

    def get_help_option(self, ctx: Any) -> Any:
        """The `--help` flag; it takes no value, so it shows none."""
        return _flag(super().get_help_option(ctx))


def _flag(option: Any) -> Any:
    if option is not None:
        option.metavar = ""
    return option
