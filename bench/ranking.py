"""Claim: ranking the whole catalogue for every test user, masked, with all metrics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from advrec.evaluate import evaluate
from advrec.scorer import ByVectors, rows_of
from bench import child
from bench.lab import Lab, same
from bench.lightgcn import recbole
from bench.measure import Contender
from bench.peers import torch_topk
from bench.results import OURS, Check, Facts, Part, Table, Target, Unit

TITLE = "Full ranking and metrics"
K = 20
IDS_ONLY, NO_MASK = "ids only", "ids only, nothing masked"
TORCH, TUNED = "torch (matmul, topk)", "RecBole (tuned batches)"
CATALOGUES = (20_000, 80_000, 320_000)


def run(lab: Lab) -> list[Part]:
    return [_ranking(lab), _memory(lab)]


def _ranking(lab: Lab) -> Table:
    work = lab.work
    users, items = work.vectors
    chosen, dataset = work.test_users, work.dataset
    own = users[torch.from_numpy(chosen)].contiguous()
    seen = work.train_matrix[chosen]
    test = dataset.test
    relevant = sparse.csr_matrix(
        (np.ones(len(test)), test.items, test.indptr), (work.n_users, work.n_items)
    )[chosen]
    table = Table(
        f"{len(chosen):,} users × {work.n_items:,} items, top {K}",
        Unit("s", 1.0),
        targets=[
            Target("ranking with metrics ≥ 4× implicit's top-k", 4, ("implicit",)),
            Target("ranking with metrics ≥ 8× RecBole, tuned", 8, (TUNED,)),
        ],
        note="advrec computes Recall, Precision, HR, NDCG, MRR and MAP of every user.",
    )
    scorer = ByVectors(users, items)
    mask, wanted = rows_of(dataset.train, chosen), rows_of(test, chosen)

    def ours_ids() -> NDArray[np.int64]:
        return scorer.rank(chosen, mask, wanted, K).ids.numpy()

    def torch_metrics() -> tuple[float, float]:
        return torch_topk.recall_and_ndcg(torch_topk.top(own, items, seen, K), relevant)

    lists: dict[str, Callable[[], NDArray[np.integer]]] = {
        f"{OURS} (ids)": ours_ids,
        TORCH: lambda: torch_topk.top(own, items, seen, K).numpy(),
    }
    contenders = [
        Contender(OURS, lambda: evaluate((users, items), dataset, ks=(K,))),
        Contender(f"{OURS} (ids)", ours_ids, remark="no metrics"),
        Contender(TORCH, torch_metrics, remark="Recall and NDCG"),
    ]
    _implicit(lab, seen, lists, contenders, table)
    _faiss(lab, own, contenders, table)
    truth = evaluate((users, items), dataset, ks=(K,)).values
    table.checks += _same_lists(lab, lists, seen)
    _metrics_check(
        table, TORCH, dict(zip(("Recall@20", "NDCG@20"), torch_metrics(), strict=True)), truth
    )
    peer = recbole(lab, table.missing)
    if peer is not None:
        peer.use_vectors(users, items)
        lab.say("RecBole: choosing its batches")
        size = peer.tune(lab.few((64, 256, 1024), (64,)), lab.few(3, 0))
        found = peer.evaluate()
        names = {"Recall@20": "recall@20", "NDCG@20": "ndcg@20", "HR@20": "hit@20"}
        _metrics_check(table, TUNED, {ours: found[its] for ours, its in names.items()}, truth)
        remark = f"its metrics, {size} users at once"
        contenders.append(Contender(TUNED, peer.evaluate, remark=remark))
    table.timings = lab.race(contenders)
    return table


def _implicit(lab, seen, lists, contenders, table) -> None:  # noqa: ANN001
    work = lab.work

    def make():  # noqa: ANN202
        from bench.peers.implicit_topk import Implicit

        return Implicit(*work.vectors)

    peer = lab.peer("implicit:topk", make, table.missing)
    if peer is not None:
        lists["implicit"] = lambda: peer.top(work.test_users, seen, K)
        contenders.append(Contender("implicit", lists["implicit"], remark=IDS_ONLY))


def _faiss(lab, own, contenders, table) -> None:  # noqa: ANN001
    work = lab.work

    def make():  # noqa: ANN202
        import faiss

        index = faiss.IndexFlatIP(work.dim)
        index.add(work.vectors[1].numpy())
        return index

    index = lab.peer("faiss", make, table.missing)
    if index is not None:
        queries = own.numpy()
        contenders.append(Contender("FAISS", lambda: index.search(queries, K), remark=NO_MASK))
        few = slice(0, 64)
        scores = queries[few].astype(np.float64) @ work.vectors[1].numpy().T.astype(np.float64)
        best = -np.sort(-scores, axis=1)[:, :K]
        found = np.take_along_axis(scores, index.search(queries[few], K)[1], axis=1)
        off = float(np.abs(found - best).max() / np.abs(best).max())
        table.checks.append(same("FAISS", "unmasked lists", off, 1e-5, HOW))


HOW = "their scores in float64, rank by rank, ÷ largest"


def _same_lists(
    lab: Lab,
    lists: dict[str, Callable[[], NDArray[np.integer]]],
    seen: sparse.csr_matrix,
) -> list[Check]:
    """Equal scores at each rank: equal lists, but for items whose scores only rounding tells apart."""
    work = lab.work
    users, items = (vectors.numpy().astype(np.float64) for vectors in work.vectors)
    sample = np.random.default_rng(0).choice(
        len(work.test_users), size=min(500, len(work.test_users)), replace=False
    )
    scores = users[work.test_users[sample]] @ items.T
    scores[seen[sample].nonzero()] = -np.inf
    best = -np.partition(-scores, K - 1, axis=1)[:, :K]
    best = -np.sort(-best, axis=1)
    checks = []
    for name, make in lists.items():
        found = np.take_along_axis(scores, make()[sample].astype(np.int64), axis=1)
        off = np.abs(found - best).max() / np.abs(best).max()
        checks.append(same(name, "lists", float(off), 1e-5, HOW))
    return checks


def _metrics_check(
    table: Table, who: str, found: dict[str, float], truth: dict[str, float]
) -> None:
    off = max(abs(found[name] - truth[name]) for name in found)
    what = "metrics"
    table.checks.append(same(who, what, off, 1e-5, "largest difference from advrec's"))


def _memory(lab: Lab) -> Facts:
    sizes = lab.few(CATALOGUES, (2000, 4000))
    rows, missing = [], []
    grown = {}
    for who in ("advrec", "torch", "implicit"):
        if who == "implicit" and lab.peer("implicit:there", object, missing) is None:
            continue
        found = [
            child.python("bench.memory", who, n, n_threads=lab.most_threads).found["mib"]
            for n in sizes
        ]
        grown[who] = found
        rows.append((who, *(round(value, 1) for value in found)))
    ours = grown["advrec"]
    limit = 16.0
    return Facts(
        "Memory of ranking, MiB beyond the vectors, by the size of the catalogue",
        ("", *(f"{n:,} items" for n in sizes)),
        rows,
        checks=[
            Check(
                "advrec",
                f"memory does not grow with the catalogue (by at most {limit:.0f} MiB)",
                ours[-1] - ours[0] <= limit,
                f"{ours[-1] - ours[0]:+.1f} MiB",
            )
        ],
        note="2,048 users, d = 64, peak of a process of its own; torch by blocks of 1,024 users.",
    )
