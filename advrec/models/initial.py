"""Initial weights: drawn from the spec's seed alone, the same on every device.

All draws are made on the CPU in float64 and then rounded: the same weights wherever the model runs
and, to rounding, in every precision.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from advrec.models.base import ModelSpec


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
    values = torch.empty(rows, columns or spec.dim, dtype=torch.float64)
    if truncated:
        nn.init.trunc_normal_(values, 0.0, std, -2 * std, 2 * std, generator=generator)
    else:
        nn.init.normal_(values, 0.0, std, generator=generator)
    return nn.Parameter(values.to(spec.dtype))


def glorot(
    spec: ModelSpec,
    rows: int,
    columns: int,
    generator: torch.Generator,
) -> nn.Parameter:  # [rows, columns]
    """Uniform in ±√(6/(rows + columns)) (Glorot and Bengio, 2010; "xavier")."""
    values = torch.empty(rows, columns, dtype=torch.float64)
    bound = math.sqrt(6 / (rows + columns))
    nn.init.uniform_(values, -bound, bound, generator=generator)
    return nn.Parameter(values.to(spec.dtype))


def zeros(spec: ModelSpec, *shape: int) -> nn.Parameter:
    """A bias."""
    return nn.Parameter(torch.zeros(shape, dtype=spec.dtype))


def draws(spec: ModelSpec) -> torch.Generator:
    """What the weights of a model of several tensors are drawn from, one after the other."""
    return torch.Generator().manual_seed(spec.seed)
