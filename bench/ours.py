"""advrec's own side of a comparison of training steps: the stepper that `advrec pretrain` uses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from advrec.config.resolve import resolve
from advrec.config.train import ResolvedConfig, TrainConfig
from advrec.models import ModelSpec, Recommender, create, model_class
from advrec.training.stepper import Stepper
from advrec.training.tiers import make_stepper
from advrec.validation import parse
from bench.objective import Setting, Step
from bench.workload import Workload

PROBE = 2.0**14
"""Learning rate of the step from which a gradient is read: a power of two, so that it is exact, and
so large that the weights' own rounding does not hide it."""


def configured(**options: Any) -> ResolvedConfig:
    """The options of a training as `advrec pretrain` or `adv-train` resolves them."""
    config = parse(TrainConfig, options, "a benchmark")
    return resolve(config, model_class(config.model))


def embedding_of(model: Recommender) -> Tensor:  # [N, d], users first
    """The one table of MF and LightGCN, as it is now."""
    return model.get_parameter("embedding").detach()


class Ours:
    """A model of advrec with the embedding that all contenders start from."""

    def __init__(
        self,
        work: Workload,
        setting: Setting,
        *,
        model: str,
        batch_size: int,
        optimizer: str,
        sampling: str,
        precision: str = "float32",
    ) -> None:
        self._work, self._setting, self._name = work, setting, model
        self._precision = precision
        self._batch_size = min(batch_size, len(work.positives))
        self._optimizer, self._sampling = optimizer, sampling
        self.model, self.stepper = self._made(setting.lr, optimizer)
        self.calls = self._parts()

    def _made(self, lr: float, optimizer: str) -> tuple[Recommender, Stepper]:
        work, setting = self._work, self._setting
        options: dict[str, Any] = {
            "model": self._name,
            "dim": work.dim,
            "batch_size": self._batch_size,
            "lr": lr,
            "optimizer": optimizer,
            "reg": setting.reg,
            "sampling": self._sampling,
            "reduction": "mean" if setting.mean else "sum",
            "site": setting.site,
            "precision": self._precision,
        }
        if self._name == "lightgcn":
            options["layers"] = work.layers
        if setting.adv_weight > 0:
            options |= {"phase": "adversarial", "eps": setting.eps}
            options["adv_weight"] = setting.adv_weight
        config = configured(**options)
        spec = ModelSpec(
            n_users=work.n_users,
            n_items=work.n_items,
            dim=work.dim,
            layers=config.layers,
            graph=work.graph,
            positives=work.positives,
            options=config.options,
        )
        model = create(self._name, spec)
        with torch.no_grad():
            embedding_of(model).copy_(work.embedding)
        return model, make_stepper(model, work.positives, config)

    @property
    def work_of_a_call(self) -> int:
        """Steps that one call makes: as many as training asks for at once."""
        return min(self.stepper.grain, self.stepper.total_steps)

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Whole calls, over and over: (epoch, first step)."""
        size = self.work_of_a_call
        starts = range(0, self.stepper.total_steps - size + 1, size)
        return cycle([(0, start) for start in starts])

    def steps(self) -> object:
        """One call: some steps, their triplets drawn within it."""
        epoch, first = next(self.calls)
        return self.stepper.run(epoch, first, self.work_of_a_call)

    def look(self) -> Step:
        """The first step of epoch 0, at the start embedding."""
        model, stepper = self._made(PROBE, "sgd")
        stats = stepper.run(0, 0, 1)
        gradient = (self._work.embedding.double() - embedding_of(model).double()) / PROBE
        share = stats.triplets if self._setting.mean else 1
        return Step(stats.loss / share, stats.adv_loss / share, gradient)

    def after(self, steps: int, *, epoch: int) -> Tensor:  # [N, d]
        """The embedding after the first steps of an epoch, from the start."""
        model, stepper = self._made(self._setting.lr, self._optimizer)
        stepper.run(epoch, 0, steps)
        return embedding_of(model)

    def first_batch(self) -> Tensor:  # [3, B] int64
        """The triplets of that step."""
        return self._work.batches(self._batch_size, 1, sampling=self._sampling)[0]
