"""Every option of a training, in two states: as given, and with nothing left open.

`TrainConfig` is what flags and files say; a field that is None is left to the model. `resolve`
returns a `ResolvedConfig`: first what was given, then what the model's paper fixes
(`Recommender.defaults`), then the defaults written in `ResolvedConfig` itself. The resolved
one is printed, saved in the run folder and trained.

The fields of `TrainConfig` are also the flags of the command line and their help, so this module
must not import torch or numpy.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from advrec.choices import Kernels, Norm, Optimizer, Phase, Precision, Reduction, Sampling
from advrec.errors import ConfigError
from advrec.options import (
    ADVERSARY,
    COUNTS,
    LARGEST,
    MODEL,
    OUTPUT,
    SEEDS,
    TRAINING,
    option,
)

Count = Annotated[int, Field(ge=1, lt=COUNTS)]
Whole = Annotated[int, Field(ge=0, lt=COUNTS)]
Dim = Annotated[int, Field(ge=1, le=2**20)]
Layers = Annotated[int, Field(ge=0, le=100)]
Negatives = Annotated[int, Field(ge=1, le=2**16)]
Threads = Annotated[int, Field(ge=0, le=4096)]
BatchSize = Annotated[int, Field(ge=1, lt=2**29)]  # the compiled core counts so far
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Rates = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[dict[str, Positive], Tag("table")],
    Discriminator(lambda value: "table" if isinstance(value, dict) else "number"),
]
"""A learning rate, or one per table for a model that trains its tables at different rates."""
OptionValue = bool | int | float | str | list[bool | int | float | str]


class TrainConfig(BaseModel):
    """The options of `pretrain` and `adv_train` as given; None leaves one to the model.

    Pretraining has no perturbation: eps, adv_weight, norm, site and their entries by site are
    options of adversarial training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    phase: Phase = Field(
        "pretrain", description="adversarial: the clean loss + adv_weight · the adversarial one."
    )
    model: str = option("mf", "Model to train; 'advrec models' lists them.", MODEL, metavar="NAME")
    dim: Dim | None = option(None, "Embedding dimension.", MODEL, shown="mf 64, lightgcn 64, …")
    layers: Layers | None = option(None, "Propagation layers of a graph model.", MODEL, shown="3")
    init_std: Positive | None = option(
        None,
        "Standard deviation of the initial embeddings.",
        MODEL,
        shown="mf 0.01, lightgcn 0.1, …",
    )
    epochs: Count | None = option(
        None, "Passes over the training pairs, at most.", TRAINING, shown="the model's"
    )
    batch_size: BatchSize | None = option(
        None,
        "Triplets (cdae: users) per batch.",
        TRAINING,
        shown="mf 512, lightgcn 2048, …",
    )
    lr: Rates | None = option(
        None,
        "Learning rate. TABLE=X sets that of one table, for a model whose tables have their own.",
        TRAINING,
        shown="mf 0.05, lightgcn 0.001, …",
        metavar="X|TABLE=X",
        entries="lr",
    )
    optimizer: Optimizer | None = option(
        None, "Update rule.", TRAINING, shown="mf adagrad, lightgcn adam, …"
    )
    reg: NotNegative | None = option(
        None,
        "γ, the weight of the L2 penalty on the embeddings of a batch.",
        TRAINING,
        shown="mf 0, lightgcn 0.0001, …",
    )
    negatives: Negatives | None = option(None, "Negatives per positive pair.", TRAINING)
    sampling: Sampling | None = option(
        None,
        "How training pairs are drawn: each pair once per epoch, or a random user and then a"
        " random item of that user.",
        TRAINING,
        shown="mf pairs, lightgcn users, …",
    )
    reduction: Reduction | None = option(
        None, "Sum or mean of the loss over a batch.", TRAINING, shown="mf sum, lightgcn mean, …"
    )
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = option(
        0,
        "Seed of the initial weights and of sampling; the same seed gives the same bits.",
        OUTPUT,
    )
    eps: NotNegative | None = option(
        None,
        "ε, the L2 norm of the perturbation of each row, or of what --norm says.",
        ADVERSARY,
        shown="mf 0.5, lightgcn 0.5, …",
        metavar="X|SITE=X",
        entries="site_eps",
    )
    adv_weight: NotNegative | None = option(
        None,
        "λ, the weight of the adversarial loss; the clean loss has weight 1.",
        ADVERSARY,
        shown="mf 1, lightgcn 0.1, …",
        metavar="X|SITE=X",
        entries="site_adv_weight",
    )
    norm: Norm | None = option(
        None,
        "What has norm ε: each row, the vectors of each sample, all rows jointly, or each tensor.",
        ADVERSARY,
        shown="mf row, lightgcn row, …",
    )
    site: str | None = option(
        None,
        "Where the perturbation is added; 'advrec models' lists the sites. May be repeated, to"
        " perturb several sites at once.",
        ADVERSARY,
        shown="mf ego, lightgcn ego, …",
        metavar="NAME",
        joined="+",
    )
    site_eps: dict[str, NotNegative] = Field(
        default_factory=dict, description="SITE=X sets it for one of several sites."
    )
    site_adv_weight: dict[str, NotNegative] = Field(
        default_factory=dict, description="SITE=X sets it for one of several sites."
    )
    eval_every: Count | None = option(None, "Epochs between validations.", TRAINING)
    patience: Whole | None = option(
        None,
        "Stop after this many validations without improvement; 0 never stops early.",
        TRAINING,
    )
    metric: str | None = option(
        None, "Validation metric that chooses the best epoch.", TRAINING, metavar="NAME@K"
    )
    kernels: Kernels = option(
        "auto",
        "native: the compiled core; reference: its plain torch twin; auto: native if available.",
        OUTPUT,
    )
    precision: Precision = option(
        "float32",
        "Floating-point type; bf16 keeps float32 weights and gathers them as bfloat16 (lightgcn).",
        OUTPUT,
    )
    device: str = option("auto", "Device to compute on.", OUTPUT, metavar="auto|cpu|cuda[:N]")
    threads: Threads = option(
        0, "CPU threads; 0 takes torch's default. Results do not depend on it.", OUTPUT
    )
    checkpoint_seconds: NotNegative = option(
        10.0, "Minimum time between two checkpoints, in seconds.", TRAINING
    )
    options: dict[str, OptionValue] = Field(
        default_factory=dict, description="An option that only this model has; may be repeated."
    )

    @model_validator(mode="before")
    @classmethod
    def _a_table_is_of_sites(cls, values: Any) -> Any:
        """`site = ["a", "b"]` and `eps = {a = 1}` are other ways to write what the fields hold."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if isinstance(values.get("site"), (list, tuple)):
            values["site"] = "+".join(map(str, values["site"]))
        for name in ("eps", "adv_weight"):
            if isinstance(values.get(name), dict):
                values[f"site_{name}"] = {**values.get(f"site_{name}", {}), **values.pop(name)}
        return values

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", value):
            raise ValueError("auto, cpu, cuda or cuda:N")
        return value

    @field_validator("metric")
    @classmethod
    def _metric_has_a_shape(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z]{1,40}(@[1-9][0-9]{0,8})?", value):
            raise ValueError("a metric such as NDCG@20 or Recall@10")
        return value

    def given(self) -> dict[str, Any]:
        """The options that are not None, as plain values that TOML can hold."""
        return _not_empty(self.model_dump(exclude_none=True))

    def explicit(self) -> dict[str, Any]:
        """The options that the caller set; those left at their default are not included."""
        return _not_empty(self.model_dump(exclude_none=True, exclude_unset=True))


def _not_empty(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != {}}


class ResolvedConfig(TrainConfig):
    """A TrainConfig with nothing left open. The values here apply to models without their own.

    Only `init_std` may stay None: a model with weights of several kinds has its own for each.
    """

    dim: Dim = 64
    layers: Layers = 0
    epochs: Count = 1000
    batch_size: BatchSize = 512
    lr: Rates = 0.05
    optimizer: Optimizer = "adagrad"
    reg: NotNegative = 0.0
    negatives: Negatives = 1
    sampling: Sampling = "pairs"
    reduction: Reduction = "sum"
    eps: NotNegative = 0.5
    adv_weight: NotNegative = 1.0
    norm: Norm = "row"
    site: str = "ego"
    eval_every: Count = 10
    patience: Whole = 10
    metric: str = "NDCG@20"

    def lr_of(self, parameter: str) -> float:
        """The learning rate of a parameter; with several rates, that of the table it belongs to."""
        if not isinstance(self.lr, dict):
            return self.lr
        for table, rate in self.lr.items():
            if parameter == table or parameter.startswith(f"{table}_"):
                return rate
        raise ConfigError(f"lr has no rate for {parameter!r}, got {written(self.lr)}")


def written(value: object) -> str:
    """A value of an option as it is typed: `0.05`, or `users=0.01,items=0.0001`."""
    if isinstance(value, dict):
        return ",".join(f"{name}={written(entry)}" for name, entry in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
