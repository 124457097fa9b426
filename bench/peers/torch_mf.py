"""Matrix factorisation with BPR and APR in plain torch: the obvious way, and by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.objective import Setting, Step, bpr, rows_of, unit_rows
from bench.workload import Workload

ADAGRAD_START = 0.1  # as in the code of APR


def _optimizer(kind: str, table: nn.Parameter, lr: float) -> torch.optim.Optimizer:
    if kind == "adagrad":
        return torch.optim.Adagrad([table], lr=lr, initial_accumulator_value=ADAGRAD_START)
    return torch.optim.Adam([table], lr=lr, fused=table.dtype == torch.float32)


class Plain:
    """One embedding table, autograd, torch's optimiser. `sparse`: gradients of the touched rows.

    In float64 it is the reference for every contender.
    """

    def __init__(
        self,
        work: Workload,
        setting: Setting,
        optimizer: str,
        *,
        sparse: bool,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._setting, self._n_users = setting, work.n_users
        start = work.embedding.to(dtype, copy=True)
        self._embed = nn.Embedding.from_pretrained(start, freeze=False, sparse=sparse)
        self._optimizer = _optimizer(optimizer, self._embed.weight, setting.lr)

    @property
    def table(self) -> Tensor:
        return self._embed.weight.detach()

    def look(self, batch: Tensor) -> Step:
        total, clean, adversarial = self._losses(batch)
        (gradient,) = torch.autograd.grad(total, self._embed.weight)
        return Step(float(clean.detach()), float(adversarial.detach()), gradient.to_dense())

    def step(self, batch: Tensor) -> None:
        self._optimizer.zero_grad()
        self._losses(batch)[0].backward()
        self._optimizer.step()

    def _losses(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        setting, rows = self._setting, rows_of(batch, self._n_users)
        vectors = self._embed(rows)
        clean = bpr(*vectors.chunk(3), mean=setting.mean)
        share = batch.shape[1] if setting.mean else 1
        total = clean
        if setting.reg:
            total = total + setting.reg * vectors.square().sum() / 2 / share
        adversarial = torch.zeros_like(clean)
        if setting.adv_weight:
            weight = self._embed.weight
            (gamma,) = torch.autograd.grad(clean, weight, retain_graph=True)
            noise = setting.eps * unit_rows(_summed(gamma))
            adversarial = bpr(*(vectors + noise[rows]).chunk(3), mean=setting.mean)
            total = total + setting.adv_weight * adversarial
        return total, clean, adversarial


def _summed(gradient: Tensor) -> Tensor:
    """A dense table of gradients; a row that is in the batch more than once gets their sum."""
    return gradient.coalesce().to_dense() if gradient.is_sparse else gradient


class ByHand:
    """Only the batch's rows: numbered with `unique`, gathered once, perturbed and updated there."""

    def __init__(self, work: Workload, setting: Setting, optimizer: str) -> None:
        self._setting, self._n_users, self._kind = setting, work.n_users, optimizer
        self.table = work.embedding.clone()
        self._squares = torch.full_like(self.table, ADAGRAD_START)
        self._parameter = nn.Parameter(self.table)
        self._optimizer = _optimizer("adam", self._parameter, setting.lr)

    def look(self, batch: Tensor) -> Step:
        rows, step = self._step(batch)
        gradient = torch.zeros_like(self.table).index_copy_(0, rows, step.gradient)
        return Step(step.clean, step.adversarial, gradient)

    def step(self, batch: Tensor) -> None:
        rows, step = self._step(batch)
        gradient = step.gradient
        with torch.no_grad():
            if self._kind == "adagrad":
                squares = self._squares.index_select(0, rows).addcmul_(gradient, gradient)
                self._squares.index_copy_(0, rows, squares)
                change = gradient.div_(squares.sqrt_().add_(1e-10))
                self.table.index_add_(0, rows, change, alpha=-self._setting.lr)
            else:
                dense = torch.zeros_like(self.table).index_copy_(0, rows, gradient)
                self._parameter.grad = dense
                self._optimizer.step()

    def _step(self, batch: Tensor) -> tuple[Tensor, Step]:
        setting = self._setting
        rows, places = rows_of(batch, self._n_users).unique(return_inverse=True)
        with torch.no_grad():
            own = self.table.index_select(0, rows)
        clean, gradient = self._gradient(own, places)
        adversarial = torch.zeros(())
        with torch.no_grad():
            if setting.adv_weight:
                moved = torch.add(own, unit_rows(gradient), alpha=setting.eps)
                adversarial, more = self._gradient(moved, places)
                gradient.add_(more, alpha=setting.adv_weight)
            if setting.reg:
                share = batch.shape[1] if setting.mean else 1
                times = torch.bincount(places, minlength=len(rows)).unsqueeze(1)
                gradient.addcmul_(own, times.to(own.dtype), value=setting.reg / share)
        return rows, Step(float(clean), float(adversarial), gradient)

    def _gradient(self, vectors: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        leaf = vectors.detach()[places].requires_grad_()
        with torch.enable_grad():
            loss = bpr(*leaf.chunk(3), mean=self._setting.mean)
            (by_place,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), torch.zeros_like(vectors).index_add_(0, places, by_place)
