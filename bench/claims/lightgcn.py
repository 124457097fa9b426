"""Claim: a LightGCN step, plain and with APR, compared with every library that offers one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import torch
from torch import Tensor

from bench.lab import Lab
from bench.measure import Contender
from bench.objective import Setting, Trainer, compare
from bench.ours import Ours
from bench.peers.torch_lightgcn import Plain, Savvy
from bench.results import OURS, Part, Table, Target, Unit

TITLE = "LightGCN training step"
UNIT = Unit("ms per step", 1e3)
BATCH = 2048
PLAIN, SAVVY = "plain torch (COO)", "savvy torch (CSR)"
HALF = "advrec (bf16)"
BF16_LIMIT = 1e-2
"""Of the largest entry: every gathered value is rounded by up to 2⁻⁹, in each of three layers both
ways, and the perturbation's direction with them."""
ZOOS = "RS_Zoos' method (COO, 15 products)"
FIELD = (
    PLAIN,
    "PyG (CSR)",
    "PyG (edge list)",
    "RecBole",
    "LightGCN-PyTorch",
)


def run(lab: Lab) -> list[Part]:
    """BPR; APR at the final vectors; APR at the embedding."""
    return [
        _compare(
            lab,
            "BPR (batch 2048, K = 3, Adam)",
            Setting(),
            [
                Target("LightGCN step ≥ 10× the fastest peer", 10, FIELD),
                Target("LightGCN step ≥ 2.8× savvy torch", 2.8, (SAVVY,)),
            ],
        ),
        _compare(
            lab,
            "APR, site final",
            Setting(adv_weight=0.1, site="final"),
            [],
        ),
        _compare(
            lab,
            "APR, site ego",
            Setting(adv_weight=0.1, site="ego"),
            [
                Target("LightGCN + APR step ≥ 20× RS_Zoos' method", 20, (ZOOS, "RS_Zoos")),
                Target("LightGCN + APR step ≥ 4× savvy torch", 4, (SAVVY,)),
            ],
        ),
    ]


def _compare(lab: Lab, title: str, setting: Setting, targets: list[Target]) -> Table:
    work = lab.work
    table = Table(f"LightGCN, {title}", UNIT, targets=targets)
    table.note = (
        "advrec draws its triplets within the step; the others are handed the same triplets, drawn "
        "before. Checks are against autograd in float64 on the step's own batch."
    )
    ours = Ours(
        work, setting, model="lightgcn", batch_size=BATCH, optimizer="adam", sampling="users"
    )
    batch = ours.first_batch()
    batches = work.batches(batch.shape[1], 8, sampling="users", epoch=1)
    lab.say(f"checking {table.title}")
    truth = Plain(work, setting, torch.float64).look(batch)
    table.checks += compare(OURS, ours.look(), truth)
    contenders = [Contender(OURS, ours.steps, ours.work_of_a_call)]
    if setting.site == "ego":
        half = Ours(
            work,
            setting,
            model="lightgcn",
            batch_size=BATCH,
            optimizer="adam",
            sampling="users",
            precision="bf16",
        )
        table.checks += compare(HALF, half.look(), truth, gradient=BF16_LIMIT, losses=1e-3)
        remark = "gathers bfloat16, sums float32"
        contenders.append(Contender(HALF, half.steps, half.work_of_a_call, remark))
        table.targets.append(Target(f"{table.title}: bf16 ≥ 1.6× float32", 1.6, (OURS,), HALF))
    for name, trainer in _trainers(lab, setting, batch.shape[1], table.missing):
        table.checks += compare(name, trainer.look(batch), truth)
        translate = getattr(trainer, "translate", lambda given: given)
        contenders.append(Contender(name, _steps(trainer, [translate(b) for b in batches])))
    table.timings = lab.race(contenders)
    return table


def _steps(trainer: Trainer, batches: list[Tensor]) -> Callable[[], object]:
    each = cycle(batches)
    return lambda: trainer.step(next(each))


def _trainers(
    lab: Lab, setting: Setting, batch_size: int, missing: list[str]
) -> list[tuple[str, Trainer]]:
    work = lab.work
    plain = ZOOS if setting.adv_weight and setting.site == "ego" else PLAIN
    found: list[tuple[str, Trainer | None]] = [
        (SAVVY, Savvy(work, setting)),
        (plain, Plain(work, setting)),
    ]
    if not setting.adv_weight:
        found += _libraries(lab, setting, missing)
    elif setting.site == "ego":

        def zoos() -> Trainer:
            from bench.peers.checkout import RsZoos

            return RsZoos(work, setting, batch_size, lab.checkouts["rs-zoos"])

        found.append(("RS_Zoos", lab.peer("rs-zoos", zoos, missing)))
    return [(name, trainer) for name, trainer in found if trainer is not None]


def _libraries(lab: Lab, setting: Setting, missing: list[str]) -> list[tuple[str, Trainer | None]]:
    work = lab.work

    def geometric(form: str) -> Callable[[], Trainer]:
        def make() -> Trainer:
            from bench.peers.pyg import Geometric

            return Geometric(work, setting, form)

        return make

    def lightgcn_pytorch() -> Trainer:
        from bench.peers.checkout import LightGcnPytorch

        return LightGcnPytorch(work, setting, lab.checkouts["lightgcn-pytorch"])

    return [
        ("PyG (CSR)", lab.peer("pyg:csr", geometric("csr"), missing)),
        ("PyG (edge list)", lab.peer("pyg:edges", geometric("edges"), missing)),
        ("RecBole", recbole(lab, missing)),
        ("LightGCN-PyTorch", lab.peer("lightgcn-pytorch", lightgcn_pytorch, missing)),
    ]


def recbole(lab: Lab, missing: list[str]):
    """The one RecBole of a run: reading its files takes a while."""

    def make():
        from bench.peers.recbole import RecBole

        lab.say("RecBole reads its files")
        return RecBole(lab.work, Setting(), lab.scratch / "recbole")

    return lab.peer("recbole", make, missing)
