"""The tier for every model, norm and site: autograd's gradient, then the optimizer's step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from advrec import ops
from advrec.ops import OPTIMIZERS
from advrec.robustness.objective import Terms, adversarial_step_loss
from advrec.training.stepper import OptimizerState, Sizes, StepStats

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.ops.positives import Positives


class ComposableStepper:
    """Draws a batch, takes autograd's gradient of the objective, makes the optimizer's step.

    sgd and adagrad leave rows whose gradient is zero as they are, and so does sparse_adam; of a
    table that a model gathers from (`Recommender.gather`) these three only look at the gathered
    rows.
    """

    def __init__(self, model: Recommender, positives: Positives, config: ResolvedConfig) -> None:
        self._model = model
        self._config = config
        self._optimizer = OPTIMIZERS[config.optimizer]
        if model.batch_kind == "users":
            self._drawn, self._negatives, self._sampling = _each_user_once(positives), 1, "pairs"
        else:
            self._drawn, self._negatives = positives, config.negatives
            self._sampling = config.sampling
        self._params = dict(model.named_parameters())
        self._rates = {name: config.lr_of(name) for name in self._params}
        self._state = OptimizerState(self._params, config.optimizer)
        self._device = next(iter(self._params.values())).device

    @staticmethod
    def supports(
        kind: type[Recommender],  # noqa: ARG004 - any
        config: ResolvedConfig,
    ) -> bool:
        """Everything but bfloat16, which is a way to store what the core's kernels gather."""
        return config.precision != "bf16"

    @staticmethod
    def step_bytes(
        kind: type[Recommender],  # noqa: ARG004 - any
        config: ResolvedConfig,
        sizes: Sizes,
    ) -> int:
        """Dense gradients, and activations."""
        return 2 * sizes.weights + 2 * sizes.table(config)

    @property
    def examples(self) -> int:
        """Triplets (or users) per epoch."""
        return len(self._drawn) * self._negatives

    @property
    def total_steps(self) -> int:
        """Steps per epoch; the last may be smaller."""
        return -(-self.examples // self._config.batch_size)

    @property
    def grain(self) -> int:
        """A step outlasts its call; only a GPU would stall if each loss were read at once."""
        return 1 if self._device.type == "cpu" else 16

    def run(self, epoch: int, first_step: int, steps: int) -> StepStats:
        """As `Stepper.run`."""
        sums = torch.zeros(2, dtype=torch.float64, device=self._device)
        triplets = 0
        sparse = not self._optimizer.moves_untouched_rows
        for step in range(first_step, first_step + steps):
            batch = self._batch(epoch, step)
            key = (self._config.seed, epoch, step)
            with self._model.training_step(rng_key=key, sparse_gradients=sparse):
                terms = self._step(batch)
            size = batch.shape[-1]
            both = torch.stack([terms.clean.detach(), terms.adversarial.detach()]).double()
            sums += both * (size if self._config.reduction == "mean" else 1)
            triplets += size
        loss, adv_loss = sums.tolist()
        return StepStats(loss, adv_loss, triplets)

    def state(self) -> dict[str, Tensor]:
        """As `Stepper.state`."""
        return self._state.copy()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """As `Stepper.load_state`."""
        self._state.load(state)

    def _batch(self, epoch: int, step: int) -> Tensor:  # [3, B] int32 triplets, or [1, B] users
        config = self._config
        first = step * config.batch_size
        batch = ops.sample_triplets(
            self._drawn,
            seed=config.seed,
            epoch=epoch,
            first=first,
            count=min(config.batch_size, self.examples - first),
            negatives=self._negatives,
            sampling=self._sampling,
        )
        return batch[:1] if self._model.batch_kind == "users" else batch

    def _step(self, batch: Tensor) -> Terms:
        config = self._config
        terms = adversarial_step_loss(
            self._model,
            batch,
            site=config.site,
            norm=config.norm,
            eps=config.eps,
            adv_weight=config.adv_weight,
            site_eps=config.site_eps,
            site_adv_weight=config.site_adv_weight,
            reg=config.reg,
            reduction=config.reduction,
        )
        grads = torch.autograd.grad(terms.total, list(self._params.values()), allow_unused=True)
        self._state.steps += 1
        for (name, param), grad in zip(self._params.items(), grads, strict=True):
            self._update(name, torch.zeros_like(param) if grad is None else grad)
        return terms

    def _update(self, name: str, grad: Tensor) -> None:
        if grad.is_sparse:
            grad = grad.coalesce()
            self._move(name, grad.values(), grad.indices()[0])
        elif self._optimizer.skips_untouched_rows:
            rows = grad.reshape(len(grad), -1).any(dim=1).nonzero().flatten()
            self._move(name, grad[rows], rows)
        else:
            self._move(name, grad, None)

    def _move(self, name: str, grad: Tensor, rows: Tensor | None) -> None:
        """The optimizer's step on one parameter, or on some of its rows."""
        ops.optimizer_step_(
            self._config.optimizer,
            self._params[name].detach(),
            grad,
            *self._state.of(name),
            step=self._state.steps,
            lr=self._rates[name],
            opt_eps=self._optimizer.opt_eps,
            rows=rows,
        )


def _each_user_once(positives: Positives) -> Positives:
    """Every active user as one pair: the sampler then goes through them in an epoch's order."""
    users = positives.active_users
    first_items = positives.items[positives.indptr[users.long()]]
    return replace(positives, pair_users=users, pair_items=first_items)
