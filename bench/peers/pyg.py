"""PyTorch Geometric's own LightGCN: on an edge list as in its examples, and on torch's CSR."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch_geometric.nn.models import LightGCN

from bench.objective import Setting, Step, rows_of
from bench.workload import Workload


class Geometric:
    """Its model and its loss; `form` is "csr" (Â made once) or "edges" (normalised every time)."""

    def __init__(self, work: Workload, setting: Setting, form: str) -> None:
        self._setting, self._n_users = setting, work.n_users
        self._model = LightGCN(work.n_nodes, work.dim, work.layers, normalize=form == "edges")
        if form == "csr":
            self._edges = work.torch_csr(index=torch.int64)
        else:
            coo = work.adjacency.tocoo()
            self._edges = torch.from_numpy(np.stack([coo.col, coo.row]).astype(np.int64))
        with torch.no_grad():
            self._model.embedding.weight.copy_(work.embedding)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=setting.lr)

    def look(self, batch: Tensor) -> Step:
        total, clean = self._losses(batch)
        (gradient,) = torch.autograd.grad(total, self._model.embedding.weight)
        return Step(float(clean.detach()), 0.0, gradient)

    def step(self, batch: Tensor) -> None:
        self._optimizer.zero_grad()
        self._losses(batch)[0].backward()
        self._optimizer.step()

    def _losses(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        users, positive, negative = batch[0], batch[1] + self._n_users, batch[2] + self._n_users
        pairs = torch.stack([users.repeat(2), torch.cat([positive, negative])])
        liked, other = self._model(self._edges, pairs).chunk(2)
        total = self._model.recommendation_loss(
            liked,
            other,
            node_id=rows_of(batch, self._n_users),
            lambda_reg=self._setting.reg / 2,
        )
        return total, -torch.nn.functional.logsigmoid((liked - other).detach()).mean()
