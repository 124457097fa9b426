"""Claim: drawing triplets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from advrec import ops
from advrec.data import Pairs
from bench.claims.lightgcn import recbole
from bench.lab import Lab
from bench.measure import Contender
from bench.objective import Setting
from bench.peers import samplers
from bench.results import OURS, Check, Part, Table, Target, Unit

TITLE = "Sampler"


def run(lab: Lab) -> list[Part]:
    work = lab.work
    train, positives = work.dataset.train, work.positives
    count = len(positives)
    few = lab.few(20_000, 500)
    rng, old = np.random.default_rng(0), np.random.RandomState(0)
    rows = [train.of(user) for user in range(train.n_users)]
    table = Table(
        "Triplets (u, i, j), j not seen by u",
        Unit("million triplets/s", 1e-6, rate=True),
        targets=[Target("sampler ≥ 50 million triplets/s", 50)],
        note="advrec draws users as LightGCN does; in brackets, every pair once. RecBole draws the "
        "negatives only. The loop in Python and RecBole use one thread.",
    )

    def ours(sampling: str) -> NDArray[np.int32]:
        return ops.sample_triplets(
            positives, seed=0, epoch=0, first=0, count=count, sampling=sampling
        ).numpy()

    contenders = [
        Contender(OURS, lambda: ours("users"), count),
        Contender(f"{OURS} (pairs)", lambda: ours("pairs"), count),
        Contender("numpy", lambda: samplers.vectorised(train, count, rng), count, threads=(1,)),
        Contender(
            "Python, one by one",
            lambda: samplers.one_by_one(rows, train.n_items, few, old),
            few,
            threads=(1,),
        ),
    ]
    table.checks += [
        *_sound(OURS, ours("users"), train),
        *_sound(f"{OURS} (pairs)", ours("pairs"), train, every_pair=True),
        *_sound("numpy", samplers.vectorised(train, count, rng), train),
        *_sound("Python, one by one", samplers.one_by_one(rows, train.n_items, few, old), train),
    ]
    peer = recbole(lab, table.missing)
    if peer is not None:
        contenders.append(Contender("RecBole", peer.sample, count, threads=(1,)))

    def lightgcn_pytorch():
        from bench.peers.checkout import LightGcnPytorch

        return LightGcnPytorch(work, Setting(), lab.checkouts["lightgcn-pytorch"])

    author = lab.peer("lightgcn-pytorch", lightgcn_pytorch, table.missing)
    if author is not None:
        drawn = author.sample().T
        table.checks += _sound("LightGCN-PyTorch", drawn, train)
        remark = f"its {author.sampler} sampler"
        contenders.append(
            Contender("LightGCN-PyTorch", author.sample, drawn.shape[1], remark, threads=(1,))
        )
    table.timings = lab.race(contenders)
    return [table]


def _sound(
    who: str, triplets: NDArray[np.integer], train: Pairs, *, every_pair: bool = False
) -> list[Check]:
    """Positives are training pairs, negatives are not, and negatives are drawn evenly."""
    users, items, negatives = (row.astype(np.int64) for row in triplets)
    keys, width = train.keys(), train.n_items
    liked, other = users * width + items, users * width + negatives
    checks = [
        Check(who, "every (u, i) is a training pair", bool(np.isin(liked, keys).all())),
        Check(who, "no (u, j) is a training pair", not np.isin(other, keys).any()),
    ]
    if every_pair:
        once = bool((np.sort(liked) == keys).all())
        checks.append(Check(who, "every pair comes once per epoch", once))
    return [*checks, _evenly(who, users, negatives, train)]


def _evenly(
    who: str, users: NDArray[np.int64], negatives: NDArray[np.int64], train: Pairs
) -> Check:
    """χ² of the negatives over 50 groups of items, expected from what each user has not seen."""
    groups = 50
    group_of = np.arange(train.n_items) * groups // train.n_items
    seen = np.zeros((train.n_users, groups))
    np.add.at(seen, (train.users(), group_of[train.items]), 1)
    unseen = np.bincount(group_of, minlength=groups) - seen
    chance = unseen / unseen.sum(axis=1, keepdims=True)
    expected = chance[users].sum(axis=0)
    found = np.bincount(group_of[negatives], minlength=groups)
    chi = float(((found - expected) ** 2 / expected).sum())
    limit = groups - 1 + 6 * (2 * (groups - 1)) ** 0.5  # six standard deviations above the mean
    return Check(who, f"negatives are even (χ² at most {limit:.0f})", chi <= limit, f"{chi:.0f}")
