"""From a study file to its cells: every option is resolved and checked before training starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from advrec.choices import SAMPLE_NORMS
from advrec.config.resolve import resolve
from advrec.config.train import ResolvedConfig, TrainConfig
from advrec.errors import ConfigError
from advrec.models import model_class
from advrec.study.plan import Cell, DataFacts, Measures, digest
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
from advrec.training.launch import ARCHITECTURE
from advrec.validation import parse

FREE = ("threads", "device", "kernels", "checkpoint_seconds")
"""Options that change how fast a cell is made, but its numbers only by rounding."""


def make_plan(
    spec: StudySpec, facts: Mapping[str, DataFacts], overrides: Mapping[str, Any], where: str
) -> list[Cell]:
    """Every cell of a study, seed by seed, pretrainings before the trainings that start from them.

    `overrides`: threads, device, kernels. Raises ConfigError and UsageError for options that a
    model, a site or a data set does not have.
    """
    cells: list[Cell] = []
    for seed in spec.seeds:
        for data, fact in facts.items():
            for label, model in spec.models.items():
                if model.data is None or data in model.data:
                    lane = _Lane(spec, model, label, data, fact, seed, overrides, where)
                    cells += lane.cells()
    return cells


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
        general = merged(
            {"metric": self.spec.metrics[0], "patience": 0},
            self._options(self.spec.train, "[train]"),
            self._options(self.model.train, f"{here} train"),
            self._options(on.train, f"{here} on.{self.data}.train"),
        )
        first = merged(
            general,
            self._options(self.model.pretrain, f"{here} pretrain"),
            self._options(on.pretrain, f"{here} on.{self.data}.pretrain"),
        )
        config = self._resolved({**first, "phase": "pretrain"})
        self._check_data(config)
        parent = self._cell(PRETRAINED, PRETRAINED, first, config, None)
        yield parent
        # The architecture is left out: `advrec.adv_train` takes it, like every option that is not
        # given, from the pretraining.
        general = {name: value for name, value in general.items() if name not in ARCHITECTURE}
        budgets = {}
        for training, section in self.model.adversarial.items():
            own = merged(
                self._options(section, f"{here} adversarial.{training}"),
                self._options(on.adversarial, f"{here} on.{self.data}.adversarial"),
            )
            self._check_architecture(own, training)
            given = merged(general, own)
            config = self._resolved({**merged(first, given), "phase": "adversarial"})
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
        """More training without an adversary, for as many epochs as the adversarial trainings."""
        if not self.model.controls:
            return
        if len(set(budgets.values())) > 1:
            raise ConfigError(
                f"the adversarial trainings of [models.{self.label}] of {self.where} must have "
                f"equal epochs to have controls, got {', '.join(map(str, budgets.values()))}",
                hint="give each its own [models.…]",
            )
        epochs = next(iter(budgets.values()))
        for kind in CONTROLS:
            if kind not in self.model.controls:
                continue
            given: dict[str, Any]
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
            run="-".join([*map(_slug, words), digest(identity)]),
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
            place = kind.site(site)
            norms.append(attack.norm or (place.table_norms or place.norms)[0])
            kind.check_site(site, norms[-1])
            if norms[-1] in SAMPLE_NORMS:
                raise ConfigError(
                    f"{here} has norm {norms[-1]!r}, which belongs to training batches"
                )
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
                    f"option {option!r} is not allowed in {where}",
                    hint="seeds are set at the top of a study, model in [models.…], threads and "
                    "device on the command line",
                )
        parse(TrainConfig, section, where)
        return dict(section)

    def _resolved(self, options: Mapping[str, Any]) -> ResolvedConfig:
        where = f"the options of [models.{self.label}] of {self.where}"
        given = {**options, **self.overrides, "model": self.model.model, "seed": self.seed}
        return resolve(parse(TrainConfig, given, where), model_class(self.model.model))

    def _check_architecture(self, options: Mapping[str, Any], training: str) -> None:
        for name in ARCHITECTURE:
            if name in options:
                raise ConfigError(
                    f"[models.{self.label}.adversarial.{training}] of {self.where} has {name!r}, "
                    "which must be that of the pretraining",
                    hint=f"set {name} in [models.{self.label}.train]",
                )

    def _check_data(self, config: ResolvedConfig) -> None:
        if model_class(config.model).needs_features and self.fact.features_digest is None:
            raise ConfigError(
                f"[models.{self.label}] of {self.where} needs item features, and data "
                f"{self.data!r} has none",
                hint=f'set features = "FILE" in [data.{self.data}], or data = [...] in the model',
            )
        if not self.fact.n_valid:
            raise ConfigError(
                f"data {self.data!r} of {self.where} has no validation part, which every training "
                "needs to choose its epoch"
            )


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Options merged, later ones override earlier ones; a table is merged entry by entry."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = result.get(name)
            if isinstance(value, dict) and isinstance(below, dict):
                result[name] = {**below, **value}
            else:
                result[name] = value
    return result


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+_]+", "_", text).strip("_.") or "x"
