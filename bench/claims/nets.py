"""Claim: whole epochs of VBPR, AMR and CDAE."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from advrec import ops
from advrec.data import Dataset, load_dataset
from advrec.models import Recommender
from advrec.ops.positives import Positives
from advrec.runs.model import build_model
from advrec.training.tiers import make_stepper
from bench.lab import Lab, same
from bench.measure import Contender
from bench.objective import unit_rows
from bench.ours import PROBE, configured
from bench.results import OURS, Check, Part, Table, Target, Unit

TITLE = "VBPR, AMR and CDAE"
UNIT = Unit("s per epoch", 1.0)
DIM, TRIPLETS, USERS = 64, 512, 256
CORNAC, HANDED, RECBOLE = "cornac", "cornac (triplets handed to it)", "RecBole"
ADAM = "advrec (dense Adam, as cornac)"
LIMIT = 1e-4
"""As bench.objective.GRADIENT_LIMIT: largest difference over largest entry."""


def run(lab: Lab) -> list[Part]:
    data = _data(lab)
    return [_visual(lab, data, "VBPR"), _visual(lab, data, "AMR"), _cdae(lab, data)]


def _data(lab: Lab) -> Dataset:
    """The embedded set with features from its text: it is small, and ships with advrec."""
    if not lab.quick:
        return load_dataset("debian", features="text", valid="none")
    features = np.random.default_rng(0).normal(size=(lab.work.n_items, 8)).astype(np.float32)
    return replace(lab.work.dataset, item_features=features)


class _Epochs:
    """advrec's own training, one epoch after another."""

    def __init__(self, data: Dataset, **options: object) -> None:
        self.config = configured(**options)
        self.model = build_model(self.config, data, "cpu")
        self.positives = Positives.from_pairs(data.train)
        self.stepper = make_stepper(self.model, self.positives, self.config)
        self._epoch = 0

    def epoch(self) -> None:
        stepper = self.stepper
        for first in range(0, stepper.total_steps, stepper.grain):
            stepper.run(self._epoch, first, min(stepper.grain, stepper.total_steps - first))
        self._epoch += 1


def _visual(lab: Lab, data: Dataset, kind: str) -> Table:
    adversarial = kind == "AMR"
    table = Table(
        f"{kind}, d = {DIM}, batch {TRIPLETS}",
        UNIT,
        targets=[
            Target("AMR ≥ 10× cornac's", 10, (CORNAC,))
            if adversarial
            else Target("VBPR at least as fast as cornac's", 1, (CORNAC,))
        ],
        note="advrec has Adagrad on the rows that a batch touches, its default, and draws its "
        "triplets within the time; cornac has Adam on everything. Its own sampling is a Python "
        "loop, so it is measured without as well. Its AMR leaves the gradient of the features as "
        "it is instead of giving it a length, and adds to it from step to step.",
    )
    options = {
        "model": "vbpr",
        "dim": DIM,
        "batch_size": min(TRIPLETS, len(data.train)),
        "init_std": 0.1,
        "options": {"scorer": "amr" if adversarial else "vbpr"},
    }
    if adversarial:
        options |= {"phase": "adversarial", "eps": 0.1, "adv_weight": 1.0}
    ours = _Epochs(data, **options)
    table.checks += _visual_checks(data, {**options, "reg": 0.0}, adversarial)
    contenders = [Contender(OURS, ours.epoch)]
    dense = _Epochs(data, **options, optimizer="adam", lr=1e-3)
    contenders.append(Contender(ADAM, dense.epoch))

    def cornac() -> object:
        from bench.peers.cornac_visual import CornacVisual

        return CornacVisual(kind, data, dim=DIM, batch_size=TRIPLETS, lr=1e-3)

    peer = lab.peer(f"cornac:{kind}", cornac, table.missing)
    if peer is not None:
        batches = _batches(ours, epoch=1)
        contenders.append(Contender(CORNAC, peer.epoch))
        contenders.append(Contender(HANDED, lambda: peer.steps(batches)))
    table.timings = lab.race(contenders)
    return table


def _batches(ours: _Epochs, epoch: int) -> list[Tensor]:  # [3, B] int64 each
    """The triplets of an epoch, as its steps draw them."""
    whole = ops.sample_triplets(
        ours.positives,
        seed=ours.config.seed,
        epoch=epoch,
        first=0,
        count=len(ours.positives),
        sampling="pairs",
    )
    return list(torch.split(whole.long(), ours.config.batch_size, dim=1))


