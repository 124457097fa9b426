"""Every option of a training, in two states: as given, and with nothing left open.

`TrainConfig` is what flags and files say; a field that is None is left to the model. `resolve`
returns a `ResolvedConfig`: first what was given, then what the model's paper fixes
(`Recommender.defaults`), then the defaults written down in `ResolvedConfig` itself. The resolved
one is what is printed, saved in the run folder and trained.
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

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rates = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[dict[str, Positive], Tag("table")],
    Discriminator(lambda value: "table" if isinstance(value, dict) else "number"),
]
"""A learning rate, or one for each table of a model that trains its tables at different rates."""
OptionValue = bool | int | float | str | list[bool | int | float | str]


class TrainConfig(BaseModel):
    """The options of `pretrain` and `adv_train` as given; None leaves one to the model."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    phase: Phase = Field(
        "pretrain",
        description="adversarial: the clean loss + adv_weight·the adversarial one",
    )
    model: str = Field("mf", description="which recommender")
    dim: Count | None = Field(None, description="width of an embedding")
    layers: Whole | None = Field(None, description="propagation layers (graph models)")
    init_std: Positive | None = Field(None, description="standard deviation of the initial weights")
    epochs: Count | None = Field(None, description="passes over the training pairs, at most")
    batch_size: Count | None = Field(None, description="triplets (or users) in a step")
    lr: Rates | None = Field(None, description="learning rate, of all or of each table")
    optimizer: Optimizer | None = Field(None, description="rule that turns gradients into steps")
    reg: NotNegative | None = Field(None, description="γ, weight of the squared norms")
    negatives: Count | None = Field(None, description="negative items drawn for a positive one")
    sampling: Sampling | None = Field(
        None,
        description="pairs: each training pair once an epoch; users: a random user, an item",
    )
    reduction: Reduction | None = Field(None, description="how a batch's losses become one number")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="of weights and sampler")
    eps: NotNegative | None = Field(None, description="ε, L2 length of the perturbation of a row")
    adv_weight: NotNegative | None = Field(None, description="λ, weight of the adversarial loss")
    norm: Norm | None = Field(None, description="what has length eps")
    site: str | None = Field(None, description="what is perturbed; several are joined by +")
    site_eps: dict[str, NotNegative] = Field(
        default_factory=dict, description="eps of single sites, where several are perturbed"
    )
    site_adv_weight: dict[str, NotNegative] = Field(
        default_factory=dict, description="adv_weight of single sites"
    )
    eval_every: Count | None = Field(None, description="epochs between validations")
    patience: Whole | None = Field(
        None, description="stop after so many validations without a better one; 0: never"
    )
    metric: str | None = Field(None, description="validation figure that chooses the best epoch")
    kernels: Kernels = Field(
        "auto", description="native: compiled; reference: plain torch; auto: native where there is"
    )
    precision: Precision = Field(
        "float32", description="of the weights; bf16: float32 weights, gathered as bfloat16"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: Whole = Field(0, description="CPU threads; 0: as many as torch takes")
    checkpoint_seconds: NotNegative = Field(10.0, description="least time between checkpoints")
    options: dict[str, OptionValue] = Field(
        default_factory=dict, description="options that only this model has"
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
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            raise ValueError("auto, cpu, cuda or cuda:N")
        return value

    @field_validator("metric")
    @classmethod
    def _metric_has_a_shape(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z]+(@[1-9]\d*)?", value):
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
    """A TrainConfig with nothing left open. The values here hold for models that set no other.

    `init_std` alone may stay None: a model with weights of several kinds has its own for each.
    """

    dim: Count = 64
    layers: Whole = 0
    epochs: Count = 1000
    batch_size: Count = 512
    lr: Rates = 0.05
    optimizer: Optimizer = "adagrad"
    reg: NotNegative = 0.0
    negatives: Count = 1
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
        """The learning rate of a parameter; of several, that of the table its name begins with."""
        if not isinstance(self.lr, dict):
            return self.lr
        for table, rate in self.lr.items():
            if parameter == table or parameter.startswith(f"{table}_"):
                return rate
        raise ConfigError(f"lr has no rate for {parameter!r}, got {written(self.lr)}")


def written(value: object) -> str:
    """A value of an option as one types it: `0.05`, or `users=0.01,items=0.0001`."""
    if isinstance(value, dict):
        return ",".join(f"{name}={written(entry)}" for name, entry in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
