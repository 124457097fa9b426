"""RecBole's data loading, LightGCN, sampler and evaluator, as they are.

Version 1.2.1 uses names that numpy and scipy have dropped since; they are given back here, nothing
else is changed. Its ids start at 1 (0 is padding) and follow the first appearance in its files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from advrec.data.dataset import Pairs
from bench.objective import Setting, Step
from bench.workload import Workload

NUMPY_NAMES = {
    "float": float,
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
    "object": np.object_,
    "int": np.int64,
    "str": np.str_,
    "complex": np.complex128,
}
METRICS = ["Recall", "NDCG", "Precision", "Hit", "MRR", "MAP"]


def give_back_names() -> None:
    """What numpy 2 and scipy 1.13 took away."""
    for name, value in NUMPY_NAMES.items():
        if name not in vars(np):
            setattr(np, name, value)
    if not hasattr(sparse.dok_matrix, "_update"):
        sparse.dok_matrix._update = lambda matrix, values: matrix._dict.update(values)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Suppresses what RecBole does on its own: it reads sys.argv, logs, warns and leaves files."""
    arguments, place = sys.argv, Path.cwd()
    sys.argv = arguments[:1]
    os.chdir(folder)
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(place)
        sys.argv = arguments
        logging.disable(level)


def write_files(folder: Path, train: Pairs, test: Pairs) -> None:
    """A benchmark split in its own format. The validation part, which it insists on, repeats one
    training pair: what is masked in the test stays the same."""
    one = Pairs.from_coo(train.users()[:1], train.items[:1], train.n_users, train.n_items)
    place = folder / "bench"
    place.mkdir(parents=True, exist_ok=True)
    for name, pairs in (("train", train), ("valid", one), ("test", test)):
        lines = (f"{u}\t{i}\n" for u, i in zip(pairs.users(), pairs.items, strict=True))
        with (place / f"bench.{name}.inter").open("w") as file:
            file.write("user_id:token\titem_id:token\n")
            file.writelines(lines)


def configuration(folder: Path, *, dim: int, layers: int, setting: Setting) -> Any:
    """Its Config for LightGCN on those files."""
    return config_of(
        "LightGCN",
        folder,
        train_batch_size=2048,
        embedding_size=dim,
        n_layers=layers,
        reg_weight=setting.reg,
        require_pow=True,
        learning_rate=setting.lr,
        eval_args={
            "split": {"RS": [8, 1, 1]},
            "order": "RO",
            "group_by": "user",
            "mode": "full",
        },
        metrics=METRICS,
        topk=[20],
        valid_metric="NDCG@20",
        metric_decimal_place=10,
    )


def config_of(model: str, folder: Path, **options: Any) -> Any:
    """Its Config for a model on the files of `write_files`, quiet and on the CPU."""
    give_back_names()
    from recbole.config import Config

    where = {
        "data_path": str(folder),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "checkpoint_dir": str(folder / "saved"),
        "reproducibility": False,
    }
    return Config(model=model, dataset="bench", config_dict={**where, **options})


