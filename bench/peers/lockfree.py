"""BPR of implicit and cornac: threads update shared vectors without locks, one triplet at a time.

No mini-batches, and threads overwrite each other's updates; one pass is as many draws as there are
training pairs. The inner loops are called directly, without what `fit` prepares.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench import threads
from bench.workload import Workload

LEARNING_RATE, REGULARISATION = 0.05, 0.01


class Implicit:
    """implicit.cpu.bpr: an epoch; it has an item bias in one more column of both factors."""

    def __init__(self, work: Workload) -> None:
        from implicit.cpu.bpr import RNGVector, bpr_update

        matrix = work.train_matrix
        self._matrix, self._update, self._generators = matrix, bpr_update, RNGVector
        rng = np.random.default_rng(0)
        self._users = np.ascontiguousarray(
            np.repeat(np.arange(work.n_users), np.diff(matrix.indptr))
        )
        self._users = self._users.astype(np.int32)
        self.user = _start(rng, work.n_users, work.dim + 1)
        self.item = _start(rng, work.n_items, work.dim + 1)
        self.user[:, -1] = 1.0

    def epoch(self) -> object:
        count = threads.current()
        seeds = np.arange(count, dtype=np.int64) + 1
        generators = self._generators(count, self._matrix.nnz - 1, seeds)
        return self._update(
            generators,
            self._users,
            self._matrix.indices,
            self._matrix.indptr,
            self.user,
            self.item,
            LEARNING_RATE,
            REGULARISATION,
            count,
            True,
        )

    def margins(self, triplets: Tensor) -> Tensor:
        return _margins(self.user, self.item, triplets)


class Cornac:
    """cornac.models.BPR: an epoch, with item biases."""

    def __init__(self, work: Workload) -> None:
        from cornac.models.bpr.recom_bpr import BPR, RNGVector

        matrix = work.train_matrix
        self._matrix, self._generators = matrix, RNGVector
        self._model = BPR(
            k=work.dim, max_iter=1, learning_rate=LEARNING_RATE, lambda_reg=REGULARISATION
        )
        rng = np.random.default_rng(0)
        degrees = np.diff(matrix.indptr)
        self._users = np.repeat(np.arange(work.n_users), degrees).astype(np.int32)
        self._all_items = np.arange(work.n_items, dtype=np.int32)
        self.user = _start(rng, work.n_users, work.dim)
        self.item = _start(rng, work.n_items, work.dim)
        self._bias = np.zeros(work.n_items, dtype=np.float32)

    def epoch(self) -> object:
        count = threads.current()
        return self._model._fit_sgd(
            self._generators(count, self._matrix.nnz - 1, 1),
            self._generators(count, len(self._all_items) - 1, 2),
            count,
            self._users,
            self._matrix.indices,
            self._all_items,
            self._matrix.indptr,
            self.user,
            self.item,
            self._bias,
        )

    def margins(self, triplets: Tensor) -> Tensor:
        bias = torch.from_numpy(self._bias)
        return _margins(self.user, self.item, triplets) + bias[triplets[1]] - bias[triplets[2]]


def _start(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return ((rng.random((rows, columns)) - 0.5) / columns).astype(np.float32)


def _margins(user: np.ndarray, item: np.ndarray, triplets: Tensor) -> Tensor:
    users, items = torch.from_numpy(user), torch.from_numpy(item)
    return (users[triplets[0]] * (items[triplets[1]] - items[triplets[2]])).sum(1)
