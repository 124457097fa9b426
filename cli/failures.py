"""What the screen shows when something goes wrong, and the exit code that goes with it.

One place for all of it: a wrong flag, an error that advrec raises on purpose, Ctrl-C, and a
defect in advrec itself. `CommandGroup` is the root of the command tree and catches them all, so
that the behaviour is the same from a shell, from `python -m` and from a test.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from advrec_cli.console import stderr
from advrec_cli.help import Group
from advrec_cli.streams import guarded


def _say(word: str, message: str, hint: str | None) -> None:
    console = stderr()
    console.print(f"[bold red]{word}:[/] ", end="")
    console.print(message, markup=False, soft_wrap=True)
    if hint:
        console.print("[bold cyan]hint:[/] ", end="")
        console.print(hint, markup=False, soft_wrap=True)


def _print_traceback(error: Exception) -> None:
    text = "".join(traceback.format_exception(error))
    stderr().print(text, markup=False, soft_wrap=True)


def _is_usage(error: BaseException) -> bool:
    """Whether the argument parser raised it: its classes carry a message it can format itself."""
    return hasattr(error, "format_message")


def _usage_failure(error: Any) -> int:
    """A flag or argument that the parser refused: what is wrong, and where its help is."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "advrec"
    near = [repr(name) for name in getattr(error, "possibilities", None) or ()]
    # An unknown option's own sentence repeats the possibilities.
    unknown_option = hasattr(error, "option_name")
    text = str(error.message if unknown_option else error.format_message()).strip()
    text = _wrong_type(error) or text
    text, suggests, suggested = text.partition(" Did you mean ")
    if suggests:  # typer's words for a mistyped command
        near = [suggested.rstrip("?")]
    text = text[:1].lower() + text[1:].rstrip(".")
    _say("error", text, f"did you mean {' or '.join(near)}?" if near else f"see {path} --help")
    return int(error.exit_code)


def _wrong_type(error: Any) -> str | None:
    """The sentence for text that is not of the flag's type, where typer leaves that to pydantic."""
    from pydantic import ValidationError

    from advrec.validation import expected

    cause, opts = error.__cause__, getattr(getattr(error, "param", None), "opts", None)
    if not isinstance(cause, ValidationError) or not opts:
        return None
    entry = cause.errors(include_url=False)[0]
    if entry["type"] in ("value_error", "assertion_error"):
        return None
    return f"{opts[0]} must be {expected(entry)}, got {entry['input']!r}"


def _defect(error: Exception, debug: bool) -> int:
    """An error that was not raised on purpose: short on the screen, in full in a file."""
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    if debug:
        hint = "the traceback above shows where"
    else:
        path = _traceback_file(error)
        if path is None:
            _print_traceback(error)
            hint = "the traceback is above: it could not be written to a file"
        else:
            hint = f"the full traceback is in {path}; --debug prints it here"
    _say("error", f"this is a bug in advrec: {summary[:300]}", hint)
    return 1


def _not_written(problem: str) -> int:
    """The command has done its work, but its results did not arrive on stdout."""
    from advrec.errors import ExitCode

    _say("error", f"the results could not be written to stdout: {problem}", None)
    return int(ExitCode.DATA)


def _traceback_file(error: Exception) -> str | None:
    """A new file with the command and the traceback; None if it cannot be written."""
    text = "".join(traceback.format_exception(error))
    path = None
    try:
        handle, path = tempfile.mkstemp(prefix="advrec-traceback-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"advrec {' '.join(sys.argv[1:])}\n{text}")
    except OSError:  # no space, no folder, a limit
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - a text from tempfile
        return None
    return path


def explain(error: Exception, *, debug: bool = False) -> int:
    """Print one sentence and perhaps a hint for any exception; return the exit code."""
    from advrec.errors import AdvrecError, ExitCode, NativeError
    from advrec.system import threads
    from advrec.system.interrupt import Terminated
    from advrec.system.refusals import refusal

    if _is_usage(error):
        return _usage_failure(error)
    if isinstance(error, typer.Abort):
        # OpenBLAS sends its own process SIGINT when it cannot start its threads
        if (no_threads := threads.refused()) is not None:
            return explain(no_threads, debug=debug)
        what = "SIGTERM" if isinstance(error.__cause__, Terminated) else "Ctrl-C"
        _say("interrupted", f"stopped by {what}; there was nothing to save", None)
        return int(ExitCode.INTERRUPTED)
    if debug:
        _print_traceback(error)
    if not isinstance(error, AdvrecError):
        refused = refusal(error)
        if refused is None:
            return _defect(error, debug)
        error = refused
    word = "interrupted" if error.exit_code == ExitCode.INTERRUPTED else "error"
    hint = error.hint
    if hint is None and isinstance(error, NativeError):
        hint = "advrec doctor shows what the compiled core needs"
    _say(word, str(error), hint)
    return int(error.exit_code)


class CommandGroup(Group):
    """The root of the command tree, where the exceptions of all commands end."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, before typer turns Ctrl-C into an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise typer.Abort from stop

    def main(
        self,
        args: Sequence[str] | None = None,
        *_: Any,  # typer itself passes the others by name
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; standalone, exit the process with the code, else return it."""
        given = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in given
        with guarded() as results:
            try:
                result = super().main(given, standalone_mode=False, **extra)
                code = result if isinstance(result, int) else 0
            except Exception as error:
                code = explain(error, debug=debug)
            results.flush()
            if results.problem is not None:
                code = code or _not_written(results.problem)
        if standalone_mode:
            sys.exit(code)
        return code
