"""The optimizers: what each keeps, where it starts, which rows it moves, its number in the core.

Every other place asks this table. A new optimizer also needs its word in `advrec.choices`, its
step in `advrec.ops.reference.optim` and, to be fast, a `code` with its kernel in csrc/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Optimizer:
    """One optimizer; its eps and its start are those of torch.optim and of the papers' code."""

    states: int  # tensors of the parameter's shape: Adagrad Σ g²; Adam the means of g and of g²
    code: int | None = None  # OptimKind of csrc/kernels.h; None: the core does not have it
    start: float = 0.0  # what every state tensor is filled with
    opt_eps: float = 0.0  # added to the denominator
    moves_untouched_rows: bool = False  # rows whose gradient is zero move too
    skips_untouched_rows: bool = False  # a gradient of 0 would move such rows: leave them out


OPTIMIZERS: Final[Mapping[str, Optimizer]] = {
    "sgd": Optimizer(code=0, states=0),
    # TensorFlow's start, which the official code of APR trains with.
    "adagrad": Optimizer(code=1, states=1, start=0.1, opt_eps=1e-10),
    "adam": Optimizer(code=2, states=2, opt_eps=1e-8, moves_untouched_rows=True),
    "sparse_adam": Optimizer(code=3, states=2, opt_eps=1e-8, skips_untouched_rows=True),
}

BETAS: Final = (0.9, 0.999)
"""Adam's decay rates: the values of torch.optim and of the papers."""
