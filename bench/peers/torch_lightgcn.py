"""LightGCN in plain torch, twice: the obvious way, and as well as possible."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.objective import Setting, Step, bpr, rows_of, unit_rows
from bench.workload import Workload


class Plain:
    """COO, autograd through every product, layers stacked, torch's default Adam.

    With APR at site ego this is the method of RS_Zoos' ALGN: the clean loss (3 products), autograd
    for its gradient (3), the perturbed loss (3), autograd through both (6): 15 products per step.
    In float64 it is the reference for every gradient.
    """

    def __init__(
        self, work: Workload, setting: Setting, dtype: torch.dtype = torch.float32
    ) -> None:
        self._setting, self._layers, self._n_users = setting, work.layers, work.n_users
        self._adjacency = work.torch_coo(dtype)
        self.embedding = nn.Parameter(work.embedding.to(dtype, copy=True))
        self._optimizer = torch.optim.Adam([self.embedding], lr=setting.lr)

    def look(self, batch: Tensor) -> Step:
        total, clean, adversarial = self._losses(batch)
        (gradient,) = torch.autograd.grad(total, self.embedding)
        return Step(float(clean.detach()), float(adversarial.detach()), gradient)

    def step(self, batch: Tensor) -> None:
        self._optimizer.zero_grad()
        self._losses(batch)[0].backward()
        self._optimizer.step()

    def _propagate(self, x: Tensor) -> Tensor:
        layers = [x]
        for _ in range(self._layers):
            layers.append(torch.sparse.mm(self._adjacency, layers[-1]))
        return torch.stack(layers, dim=1).mean(dim=1)

    def _loss(self, final: Tensor, batch: Tensor) -> Tensor:
        users, items = final.split([self._n_users, len(final) - self._n_users])
        return bpr(users[batch[0]], items[batch[1]], items[batch[2]], mean=self._setting.mean)

    def _losses(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        setting, embedding = self._setting, self.embedding
        final = self._propagate(embedding)
        clean = self._loss(final, batch)
        share = batch.shape[1] if setting.mean else 1
        ego = embedding[rows_of(batch, self._n_users)]
        total = clean + setting.reg * ego.square().sum() / 2 / share
        adversarial = torch.zeros_like(clean)
        if setting.adv_weight:
            at = embedding if setting.site == "ego" else final
            (gamma,) = torch.autograd.grad(clean, at, retain_graph=True)
            moved = at + setting.eps * unit_rows(gamma)
            final = self._propagate(moved) if setting.site == "ego" else moved
            adversarial = self._loss(final, batch)
            total = total + setting.adv_weight * adversarial
        return total, clean, adversarial


class Savvy:
    """The best of plain torch: CSR with 32-bit ids, no autograd through the products (Â is
    symmetric, so the backward pass is the forward pass), a running sum for the layers, gradients of
    the batch's rows only, linearity used for APR (12 products instead of 15), fused Adam.
    """

    def __init__(self, work: Workload, setting: Setting) -> None:
        self._setting, self._layers, self._n_users = setting, work.layers, work.n_users
        self._adjacency = work.torch_csr()
        self.embedding = nn.Parameter(work.embedding.clone())
        self._optimizer = torch.optim.Adam([self.embedding], lr=setting.lr, fused=True)

    def look(self, batch: Tensor) -> Step:
        with torch.no_grad():
            return self._step(batch)

    def step(self, batch: Tensor) -> None:
        with torch.no_grad():
            self.embedding.grad = self._step(batch).gradient
            self._optimizer.step()

    def _propagate(self, x: Tensor) -> Tensor:
        hop, total = x, x.clone()
        for _ in range(self._layers):
            hop = self._adjacency @ hop
            total += hop
        return total.mul_(1 / (self._layers + 1))

    def _at_rows(self, vectors: Tensor) -> tuple[Tensor, Tensor]:  # loss, [3B, d]
        """BPR and its gradient by the batch's vectors."""
        with torch.enable_grad():
            leaf = vectors.requires_grad_()
            loss = bpr(*leaf.chunk(3), mean=self._setting.mean)
            (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def _step(self, batch: Tensor) -> Step:
        setting, embedding = self._setting, self.embedding.detach()
        rows = rows_of(batch, self._n_users)
        final = self._propagate(embedding)
        clean, at_rows = self._at_rows(final.index_select(0, rows))
        outer = torch.zeros_like(embedding).index_add_(0, rows, at_rows)
        adversarial = torch.zeros(())
        if not setting.adv_weight:
            gradient = self._propagate(outer)
        elif setting.site == "final":
            moved = final.add_(unit_rows(outer), alpha=setting.eps)
            adversarial, at_rows = self._at_rows(moved.index_select(0, rows))
            outer.index_add_(0, rows, at_rows, alpha=setting.adv_weight)
            gradient = self._propagate(outer)
        else:
            gradient = self._propagate(outer)
            moved = torch.add(embedding, unit_rows(gradient), alpha=setting.eps)
            final = self._propagate(moved)
            adversarial, at_rows = self._at_rows(final.index_select(0, rows))
            outer.zero_().index_add_(0, rows, at_rows)
            gradient.add_(self._propagate(outer), alpha=setting.adv_weight)
        share = batch.shape[1] if setting.mean else 1
        ego = embedding.index_select(0, rows)
        gradient.index_add_(0, rows, ego, alpha=setting.reg / share)
        return Step(float(clean), float(adversarial), gradient)
