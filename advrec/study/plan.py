"""The cells of a study: each is one training, its measurements, and what it is made from.

Trainings and measurements are named by a digest of everything that decides their numbers: the
resolved options, the data, the seed, and the training they start from. So a study that is run
again finds what it made before, an edited study makes only what changed, and two lines of a table
with the same training share it. `advrec.study.expand` makes the cells from a study file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from advrec.data import Dataset
from advrec.errors import UsageError
from advrec.runs.run import features_digest


@dataclass(frozen=True)
class DataFacts:
    """What the plan and the tables need to know of a data set."""

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
    """One line and seed of the table, with everything needed to make it."""

    data: str  # labels, as in the table
    model: str
    training: str
    seed: int
    kind: str  # "pretrained", "adversarial", "continued" or "restarted"
    options: dict[str, Any]  # of `advrec.pretrain` or `advrec.adv_train`
    config: dict[str, Any]  # the same, resolved
    run: str  # folder name of the training
    parent: str | None  # that of the training it starts from
    measures: Measures
    dataset: dict[str, Any]  # DataFacts

    @property
    def key(self) -> str:
        """The name of its result: that of the training, and a digest of what is measured on it."""
        return f"{self.run}-{digest(asdict(self.measures))}"

    @property
    def label(self) -> str:
        """`debian / MF / APR / seed 3`."""
        return f"{self.data} / {self.model} / {self.training} / seed {self.seed}"


def choose(cells: Sequence[Cell], only: Mapping[str, Sequence[str]]) -> list[Cell]:
    """The cells with one of the given labels in every given field: data, model, training, seed.

    Raises UsageError for a label that no cell has.
    """
    for name, labels in only.items():
        known = list(dict.fromkeys(str(getattr(cell, name)) for cell in cells))
        for label in labels:
            if label not in known:
                raise UsageError(
                    f"the study has no {name} {label!r}", hint=f"choose from {', '.join(known)}"
                )
    return [
        cell
        for cell in cells
        if all(str(getattr(cell, name)) in labels for name, labels in only.items())
    ]


def with_parents(chosen: Sequence[Cell], cells: Sequence[Cell]) -> list[Cell]:
    """The chosen cells and the pretrainings that they start from, each once."""
    needed = {cell.parent for cell in chosen if cell.parent is not None}
    makers: dict[str, Cell] = {}
    for cell in cells:
        if cell.run in needed:
            makers.setdefault(cell.run, cell)
    present = {cell.run for cell in chosen}
    missing = [cell for run, cell in makers.items() if run not in present]
    return list({cell.key: cell for cell in (*missing, *chosen)}.values())


def digest(value: Any) -> str:
    """Eight hex digits of the sha256 of a plain value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
