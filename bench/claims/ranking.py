"""Claim: ranking the whole catalogue for every test user, masked, with all metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from advrec.evaluation.evaluate import evaluate
from advrec.evaluation.scorer import ByVectors, rows_of
from bench import child
from bench.claims.lightgcn import recbole
from bench.lab import Lab, same
from bench.measure import Contender
from bench.peers import torch_topk
from bench.results import OURS, Check, Facts, Part, Table, Target, Unit

TITLE = "Full ranking and metrics"
K = 20
IDS_ONLY, NO_MASK = "ids only", "ids only, nothing masked"
TORCH, TUNED = "torch (matmul, topk)", "RecBole (tuned batches)"
CATALOGUES = (20_000, 80_000, 320_000)
MEMORY_LIMIT = 0.4  # of the vectors: what ranking may take more as a catalogue grows, its bytes
SCORES = "their scores in float64, rank by rank, ÷ largest"

Ids = NDArray[np.integer[Any]]  # [B, K]


def run(lab: Lab) -> list[Part]:
    return [_Ranking(lab).table(), _memory(lab)]


class _Ranking:
    """All contenders rank the same users with the same vectors."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.work = lab, lab.work
        self.chosen = self.work.test_users  # [B]
        self.users, self.items = self.work.vectors
        self.own = self.users[torch.from_numpy(self.chosen)].contiguous()  # [B, d]
        self.seen = self.work.train_matrix[self.chosen]  # [B, I]
        self.lists: dict[str, Callable[[], Ids]] = {}  # of those that mask: to be compared
        self.contenders: list[Contender] = []
        self.result = Table(
            f"{len(self.chosen):,} users × {self.work.n_items:,} items, top {K}",
            Unit("s", 1.0),
            targets=[
                Target("ranking with metrics ≥ 4× implicit's top-k", 4, ("implicit",)),
                Target("ranking with metrics ≥ 8× RecBole, tuned", 8, (TUNED,)),
            ],
            note="advrec computes Recall, Precision, HR, NDCG, MRR and MAP of every user.",
        )

    def table(self) -> Table:
        self._ours()
        self._torch()
        self._implicit()
        self._faiss()
        self._compare_lists()
        self._recbole()
        self.result.timings = self.lab.race(self.contenders)
        return self.result

    @cached_property
    def truth(self) -> Mapping[str, float]:
        """advrec's metrics; tests hold them against trec_eval."""
        return evaluate((self.users, self.items), self.work.dataset, ks=(K,)).values

    def _ours(self) -> None:
        dataset, vectors = self.work.dataset, (self.users, self.items)
        scorer = ByVectors(*vectors)
        mask, wanted = rows_of(dataset.train, self.chosen), rows_of(dataset.test, self.chosen)

        def ids() -> Ids:
            return scorer.rank(self.chosen, mask, wanted, K).ids.numpy()

        self.contenders += [
            Contender(OURS, lambda: evaluate(vectors, dataset, ks=(K,))),
            Contender(f"{OURS} (ids)", ids, remark="no metrics"),
        ]
        self.lists[f"{OURS} (ids)"] = ids

    def _torch(self) -> None:
        test = self.work.dataset.test
        shape = (self.work.n_users, self.work.n_items)
        relevant = sparse.csr_matrix((np.ones(len(test)), test.items, test.indptr), shape)
        relevant = relevant[self.chosen]

        def ids() -> Ids:
            return torch_topk.top(self.own, self.items, self.seen, K).numpy()

        def metrics() -> tuple[float, float]:
            return torch_topk.recall_and_ndcg(torch.from_numpy(ids()), relevant)

        self.contenders.append(Contender(TORCH, metrics, remark="Recall and NDCG"))
        self.lists[TORCH] = ids
        recall, ndcg = metrics()
        self._check_metrics(TORCH, {"Recall@20": recall, "NDCG@20": ndcg})

    def _implicit(self) -> None:
        def make() -> Any:
            from bench.peers.implicit_topk import Implicit

            return Implicit(self.users, self.items)

        peer = self.lab.peer("implicit:topk", make, self.result.missing)
        if peer is not None:
            self.lists["implicit"] = lambda: peer.top(self.chosen, self.seen, K)
            contender = Contender("implicit", self.lists["implicit"], remark=IDS_ONLY)
            self.contenders.append(contender)

    def _faiss(self) -> None:
        def make() -> Any:
            import faiss

            index = faiss.IndexFlatIP(self.work.dim)
            index.add(self.items.numpy())
            return index

        index = self.lab.peer("faiss", make, self.result.missing)
        if index is None:
            return
        queries = self.own.numpy()
        search = Contender("FAISS", lambda: index.search(queries, K), remark=NO_MASK)
        self.contenders.append(search)
        few = queries[:64].astype(np.float64) @ self.items.numpy().T.astype(np.float64)
        found = index.search(queries[:64], K)[1]
        self._check_scores("FAISS", "unmasked lists", few, found)

    def _recbole(self) -> None:
        peer = recbole(self.lab, self.result.missing)
        if peer is None:
            return
        peer.use_vectors(self.users, self.items)
        self.lab.say("RecBole: choosing its batches")
        size = peer.tune(self.lab.few((64, 256, 1024), (64,)), self.lab.few(3.0, 0.0))
        found = peer.evaluate()
        names = {"Recall@20": "recall@20", "NDCG@20": "ndcg@20", "HR@20": "hit@20"}
        self._check_metrics(TUNED, {ours: found[its] for ours, its in names.items()})
        remark = f"its metrics, {size} users at once"
        self.contenders.append(Contender(TUNED, peer.evaluate, remark=remark))

    def _compare_lists(self) -> None:
        """Equal scores at each rank: the same lists, but for items only rounding tells apart."""
        count = min(500, len(self.chosen))
        sample = np.random.default_rng(0).choice(len(self.chosen), size=count, replace=False)
        users, items = (table.numpy().astype(np.float64) for table in (self.own, self.items))
        scores = users[sample] @ items.T
        scores[self.seen[sample].nonzero()] = -np.inf
        for name, make in self.lists.items():
            self._check_scores(name, "lists", scores, make()[sample])

    def _check_scores(self, who: str, what: str, scores: NDArray[np.float64], found: Ids) -> None:
        best = -np.sort(-np.partition(scores, -K, axis=1)[:, -K:], axis=1)
        theirs = np.take_along_axis(scores, found.astype(np.int64), axis=1)
        off = float(np.abs(theirs - best).max() / np.abs(best).max())
        self.result.checks.append(same(who, what, off, 1e-5, SCORES))

    def _check_metrics(self, who: str, found: dict[str, float]) -> None:
        off = max(abs(value - self.truth[name]) for name, value in found.items())
        how = "largest difference from advrec's"
        self.result.checks.append(same(who, "metrics", off, 1e-5, how))


def _memory(lab: Lab) -> Facts:
    sizes = lab.few(CATALOGUES, (2000, 4000))
    unused: list[str] = []
    grown = {}
    for who in lab.few(("advrec", "torch", "implicit"), ("advrec",)):
        if lab.peer(f"{who}:memory", object, unused) is not None:
            grown[who] = [
                child.python("bench.memory", who, n, n_threads=lab.most_threads).found["mib"]
                for n in sizes
            ]
    more = grown["advrec"][-1] - grown["advrec"][0]
    vectors = (sizes[-1] - sizes[0]) * lab.work.dim * 4 / 2**20
    return Facts(
        "Memory of ranking, MiB beyond the vectors, by the size of the catalogue",
        ("", *(f"{n:,} items" for n in sizes)),
        [(who, *(round(value, 1) for value in found)) for who, found in grown.items()],
        checks=[
            Check(
                "advrec",
                f"memory grows by at most {MEMORY_LIMIT:.0%} of a larger catalogue's vectors",
                more <= max(MEMORY_LIMIT * vectors, 1.0),
                f"{more:+.1f} MiB",
            )
        ],
        note="2,048 users, d = 64, peak of a process of its own; torch by blocks of 1,024 users.",
    )
