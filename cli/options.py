"""How settings become flags, and the options that commands have in common.

`takes` gives a command the flags of some `Setting`s; the command receives only what was typed, so
that a configuration file can stand below the flags, and the model's own defaults below the file.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from advrec.choices import PARTS, STALE_SIDES
from advrec.options import OUTPUT, TRAINING
from advrec.validation import nearest
from advrec.visible import quoted
from advrec_cli.help import paragraphs
from advrec_cli.settings import MODEL_OPTIONS, RUNS, Setting
from advrec_cli.values import BadValue, number, whole_number

MEASURE = "Measure"
"""The help panel of what is measured, and how."""

# --- checks of values ----------------------------------------------------------------------------


def not_one_of(value: str, choices: Sequence[str], flag: str | None = None) -> BadValue:
    """The error for a word that is not among the choices."""
    message = f"must be {_listed(choices)}, got {quoted(value)}"
    return BadValue(message, flag=flag, near=nearest(value, choices))


def one_of(choices: Sequence[str]) -> Callable[[str | None], str | None]:
    """A parser callback that accepts one of the choices."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in choices:
            raise not_one_of(value, choices)
        return value

    return check


def _listed(choices: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))


BOUNDS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", lambda value, bound: value >= bound),
    "exclusiveMinimum": ("more than", lambda value, bound: value > bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "exclusiveMaximum": ("less than", lambda value, bound: value < bound),
}


def within(bounds: Mapping[str, float]) -> Callable[[Any], Any]:
    """A parser callback that refuses a number outside these bounds (of a JSON schema)."""

    def check(value: Any) -> Any:
        if value is None:
            return value
        if not math.isfinite(value):
            raise BadValue(f"must be a finite number, got {value}")
        for name, bound in bounds.items():
            phrase, holds = BOUNDS[name]
            if not holds(value, bound):
                raise BadValue(f"must be {phrase} {bound}, got {value:g}")
        return value

    return check


def at_least(low: float) -> Callable[[Any], Any]:
    """A parser callback that refuses a number below `low`."""
    return within({"minimum": low})


@contextmanager
def _named(flag: str) -> Iterator[None]:
    """Errors of a value within are about this flag."""
    try:
        yield
    except BadValue as error:
        raise BadValue(error.message, flag=flag) from None


