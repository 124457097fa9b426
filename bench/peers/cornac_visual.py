"""VBPR and AMR of cornac: an epoch of `fit`, with its own sampling or with triplets given."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from advrec.data import Dataset


class CornacVisual:
    """cornac.models.VBPR or AMR. An epoch continues from the vectors of the last one."""

    def __init__(self, kind: str, dataset: Dataset, *, dim: int, batch_size: int, lr: float):
        from cornac.data import Dataset as CornacDataset
        from cornac.data import ImageModality
        from cornac.models import AMR, VBPR

        users, items = dataset.train.users().astype(np.int64), dataset.train.items.astype(np.int64)
        ones = np.ones(len(users))
        user_map = {number: number for number in range(dataset.n_users)}
        item_map = {number: number for number in range(dataset.n_items)}
        assert dataset.item_features is not None
        self._features = dataset.item_features
        self._data = CornacDataset(
            num_users=dataset.n_users,
            num_items=dataset.n_items,
            uid_map=user_map,
            iid_map=item_map,
            uir_tuple=(users, items, ones),
            seed=1,
        )
        image = ImageModality(features=self._features, ids=list(item_map), normalized=True)
        image.build(id_map=item_map)
        self._data.add_modalities(item_image=image)
        options: dict[str, Any] = {
            "k": dim, "n_epochs": 1, "batch_size": batch_size, "learning_rate": lr,
            "verbose": False, "seed": 1,
        }  # fmt: skip
        self._model = VBPR(k2=dim, **options) if kind == "VBPR" else AMR(**options)
        self._model._init(dataset.n_users, dataset.n_items, self._features)
        self._draws = self._data.uij_iter

    def epoch(self) -> None:
        """As `fit` makes it, triplets drawn by cornac."""
        self._data.uij_iter = self._draws
        self._fit()

    def steps(self, batches: list[Tensor]) -> None:
        """Its steps on given triplets [3, B]."""
        ready = [batch.numpy() for batch in batches]

        def handed(*_: object, **__: object) -> Iterator[Any]:
            return iter(ready)

        self._data.uij_iter = handed
        self._fit()

    def _fit(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._model._fit_torch(self._data, self._features)
