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
AT_ONCE_BYTES: Final = 24
"""Memory for each of them: two float64 arrays, and what tells which lie beyond the cut."""


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
        drawn = nn.init.normal_(values, 0.0, std, generator=generator)
        return _cut(drawn, std, generator) if truncated else drawn

    return _drawn(spec, rows, columns or spec.dim, draw)


def _cut(values: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Draw again what lies beyond two standard deviations, in place, until nothing does.

    The numbers are those of torch 2.13's `trunc_normal_`, which also draws a whole table each time.
    It compares and copies the whole table each time as well, which takes longer than the drawing.
    """
    flat = values.view(-1)
    beyond = (flat.abs() > 2 * std).nonzero().view(-1)
    again = torch.empty_like(flat) if len(beyond) else flat
    while len(beyond):
        drawn = again.normal_(0.0, std, generator=generator)[beyond]
        flat[beyond] = drawn
        beyond = beyond[drawn.abs() > 2 * std]
    return values


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
