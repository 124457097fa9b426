"""The format of a study file, checked before anything is computed. See docs/studies.md."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from advrec.choices import Control, Noise
from advrec.config.file import read_toml
from advrec.data import DataConfig
from advrec.data.item_text import FROM_TEXT
from advrec.data.sources.catalog import CATALOG, data_home
from advrec.data.sources.embedded import EMBEDDED
from advrec.errors import ConfigError
from advrec.evaluation.metrics import metric_specs
from advrec.validation import parse

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Eps = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Section = dict[str, Any]

PRETRAINED = "pretrained"
CONTROLS: tuple[Control, ...] = ("continued", "restarted")
NOT_OPTIONS = ("model", "seed", "phase", "threads", "device", "kernels")
"""Fields of `TrainConfig` that the study itself or its caller sets."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class AttackSpec(_Part):
    """`[attack]`: the noise that every trained model is measured under."""

    eps: list[Eps] = Field([0.5, 1.0, 2.0], min_length=1)
    noise: list[Noise] = Field(["random", "adversarial"], min_length=1)
    sites: list[str] = Field([], description="empty: the model's first")
    norm: str | None = None
    steps: Annotated[int, Field(ge=1)] = 1
    restarts: Annotated[int, Field(ge=1)] = 1
    seed: Seed = Field(0, description="added to the seed of the training")

    @field_validator("eps")
    @classmethod
    def _ascending(cls, value: list[float]) -> list[float]:
        if value != sorted(set(value)):
            raise ValueError("different numbers, ascending")
        return value


class ModelSpec(_Part):
    """`[models.LABEL]`: one recommender, its trainings, and the attacks on it."""

    model: str
    data: list[str] | None = Field(None, description="labels of data sets; None: all")
    train: Section = {}  # of all its trainings
    pretrain: Section = {}
    adversarial: dict[str, Section] = {}  # label of the training → its options
    controls: list[Control] = []
    attack: Section = {}  # over the study's [attack]
    on: dict[str, Section] = Field({}, description="data label → train, pretrain, adversarial")

    @field_validator("adversarial")
    @classmethod
    def _labels_are_free(cls, value: dict[str, Section]) -> dict[str, Section]:
        for label in value:
            if label in (PRETRAINED, *CONTROLS):
                raise ValueError(f"another name than {label!r}, which a study gives itself")
        return value


class OnData(_Part):
    """`[models.LABEL.on.DATA]`: what is different on one data set."""

    train: Section = {}
    pretrain: Section = {}
    adversarial: Section = Field({}, description="of every adversarial training")


class StudySpec(_Part):
    """A study file, all of it."""

    title: str = "Study"
    about: str = Field("", description="a paragraph below the title")
    seeds: list[Seed] = Field([0, 1, 2, 3, 4], min_length=1)
    metrics: list[str] = Field(["NDCG@20"], min_length=1)
    sampled: Annotated[int, Field(ge=1)] | None = Field(
        None, description="negatives per held-out item; None: the whole catalogue"
    )
    train: Section = {}
    attack: Section = {}
    data: dict[str, Section] = Field({"debian": {"data": "debian"}}, min_length=1)
    models: dict[str, ModelSpec] = Field(min_length=1)

    @field_validator("seeds", mode="before")
    @classmethod
    def _a_number_of_seeds(cls, value: Any) -> Any:
        counted = isinstance(value, int) and not isinstance(value, bool)
        seeds = list(range(value)) if counted else value
        if isinstance(seeds, list) and len(set(map(str, seeds))) < len(seeds):
            raise ValueError("different seeds")
        if not isinstance(seeds, list) or not seeds:
            raise ValueError("a number of seeds from 1 up, or a list of seeds")
        return seeds

    @field_validator("metrics")
    @classmethod
    def _metrics_have_cutoffs(cls, value: list[str]) -> list[str]:
        for name in value:
            if name.upper() != "AUC" and not re.fullmatch(r"[A-Za-z]+@[1-9]\d*", name):
                raise ValueError("figures with their cut-off, such as NDCG@20")
        return [str(spec) for spec in metric_specs(value, (20,))]

    @field_validator("models", mode="before")
    @classmethod
    def _models_one_by_one(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("sections [models.LABEL]")
        return value


def read_study(path: str | Path) -> StudySpec:
    """The study in a TOML file; ConfigError names the section, what it has and what is expected."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error
    return parse_study(text, str(path))


def parse_study(text: str, where: str = "the study") -> StudySpec:
    """As `read_study`, from the text of the file."""
    document = read_toml(text, where)
    models = document.get("models", {})
    if not isinstance(models, dict) or not models:
        raise ConfigError(
            f"{where} has no [models.…] section", hint='add [models.MF] with model = "mf"'
        )
    for label, section in models.items():
        models[label] = parse_section(ModelSpec, section, f"[models.{label}] of {where}")
    spec = parse(StudySpec, document, where)
    for label, model in spec.models.items():
        _check_labels(spec, label, model, where)
    return spec


def parse_section(kind: Any, section: Any, where: str) -> Any:
    """A model of one section; ConfigError also where there is a value instead of a section."""
    if not isinstance(section, dict):
        raise ConfigError(f"{where} must be a section, got {section!r}")
    return parse(kind, section, where)


def _check_labels(spec: StudySpec, label: str, model: ModelSpec, where: str) -> None:
    for name in (*(model.data or ()), *model.on):
        if name not in spec.data:
            raise ConfigError(
                f"[models.{label}] of {where} names data {name!r}, but there is no [data.{name}]",
                hint=f"choose from {', '.join(spec.data)}",
            )
    if model.controls and not model.adversarial:
        raise ConfigError(
            f"[models.{label}] of {where} has controls, but no adversarial training to compare "
            "them with",
            hint=f"add [models.{label}.adversarial.APR]",
        )


def data_config(section: Mapping[str, Any], folder: Path, where: str) -> DataConfig:
    """A `[data.LABEL]` section with variables and relative paths resolved.

    `$NAME` is an environment variable; `$ADVREC_DATA` defaults to the folder of downloads. A
    relative `data` starts at `folder` (the study file's), `features` and `item_names` at the data.
    Raises ConfigError for a variable that is not set and for wrong options.
    """
    section = {name: _expanded(value, where) for name, value in section.items()}
    data = str(section.get("data", "debian"))
    if data not in EMBEDDED and data not in CATALOG:
        data = str(_below(folder, data))
    home = data_home() / data if data in CATALOG else Path(data)
    for name in ("features", "item_names"):
        if name in section and section[name] != FROM_TEXT:
            section[name] = str(_below(home if not home.is_file() else home.parent, section[name]))
    try:
        return DataConfig.of(**{**section, "data": data})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}", hint=error.hint) from None


def _below(folder: Path, path: str) -> Path:
    return folder / Path(path).expanduser()  # an absolute path stays what it is


def _expanded(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name == "ADVREC_DATA":
            return str(data_home())
        if name not in os.environ:
            raise ConfigError(
                f"{where} uses ${name}, which is not set",
                hint=f"set it ({name}=… advrec study …), or use --data LABEL=PATH",
            )
        return os.environ[name]

    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value_of, value)
