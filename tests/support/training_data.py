"""A data set small enough to train on in milliseconds, and with something to learn in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from advrec import native
from advrec.data.dataset import Dataset, Pairs
from advrec.runs.run import Run

TIERS = [
    "reference",
    pytest.param(
        "native", marks=pytest.mark.skipif(not native.core(), reason="the compiled core is missing")
    ),
]
"""Values of the option kernels."""

FAST = {"dim": 8, "batch_size": 64, "epochs": 4, "eval_every": 2, "threads": 1}
"""Options with which a training takes some milliseconds, also where every core is busy."""


def tiny_dataset(seed: int = 0, users: int = 40, items: int = 30) -> Dataset:
    """Users like the items whose taste is theirs; two of each user's ten pairs are held out."""
    rng = np.random.default_rng(seed)
    tastes = rng.random((users, 4)) ** 3, rng.random((items, 4)) ** 3
    liked = np.argsort(-(tastes[0] @ tastes[1].T + 0.05 * rng.random((users, items))), axis=1)
    shuffled = rng.permuted(liked[:, :10], axis=1)

    def pairs(columns: slice) -> Pairs:
        chosen = shuffled[:, columns]
        rows = np.repeat(np.arange(users), chosen.shape[1])
        return Pairs.from_coo(rows, chosen.ravel(), users, items)

    return Dataset(
        name="tiny",
        source="memory",
        n_users=users,
        n_items=items,
        train=pairs(slice(2, 10)),
        valid=pairs(slice(0, 1)),
        test=pairs(slice(1, 2)),
        user_ids=[f"user {n}" for n in range(users)],
        item_ids=[f"item-{n}" for n in range(items)],
    )


def two_kinds(users: int, items: int, train: float, valid: float, seed: int = 0) -> Dataset:
    """Users and items of two kinds: a user likes half of its own kind and little of the other.

    `train` and `valid` are shares of the pairs; the rest is the test part, several items per user.
    """
    rng = np.random.default_rng(seed)
    same = np.add.outer(np.arange(users), np.arange(items)) % 2
    rows, columns = np.nonzero(rng.random((users, items)) < np.where(same, 0.5, 0.05))
    part = rng.random(len(rows))
    held = {
        name: Pairs.from_coo(rows[keep], columns[keep], users, items)
        for name, keep in (
            ("train", part < train),
            ("valid", (part >= train) & (part < train + valid)),
            ("test", part >= train + valid),
        )
    }
    ids = [[f"{kind}{n}" for n in range(count)] for kind, count in (("u", users), ("i", items))]
    return Dataset("toy", "a test", users, items, **held, user_ids=ids[0], item_ids=ids[1])


def without_validation(dataset: Dataset) -> Dataset:
    """The same train and test, nothing to validate on."""
    return replace(dataset, valid=Pairs.empty(dataset.n_users, dataset.n_items))


def bits(run: Run) -> tuple[bytes, bytes]:
    """The best weights and the last state, as they are on disk."""
    return (
        (run.path / "model.safetensors").read_bytes(),
        (run.path / "state.safetensors").read_bytes(),
    )