def split_list(values: Sequence[str]) -> list[str]:
    """`["0.5,1", "2"]` → `["0.5", "1", "2"]`: an option may be repeated, or hold commas."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _number(text: str, kind: type, check: Callable[[Any], Any]) -> Any:
    return check(whole_number(text) if kind is int else number(text))


def numbers(values: Sequence[str], kind: type, flag: str, *, low: float = 0) -> list[Any]:
    """The numbers of a repeatable, comma-separated option; a usage error names the bad one."""
    with _named(flag):
        return [_number(text, kind, at_least(low)) for text in split_list(values)]


def shares(values: Sequence[str], flag: str) -> list[float]:
    """The shares of a repeatable, comma-separated option: `5%` or `0.05`."""
    with _named(flag):
        return [_share(text) for text in split_list(values)]


def _share(text: str) -> float:
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    if rest or not 0 <= share < math.inf or (share > 1 and not percent):
        raise BadValue(f"must be a share such as 5% or 0.05, got {text!r}")
    return share


@dataclass(frozen=True)
class Numbers:
    """What a flag such as `--eps 0.5,encoder=1` was given: for all, and by name."""

    general: float | None
    named: dict[str, float]


def numbers_and_names(values: Sequence[str], setting: Setting) -> Numbers:
    """Read a flag that takes X and NAME=X; `--lr`, whose names are its own, one or the other."""
    parts = split_list(values)
    named = [part.partition("=") for part in parts if "=" in part]
    general = [part for part in parts if "=" not in part]
    check = within(setting.bounds)
    with _named(setting.flag):
        if len(general) > 1 or (general and named and setting.named == setting.field):
            raise BadValue(f"takes one value for all, got {', '.join(parts)}")
        table = {name.strip(): _number(text, float, check) for name, _, text in named}
        return Numbers(_number(general[0], float, check) if general else None, table)


# --- from settings to flags ----------------------------------------------------------------------

METAVARS = {int: "N", float: "X", str: "TEXT", bool: ""}


def _completions(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _parameter(setting: Setting) -> inspect.Parameter:
    """The setting as a keyword parameter that typer reads as a flag; None means not given."""
    text = setting.help
    more: dict[str, Any] = {}
    if setting.choices:
        text = f"{text} One of {', '.join(setting.choices)}."
        more["callback"] = one_of(setting.choices)
        more["autocompletion"] = _completions(setting.choices)
    elif setting.bounds and not setting.named:
        more["callback"] = within(setting.bounds)
    option = typer.Option(
        setting.flag,
        metavar=setting.metavar or ("NAME" if setting.choices else METAVARS[setting.kind]),
        help=with_default(text, setting.default),
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


def with_default(text: str, default: str) -> str:
    """A help text with its default in words behind it."""
    return f"{text} [dim]\\[default: {default}][/]"


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
    chosen = [setting for group in groups for setting in group]

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
            *(_parameter(setting) for setting in chosen if setting.panel != OUTPUT),
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own),
            *(_parameter(setting) for setting in chosen if setting.panel == OUTPUT),
            debug,
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            values.pop("debug")
            given = Given()
            for setting in chosen:
                _store(given, setting, values.pop(setting.field))
            command(given, **values)

        run.__doc__ = paragraphs(command.__doc__)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _store(given: Given, setting: Setting, value: Any) -> None:
    """Put what a flag was given into its section; nothing if it was not typed."""
    section = getattr(given, setting.section)
    if value and setting.named:
        read = numbers_and_names(value, setting)
        value = read.general
        if read.named:
            section[setting.named] = read.named
    elif setting.joined:
        value = setting.joined.join(split_list(value)) if value else None
    if value is not None:
        section[setting.field] = value


# --- options in common ---------------------------------------------------------------------------

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
        help="Print no progress and no notes on stderr.",
        rich_help_panel=OUTPUT,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Read options from its sections \\[data] and \\[train]; flags override them.",
        rich_help_panel=OUTPUT,
        show_default=False,
        exists=True,
        dir_okay=False,
    ),
]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help=MODEL_OPTIONS,
        rich_help_panel=TRAINING,
        show_default=False,
    ),
]

RunsDir = Annotated[
    Path,
    typer.Option(
        "--runs-dir",
        "--runs",
        metavar="DIR",
        help="Folder of the runs.",
        rich_help_panel=RUNS,
        envvar="ADVREC_RUNS",
        show_envvar=False,
    ),
]
RunNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Runs, by name or path; by default the newest.",
        show_default=False,
    ),
]
OneRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="A run, by name or path; by default the newest.", show_default=False
    ),
]

Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        "--metric",
        metavar="NAME[@K]",
        help=with_default(
            "Recall, NDCG, Precision, HR, MRR, MAP, AUC. May be repeated, or hold commas.",
            "all but AUC",
        ),
        rich_help_panel=MEASURE,
        show_default=False,
    ),
]
Cutoffs = Annotated[
    list[str] | None,
    typer.Option(
        "--k",
        "-k",
        metavar="K[,K…]",
        help=with_default("Cut-offs of the metrics that are named without one.", "20"),
        rich_help_panel=MEASURE,
        show_default=False,
    ),
]
HeldOut = Annotated[
    str,
    typer.Option(
        "--part",
        metavar="NAME",
        help="Held-out part to measure on: test or valid.",
        rich_help_panel=MEASURE,
        callback=one_of(PARTS),
    ),
]
Sampled = Annotated[
    int | None,
    typer.Option(
        "--sampled",
        metavar="N",
        help=with_default(
            "Rank each held-out item against N random items instead of all; --seed chooses them."
            " Not comparable with full rankings.",
            "full ranking",
        ),
        rich_help_panel=MEASURE,
        show_default=False,
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Also write the table, as .md or .json.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
UsersFile = Annotated[
    Path | None,
    typer.Option(
        "--users",
        metavar="FILE",
        help="User vectors from elsewhere instead of a run, with --items and --data: .npy, .npz,"
        " .safetensors or .parquet, with ids or in the order of the data's user ids.",
        rich_help_panel=RUNS,
        show_default=False,
    ),
]
ItemsFile = Annotated[
    Path | None,
    typer.Option(
        "--items",
        metavar="FILE",
        help="Item vectors from elsewhere, likewise; scores are dot products.",
        rich_help_panel=RUNS,
        show_default=False,
    ),
]
PRACTICE = "Practical noise"
"""The help panel of what storing and serving do to vectors."""

StaleVectors = Annotated[
    str | None,
    typer.Option(
        "--stale",
        metavar="RUN|FILE",
        help=with_default(
            "Older vectors for staleness: a run on the same data, its last checkpoint (RUN@last)"
            " or a file of vectors.",
            "the parent run, if there is one",
        ),
        rich_help_panel=PRACTICE,
        show_default=False,
    ),
]
StaleSide = Annotated[
    str,
    typer.Option(
        "--stale-side",
        metavar="NAME",
        help="Whose vectors are the older ones: users or items.",
        rich_help_panel=PRACTICE,
        callback=one_of(STALE_SIDES),
    ),
]
