"""The options that several commands share, each written once.

`SETTINGS` is one table: every field of the library's DataConfig and TrainConfig that a flag can
set, with its meaning, its unit and its default. `takes` gives a command the flags of the sections
it names; the command receives only what was typed, so a configuration file can stand below the
flags and the model's own defaults below the file. A test holds the table equal to the fields.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

DATA = "Data"
MODEL = "Model"
TRAINING = "Training"
ADVERSARY = "Adversarial training"
RUNS = "Runs"
OUTPUT = "Output and device"


@dataclass(frozen=True)
class Setting:
    """One flag that sets one field of a configuration section (`data` or `train`)."""

    section: str
    field: str
    kind: type
    help: str
    default: str
    panel: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    also: tuple[str, ...] = ()
    metavar: str | None = None

    @property
    def flag(self) -> str:
        return "--" + self.field.replace("_", "-")


def _data(name: str, kind: type, help: str, default: str, **rest: Any) -> Setting:
    return Setting("data", name, kind, help, default, rest.pop("panel", DATA), **rest)


def _train(name: str, kind: type, help: str, default: str, panel: str, **rest: Any) -> Setting:
    return Setting("train", name, kind, help, default, panel, **rest)


FORMATS = ("auto", "lightgcn", "movielens", "recbole", "csv", "parquet")
SPLITS = ("auto", "given", "random", "loo-time", "loo-random", "global-time")
NORMS = ("row", "sample", "joint", "tensor")

SETTINGS: tuple[Setting, ...] = (
    _data("data", str, "An embedded set (see 'advrec data list') or the path of a file or folder.",
          "debian", metavar="NAME|PATH"),
    _data("format", str, "How the files are laid out; auto looks and says what it saw.", "auto",
          choices=FORMATS),
    _data("split", str, "How train and test are cut: as the files give it, at random per user, one"
          " pair per user left out (by time or at random), or at one moment for all.", "auto",
          choices=SPLITS),
    _data("test_ratio", float, "Share of the pairs held out for test, 0 to 1 (splits random,"
          " global-time).", "0.2", low=0),
    _data("valid_ratio", float, "Share of the rest held out of train for validation, 0 to 1.",
          "0.1", low=0),
    _data("valid", str, "Whether to cut a validation part from train.", "auto",
          choices=("auto", "none")),
    _data("split_seed", int, "Seed of the random splits.", "0", low=0),
    _data("k_core", int, "Drop users and items with fewer than this many pairs, again and again"
          " until none is left; 0 keeps all.", "0", low=0),
    _data("min_rating", float, "Keep only the pairs rated at least this.", "keep all"),
    _data("user_col", str, "Name of the user column.", "found by name", metavar="COLUMN"),
    _data("item_col", str, "Name of the item column.", "found by name", metavar="COLUMN"),
    _data("rating_col", str, "Name of the rating column.", "found by name", metavar="COLUMN"),
    _data("timestamp_col", str, "Name of the time column.", "found by name", metavar="COLUMN"),
    _data("separator", str, "What stands between two columns, such as ',' or '::'.", "found",
          metavar="TEXT"),
    _data("features", str, "Item features: .npy or .npz in item order, or a table keyed by item"
          " id.", "the set's own", metavar="PATH"),
    _data("item_names", str, "A table of item id, tab, name; shown by 'recommend'.",
          "the set's own", metavar="PATH"),
    _train("model", str, "What to train; 'advrec models' lists them.", "mf", MODEL,
           metavar="NAME"),
    _train("dim", int, "Numbers in an embedding.", "64", MODEL, low=1),
    _train("layers", int, "Propagation layers of a graph model.", "3", MODEL, low=0),
    _train("init_std", float, "Standard deviation of the initial embeddings.",
           "mf 0.01, lightgcn 0.1", MODEL, low=0),
    _train("epochs", int, "Passes over the training pairs.", "the model's", TRAINING, low=1),
    _train("batch_size", int, "Triplets a step.", "mf 512, lightgcn 2048", TRAINING, low=1),
    _train("lr", float, "Learning rate.", "mf 0.05, lightgcn 0.001", TRAINING, low=0),
    _train("optimizer", str, "Update rule.", "mf adagrad, lightgcn adam", TRAINING,
           choices=("adagrad", "sgd", "adam", "sparse_adam")),
    _train("reg", float, "L2 penalty γ on a batch's embeddings.", "mf 0, lightgcn 0.0001",
           TRAINING, low=0),
    _train("negatives", int, "Sampled negatives a positive pair.", "1", TRAINING, low=1),
    _train("sampling", str, "Draw every pair once an epoch, or users at random and then one of"
           " their items.", "mf pairs, lightgcn users", TRAINING, choices=("pairs", "users")),
    _train("reduction", str, "Sum or mean of the loss over a batch.", "mf sum, lightgcn mean",
           TRAINING, choices=("sum", "mean")),
    _train("eval_every", int, "Epochs between two validations.", "10", TRAINING, low=1),
    _train("patience", int, "Stop after this many validations without a better figure; 0 never"
           " stops early.", "10", TRAINING, low=0),
    _train("metric", str, "The validation figure that chooses the best epoch.", "NDCG@20",
           TRAINING, metavar="NAME@K"),
    _train("checkpoint_seconds", float, "Least seconds between two checkpoints.", "10", TRAINING,
           low=0),
    _train("eps", float, "ε, the budget of the perturbation: L2 norm of each perturbed row.",
           "0.5", ADVERSARY, low=0),
    _train("adv_weight", float, "λ, the weight of the adversarial loss beside the clean one.",
           "mf 1, lightgcn 0.1", ADVERSARY, low=0),
    _train("norm", str, "What has norm ε: each row, each sample's vectors, all of it jointly, or"
           " each tensor.", "row", ADVERSARY, choices=NORMS),
    _train("site", str, "Where the perturbation is added; 'advrec models' lists each model's"
           " sites.", "the model's first", ADVERSARY, metavar="NAME"),
    _train("seed", int, "Seed of the initial values and of sampling; the same seed gives the same"
           " bits.", "0", OUTPUT, low=0),
    _train("device", str, "Where to compute.", "auto", OUTPUT, metavar="auto|cpu|cuda[:N]"),
    _train("threads", int, "CPU threads; 0 takes as many as torch does. Results do not depend"
           " on it.", "0", OUTPUT, low=0),
    _train("kernels", str, "The compiled core, its plain torch twin, or whichever there is.",
           "auto", OUTPUT, choices=("auto", "native", "reference")),
    _train("precision", str, "Floating point type.", "float32", OUTPUT,
           choices=("float32", "float64")),
)  # fmt: skip

BY_FIELD: Mapping[str, Setting] = {setting.field: setting for setting in SETTINGS}


def settings(section: str, *, panels: Sequence[str] | None = None) -> tuple[Setting, ...]:
    """The settings of a section, perhaps only those of some help panels."""
    return tuple(
        s for s in SETTINGS if s.section == section and (panels is None or s.panel in panels)
    )


def named(*fields: str) -> tuple[Setting, ...]:
    """The settings of these fields, in this order."""
    return tuple(BY_FIELD[name] for name in fields)


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


METAVARS = {int: "N", float: "X", str: "TEXT"}


def _parameter(setting: Setting) -> inspect.Parameter:
    """The setting as a keyword parameter that typer reads as a flag; None means not given."""
    text, more = setting.help, {}
    if setting.choices:
        text = f"{text} One of {', '.join(setting.choices)}."
        more["callback"] = one_of(setting.choices)
        more["autocompletion"] = _completions(setting.choices)
    elif setting.low is not None:
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
    return inspect.Parameter(
        setting.field,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[setting.kind | None, option],
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
                value = values.pop(setting.field)
                if value is not None:
                    getattr(given, setting.section)[setting.field] = value
            command(given, **values)

        # Paragraphs, not lines: the terminal has its own width.
        paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
        run.__doc__ = "\n\n".join(" ".join(text.split("\n")) for text in paragraphs)
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
        metavar="[RUN]...", help="Runs, by name or path; without any, the newest.", show_default=False
    ),
]
OneRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="A run, by name or path; without it, the newest.", show_default=False
    ),
]
