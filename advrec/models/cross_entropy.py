"""The loss of a whole row of labels, few of them 1, without a tensor of labels.

−log σ(ŷ) for a label 1 is −log(1 − σ(ŷ)) − ŷ: the sum over a row needs every ŷ once, and once more
those that belong to a 1. The derivatives are written out: autograd would keep and pass over several
tensors of the size of the logits, and these passes cost as much as the products that computed them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from advrec import ops


def sigmoid_cross_entropy(
    logits: Tensor,  # [B, I]
    rows: Tensor,  # [E] int64 \ where the labels are 1,
    columns: Tensor,  # [E] int64 / each place once
) -> Tensor:  # [B], summed over the row
    """Σ_i of the cross-entropy of σ(ŷ_i) and the label. Differentiable in the logits, once."""
    return _loss(_SigmoidCrossEntropy, logits, rows, columns)


def softmax_cross_entropy(
    logits: Tensor,  # [B, I]
    rows: Tensor,  # [E] int64 \ where the labels are 1,
    columns: Tensor,  # [E] int64 / each place once
) -> Tensor:  # [B], summed over the row
    """−Σ_i label_i · log softmax(ŷ)_i, the multinomial loss. Differentiable in the logits."""
    own = functional.log_softmax(logits, 1)[rows, columns]
    return -logits.new_zeros(len(logits)).index_add(0, rows, own)


def half_squares(x: Tensor) -> Tensor:  # scalar
    """½‖x‖². Differentiable, once, in a single pass."""
    return _loss(_HalfSquares, x)


def _loss(function: type[torch.autograd.Function], *arguments: Tensor) -> Tensor:
    value = function.apply(*arguments)  # type: ignore[no-untyped-call]
    assert isinstance(value, Tensor)
    return value


class _SigmoidCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(logits, rows, columns)
        everything = functional.logsigmoid(-logits).sum(1)
        return -everything.index_add(0, rows, logits[rows, columns])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, rows, columns = ctx.saved_tensors
        slope = torch.sigmoid(logits)
        slope[rows, columns] -= 1
        return slope.mul_(grad[:, None]), None, None


class _HalfSquares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return ops.total(x.square()) / 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return grad * x