class RecBole:
    """A data set, a model and a trainer of RecBole's."""

    def __init__(self, work: Workload, setting: Setting, folder: Path) -> None:
        self._folder = folder
        write_files(folder, work.dataset.train, work.dataset.test)
        with alone(folder):
            self.config = configuration(folder, dim=work.dim, layers=work.layers, setting=setting)
            from recbole.data import create_dataset, data_preparation
            from recbole.model.general_recommender.lightgcn import LightGCN
            from recbole.trainer import Trainer

            data = create_dataset(self.config)
            self.train_data, _, self.test_data = data_preparation(self.config, data)
            self.model = LightGCN(self.config, self.train_data.dataset)
            self.trainer = Trainer(self.config, self.model)
        self._work = work
        self.users = self._ids("user_id", work.n_users)
        self.items = self._ids("item_id", work.n_items)
        with torch.no_grad():
            self._put(self.model.user_embedding.weight, self.users, work.embedding[: work.n_users])
            self._put(self.model.item_embedding.weight, self.items, work.embedding[work.n_users :])
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=setting.lr)

    def _ids(self, field: str, count: int) -> NDArray[np.int64]:
        """Its id of each of ours; 0 for one that is in no file."""
        known = self.train_data.dataset.field2token_id[field]
        return np.array([known.get(str(number), 0) for number in range(count)])

    @staticmethod
    def _put(table: Tensor, ids: NDArray[np.int64], rows: Tensor) -> None:
        known = ids > 0
        table[torch.from_numpy(ids[known])] = rows[torch.from_numpy(known)]

    # -- training -------------------------------------------------------------------------------

    def translate(self, batch: Tensor) -> Any:
        """A batch in its form."""
        from recbole.data.interaction import Interaction

        users, items = torch.from_numpy(self.users), torch.from_numpy(self.items)
        return Interaction(
            {"user_id": users[batch[0]], "item_id": items[batch[1]], "neg_item_id": items[batch[2]]}
        )

    def look(self, batch: Tensor) -> Step:
        model, work = self.model, self._work
        total = model.calculate_loss(self.translate(batch)).sum()
        tables = (model.user_embedding.weight, model.item_embedding.weight)
        by_user, by_item = torch.autograd.grad(total, tables)
        gradient = torch.zeros_like(work.embedding)
        for part, ids, start in (
            (by_user, self.users, 0),
            (by_item, self.items, work.n_users),
        ):
            known = np.flatnonzero(ids)
            gradient[torch.from_numpy(known + start)] = part[torch.from_numpy(ids[known])]
        with torch.no_grad():
            users, items = model.forward()
            chosen = self.translate(batch)
            vectors = users[chosen["user_id"]]
            margins = (vectors * (items[chosen["item_id"]] - items[chosen["neg_item_id"]])).sum(1)
        return Step(float(torch.nn.functional.softplus(-margins).mean()), 0.0, gradient)

    def step(self, batch: Any) -> None:
        """One step on a translated batch."""
        self._optimizer.zero_grad()
        self.model.calculate_loss(batch).sum().backward()
        self._optimizer.step()

    # -- sampling -------------------------------------------------------------------------------

    def sample(self) -> Tensor:
        """A negative for every training pair, as its loader draws them batch by batch."""
        data = self.train_data.dataset.inter_feat
        users, items = data["user_id"].numpy(), data["item_id"].numpy()
        size = self.config["train_batch_size"]
        drawn = [
            self.train_data._sampler.sample_by_user_ids(
                users[at : at + size], items[at : at + size], 1
            )
            for at in range(0, len(users), size)
        ]
        return torch.cat(drawn)

    # -- evaluation -----------------------------------------------------------------------------

    def use_vectors(self, users: Tensor, items: Tensor) -> None:
        """Rank with these: it keeps the final vectors between batches of an evaluation."""
        model = self.model
        model.restore_user_e = torch.zeros(model.n_users, users.shape[1])
        model.restore_item_e = torch.zeros(model.n_items, items.shape[1])
        self._put(model.restore_user_e, self.users, users)
        self._put(model.restore_item_e, self.items, items)

    def evaluate(self) -> dict[str, float]:
        """All its metrics over all test users."""
        with alone(self._folder):
            found = self.trainer.evaluate(
                self.test_data, load_best_model=False, show_progress=False
            )
        return {name: float(value) for name, value in found.items()}

    def tune(self, candidates: tuple[int, ...], seconds: float) -> int:
        """The number of users in a batch with which ranking is fastest; it stays set."""
        best, chosen = float("inf"), candidates[0]
        for users in candidates:
            self._batch_users(users)
            started, done = time.perf_counter(), 0
            self.model.eval()
            with torch.no_grad():
                for batch in self.test_data:
                    interaction, scores, rows, items = self.trainer._full_sort_batch_eval(batch)
                    self._collector.eval_batch_collect(scores, interaction, rows, items)
                    done += len(interaction)
                    if time.perf_counter() - started > seconds:
                        break
            self._collector.get_data_struct()
            each = (time.perf_counter() - started) / done
            if each < best:
                best, chosen = each, users
        self._batch_users(chosen)
        return chosen

    @cached_property
    def _collector(self) -> Any:
        return self.trainer.eval_collector

    def _batch_users(self, users: int) -> None:
        self.config["eval_batch_size"] = users * self.train_data.dataset.item_num
        loader = self.test_data
        self.test_data = type(loader)(self.config, loader._dataset, loader._sampler, shuffle=False)
        self.trainer.tot_item_num = self.train_data.dataset.item_num
