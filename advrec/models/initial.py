"""Initial weights: drawn from the spec's seed alone, the same on every device.

All numbers are drawn on the CPU in float64 and then rounded: the same weights wherever the model
runs and, to rounding, in every precision. Large tables are drawn some rows at a time, because torch
needs several times what it draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from advrec.models.base import ModelSpec

AT_ONCE: Final = 2**22
"""Numbers that are drawn at once, at most."""
AT_ONCE_BYTES: Final = 40
"""Memory for each of them: up to five float64 arrays where numbers beyond the cut are redrawn."""


def initial(
    spec: ModelSpec,
    rows: int,
    std: float,
    *,
    truncated: bool,
    columns: int | None = None,  # None: spec.dim
    generator: torch.Generator | None = None,  # for a model of several tensors; None: its own
) -> nn.Parameter:  # [rows, columns]
    """Normal(0, std), cut at two standard deviations if truncated."""
    generator = draws(spec) if generator is None else generator

    def draw(values: Tensor) -> Tensor:
        if truncated:
            return nn.init.trunc_normal_(values, 0.0, std, -2 * std, 2 * std, generator=generator)
        return nn.init.normal_(values, 0.0, std, generator=generator)

    return _drawn(spec, rows, columns or spec.dim, draw)


def glorot(
    spec: ModelSpec,
    rows: int,
    columns: int,
    generator: torch.Generator,
) -> nn.Parameter:  # [rows, columns]
    """Uniform in ±√(6/(rows + columns)) (Glorot and Bengio, 2010; "xavier")."""
    bound = math.sqrt(6 / (rows + columns))
    return _drawn(
        spec, rows, columns, lambda v: nn.init.uniform_(v, -bound, bound, generator=generator)
    )


def zeros(spec: ModelSpec, *shape: int) -> nn.Parameter:
    """A bias."""
    return nn.Parameter(torch.zeros(shape, dtype=spec.dtype))


def draws(spec: ModelSpec) -> torch.Generator:
    """What the weights of a model of several tensors are drawn from, one after the other."""
    return torch.Generator().manual_seed(spec.seed)


def _drawn(
    spec: ModelSpec, rows: int, columns: int, draw: Callable[[Tensor], Tensor]
) -> nn.Parameter:  # [rows, columns]
    table = torch.empty(rows, columns, dtype=spec.dtype)
    if not spec.draw:
        return nn.Parameter(table)
    for part in torch.split(table, max(1, AT_ONCE // max(1, columns))):
        part.copy_(draw(torch.empty_like(part, dtype=torch.float64)))
    return nn.Parameter(table)
