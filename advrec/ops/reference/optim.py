"""One step of an optimiser on a whole table or on a few of its rows, in place."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

KINDS: Final = ("sgd", "adagrad", "adam", "sparse_adam")


@torch.no_grad()
def optimizer_step_(
    kind: str,
    param: Tensor,  # [R, d], changed
    grad: Tensor,  # [R, d]; [T, d] with rows
    state1: Tensor | None,  # [R, d], changed: Adagrad Σ g², Adam m; None for sgd
    state2: Tensor | None,  # [R, d], changed: Adam v; None otherwise
    *,
    step: int,  # 1 for the first; Adam's bias correction
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    opt_eps: float,
    rows: Tensor | None = None,  # [T] int: distinct rows that grad belongs to
) -> None:
    """One step as torch.optim's SGD, Adagrad, Adam or SparseAdam makes it.

    With `rows`, every other row of param and of the states stays as it is: for sgd and adagrad that
    is the dense step on a gradient of zeros elsewhere; for adam it is not, its averages decay.
    sparse_adam differs from adam in where opt_eps goes: beside √v before the bias is corrected.
    Raises ValueError for another kind, a missing state or shapes that do not fit.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, wanted one of {', '.join(KINDS)}")
    for name, state, users in (
        ("state1", state1, KINDS[1:]),
        ("state2", state2, KINDS[2:]),
    ):
        if kind in users and (state is None or state.shape != param.shape):
            found = "missing" if state is None else str(tuple(state.shape))
            raise ValueError(f"{name} of {kind} is {found}, wanted {tuple(param.shape)}")
    wanted = param.shape if rows is None else (rows.numel(), *param.shape[1:])
    if grad.shape != wanted:
        raise ValueError(f"grad is {tuple(grad.shape)}, wanted {tuple(wanted)}")
    numbers = {"step": step, "lr": lr, "beta1": beta1, "beta2": beta2, "opt_eps": opt_eps}
    if rows is None:
        _step(kind, param, grad, state1, state2, **numbers)
        return
    index = rows.long()
    whole = (param, state1, state2)
    part = [None if tensor is None else tensor[index] for tensor in whole]
    assert part[0] is not None
    _step(kind, part[0], grad, part[1], part[2], **numbers)
    for tensor, changed in zip(whole, part, strict=True):
        if tensor is not None and changed is not None:
            tensor[index] = changed


def _step(
    kind: str,
    param: Tensor,
    grad: Tensor,
    state1: Tensor | None,
    state2: Tensor | None,
    *,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    opt_eps: float,
) -> None:
    if kind == "sgd":
        param.sub_(lr * grad)
        return
    assert state1 is not None
    if kind == "adagrad":
        state1.add_(grad.square())
        param.sub_(lr * grad / (state1.sqrt() + opt_eps))
        return
    assert state2 is not None
    state1.mul_(beta1).add_((1 - beta1) * grad)
    state2.mul_(beta2).add_((1 - beta2) * grad.square())
    bias1, bias2 = 1 - beta1**step, 1 - beta2**step
    if kind == "adam":
        param.sub_(lr / bias1 * state1 / (state2.sqrt() / bias2**0.5 + opt_eps))
    else:
        param.sub_(lr * bias2**0.5 / bias1 * state1 / (state2.sqrt() + opt_eps))
