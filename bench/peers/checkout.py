"""Checkouts of research code, given by path: imported as they are, without copies here.

They expect to be run as programs in their own folder, so what they look for at import (arguments,
module names) is provided for that moment.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from argparse import Namespace
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.objective import Setting, Step
from bench.workload import Workload


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """Imports come from `folder` first; no arguments; nothing is printed."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.path.remove(str(folder))
        sys.argv = arguments


class _TwoTables:
    """A model with embedding_user and embedding_item, and a loss for a batch."""

    model: Any

    def _start(self, work: Workload, lr: float) -> None:
        with torch.no_grad():
            self.model.embedding_user.weight.copy_(work.embedding[: work.n_users])
            self.model.embedding_item.weight.copy_(work.embedding[work.n_users :])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)

    def losses(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is minimised, the clean and the adversarial loss."""
        raise NotImplementedError

    def look(self, batch: Tensor) -> Step:
        self.optimizer.zero_grad()
        total, clean, adversarial = self.losses(batch)
        self.optimizer.zero_grad()
        total.backward()
        weights = (self.model.embedding_user.weight, self.model.embedding_item.weight)
        gradient = torch.cat([weight.grad for weight in weights])
        return Step(float(clean.detach()), float(adversarial.detach()), gradient)

    def step(self, batch: Tensor) -> None:
        total = self.losses(batch)[0]
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()


class LightGcnPytorch(_TwoTables):
    """gusye1234/LightGCN-PyTorch: its model, its loss, its sampler."""

    def __init__(self, work: Workload, setting: Setting, folder: Path) -> None:
        train = work.dataset.train
        self._reg = setting.reg
        self._data = Namespace(
            n_users=work.n_users,
            m_items=work.n_items,
            trainDataSize=len(train),
            allPos=[train.of(user) for user in range(work.n_users)],
            getSparseGraph=work.torch_coo,
        )
        with within(folder / "code"):
            world = importlib.import_module("world")
            lightgcn = importlib.import_module("model")
            self._utils = importlib.import_module("utils")
            options = {
                **world.config,
                "latent_dim_rec": work.dim,
                "lightGCN_n_layers": work.layers,
                "pretrain": 0,
                "dropout": 0,
                "A_split": False,
            }
            self.model = lightgcn.LightGCN(options, self._data)
        self.sampler = "C++" if self._utils.sample_ext else "Python"
        self._start(work, setting.lr)

    def losses(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        clean, penalty = self.model.bpr_loss(*batch)
        return clean + self._reg * penalty, clean, torch.zeros(())

    def sample(self) -> np.ndarray:
        """An epoch's triplets."""
        with contextlib.redirect_stdout(io.StringIO()):
            return np.asarray(self._utils.UniformSample_original(self._data))


class RsZoos(_TwoTables):
    """ChadsLee/RS_Zoos: ALGN, LightGCN with APR at the embedding."""

    def __init__(self, work: Workload, setting: Setting, batch_size: int, folder: Path) -> None:
        spec = spec_from_file_location("rs_zoos_algn", folder / "model" / "ALGN.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        options = Namespace(
            device=torch.device("cpu"),
            embed_size=work.dim,
            batch_size=batch_size,
            regs=f"[{setting.reg * batch_size}]",  # it divides by the batch's size twice
            node_dropout=[0.0],
            mess_dropout=[0.0],
            layer_size=str([work.dim] * work.layers),
            reg_adv=setting.adv_weight,
            eps=setting.eps,
        )
        with within(folder):
            spec.loader.exec_module(module)
            adjacency = work.adjacency.astype(np.float32)
            self.model = module.ALGN(work.n_users, work.n_items, adjacency, options)
        self._weight = setting.adv_weight
        self._start(work, setting.lr)

    def losses(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total, clean, adversarial = self.model.create_apr_loss(*batch)
        return total, clean, adversarial / self._weight