def _visual_checks(data: Dataset, options: dict[str, object], adversarial: bool) -> list[Check]:
    """The first step compared with plain autograd in float64: its losses, and what SGD moves."""
    ours = _Epochs(data, **options, optimizer="sgd", lr=PROBE)
    before = {name: weight.detach().double() for name, weight in ours.model.named_parameters()}
    before = {name: weight.clone() for name, weight in before.items()}
    batch = _batches(ours, epoch=0)[0]
    stats = ours.stepper.run(0, 0, 1)
    features = ours.model.get_buffer("features").double()
    clean, worst, truth = _visual_truth(before, features, batch, adversarial)
    off = 0.0
    for name, weight in ours.model.named_parameters():
        moved = (before[name] - weight.detach().double()) / PROBE
        scale = truth[name].abs().max().clamp_min(1e-30)
        off = max(off, float((moved - truth[name]).abs().max() / scale))
    losses = abs(stats.loss / clean - 1) + abs(stats.adv_loss - worst) / max(worst, 1.0)
    return [
        same(OURS, "gradient", off, LIMIT, "largest difference ÷ largest entry of its table"),
        same(OURS, "losses", losses, 1e-5, "relative difference"),
    ]


def _visual_truth(
    weights: dict[str, Tensor], features: Tensor, batch: Tensor, adversarial: bool
) -> tuple[float, float, dict[str, Tensor]]:
    """Loss, loss under the worst features, and the gradient of their sum; all of it dense."""
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    user, positive, negative = batch

    def loss(content: Tensor) -> Tensor:
        difference = content[positive] - content[negative]
        p, own = leaves["users"][user], leaves["items"]
        margin = (p * (own[positive] - own[negative])).sum(1)
        by_content = difference @ leaves["projection"]
        if "users_visual" not in leaves:
            margin = margin + (p * by_content).sum(1)
        else:
            bias = leaves["items_bias"]
            margin = margin + (leaves["users_visual"][user] * by_content).sum(1)
            margin = margin + (bias[positive] - bias[negative]).squeeze(1)
            margin = margin + (difference @ leaves["projection_bias"]).squeeze(1)
        return functional.softplus(-margin).sum()

    content = features.clone().requires_grad_()
    clean = loss(content)
    total, worst = clean, 0.0
    if adversarial:
        (gamma,) = torch.autograd.grad(clean, content, retain_graph=True)
        perturbed = loss(features + 0.1 * unit_rows(gamma))
        total, worst = clean + perturbed, float(perturbed.detach())
    found = torch.autograd.grad(total, list(leaves.values()))
    return float(clean.detach()), worst, dict(zip(leaves, found, strict=True))


def _cdae(lab: Lab, data: Dataset) -> Table:
    table = Table(
        f"CDAE, d = {DIM}, batch {USERS} users",
        UNIT,
        targets=[Target("CDAE at least as fast as RecBole's", 1, (RECBOLE,))],
        note="Both with Adam, the cross-entropy of all items, and half of the input dropped. "
        "RecBole makes a dense row of its input for each user, advrec sums the rows of its items.",
    )
    options = {
        "model": "cdae",
        "dim": DIM,
        "batch_size": USERS,
        "optimizer": "adam",
        "lr": 1e-3,
        "options": {"corruption": 0.5},
    }
    ours = _Epochs(data, **options)
    table.checks.append(_cdae_check(ours.model, data))
    contenders = [Contender(OURS, ours.epoch)]

    def recbole() -> object:
        from bench.peers.recbole_cdae import RecBoleCDAE

        folder = lab.scratch / "recbole-cdae"
        return RecBoleCDAE(data, folder, dim=DIM, batch_size=USERS, lr=1e-3)

    peer = lab.peer("recbole:cdae", recbole, table.missing)
    if peer is not None:
        contenders.append(Contender(RECBOLE, peer.epoch))
    table.timings = lab.race(contenders)
    return table


def _cdae_check(model: Recommender, data: Dataset) -> Check:
    """The losses of some users compared with those of dense rows in float64, without dropout."""
    users = torch.arange(min(USERS, data.n_users))
    dense = torch.zeros(len(users), data.n_items, dtype=torch.float64)
    for user in users.tolist():
        dense[user, torch.from_numpy(data.train.of(user)).long()] = 1
    w = {name: weight.detach().double() for name, weight in model.named_parameters()}
    hidden = torch.sigmoid(dense @ w["encoder"] + w["user"][users] + w["hidden_bias"])
    logits = hidden @ w["decoder"].T + w["item_bias"].flatten()
    truth = functional.binary_cross_entropy_with_logits(logits, dense, reduction="none").sum(1)
    with torch.no_grad():
        found = model.eval().losses(users.int().unsqueeze(0))
    model.train()
    off = float((found.double() - truth).abs().max() / truth.abs().max())
    return same(OURS, "losses", off, 1e-5, "largest difference ÷ largest")
