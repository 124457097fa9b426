"""A child: from files to the first training step of LightGCN, as each would do it.

`python -m bench.first_step WHO FOLDER`: advrec and `lines` read train.txt and test.txt there,
pandas and RecBole the same pairs as .inter files below it; `cached` is advrec again, when it has
read them before. Nothing is imported within the time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from advrec.data import Dataset, Pairs
from bench import child, threads
from bench.objective import Setting
from bench.ours import configured
from bench.peers.samplers import vectorised
from bench.peers.torch_lightgcn import Savvy
from bench.workload import Workload

DIM, LAYERS, BATCH = 64, 3, 2048


def advrec(folder: Path, cache: str | None = None) -> Callable[[], dict[str, Any]]:
    """Into a new cache, where none is given: what is read is also kept, within the time."""
    import safetensors.numpy  # noqa: F401

    from advrec.data import load_dataset
    from advrec.ops.positives import Positives
    from advrec.runs.model import build_model
    from advrec.training.tiers import make_stepper

    os.environ["ADVREC_CACHE"] = cache or tempfile.mkdtemp(dir=folder)

    def work() -> dict[str, Any]:
        dataset = load_dataset(folder, valid="none")
        config = configured(model="lightgcn")
        model = build_model(config, dataset, "cpu")
        make_stepper(model, Positives.from_pairs(dataset.train), config).run(0, 0, 1)
        return {"users": dataset.n_users, "items": dataset.n_items, "train": len(dataset.train)}

    return work


def cached(folder: Path) -> Callable[[], dict[str, Any]]:
    """As `advrec`, with the data set read from its cache; the first time puts it there."""
    from advrec.data import cache, load_dataset

    cache.WORTHWHILE = 0  # a quick run's files are small
    work = advrec(folder, str(folder / "cache"))
    if not any(note.startswith("read before") for note in load_dataset(folder, valid="none").notes):
        found = load_dataset(folder, valid="none").notes
        assert any(note.startswith("read before") for note in found), found
    return work


def lines(folder: Path) -> Callable[[], dict[str, Any]]:
    """Line by line in Python, scipy for the graph, torch CSR for the step."""

    def read(path: Path) -> tuple[list[int], list[int]]:
        users: list[int] = []
        items: list[int] = []
        for line in path.read_text().splitlines():
            user, *row = map(int, line.split())
            users.extend([user] * len(row))
            items.extend(row)
        return users, items

    def work() -> dict[str, Any]:
        train, test = read(folder / "train.txt"), read(folder / "test.txt")
        users = [np.array(part[0]) for part in (train, test)]
        items = [np.array(part[1]) for part in (train, test)]
        n_users = int(max(part.max() for part in users)) + 1
        n_items = int(max(part.max() for part in items)) + 1
        return _torch_step(users[0], items[0], n_users, n_items)

    return work


def pandas(folder: Path) -> Callable[[], dict[str, Any]]:
    """read_csv and factorize, then as `lines`."""
    import pandas as pd

    def work() -> dict[str, Any]:
        parts = [
            pd.read_csv(folder / "inter" / "bench" / f"bench.{name}.inter", sep="\t")
            for name in ("train", "test")
        ]
        both = pd.concat(parts)
        users, user_ids = pd.factorize(both.iloc[:, 0])
        items, item_ids = pd.factorize(both.iloc[:, 1])
        n_train = len(parts[0])
        return _torch_step(users[:n_train], items[:n_train], len(user_ids), len(item_ids))

    return work


def _torch_step(users: Any, items: Any, n_users: int, n_items: int) -> dict[str, Any]:
    train = Pairs.from_coo(users, items, n_users, n_items)
    none = Pairs.empty(n_users, n_items)
    ids = ([""] * n_users, [""] * n_items)  # names are not needed here
    dataset = Dataset("bench", "files", n_users, n_items, train, none, none, *ids)
    batch = torch.from_numpy(vectorised(train, BATCH, np.random.default_rng(0)))
    Savvy(Workload(dataset, Path(), "", DIM, LAYERS), Setting()).step(batch)
    return {"users": n_users, "items": n_items, "train": len(train)}


def recbole(folder: Path) -> Callable[[], dict[str, Any]]:
    from bench.peers.recbole import alone, configuration, give_back_names

    give_back_names()
    from recbole.data import create_dataset, data_preparation
    from recbole.model.general_recommender.lightgcn import LightGCN

    def work() -> dict[str, Any]:
        with alone(folder):
            config = configuration(folder / "inter", dim=DIM, layers=LAYERS, setting=Setting())
            data = create_dataset(config)
            train, _, _ = data_preparation(config, data)
            model = LightGCN(config, train.dataset)
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            model.calculate_loss(next(iter(train))).sum().backward()
            optimizer.step()
        return {
            "users": train.dataset.user_num - 1,
            "items": train.dataset.item_num - 1,
            "train": len(train.dataset),
        }

    return work


def _warm() -> None:
    """torch imports some seconds' worth of itself when the first optimiser steps."""
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    torch.optim.Adam([weight], fused=True).step()


WAYS = {"advrec": advrec, "cached": cached, "lines": lines, "pandas": pandas, "recbole": recbole}


def main() -> None:
    who, folder = sys.argv[1], Path(sys.argv[2])
    threads.use(threads.from_environment())
    _warm()
    work = WAYS[who](folder)
    started = time.perf_counter()
    found = work()
    ended = time.perf_counter()
    child.report({**found, "seconds": ended - started})


if __name__ == "__main__":
    main()
