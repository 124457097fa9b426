"""Every operator with hostile arrays: it answers, or it refuses with an exception of Python.

    python tests/support/fuzz_operators.py [--count CALLS] [--seed SEED]

Structures are damaged before they are put together (`Graph`, `Positives`); plain tensors, ids of
triplets and lists, counts and numbers are damaged at the call. A crash ends the process, a hang its
caller's patience. Prints how many calls there were, and how many answered.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from advrec import native, ops
from advrec.data.dataset import Pairs
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives

USERS, ITEMS, DIM = 12, 9, 5
NUMBERS = (0, 1, 2, 3, 7, -1, 2**29, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))
REFUSALS = (ValueError, RuntimeError, TypeError, IndexError, OverflowError)


class Fuzz:
    """Arguments of which about one in twenty is damaged, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rows = torch.randint(0, USERS, (60,)), torch.randint(0, ITEMS, (60,))
        users, items = (t.numpy() for t in self.rows)
        self.pairs = Pairs.from_coo(users, items, USERS, ITEMS)
        good = Positives.from_pairs(self.pairs)
        self.positives = {name: getattr(good, name) for name in vars(good)}
        graph = Graph.build(self.pairs)
        self.graph = {name: getattr(graph, name) for name in vars(graph)}

    def hit(self) -> bool:
        """Is this argument to be damaged?"""
        return self.random.random() < 0.05

    def number(self, good: int) -> int:
        return self.random.choice(NUMBERS) if self.hit() else good

    def real(self, good: float) -> float:
        return (
            self.random.choice((0.0, -1.0, 1e300, float("nan"), float("inf")))
            if self.hit()
            else good
        )

    def tensor(self, good: Tensor) -> Tensor:
        """The tensor itself, or with a wrong entry, length, type, device or layout."""
        if not self.hit():
            return good.clone()
        bad = good.clone()
        flat = bad.view(-1)
        how = self.random.randrange(9)
        if how <= 2 and flat.numel():
            low = torch.iinfo(flat.dtype) if not flat.is_floating_point() else None
            values = [-1, ITEMS, USERS + ITEMS, 10**6, *([low.min, low.max] if low else [1e30])]
            flat[self.random.randrange(flat.numel())] = self.random.choice(values)
        elif how == 3 and flat.numel() > 1:
            flat.copy_(flat.flip(0))
        elif how == 4:
            bad = bad[: self.random.randrange(len(bad) + 1)].clone()
        elif how == 5:
            bad = torch.cat([bad, bad])
        elif how == 6:
            bad = bad.to(self.random.choice((torch.float64, torch.int32, torch.int64, torch.int8)))
        elif how == 7:
            bad = bad.to("meta")
        elif how == 8:
            bad = bad.unsqueeze(0).expand(3, *bad.shape) if bad.dim() == 1 else bad.T
        return bad

    def structure(self, kind: Callable[..., Any], parts: dict[str, Any]) -> Any:
        damaged = {
            name: self.tensor(part) if isinstance(part, Tensor) else self.number(part)
            for name, part in parts.items()
        }
        return kind(**damaged)

    def table(self, rows: int) -> Tensor:
        return self.tensor(torch.randn(rows, DIM))

    def triplets(self, count: int = 16) -> Tensor:
        users = torch.randint(0, USERS, (1, count), dtype=torch.int32)
        items = torch.randint(0, ITEMS, (2, count), dtype=torch.int32)
        return self.tensor(torch.cat([users, items]))

    def lists(self) -> tuple[Tensor, Tensor]:
        counts = torch.randint(0, 4, (USERS,))
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        chosen = [torch.randperm(ITEMS)[:n].sort().values for n in counts.tolist()]
        return self.tensor(indptr), self.tensor(torch.cat(chosen).to(torch.int32))

    # -- one call of each operator ---------------------------------------------------------------

    def sample_triplets(self) -> Any:
        pos = self.structure(Positives, self.positives)
        return ops.sample_triplets(
            pos, seed=self.number(1), epoch=self.number(0), first=self.number(0),
            count=self.number(8), negatives=self.number(1),
            sampling=self.random.choice(("pairs", "users")),
        )  # fmt: skip

    def propagate(self) -> Any:
        graph = self.structure(Graph, self.graph)
        return ops.propagate(self.table(USERS + ITEMS), graph, self.number(2))

    def triplet_margin(self) -> Any:
        return ops.triplet_margin(self.table(USERS), self.table(ITEMS), self.triplets())

    def triplet_margin_backward(self) -> Any:
        tables = self.table(USERS), self.table(ITEMS)
        return ops.triplet_margin_backward(self.tensor(torch.ones(16)), *tables, self.triplets())

    def normalize_rows(self) -> Any:
        return ops.normalize_rows(self.table(USERS), self.real(0.5))

    def rank_topk(self) -> Any:
        tables, k = (self.table(USERS), self.table(ITEMS)), self.number(3)
        return ops.rank_topk(*tables, self.lists(), self.lists(), k, self.random.random() < 0.5)

    def rank_scores(self) -> Any:
        scores, k = self.tensor(torch.randn(USERS, ITEMS)), self.number(3)
        return ops.rank_scores(scores, self.lists(), self.lists(), k, self.random.random() < 0.5)

    def optimizer_step(self) -> Any:
        rows = torch.tensor([1, 4, 5], dtype=torch.int32)
        chosen = self.random.random() < 0.5
        return ops.optimizer_step_(
            self.random.choice(("sgd", "adagrad", "adam", "sparse_adam")), self.table(USERS),
            self.table(3 if chosen else USERS), self.table(USERS), self.table(USERS),
            step=self.number(1), lr=self.real(0.1), opt_eps=self.real(1e-8),
            rows=self.tensor(rows) if chosen else None,
        )  # fmt: skip

    def mf_steps(self) -> Any:
        return ops.fused().mf_steps(*self._table(), **self._steps())

    def lightgcn_steps(self) -> Any:
        graph = self.structure(Graph, self.graph)
        return ops.fused().lightgcn_steps(
            *self._table(), graph.indptr, graph.indices, graph.scale, self.number(2),
            site=self.number(0), **self._steps(),
        )  # fmt: skip

    def amr_steps(self) -> Any:
        tables = [
            t for rows in (USERS, ITEMS, 4) for t in (self.table(rows), self.table(rows), None)
        ]
        features = self.tensor(torch.randn(ITEMS, 4))
        rates = {"reg_items": self.real(0.1), "lr_items": 0.1, "lr_projection": 0.1}
        return ops.fused().amr_steps(*tables, features, **rates, **self._steps())

    def _table(self) -> tuple[Tensor | None, ...]:
        rows = USERS + ITEMS
        return self.table(rows), self.table(rows), self.table(rows)

    def _steps(self) -> dict[str, Any]:
        pos = self.structure(Positives, self.positives)
        return {
            **ops.positives_arguments(pos), "seed": 1, "epoch": self.number(0),
            "negatives": self.number(1), "sampling": self.number(0),
            "first_step": self.number(0), "steps": self.number(2), "batch_size": self.number(8),
            "mean": True, "reg": self.real(0.1), "eps": self.real(0.1),
            "adv_weight": self.real(1.0),
            "norm": self.number(0), "optimizer": self.number(1), "lr": self.real(0.1),
            "beta1": 0.9, "beta2": 0.999, "opt_eps": 1e-8, "updates": self.number(0),
        }  # fmt: skip


OPERATORS = [
    name for name, one in vars(Fuzz).items() if callable(one) and name in {
        "sample_triplets", "propagate", "triplet_margin", "triplet_margin_backward",
        "normalize_rows", "rank_topk", "rank_scores", "optimizer_step", "mf_steps",
        "lightgcn_steps", "amr_steps",
    }
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    native.use("native")
    fuzz, answers = Fuzz(given.seed), Counter[str]()
    for call in range(given.count):
        name = OPERATORS[call % len(OPERATORS)]
        try:
            getattr(fuzz, name)()
        except REFUSALS:
            continue
        answers[name] += 1
    silent = [name for name in OPERATORS if not answers[name]]
    print(f"{given.count} calls, {sum(answers.values())} answered, the others refused")
    if silent:
        raise SystemExit(f"never answered: {', '.join(silent)}")


if __name__ == "__main__":
    main()
