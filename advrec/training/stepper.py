"""Whoever makes the optimiser's steps: one interface, and the tier that works for any model.

The other tier, `training.fused`, makes the same steps for MF and LightGCN in one native call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch import Tensor

from advrec import ops
from advrec.errors import RunError
from advrec.robustness.objective import Terms, adversarial_step_loss

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.ops.positives import Positives

ADAGRAD_START: Final = 0.1
"""Initial Σ g² of Adagrad: TensorFlow's, which the official APR code trains with."""

OPT_EPS: Final = {"sgd": 0.0, "adagrad": 1e-10, "adam": 1e-8, "sparse_adam": 1e-8}
"""What each optimiser adds to its denominator: torch.optim's values."""

N_STATES: Final = {"sgd": 0, "adagrad": 1, "adam": 2, "sparse_adam": 2}
"""State tensors a parameter has. Adagrad: Σ g²; Adam: mean of g, mean of g²."""


@dataclass(frozen=True)
class StepStats:
    """What some steps did. Losses are summed over their triplets, as they were before each step."""

    loss: float
    adv_loss: float
    triplets: int


class Stepper(Protocol):
    """Trains a model in place; what a resumed training needs comes from `state`.

    Optimiser state: "steps", an int64 [] count of the steps made, and beside it "state1", "state2"
    for a model whose one parameter is `embedding`, else "NAME.state1", … for each parameter.
    Every tier uses the same names, so a run may change tier.
    """

    @property
    def total_steps(self) -> int:
        """Steps of an epoch."""
        ...

    @property
    def grain(self) -> int:
        """Steps to ask for in one `run`: few enough to stop between two calls.

        A fixed number, never a measured time: sums of losses then do not depend on speed, or on
        where a run was interrupted.
        """
        ...

    def run(self, epoch: int, first_step: int, steps: int) -> StepStats:
        """Make steps first_step … first_step + steps − 1 of the sampler's epoch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The optimiser's state; the weights are the model's."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`. RunError when it is not one of this model and optimiser."""
        ...


class ComposableStepper:
    """Draws a batch, takes autograd's gradient of the objective, makes the optimiser's step.

    Any model, norm and site. sgd and adagrad leave rows whose gradient is zero as they are, and so
    does sparse_adam; of a table that a model gathers from (`Recommender.gather`) these three look
    at the gathered rows alone.
    """

    def __init__(self, model: Recommender, positives: Positives, config: ResolvedConfig) -> None:
        self._model = model
        self._config = config
        if model.batch_kind == "users":
            self._drawn, self._negatives, self._mode = _each_user_once(positives), 1, "pairs"
        else:
            self._drawn, self._negatives = positives, config.negatives
            self._mode = config.sampling
        self._names = [name for name, _ in model.named_parameters()]
        self._params = [param for _, param in model.named_parameters()]
        self._rates = [config.lr_of(name) for name in self._names]
        self._steps = 0
        count = N_STATES[config.optimizer]
        start = ADAGRAD_START if config.optimizer == "adagrad" else 0.0
        self._states = [
            [torch.full_like(param, start, requires_grad=False) for _ in range(count)]
            for param in self._params
        ]

    @property
    def examples(self) -> int:
        """Triplets (or users) of an epoch."""
        return len(self._drawn) * self._negatives

    @property
    def total_steps(self) -> int:
        """Steps of an epoch; the last may be smaller."""
        return -(-self.examples // self._config.batch_size)

    @property
    def grain(self) -> int:
        """One step outlasts Python; only on a GPU would reading the loss after each stall it."""
        return 1 if self._params[0].device.type == "cpu" else 16

    def run(self, epoch: int, first_step: int, steps: int) -> StepStats:
        """As `Stepper.run`."""
        device = self._params[0].device
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        triplets = 0
        for step in range(first_step, first_step + steps):
            batch = self._batch(epoch, step)
            self._model.draw = (self._config.seed, epoch, step)
            self._model.sparse_gradients = self._config.optimizer != "adam"  # adam moves all rows
            try:
                terms = self._step(batch)
            finally:
                self._model.sparse_gradients = False
            size = batch.shape[-1]
            both = torch.stack([terms.clean.detach(), terms.adversarial.detach()]).double()
            sums += both * (size if self._config.reduction == "mean" else 1)
            triplets += size
        loss, adv_loss = sums.tolist()
        return StepStats(loss, adv_loss, triplets)

    def state(self) -> dict[str, Tensor]:
        """As `Stepper.state`."""
        state = {"steps": torch.tensor(self._steps, dtype=torch.int64)}
        for name, tensors in zip(self._names, self._states, strict=True):
            for number, tensor in enumerate(tensors, start=1):
                state[self._key(name, number)] = tensor.clone()
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """As `Stepper.load_state`."""
        check_state(state, self.state())
        self._steps = int(state["steps"])
        for name, tensors in zip(self._names, self._states, strict=True):
            for number, tensor in enumerate(tensors, start=1):
                tensor.copy_(state[self._key(name, number)])

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
            mode=self._mode,
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
        grads = torch.autograd.grad(terms.total, self._params, allow_unused=True)
        self._steps += 1
        for index, grad in enumerate(grads):
            dense = torch.zeros_like(self._params[index]) if grad is None else grad
            self._update(index, dense)
        return terms

    def _update(self, index: int, grad: Tensor) -> None:
        if grad.is_sparse:
            grad = grad.coalesce()
            self._move(index, grad.values(), grad.indices()[0])
        elif self._config.optimizer == "sparse_adam":
            rows = grad.reshape(len(grad), -1).any(dim=1).nonzero().flatten()
            self._move(index, grad[rows], rows)
        else:
            self._move(index, grad, None)

    def _move(self, index: int, grad: Tensor, rows: Tensor | None) -> None:
        """The optimiser's step on one parameter, or on some of its rows."""
        param, states = self._params[index].detach(), self._states[index]
        state1, state2 = (*states, None, None)[:2]
        ops.optimizer_step_(
            self._config.optimizer,
            param,
            grad,
            state1,
            state2,
            step=self._steps,
            lr=self._rates[index],
            opt_eps=OPT_EPS[self._config.optimizer],
            rows=rows,
        )

    def _key(self, name: str, number: int) -> str:
        return f"state{number}" if self._names == ["embedding"] else f"{name}.state{number}"


def check_state(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """RunError unless both hold tensors of the same names and shapes."""
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    if found != wanted:
        raise RunError(f"The optimiser state holds {found}, wanted {wanted}.")


def _each_user_once(positives: Positives) -> Positives:
    """Every active user as one pair: the sampler then goes through them in an epoch's order."""
    users = positives.active_users
    first_items = positives.items[positives.indptr[users.long()]]
    return replace(positives, pair_users=users, pair_items=first_items)
