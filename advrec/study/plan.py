"""The cells of a study: one training and its measurements each, and what each is made from.

Trainings and measurements are named by a digest of everything that decides their numbers: the
resolved options, the data, the seed, and the training they start from. So a study that is run
again finds what it has made before, an edited study makes only what changed, and two lines of a
table that ask for the same training share it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from advrec.config import ResolvedConfig, TrainConfig, parse, resolve
from advrec.data import Dataset
from advrec.errors import ConfigError, UsageError
from advrec.models import model_class
from advrec.runs import features_digest
from advrec.study.spec import (
    CONTROLS,
    NOT_OPTIONS,
    PRETRAINED,
    AttackSpec,
    ModelSpec,
    OnData,
    StudySpec,
    parse_section,
)

FREE = ("threads", "device", "kernels", "checkpoint_seconds")
"""Options that change how fast a cell is made, and not what comes out of it but for rounding."""


@dataclass(frozen=True)
class DataFacts:
    """What of a data set goes into the plan and the tables."""

    name: str
    n_users: int
    n_items: int
    n_train: int
    n_valid: int
    n_test: int
    digest: str
    features_digest: str | None
    section: dict[str, Any]  # the DataConfig that makes it
    notes: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset, section: Mapping[str, Any]) -> DataFacts:
        """The facts of a data set that `section` made."""
        return cls(
            dataset.name,
            dataset.n_users,
            dataset.n_items,
            len(dataset.train),
            len(dataset.valid),
            len(dataset.test),
            dataset.digest,
            features_digest(dataset),
            dict(section),
            dataset.notes,
        )


@dataclass(frozen=True)
class Measures:
    """What is measured on a trained model."""

    metrics: list[str]
    sampled: int | None
    eps: list[float]
    noise: list[str]
    sites: list[str]
    norms: list[str]  # of each site
    steps: int
    restarts: int
    seed: int


@dataclass(frozen=True)
class Cell:
    """One line and seed of the table, and all that it takes to make it."""

    data: str  # labels, as in the table
    model: str
    training: str
    seed: int
    kind: str  # "pretrained", "adversarial", "continued" or "restarted"
    options: dict[str, Any]  # of `advrec.pretrain` or `advrec.adv_train`
    config: dict[str, Any]  # the same, resolved: what the training is
    run: str  # folder name of the training
    parent: str | None  # that of the training it starts from
    measures: Measures
    dataset: dict[str, Any]  # DataFacts

    @property
    def key(self) -> str:
        """The name of its result: that of the training, and a digest of what is measured on it."""
        return f"{self.run}-{_digest(asdict(self.measures))}"

    @property
    def label(self) -> str:
        """`debian / MF / APR / seed 3`."""
        return f"{self.data} / {self.model} / {self.training} / seed {self.seed}"


def make_plan(
    spec: StudySpec, facts: Mapping[str, DataFacts], overrides: Mapping[str, Any], where: str
) -> list[Cell]:
    """Every cell of a study, pretrainings before what starts from them, seed by seed.

    `overrides`: threads, device, kernels. Raises ConfigError and UsageError for options that a
    model, a site or a data set does not have, before anything is trained.
    """
    cells = []
    for seed in spec.seeds:
        for data, fact in facts.items():
            for label, model in spec.models.items():
                if model.data is None or data in model.data:
                    lane = _Lane(spec, model, label, data, fact, seed, overrides, where)
                    cells += lane.cells()
    return cells


def choose(cells: Sequence[Cell], only: Mapping[str, Sequence[str]]) -> list[Cell]:
    """The cells with one of the given labels in every given field: data, model, training, seed.

    Raises UsageError for a label that no cell has.
    """
    for name, wanted in only.items():
        known = list(dict.fromkeys(str(getattr(cell, name)) for cell in cells))
        for label in wanted:
            if label not in known:
                raise UsageError(
                    f"The study has no {name} {label!r}.", hint=f"there are {', '.join(known)}"
                )
    return [
        cell
        for cell in cells
        if all(str(getattr(cell, name)) in wanted for name, wanted in only.items())
    ]


def with_parents(chosen: Sequence[Cell], cells: Sequence[Cell]) -> list[Cell]:
    """The chosen cells and the pretrainings that they start from, without repetition."""
    needed = {cell.parent for cell in chosen if cell.parent is not None}
    makers: dict[str, Cell] = {}
    for cell in cells:
        if cell.run in needed:
            makers.setdefault(cell.run, cell)
    made = {cell.run for cell in chosen}
    missing = [cell for run, cell in makers.items() if run not in made]
    return list({cell.key: cell for cell in (*missing, *chosen)}.values())


@dataclass(frozen=True)
class _Lane:
    """One model on one data set with one seed: a pretraining and all that starts from it."""

    spec: StudySpec
    model: ModelSpec
    label: str
    data: str
    fact: DataFacts
    seed: int
    overrides: Mapping[str, Any]
    where: str

    def cells(self) -> Iterator[Cell]:
        on = self._on_data()
        here = f"[models.{self.label}]"
        general = {
            "metric": self.spec.metrics[0],
            "patience": 0,
            **self._options(self.spec.train, "[train]"),
            **self._options(self.model.train, f"{here} train"),
            **self._options(on.train, f"{here} on.{self.data}.train"),
        }
        first = {
            **general,
            **self._options(self.model.pretrain, f"{here} pretrain"),
            **self._options(on.pretrain, f"{here} on.{self.data}.pretrain"),
        }
        config = self._resolved({**first, "phase": "pretrain"})
        self._check_data(config)
        parent = self._cell(PRETRAINED, PRETRAINED, first, config, None)
        yield parent
        budgets = {}
        for training, section in self.model.adversarial.items():
            given = {
                **general,
                **self._options(section, f"{here} adversarial.{training}"),
                **self._options(on.adversarial, f"{here} on.{self.data}.adversarial"),
            }
            # As `advrec.adv_train` takes over what is not given from the pretraining.
            config = self._resolved({**first, **given, "phase": "adversarial"})
            budgets[training] = config.epochs
            yield self._cell(training, "adversarial", given, config, parent.run)
        yield from self._controls(general, first, budgets, parent)

    def _controls(
        self,
        general: dict[str, Any],
        first: dict[str, Any],
        budgets: dict[str, int],
        parent: Cell,
    ) -> Iterator[Cell]:
        """Trained on without an adversary, for as many epochs as the adversarial trainings."""
        if not self.model.controls:
            return
        if len(set(budgets.values())) > 1:
            raise ConfigError(
                f"The adversarial trainings of [models.{self.label}] of {self.where} have "
                f"different epochs ({', '.join(map(str, budgets.values()))}); a control of equal "
                "budget needs the same.",
                hint="make a [models.…] of each",
            )
        epochs = next(iter(budgets.values()))
        for kind in CONTROLS:
            if kind not in self.model.controls:
                continue
            if kind == "continued":
                given = {"epochs": epochs}  # more of them
                total = {"epochs": parent.config["epochs"] + epochs}
                config = self._resolved({**first, **total, "phase": "pretrain"})
            else:
                given = {**general, "epochs": epochs, "eps": 0.0, "adv_weight": 0.0}
                config = self._resolved({**first, **given, "phase": "adversarial"})
            yield self._cell(kind, kind, given, config, parent.run)

    def _cell(
        self,
        training: str,
        kind: str,
        options: dict[str, Any],
        config: ResolvedConfig,
        parent: str | None,
    ) -> Cell:
        resolved = config.given()
        fixed = {name: value for name, value in resolved.items() if name not in FREE}
        identity = [fixed, self.fact.digest, self.fact.features_digest, kind, parent]
        words = (self.data, config.model, kind, f"s{self.seed}")
        return Cell(
            data=self.data,
            model=self.label,
            training=training,
            seed=self.seed,
            kind=kind,
            options={**options, **self.overrides, "model": config.model, "seed": self.seed},
            config=resolved,
            run="-".join([*map(_slug, words), _digest(identity)]),
            parent=parent,
            measures=self._measures(),
            dataset=asdict(self.fact),
        )

    def _measures(self) -> Measures:
        here = f"the attack of [models.{self.label}] of {self.where}"
        attack: AttackSpec = parse_section(
            AttackSpec, {**self.spec.attack, **self.model.attack}, here
        )
        kind = model_class(self.model.model)
        sites = list(dict.fromkeys(kind.site(site).name for site in attack.sites or (None,)))
        norms = []
        for site in sites:
            whole = [norm for norm in kind.site(site).norms if norm != "sample"]
            norms.append(attack.norm or (whole[0] if whole else "sample"))
            kind.check_site(site, norms[-1])
            if norms[-1] == "sample":
                raise ConfigError(f"{here} has norm 'sample', which belongs to training batches.")
        return Measures(
            list(self.spec.metrics),
            self.spec.sampled,
            list(attack.eps),
            list(dict.fromkeys(attack.noise)),
            sites,
            norms,
            attack.steps,
            attack.restarts,
            attack.seed + self.seed,
        )

    def _on_data(self) -> OnData:
        where = f"[models.{self.label}.on.{self.data}] of {self.where}"
        on: OnData = parse_section(OnData, self.model.on.get(self.data, {}), where)
        return on

    def _options(self, section: Mapping[str, Any], name: str) -> dict[str, Any]:
        where = f"{name} of {self.where}"
        for option in section:
            if option in NOT_OPTIONS:
                raise ConfigError(
                    f"Option {option!r} has no place in {where}.",
                    hint="a study has its seeds at the top, a model's name in [models.…], and "
                    "threads and device from its command line",
                )
        return parse(TrainConfig, section, where).model_dump(include=set(section))

    def _resolved(self, options: Mapping[str, Any]) -> ResolvedConfig:
        where = f"the options of [models.{self.label}] of {self.where}"
        given = {**options, **self.overrides, "model": self.model.model, "seed": self.seed}
        return resolve(parse(TrainConfig, given, where), model_class(self.model.model))

    def _check_data(self, config: ResolvedConfig) -> None:
        if model_class(config.model).needs_features and self.fact.features_digest is None:
            raise ConfigError(
                f"[models.{self.label}] of {self.where} needs item features, and the data "
                f"{self.data!r} has none.",
                hint=f'features = "FILE" in [data.{self.data}], or data = [...] in the model',
            )
        if not self.fact.n_valid:
            raise ConfigError(
                f"The data {self.data!r} of {self.where} has no validation part, by which every "
                "training chooses its epoch."
            )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+_]+", "_", text).strip("_.") or "x"
