"""The ways to the same ranking, in turn: all scores, tiles skipped by norms, int8 too.

`python -m bench.ways_of_ranking --data FOLDER --threads N RUN …` ranks with the vectors of each run
and with random ones. A way that does not give the same bits ends it with code 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advrec import native, ops
from advrec.data import Dataset, load_dataset
from advrec.evaluation.scorer import rows_of
from advrec.runs.find import find
from advrec.runs.model import load_model
from bench import threads
from bench.measure import Contender, Pace, race

WAYS = {"all scores": 1, "tiles skipped": 2, "and int8": 3}  # RankPath in csrc/kernels.h
KS = (20, 100)
Vectors = tuple[Tensor, Tensor]  # [U, d], [I, d]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", help="avx512, avx2 or portable; the best by default")
    given = parser.parse_args()
    threads.use(given.threads)
    if given.isa and not ops.fused().set_isa(given.isa):
        parser.error(f"this machine has no {given.isa}")
    dataset = load_dataset(given.data, valid="none")
    tables = {run.name: _vectors(run, dataset) for run in given.runs}
    drawn = torch.randn(
        dataset.n_users + dataset.n_items, 64, generator=torch.Generator().manual_seed(1)
    )
    tables["random"] = (drawn[: dataset.n_users], drawn[dataset.n_users :])
    print(f"{native.isa()}, {given.threads} threads: seconds (times all scores)")
    print("| vectors | k |", " | ".join(WAYS), "|")
    print("|---|---|", "---|" * len(WAYS), sep="")
    same = [_row(name, k, vectors, dataset, given.threads) for name, vectors in tables.items()
            for k in KS]  # fmt: skip
    sys.exit(0 if all(same) else 1)


def _vectors(path: Path, dataset: Dataset) -> Vectors:
    with torch.no_grad():
        vectors = load_model(find(path), dataset, "cpu").vectors()
    if vectors is None:
        raise SystemExit(f"the scores of {path} are not dot products")
    return vectors


def _row(name: str, k: int, vectors: Vectors, dataset: Dataset, n_threads: int) -> bool:
    chosen = np.flatnonzero(dataset.test.user_degrees())
    lists = [torch.from_numpy(part) for pairs in (dataset.train, dataset.test)
             for part in rows_of(pairs, chosen)]  # fmt: skip
    users = vectors[0][torch.from_numpy(chosen)].contiguous()
    items = vectors[1].contiguous()

    def rank(way: int) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = ops.fused().rank_topk_by(users, items, *lists, k, False, way)
        return found

    contenders = [Contender(what, lambda way=way: rank(way)) for what, way in WAYS.items()]
    best = {timing.name: timing.best for timing in race(contenders, n_threads, Pace())}
    slowest = best["all scores"]
    cells = [f"{best[what]:.3f} ({slowest / best[what]:.2f}×)" for what in WAYS]
    print(f"| {name} | {k} |", " | ".join(cells), "|", flush=True)
    first, *others = (rank(way) for way in WAYS.values())
    same = all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))
    if not same:
        print(f"{name}, k = {k}: not the same lists", file=sys.stderr)
    return same


if __name__ == "__main__":
    main()
