"""One step of an optimizer on a whole table or on a few of its rows, in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from advrec.ops.optimizers import BETAS, OPTIMIZERS


@dataclass(frozen=True)
class Step:
    """The numbers of one step."""

    number: int  # 1 for the first; Adam's bias correction
    lr: float
    beta1: float
    beta2: float
    opt_eps: float

    @property
    def bias(self) -> tuple[float, float]:
        """What the means m and v of Adam are divided by."""
        return 1 - self.beta1**self.number, 1 - self.beta2**self.number


@torch.no_grad()
def optimizer_step_(
    optimizer: str,
    param: Tensor,  # [R, d], changed
    grad: Tensor,  # [R, d]; [T, d] with rows
    state1: Tensor | None,  # [R, d], changed: Adagrad Σ g², Adam m; None for sgd
    state2: Tensor | None,  # [R, d], changed: Adam v; None otherwise
    *,
    step: int,  # 1 for the first; Adam's bias correction
    lr: float,
    beta1: float = BETAS[0],
    beta2: float = BETAS[1],
    opt_eps: float,
    rows: Tensor | None = None,  # [T] int: distinct rows that grad belongs to
) -> None:
    """One step as torch.optim's SGD, Adagrad, Adam or SparseAdam makes it.

    With `rows`, every other row of param and of the states stays as it is: for sgd and adagrad that
    is the dense step on a gradient of zeros elsewhere; for adam it is not, its averages decay.
    sparse_adam differs from adam in where opt_eps is added: to √v before the bias is corrected.
    Raises ValueError for another optimizer, a missing state or shapes that do not fit.
    """
    if optimizer not in STEPS:
        raise ValueError(f"unknown optimizer {optimizer!r}: choose {', '.join(STEPS)}")
    count = OPTIMIZERS[optimizer].states
    for name, state in (("state1", state1), ("state2", state2))[:count]:
        if state is None or state.shape != param.shape:
            shape = "missing" if state is None else str(tuple(state.shape))
            raise ValueError(f"{name} of {optimizer} is {shape}, expected {tuple(param.shape)}")
    expected = param.shape if rows is None else (rows.numel(), *param.shape[1:])
    if grad.shape != expected:
        raise ValueError(f"grad is {tuple(grad.shape)}, expected {tuple(expected)}")
    numbers = Step(step, lr, beta1, beta2, opt_eps)
    tensors = [param, *(state for state in (state1, state2)[:count] if state is not None)]
    if rows is None:
        STEPS[optimizer](numbers, grad, *tensors)
        return
    index = rows.long()
    part = [tensor[index] for tensor in tensors]
    STEPS[optimizer](numbers, grad, *part)
    for tensor, changed in zip(tensors, part, strict=True):
        tensor[index] = changed


def _sgd(step: Step, grad: Tensor, param: Tensor) -> None:
    param.sub_(step.lr * grad)


def _adagrad(step: Step, grad: Tensor, param: Tensor, squares: Tensor) -> None:
    squares.add_(grad.square())
    param.sub_(step.lr * grad / (squares.sqrt() + step.opt_eps))


def _adam(step: Step, grad: Tensor, param: Tensor, m: Tensor, v: Tensor) -> None:
    _decay(step, grad, m, v)
    bias1, bias2 = step.bias
    param.sub_(step.lr / bias1 * m / (v.sqrt() / bias2**0.5 + step.opt_eps))


def _sparse_adam(step: Step, grad: Tensor, param: Tensor, m: Tensor, v: Tensor) -> None:
    _decay(step, grad, m, v)
    bias1, bias2 = step.bias
    param.sub_(step.lr * bias2**0.5 / bias1 * m / (v.sqrt() + step.opt_eps))


def _decay(step: Step, grad: Tensor, m: Tensor, v: Tensor) -> None:
    m.mul_(step.beta1).add_((1 - step.beta1) * grad)
    v.mul_(step.beta2).add_((1 - step.beta2) * grad.square())


STEPS: Final[Mapping[str, Callable[..., None]]] = {
    "sgd": _sgd,
    "adagrad": _adagrad,
    "adam": _adam,
    "sparse_adam": _sparse_adam,
}
