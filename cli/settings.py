"""Every field of the library's DataConfig and TrainConfig that a flag can set, in one table.

Each has its meaning, its unit and its default in words. A test holds the table equal to the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from advrec.choices import (
    FORMATS,
    HEADERS,
    KERNELS,
    NORMS,
    OPTIMIZERS,
    PRECISIONS,
    REDUCTIONS,
    SAMPLINGS,
    SPLITS,
    VALIDATIONS,
)

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
    named: str | None = None  # takes NAME=X beside X, any number of them, for this field
    joined: str | None = None  # may be repeated; the values are joined by this

    @property
    def flag(self) -> str:
        """`batch_size` → `--batch-size`."""
        return "--" + self.field.replace("_", "-")


def _data(name: str, kind: type, help: str, default: str, **rest: Any) -> Setting:
    return Setting("data", name, kind, help, default, rest.pop("panel", DATA), **rest)


def _train(name: str, kind: type, help: str, default: str, panel: str, **rest: Any) -> Setting:
    return Setting("train", name, kind, help, default, panel, **rest)


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
          choices=VALIDATIONS),
    _data("split_seed", int, "Seed of the random splits.", "0", low=0),
    _data("k_core", int, "Drop users and items with fewer than this many pairs, again and again"
          " until none is left; 0 keeps all.", "0", low=0),
    _data("min_rating", float, "Keep only the pairs rated at least this.", "keep all"),
    _data("user_col", str, "Name of the user column.", "found by name", metavar="COLUMN"),
    _data("item_col", str, "Name of the item column.", "found by name", metavar="COLUMN"),
    _data("rating_col", str, "Name of the rating column; none: leave it out.", "found by name",
          metavar="COLUMN"),
    _data("timestamp_col", str, "Name of the time column; none: leave it out.", "found by name",
          metavar="COLUMN"),
    _data("separator", str, "What stands between two columns, such as ',' or '::'.", "found",
          metavar="TEXT"),
    _data("features", str, "Item features: .npy or .npz in item order, a table keyed by item id,"
          " or 'text' to make them from the items' text.", "none", metavar="PATH"),
    _data("item_names", str, "A table of item id, tab, name; shown by 'recommend'.",
          "the set's own", metavar="PATH"),
    _data("header", str, "Whether the first line of a table names its columns.", "found",
          choices=HEADERS),
    _data("time_format", str, "Form of the dates, as strptime has it, such as '%d/%m/%Y'.",
          "found", metavar="TEXT"),
    _data("drop_incomplete", bool, "Drop rows without a user, item, rating or timestamp; they are"
          " counted.", "False"),
    _train("model", str, "What to train; 'advrec models' lists them.", "mf", MODEL,
           metavar="NAME"),
    _train("dim", int, "Numbers in an embedding.", "mf 64, lightgcn 64, …", MODEL, low=1),
    _train("layers", int, "Propagation layers of a graph model.", "3", MODEL, low=0),
    _train("init_std", float, "Standard deviation of the initial embeddings.",
           "mf 0.01, lightgcn 0.1, …", MODEL, low=0),
    _train("epochs", int, "Passes over the training pairs.", "the model's", TRAINING, low=1),
    _train("batch_size", int, "Triplets a step.", "mf 512, lightgcn 2048, …", TRAINING, low=1),
    _train("lr", float, "Learning rate; of a model whose tables have their own, users=X,items=X"
           " and so on.", "mf 0.05, lightgcn 0.001, …", TRAINING, low=0, named="lr"),
    _train("optimizer", str, "Update rule.", "mf adagrad, lightgcn adam, …", TRAINING,
           choices=OPTIMIZERS),
    _train("reg", float, "L2 penalty γ on a batch's embeddings.", "mf 0, lightgcn 0.0001, …",
           TRAINING, low=0),
    _train("negatives", int, "Sampled negatives a positive pair.", "1", TRAINING, low=1),
    _train("sampling", str, "Draw every pair once an epoch, or users at random and then one of"
           " their items.", "mf pairs, lightgcn users, …", TRAINING, choices=SAMPLINGS),
    _train("reduction", str, "Sum or mean of the loss over a batch.", "mf sum, lightgcn mean, …",
           TRAINING, choices=REDUCTIONS),
    _train("eval_every", int, "Epochs between two validations.", "10", TRAINING, low=1),
    _train("patience", int, "Stop after this many validations without a better figure; 0 never"
           " stops early.", "10", TRAINING, low=0),
    _train("metric", str, "The validation figure that chooses the best epoch.", "NDCG@20",
           TRAINING, metavar="NAME@K"),
    _train("checkpoint_seconds", float, "Least seconds between two checkpoints.", "10", TRAINING,
           low=0),
    _train("eps", float, "ε, the budget of the perturbation: L2 norm of each perturbed row, or what"
           " --norm says. SITE=X is for one of several sites.", "mf 0.5, lightgcn 0.5, …",
           ADVERSARY, low=0, metavar="X|SITE=X", named="site_eps"),
    _train("adv_weight", float, "λ, the weight of the adversarial loss beside the clean one."
           " SITE=X is for one of several sites.", "mf 1, lightgcn 0.1, …", ADVERSARY, low=0,
           metavar="X|SITE=X", named="site_adv_weight"),
    _train("norm", str, "What has norm ε: each row, each sample's vectors, all of it jointly, or"
           " each tensor.", "mf row, lightgcn row, …", ADVERSARY, choices=NORMS),
    _train("site", str, "Where the perturbation is added; may be repeated, for noise at several"
           " sites side by side. 'advrec models' lists them.", "mf ego, lightgcn ego, …", ADVERSARY,
           metavar="NAME", joined="+"),
    _train("seed", int, "Seed of the initial values and of sampling; the same seed gives the same"
           " bits.", "0", OUTPUT, low=0),
    _train("device", str, "Where to compute.", "auto", OUTPUT, metavar="auto|cpu|cuda[:N]"),
    _train("threads", int, "CPU threads; 0 takes as many as torch does. Results do not depend"
           " on it.", "0", OUTPUT, low=0),
    _train("kernels", str, "The compiled core, its plain torch twin, or whichever there is.",
           "auto", OUTPUT, choices=KERNELS),
    _train("precision", str, "Floating point type; bf16 keeps float32 weights and gathers them as"
           " bfloat16 (lightgcn).", "float32", OUTPUT, choices=PRECISIONS),
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


def reworded(field: str, help: str, **changes: Any) -> Setting:
    """The setting of a field with another meaning in words, for a command where it has one."""
    return replace(BY_FIELD[field], help=help, **changes)


RUN_DATA = reworded(
    "data", "Where the run's data is now, if it has moved.", default="as the run's configuration"
)
"""`--data` of a command that takes a finished run."""
