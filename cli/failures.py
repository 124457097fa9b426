"""What the screen says when something goes wrong, and the exit code that goes with it.

One place for all of it: a wrong flag, an error that advrec raises on purpose, Ctrl-C, and a
defect in advrec itself. `CommandGroup` is the top of the command tree and catches them all, so
the behaviour is the same from a shell, from `python -m` and from a test.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from advrec_cli.console import stderr
from advrec_cli.help import Group


def _say(word: str, message: str, hint: str | None) -> None:
    console = stderr()
    console.print(f"[bold red]{word}:[/] ", end="")
    console.print(message, markup=False, highlight=False, soft_wrap=True)
    if hint:
        console.print("[bold cyan]hint:[/] ", end="")
        console.print(hint, markup=False, highlight=False, soft_wrap=True)


def _is_usage(error: BaseException) -> bool:
    """Whether the argument parser raised it: its classes carry a message it can format itself."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _usage_failure(error: Any) -> int:
    """A flag or argument that the parser refused: the sentence, and where its help is."""
    message = str(error.format_message()).rstrip()
    message = message.removesuffix(".") if message.count(".") == 1 else message
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "advrec"
    _say("error", message, f"'{path} --help' lists what it takes")
    return int(error.exit_code)


def _defect(error: Exception, debug: bool) -> int:
    """An error nobody meant to raise: short on the screen, whole in a file."""
    text = "".join(traceback.format_exception(error))
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    if debug:
        stderr().print(text, markup=False, highlight=False, soft_wrap=True)
        hint = "the traceback above says where"
    else:
        handle, path = tempfile.mkstemp(prefix="advrec-traceback-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"advrec {' '.join(sys.argv[1:])}\n{text}")
        hint = f"the full traceback is in {path}; --debug prints it here"
    _say("error", f"this is a bug in advrec: {summary[:300]}", hint)
    return 1


def explain(error: BaseException, *, debug: bool = False) -> int:
    """Print one sentence and perhaps a hint for any exception; return the exit code."""
    from advrec.errors import AdvrecError, ExitCode, NativeError

    if debug and not isinstance(error, typer.Exit | typer.Abort) and not _is_usage(error):
        if not isinstance(error, Exception) or isinstance(error, AdvrecError):
            stderr().print("".join(traceback.format_exception(error)), markup=False)
    if isinstance(error, AdvrecError):
        word = "interrupted" if error.exit_code == ExitCode.INTERRUPTED else "error"
        hint = error.hint
        if hint is None and isinstance(error, NativeError):
            hint = "'advrec doctor' says what the compiled core needs"
        _say(word, str(error), hint)
        return int(error.exit_code)
    if isinstance(error, typer.Abort):
        _say("interrupted", "stopped by Ctrl-C before there was anything to save", None)
        return int(ExitCode.INTERRUPTED)
    if _is_usage(error):
        return _usage_failure(error)
    if isinstance(error, Exception):
        return _defect(error, debug)
    raise error


class CommandGroup(Group):
    """The root of the command tree; every exception of any command ends here."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command; Ctrl-C becomes typer's Abort, lest it turn into a silent exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line. Standalone, it exits the process with the code; else it returns it."""
        given = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in given or os.environ.get("ADVREC_DEBUG", "") not in ("", "0")
        try:
            result = super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
            code = result if isinstance(result, int) else 0
        except BrokenPipeError:
            # The reader of a pipe went away (`advrec … | head`): not a failure of ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except Exception as error:
            code = explain(error, debug=debug)
        if standalone_mode:
            sys.exit(code)
        return code
