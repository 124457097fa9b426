"""What is measured: the best epoch of a run, or vectors from elsewhere, as one object.

Vectors from elsewhere become matrix factorisation, whose scores are the dot products of its rows,
so that whatever works on a model works on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from advrec.errors import AdvrecError, UsageError
from advrec.models import ModelSpec, Recommender, create
from advrec.native.gpu import device_of
from advrec.runs.find import find
from advrec.runs.model import build_model, load_model, put_weights
from advrec.runs.run import Run
from advrec.runs.vectors import Vectors, read_pair, read_side

if TYPE_CHECKING:
    from torch import Tensor

    from advrec.data.dataset import Dataset

LAST = "@last"
"""Behind the name of a run: its last checkpoint instead of its best epoch."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained model, the data it is measured on, and where both come from."""

    name: str
    model: Recommender
    dataset: Dataset
    run: Run | None = None
    vectors: tuple[Vectors, Vectors] | None = None  # of users and items, if they are from elsewhere

    @classmethod
    def of_run(cls, run: Run, dataset: Dataset, device: str = "auto") -> Subject:
        """The best epoch of a run; RunError for another data set."""
        return cls(run.name, load_model(run, dataset, device), dataset, run=run)

    @classmethod
    def of_files(
        cls, users: str | Path, items: str | Path, dataset: Dataset, device: str = "auto"
    ) -> Subject:
        """Vectors from files; DataError for files that do not fit the data."""
        pair = read_pair(users, items, dataset)
        model = model_of_vectors(pair[0].rows, pair[1].rows).to(device_of(device))
        stems = dict.fromkeys(path.stem for path in (pair[0].path, pair[1].path))
        return cls("+".join(stems), model, dataset, vectors=pair)

    @property
    def kind(self) -> str:
        """The name of the model, or "vectors"."""
        return "vectors" if self.run is None else self.model.name

    @property
    def trained(self) -> str:
        """How it was trained, as far as advrec knows."""
        return "elsewhere" if self.run is None else self.run.config.phase

    def arguments(self) -> list[str]:
        """What names it on the command line."""
        if self.run is not None:
            return [str(self.run.path)]
        assert self.vectors is not None
        return ["--users", str(self.vectors[0].path), "--items", str(self.vectors[1].path)]


def model_of_vectors(
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
) -> Recommender:
    """A model of matrix factorisation with these rows, ready to evaluate."""
    spec = ModelSpec(
        n_users=len(users),
        n_items=len(items),
        dim=users.shape[1],
        dtype=torch.promote_types(users.dtype, items.dtype),
        draw=False,
    )
    model = create("mf", spec)
    put_weights(model, {"embedding": torch.cat([users, items])})
    return model.eval()


@dataclass(frozen=True, eq=False)
class Stale:
    """Older vectors of the same users and items, of which one side is served with the new ones."""

    vectors: tuple[Tensor, Tensor]
    side: str  # "users" or "items"
    name: str


def stale_for(subject: Subject, text: str | None, side: str, runs: str | Path) -> Stale | None:
    """The older vectors that `--stale` names; without it those that advrec itself has."""
    if text is None:
        return stale_of(subject, side)
    return stale_vectors(text, side, subject.dataset, runs)


def stale_vectors(text: str, side: str, dataset: Dataset, runs: str | Path) -> Stale:
    """What `--stale` names: a run, its last checkpoint (RUN@last), or a file of one side's vectors.

    Raises DataError or RunError for what cannot be read or was made from other data, UsageError for
    a run without vectors.
    """
    if Path(text).is_file():
        table = read_side(text, side.removesuffix("s"), dataset).rows
        return Stale((table, table), side, text)
    run = find(text.removesuffix(LAST), runs)
    run.check_data(dataset)
    last = text.endswith(LAST)
    weights = run.state()[0] if last else run.weights()
    model = build_model(run.config, dataset, "cpu", weights=weights).eval()
    with torch.no_grad():
        vectors = model.vectors()
    if vectors is None:
        raise UsageError(f"run {run.name} has no vectors: it does not score by dot products")
    name = f"{run.name}{LAST}" if last else run.name
    return Stale((vectors[0].detach(), vectors[1].detach()), side, name)


def stale_of(subject: Subject, side: str) -> Stale | None:
    """The older vectors that advrec itself has: the parent's, or else those of the last checkpoint.

    None for vectors from elsewhere, for a run whose best epoch is its last and that has no parent
    (or whose parent is gone), and for a model without vectors.
    """
    run = subject.run
    if run is None:
        return None
    names = [] if run.origin.parent is None else [run.path.parent / Path(run.origin.parent).name]
    if run.progress.epoch != run.progress.best_epoch:
        names.append(Path(f"{run.path}{LAST}"))
    for name in names:
        try:
            return stale_vectors(str(name), side, subject.dataset, run.path.parent)
        except AdvrecError:
            continue
    return None
