"""Claim: matrix factorisation, BPR and APR, exact mini-batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import torch
from torch import Tensor

from advrec import ops
from bench.lab import Lab, same
from bench.measure import Contender
from bench.objective import Setting, compare
from bench.ours import Ours, embedding_of
from bench.peers.torch_mf import ByHand, Plain
from bench.results import OURS, Check, Facts, Part, Table, Target, Unit

TITLE = "Matrix factorisation"
RATE = Unit("million triplets/s", 1e-6, rate=True)
BY_HAND, SPARSE, DENSE = (
    "torch (touched rows by hand)",
    "torch (sparse gradients)",
    "torch (dense autograd)",
)
TORCH = (BY_HAND, SPARSE, DENSE)
TABLE_LIMITS = {"adagrad": 1e-4, "adam": 1e-2}
"""Adam divides by |g| + 1e-8: where the terms of an entry cancel down to that size, float32's noise
of 1e-7 of the terms (1e-4 here) is a thousandth of it, and more after some steps."""
HELD_OUT_EPOCH = 10**6  # of the sampler: triplets that no contender has trained on
ADAGRAD = Setting(lr=0.05, reg=0.0, mean=False)


def run(lab: Lab) -> list[Part]:
    lock_free = _LockFree(lab)
    apr = Setting(lr=0.05, reg=0.0, adv_weight=1.0, mean=False)
    return [
        _compare(
            lab,
            "BPR, Adagrad, batch 512",
            ADAGRAD,
            ("adagrad", 512),
            [Target("exact BPR-MF faster than lock-free SGD", 1, ("implicit", "cornac"))],
            lock_free,
        ),
        _compare(
            lab,
            "APR, Adagrad, batch 512",
            apr,
            ("adagrad", 512),
            [
                Target("APR-MF ≥ 10× the best plain torch", 10, TORCH),
                Target("APR-MF ≥ 4 million triplets/s", 4),
            ],
        ),
        _compare(
            lab,
            "APR, dense Adam, batch 2048",
            Setting(lr=1e-3, reg=1e-4, adv_weight=1.0),
            ("adam", 2048),
            [Target("APR-MF with dense Adam ≥ 4× the best plain torch", 4, TORCH)],
        ),
        lock_free.account(),
    ]


def _compare(
    lab: Lab,
    title: str,
    setting: Setting,
    rule: tuple[str, int],  # optimiser, batch
    targets: list[Target],
    lock_free: _LockFree | None = None,
) -> Table:
    work, (optimizer, size) = lab.work, rule
    table = Table(f"MF, {title}", RATE, targets=targets)
    table.note = (
        "advrec draws its triplets within the time; torch is handed the same triplets, drawn "
        "before. Checks are against autograd in float64, of the gradient and of the table after "
        "four steps."
    )
    ours = Ours(work, setting, model="mf", batch_size=size, optimizer=optimizer, sampling="pairs")
    batch = ours.first_batch()
    size = batch.shape[1]
    batches = work.batches(size, lab.few(64, 2), sampling="pairs", epoch=1)
    truth = Plain(work, setting, optimizer, sparse=False, dtype=torch.float64)
    first = truth.look(batch)
    table.checks += compare(OURS, ours.look(), first)
    contenders = [Contender(OURS, ours.steps, ours.work_of_a_call * size)]
    after = batches[:4]
    for step in after:
        truth.step(step)

    def table_check(who: str, found: Tensor) -> Check:
        return _table_check(who, found, truth.table, work.embedding, TABLE_LIMITS[optimizer])

    table.checks.append(table_check(OURS, ours.after(len(after), epoch=1)))
    for name, trainer in _torch(lab, setting, optimizer):
        table.checks += compare(name, trainer.look(batch), first)
        for step in after:
            trainer.step(step)
        table.checks.append(table_check(name, trainer.table))
        contenders.append(Contender(name, _steps(trainer.step, batches), size))
    if lock_free is not None:
        contenders += lock_free.contenders(table.missing)
        table.note += (
            " implicit and cornac are not asked for the same: they run SGD without mini-batches, "
            "and threads overwrite each other."
        )
    table.timings = lab.race(contenders)
    return table


def _torch(lab: Lab, setting: Setting, optimizer: str) -> list[tuple[str, Plain | ByHand]]:
    work = lab.work
    found: list[tuple[str, Plain | ByHand]] = [(BY_HAND, ByHand(work, setting, optimizer))]
    if optimizer == "adagrad":
        found.append((SPARSE, Plain(work, setting, optimizer, sparse=True)))
    return [*found, (DENSE, Plain(work, setting, optimizer, sparse=False))]


def _steps(step: Callable[[Tensor], object], batches: list[Tensor]) -> Callable[[], object]:
    each = cycle(batches)
    return lambda: step(next(each))


def _table_check(who: str, found: Tensor, truth: Tensor, start: Tensor, limit: float) -> Check:
    moved = (truth - start.double()).abs().max()
    off = float((found.double() - truth).abs().max() / moved)
    how = "largest difference ÷ largest change"
    return same(who, "table after some steps", off, limit, how)


class _LockFree:
    """implicit and cornac, and whether their threads' races leave something that has learned."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._peers: dict[str, object] = {}
        self._epochs: dict[str, int] = {}

    def contenders(self, missing: list[str]) -> list[Contender]:
        lab, made = self._lab, []

        def implicit() -> object:
            from bench.peers.lockfree import Implicit

            return Implicit(lab.work)

        def cornac() -> object:
            from bench.peers.lockfree import Cornac

            return Cornac(lab.work)

        for name, make in (("implicit", implicit), ("cornac", cornac)):
            peer = lab.peer(name, make, missing)
            if peer is not None:
                self._peers[name] = peer
                self._epochs[name] = 0
                triplets = lab.work.train_matrix.nnz
                made.append(Contender(name, self._counting(name, peer), triplets, "lock-free SGD"))
        return made

    def _counting(self, name: str, peer: object) -> Callable[[], object]:
        def epoch() -> object:
            self._epochs[name] += 1
            return peer.epoch()  # type: ignore[attr-defined]

        return epoch

    def account(self) -> Facts:
        """Share of fresh triplets that each ranks right, after a few epochs of its own."""
        work, epochs = self._lab.work, self._lab.few(3, 1)
        triplets = ops.sample_triplets(
            work.positives,
            seed=1,
            epoch=HELD_OUT_EPOCH,
            first=0,
            count=min(100_000, len(work.positives)),
            sampling="pairs",
        ).long()
        rows = []
        ours = Ours(
            work, ADAGRAD, model="mf", batch_size=512, optimizer="adagrad", sampling="pairs"
        )
        for epoch in range(epochs):
            ours.stepper.run(epoch, 0, ours.stepper.total_steps)
        table = embedding_of(ours.model)
        users, items = table[: work.n_users], table[work.n_users :]
        margins = (users[triplets[0]] * (items[triplets[1]] - items[triplets[2]])).sum(1)
        rows.append((OURS, epochs, float((margins > 0).float().mean())))
        for name, peer in self._peers.items():
            right = peer.margins(triplets) > 0  # type: ignore[attr-defined]
            rows.append((name, self._epochs[name], float(right.float().mean())))
        return Facts(
            "Do they learn? Training pairs ranked above a random item",
            ("", "epochs", "share"),
            rows,
            note="For a sense of what the lock-free rates buy; learning rates are not matched. "
            "implicit draws its negatives by popularity, which this share does not reward.",
        )
