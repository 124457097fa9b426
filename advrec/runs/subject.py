"""What is measured: the best epoch of a run, or vectors from elsewhere, as one object.

Vectors from elsewhere become matrix factorisation, whose scores are the dot products of its rows,
so that whatever works on a model works on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advrec.models import ModelSpec, Recommender, create
from advrec.native.gpu import device_of
from advrec.runs.model import load_model, put_weights
from advrec.runs.vectors import Vectors, read_pair

if TYPE_CHECKING:
    from torch import Tensor

    from advrec.data.dataset import Dataset
    from advrec.runs.run import Run


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
    import torch

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
