"""A child: how much memory ranking takes beyond the vectors. `python -m bench.memory WHO ITEMS`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from advrec.data import Dataset, Pairs
from bench import child, threads

USERS, DIM, SEEN = 2048, 64, 20


def _dataset(n_items: int) -> Dataset:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(USERS), SEEN)

    def pairs(low: int, high: int) -> Pairs:
        return Pairs.from_coo(users, rng.integers(low, high, len(users)), USERS, n_items)

    half = n_items // 2
    return Dataset(
        name="memory",
        source="memory",
        n_users=USERS,
        n_items=n_items,
        train=pairs(0, half),
        valid=Pairs.empty(USERS, n_items),
        test=pairs(half, n_items),
        user_ids=[""] * USERS,  # names are not needed here
        item_ids=[""] * n_items,
    )


def _ranker(
    who: str, dataset: Dataset, users: torch.Tensor, items: torch.Tensor
) -> Callable[[], object]:
    if who == "advrec":
        from advrec.evaluation.evaluate import evaluate

        return lambda: evaluate((users, items), dataset)
    train = dataset.train
    matrix = sparse.csr_matrix(
        (np.ones(len(train), np.float32), train.items, train.indptr), (USERS, dataset.n_items)
    )
    if who == "implicit":
        from bench.peers.implicit_topk import Implicit

        return lambda: Implicit(users, items).top(np.arange(USERS), matrix, 20)
    from bench.peers.torch_topk import top

    return lambda: top(users, items, matrix, 20)


def main() -> None:
    who, n_items = sys.argv[1], int(sys.argv[2])
    threads.use(threads.from_environment())
    dataset = _dataset(n_items)
    users, items = torch.empty(USERS, DIM).normal_(), torch.empty(n_items, DIM).normal_()
    rank = _ranker(who, dataset, users, items)
    child.forget_peak()
    before = child.peak_mib()
    rank()
    child.report({"mib": child.peak_mib() - before})


if __name__ == "__main__":
    main()
