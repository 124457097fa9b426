"""The data of every contender, and what is made from it once: graph, matrices, batches, vectors."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from advrec import ops
from advrec.data import Dataset, Pairs, load_dataset
from advrec.data.sources.catalog import data_home
from advrec.data.sources.synth import write_synthetic
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives

GOWALLA = (29_858, 40_981, 1_027_370)  # users, items, pairs
SMALL = (600, 500, 12_000)


@dataclass(eq=False)
class Workload:
    """A data set and its derivatives; they must not be changed."""

    dataset: Dataset
    folder: Path  # its train.txt and test.txt
    about: str  # for the report
    dim: int = 64
    layers: int = 3

    @property
    def n_users(self) -> int:
        return self.dataset.n_users

    @property
    def n_items(self) -> int:
        return self.dataset.n_items

    @property
    def n_nodes(self) -> int:
        return self.n_users + self.n_items

    @cached_property
    def graph(self) -> Graph:
        return Graph.build(self.dataset.train)

    @cached_property
    def positives(self) -> Positives:
        return Positives.from_pairs(self.dataset.train)

    @cached_property
    def embedding(self) -> Tensor:  # [N, d], normal(0, 0.1)
        generator = torch.Generator().manual_seed(1)
        return 0.1 * torch.randn(self.n_nodes, self.dim, generator=generator)

    @cached_property
    def vectors(self) -> tuple[Tensor, Tensor]:
        """[U, d] and [I, d]: what LightGCN ranks with."""
        final = ops.propagate(self.embedding, self.graph, self.layers)
        return final[: self.n_users], final[self.n_users :]

    @cached_property
    def adjacency(self) -> sparse.csr_matrix:
        """Â with its values, float64, 32-bit ids; made apart from `graph`, as a check on it."""
        train = self.dataset.train
        rows, columns = train.users().astype(np.int32), train.items + np.int32(self.n_users)
        both = (np.concatenate([rows, columns]), np.concatenate([columns, rows]))
        ones = np.ones(len(both[0]))
        matrix = sparse.coo_matrix((ones, both), shape=(self.n_nodes, self.n_nodes)).tocsr()
        degree = np.asarray(matrix.sum(axis=1)).ravel()
        scale = sparse.diags(np.where(degree > 0, np.maximum(degree, 1) ** -0.5, 0.0))
        return (scale @ matrix @ scale).tocsr()

    @cached_property
    def train_matrix(self) -> sparse.csr_matrix:  # [U, I] ones
        return _matrix(self.dataset.train)

    @cached_property
    def test_users(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.dataset.test.user_degrees())

    def torch_csr(self, *, index: torch.dtype = torch.int32) -> Tensor:
        """Â for torch; with 32-bit ids MKL need not copy them in every product."""
        matrix = self.adjacency
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr).to(index),
            torch.from_numpy(matrix.indices).to(index),
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            check_invariants=False,
        )

    def torch_coo(self, dtype: torch.dtype = torch.float32) -> Tensor:
        matrix = self.adjacency.tocoo()
        ids = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
        values = torch.from_numpy(matrix.data).to(dtype)
        return torch.sparse_coo_tensor(
            ids, values, matrix.shape, is_coalesced=True, check_invariants=False
        )

    def batches(
        self, size: int, count: int, *, sampling: str, epoch: int = 0, seed: int = 0
    ) -> list[Tensor]:  # [3, size] int64 each
        """The triplets that advrec itself draws: all contenders train on the same."""
        total = len(self.positives)
        made = []
        for step in range(count):
            first = (step * size) % max(1, total - size + 1)
            batch = ops.sample_triplets(
                self.positives,
                seed=seed,
                epoch=epoch,
                first=first,
                count=min(size, total),
                sampling=sampling,
            )
            made.append(batch.long())
        return made


def open_workload(data: str | None, *, quick: bool, scratch: Path) -> Workload:
    """The data set of `--data`, else Gowalla below $ADVREC_DATA, else one that is made up."""
    path = Path(data) if data else None if quick else _gowalla()
    if path is not None:
        dataset = load_dataset(path, valid="none")
        return Workload(dataset, path, f"{dataset.name}{_counts(dataset)}")
    users, items, pairs = SMALL if quick else GOWALLA
    folder = scratch / "synthetic"
    write_synthetic(folder, users=users, items=items, pairs=pairs, seed=1)
    dataset = load_dataset(folder, valid="none")
    why = "tiny and made up" if quick else "made up with the shape of Gowalla, which is not here"
    return Workload(dataset, folder, f"{why}{_counts(dataset)}")


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Where files for peers, runs and builds go."""
    return tempfile.TemporaryDirectory(prefix="advrec-bench-")


def _gowalla() -> Path | None:
    homes = [data_home()]
    if "ADVREC_DATA" in os.environ:
        homes.insert(0, Path(os.environ["ADVREC_DATA"]))
    for home in homes:
        for folder in (home / "gowalla", home):
            if (folder / "train.txt").is_file() and (folder / "test.txt").is_file():
                return folder
    return None


def _counts(dataset: Dataset) -> str:
    return (
        f": {dataset.n_users:,} users, {dataset.n_items:,} items, {len(dataset.train):,} training "
        f"and {len(dataset.test):,} test pairs"
    )


def _matrix(pairs: Pairs) -> sparse.csr_matrix:
    shape = (pairs.n_users, pairs.n_items)
    ones = np.ones(len(pairs), dtype=np.float32)
    return sparse.csr_matrix((ones, pairs.items, pairs.indptr.astype(np.int32)), shape=shape)
