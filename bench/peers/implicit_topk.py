"""implicit's recommend: its own batched matrix product and selection, liked items filtered."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from bench import threads


class Implicit:
    """A model of implicit with given vectors."""

    def __init__(self, users: Tensor, items: Tensor) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about BLAS threads, which are set
            from implicit.cpu.als import AlternatingLeastSquares

            self._model = AlternatingLeastSquares(factors=users.shape[1])
        self._model.user_factors = np.ascontiguousarray(users.numpy())
        self._model.item_factors = np.ascontiguousarray(items.numpy())

    def top(self, users: NDArray[np.int64], seen: sparse.csr_matrix, k: int) -> NDArray[np.int32]:
        """[B, k] ids, best first."""
        self._model.num_threads = threads.current()
        ids, _ = self._model.recommend(users, seen, N=k, filter_already_liked_items=True)
        return ids
