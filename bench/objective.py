"""What a training step must compute, the same for all contenders, and how far off each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from bench.lab import same
from bench.results import Check


@dataclass(frozen=True)
class Setting:
    """The settings of a training step. adv_weight 0 is BPR."""

    lr: float = 1e-3
    reg: float = 1e-4  # γ, on the batch's rows before propagation, divided by the batch's size
    adv_weight: float = 0.0
    eps: float = 0.5
    site: str = "ego"  # ego: before the propagation; final: after it
    mean: bool = True


class Step(NamedTuple):
    """What a step computes before it changes anything."""

    clean: float  # BPR loss of the batch
    adversarial: float  # the same at Θ + Δ, 0 without
    gradient: Tensor  # [N, d], users first: of everything that is minimised


class Trainer(Protocol):
    """A contender that trains."""

    def look(self, batch: Tensor) -> Step:
        """Losses and gradient of a batch [3, B] at the start embedding; changes nothing."""
        ...

    def step(self, batch: Tensor) -> object:
        """One step of the optimiser on a batch."""
        ...


def bpr(users: Tensor, positive: Tensor, negative: Tensor, *, mean: bool) -> Tensor:
    """softplus(−(p·q_i − p·q_j)), mean or sum over the batch."""
    losses = functional.softplus((users * (negative - positive)).sum(1))
    return losses.mean() if mean else losses.sum()


def unit_rows(x: Tensor) -> Tensor:
    """Rows of length 1; zero rows stay."""
    return functional.normalize(x, dim=1, eps=torch.finfo(x.dtype).tiny)


def rows_of(batch: Tensor, n_users: int) -> Tensor:  # [3B]: u, U+i, U+j
    return torch.cat([batch[0], batch[1] + n_users, batch[2] + n_users])


GRADIENT_LIMIT = 1e-4
"""Of the largest entry. float32 rounds by 6e-8; sums over up to some thousand neighbours in three
layers (√terms·layers ≈ 10²), and the perturbation's direction once more, make a few 1e-6 of that,
and the float64 reference is itself compared with what was computed in single precision."""


def compare(
    who: str, found: Step, truth: Step, *, gradient: float = GRADIENT_LIMIT, losses: float = 1e-5
) -> list[Check]:
    """A float32 step compared with the float64 one of plain autograd, within limits."""
    off = (found.gradient.double() - truth.gradient).abs().max() / truth.gradient.abs().max()
    off_losses = max(
        abs(found.clean - truth.clean) / max(1.0, abs(truth.clean)),
        abs(found.adversarial - truth.adversarial) / max(1.0, abs(truth.adversarial)),
    )
    return [
        same(who, "gradient", float(off), gradient, "largest difference ÷ largest entry"),
        same(who, "losses", off_losses, losses, "relative difference"),
    ]
