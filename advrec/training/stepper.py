"""Optimizer steps: the `Stepper` interface that every tier implements, and the state they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from advrec.errors import RunError
from advrec.ops import OPTIMIZERS

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.ops.positives import Positives


@dataclass(frozen=True)
class StepStats:
    """What some steps did. Losses are summed over their triplets, as they were before each step."""

    loss: float
    adv_loss: float
    triplets: int


class Sizes(NamedTuple):
    """What the memory of a step depends on, known before there is a model."""

    number: int  # bytes of a number
    nodes: int  # U + I
    weights: int  # bytes of all tables
    batch: int  # the most triplets in a batch

    def table(self, config: ResolvedConfig) -> int:
        """Bytes of a vector for each node."""
        return self.number * self.nodes * config.dim


class Stepper(Protocol):
    """Trains a model in place; `state` has all that a resumed training needs.

    Every tier keeps its state as an `OptimizerState`, so a run may change tier.
    """

    def __init__(self, model: Recommender, positives: Positives, config: ResolvedConfig) -> None:
        """A stepper at the first step. Call only for what `supports` accepts."""
        ...

    @staticmethod
    def supports(kind: type[Recommender], config: ResolvedConfig) -> bool:
        """Can this tier train such a model with these options on `config.device`?"""
        ...

    @staticmethod
    def step_bytes(kind: type[Recommender], config: ResolvedConfig, sizes: Sizes) -> int:
        """Memory that a step takes in addition to weights, optimizer and graph; an estimate."""
        ...

    @property
    def total_steps(self) -> int:
        """Steps per epoch."""
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
        """The optimizer's state; the weights are the model's."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state`. RunError when it is not one of this model and optimizer."""
        ...


class OptimizerState:
    """The steps made, and the state tensors of each parameter.

    As a mapping: "steps", an int64 [] count, and "state1", "state2" for a model whose one parameter
    is `embedding`, else "NAME.state1", … for each parameter.
    """

    def __init__(self, params: Mapping[str, Tensor], optimizer: str) -> None:
        known = OPTIMIZERS[optimizer]
        self.steps = 0
        self._tensors = {
            name: [
                torch.full_like(param, known.start, requires_grad=False)
                for _ in range(known.states)
            ]
            for name, param in params.items()
        }

    def of(self, name: str) -> tuple[Tensor | None, Tensor | None]:
        """The first and the second state tensor of a parameter, as operators take them."""
        state1, state2 = (*self._tensors[name], None, None)[:2]
        return state1, state2

    def copy(self) -> dict[str, Tensor]:
        """A copy of all of it."""
        tensors = {name: tensor.clone() for name, tensor in self._named().items()}
        return {"steps": torch.tensor(self.steps, dtype=torch.int64), **tensors}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a `copy`; RunError unless it has the same names and shapes."""
        own = {"steps": torch.tensor(0), **self._named()}
        given_shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        own_shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
        if given_shapes != own_shapes:
            raise RunError(f"the optimizer state holds {given_shapes}, expected {own_shapes}")
        self.steps = int(state["steps"])
        for name, tensor in self._named().items():
            tensor.copy_(state[name])

    def _named(self) -> dict[str, Tensor]:
        alone = list(self._tensors) == ["embedding"]
        return {
            f"state{number}" if alone else f"{name}.state{number}": tensor
            for name, tensors in self._tensors.items()
            for number, tensor in enumerate(tensors, start=1)
        }


def budget(config: ResolvedConfig) -> tuple[float, float]:
    """ε and λ of a training that perturbs one site: the site's own, or else those of all sites."""
    eps = config.site_eps.get(config.site, config.eps)
    return eps, config.site_adv_weight.get(config.site, config.adv_weight)
