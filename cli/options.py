"""How shared settings become flags, and the options that commands have in common.

`takes` gives a command the flags of some `Setting`s; the command receives only what was typed, so
a configuration file can stand below the flags, and the model's own defaults below the file.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from advrec_cli.help import paragraphs
from advrec_cli.settings import OUTPUT, RUNS, Setting


def closest(value: str, choices: Sequence[str]) -> str:
    """`"; did you mean X?"` where one of the choices is near, else nothing."""
    near = difflib.get_close_matches(value, choices, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def one_of(choices: Sequence[str]) -> Callable[[str | None], str | None]:
    """A parser callback that accepts one of the choices and names the nearest otherwise."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in choices:
            wanted = ", ".join(choices)
            raise typer.BadParameter(f"{value!r} is not one of {wanted}{closest(value, choices)}")
        return value

    return check


def _completions(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def at_least(low: float) -> Callable[[Any], Any]:
    """A parser callback that refuses a number below `low`, and what is no finite number."""

    def check(value: Any) -> Any:
        if value is not None and not low <= value < float("inf"):
            raise typer.BadParameter(f"{value} is not a number from {low:g} up")
        return value

    return check


@dataclass(frozen=True)
class Numbers:
    """`0.5`, `encoder=1`, or both, as a flag that may be repeated or hold commas was given."""

    general: float | None
    named: dict[str, float]


def numbers_and_names(values: Sequence[str], setting: Setting) -> Numbers:
    """What such a flag was given; `lr`, whose names are its own, takes one or the other."""
    parts = split_list(values)
    named = [part.partition("=") for part in parts if "=" in part]
    general = [part for part in parts if "=" not in part]
    if len(general) > 1 or (general and named and setting.named == setting.field):
        raise typer.BadParameter(
            f"{', '.join(parts)} is more than one value for all", param_hint=setting.flag
        )

    def number(text: str) -> float:
        try:
            return float(at_least(setting.low or 0)(float(text)))
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a number", param_hint=setting.flag) from None
        except typer.BadParameter as error:
            raise typer.BadParameter(error.message, param_hint=setting.flag) from None

    table = {name.strip(): number(text) for name, _, text in named}
    return Numbers(number(general[0]) if general else None, table)


METAVARS = {int: "N", float: "X", str: "TEXT", bool: ""}


def _parameter(setting: Setting) -> inspect.Parameter:
    """The setting as a keyword parameter that typer reads as a flag; None means not given."""
    text = setting.help
    more: dict[str, Any] = {}
    if setting.choices:
        text = f"{text} One of {', '.join(setting.choices)}."
        more["callback"] = one_of(setting.choices)
        more["autocompletion"] = _completions(setting.choices)
    elif setting.low is not None and not setting.named:
        more["callback"] = at_least(setting.low)
    option = typer.Option(
        setting.flag,
        *setting.also,
        metavar=setting.metavar or ("NAME" if setting.choices else METAVARS[setting.kind]),
        help=f"{text} [dim]\\[default: {setting.default}][/]",
        rich_help_panel=setting.panel,
        show_default=False,
        **more,
    )
    kind = list[str] if setting.named or setting.joined else setting.kind
    return inspect.Parameter(
        setting.field,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


@dataclass(frozen=True)
class Given:
    """What was typed on the command line, by configuration section; nothing that was not."""

    data: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


DEBUG = typer.Option(
    "--debug",
    metavar="",
    help="Print a full traceback when something fails.",
    rich_help_panel=OUTPUT,
)
"""Read from the command line itself by `failures`; listed here so that every command takes it."""


def takes(*groups: Sequence[Setting]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these settings; it gets them as its first argument, a `Given`."""
    wanted = [setting for group in groups for setting in group]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        debug = inspect.Parameter(
            "debug",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, DEBUG],
        )
        # Panels appear in the order of their first option: what to do before how to print it.
        parameters = [
            *(_parameter(setting) for setting in wanted if setting.panel != OUTPUT),
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own),
            *(_parameter(setting) for setting in wanted if setting.panel == OUTPUT),
            debug,
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            values.pop("debug")
            given = Given()
            for setting in wanted:
                section, value = getattr(given, setting.section), values.pop(setting.field)
                if value and setting.named:
                    found = numbers_and_names(value, setting)
                    value = found.general
                    if found.named:
                        section[setting.named] = found.named
                elif setting.joined:
                    value = setting.joined.join(split_list(value)) if value else None
                if value is not None:
                    section[setting.field] = value
            command(given, **values)

        run.__doc__ = paragraphs(command.__doc__)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def split_list(values: Sequence[str]) -> list[str]:
    """`["0.5,1", "2"]` → `["0.5", "1", "2"]`: an option may be repeated, or hold commas."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def numbers(values: Sequence[str], kind: type, flag: str, *, low: float = 0) -> list[Any]:
    """The numbers of a repeatable, comma-separated option; a usage error names the bad one."""
    made = []
    for text in split_list(values):
        try:
            number = kind(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a number", param_hint=flag) from None
        if not low <= number < float("inf"):
            raise typer.BadParameter(f"{text} is not at least {low:g}", param_hint=flag)
        made.append(number)
    return made


Json = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="Write one JSON document to stdout instead of tables.",
        rich_help_panel=OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        metavar="",
        help="No progress and no notes on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Take settings from its sections \\[data] and \\[train]; flags win over it.",
        rich_help_panel=OUTPUT,
        show_default=False,
        exists=True,
        dir_okay=False,
    ),
]
RunsDir = Annotated[
    Path,
    typer.Option(
        "--runs-dir",
        "--runs",
        metavar="DIR",
        help="The folder that holds the runs.",
        rich_help_panel=RUNS,
        envvar="ADVREC_RUNS",
        show_envvar=False,
    ),
]
RunNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Runs, by name or path; without any, the newest.",
        show_default=False,
    ),
]
OneRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="A run, by name or path; without it, the newest.", show_default=False
    ),
]
