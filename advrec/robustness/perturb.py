"""Perturbations: the one place that knows eps, norms and projections. torch only.

A noise or a gradient is a mapping of tensors. Its *rows* are the vectors along the last dimension;
a tensor of one dimension is a single row. A norm says what has length eps:

- `row`: every row by itself, in L2 (the code of APR, He et al., SIGIR 2018);
- `sample`: the same, of tensors with a row for each triplet of a batch;
- `joint`: all tensors together, one L2 norm (the formula of the APR paper);
- `tensor`: every tensor by itself, its Frobenius norm (ACAE, Yuan et al., SIGIR 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from advrec.errors import UsageError

Tensors = Mapping[str, Tensor]

NORMS: Final = ("row", "sample", "joint", "tensor")


@dataclass(frozen=True)
class Budget:
    """A noise as measured, and what that is beside the values it is added to."""

    norm: str
    absolute: float  # the largest length under `norm`: of a row, of a tensor, or of all tensors
    relative: float  # absolute / the mean such length of the table (for rows: its mean row norm)
    rows: int  # how many rows are not zero
    largest_row: float  # the largest row norm, whatever `norm` is


def fgm(
    grads: Tensors,  # Γ, the gradient of the loss at the clean parameters
    *,
    eps: float,
    norm: str,
) -> dict[str, Tensor]:
    """The fast gradient method: Δ = eps·Γ/‖Γ‖ (APR), to *raise* the loss.

    What has a gradient of 0 gets no noise. Independent of the scale of Γ, however small.
    """
    _check(eps, norm)
    units = _units(grads, norm)
    return {key: unit * eps for key, unit in units.items()}


def random_like(
    grads: Tensors,
    *,
    eps: float,
    norm: str,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Gaussian directions with the row norms that `fgm` gives: only the direction differs.

    The directions depend on the generator and the shapes alone, not on eps, norm or gradient.
    """
    lengths = {key: _row_lengths(noise) for key, noise in fgm(grads, eps=eps, norm=norm).items()}
    directions = _units({key: _gaussian(grad, generator) for key, grad in grads.items()}, "row")
    return {key: directions[key] * lengths[key] for key in grads}


def random_start(
    grads: Tensors,
    *,
    eps: float,
    norm: str,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """A point drawn uniformly from the ball of radius eps, in the rows that have a gradient."""
    _check(eps, norm)
    live = {key: (grad != 0).any(-1, keepdim=True) for key, grad in grads.items()}
    draws = {key: _gaussian(grad, generator) * live[key] for key, grad in grads.items()}
    units = _units(draws, norm)
    entries = {key: int(live[key].sum()) * grads[key].shape[-1] for key in grads}
    shared = _uniform((), generator)
    result = {}
    for key, unit in units.items():
        # Volume grows as radius^D: a uniform point's radius is the D-th root of a uniform number.
        if norm == "joint":
            radius = shared ** (1 / max(sum(entries.values()), 1))
        elif norm == "tensor":
            radius = _uniform((), generator) ** (1 / max(entries[key], 1))
        else:
            radius = _uniform((*unit.shape[:-1], 1), generator) ** (1 / unit.shape[-1])
        result[key] = unit * (eps * radius).to(unit)
    return result


def project(noise: Tensors, *, eps: float, norm: str) -> dict[str, Tensor]:
    """The nearest noise within eps: whatever is longer is scaled back, whatever is not stays.

    For rows this is the projection onto each row's L2 ball. Clipping the elements to ±eps is not:
    it leaves rows of up to eps·√d.
    """
    _check(eps, norm)
    lengths = _lengths(noise, norm)
    return {
        key: torch.where(lengths[key] > eps, value * (eps / lengths[key]), value)
        for key, value in noise.items()
    }


def measure(noise: Tensors, tables: Tensors, norm: str) -> Budget:
    """How large a noise is, and relative to the tables it is added to.

    `tables` has the values under the keys of the noise. Noise of a batch's samples has keys of its
    own: it is compared with all tables together. Of several tensors the largest share counts.
    """
    _check(0.0, norm)
    lengths = {key: float(value.max()) for key, value in _lengths(noise, norm).items()}
    row_lengths = torch.cat([_row_lengths(value).flatten() for value in noise.values()])
    beside = _typical(tables, norm)
    typical = float(torch.cat([_row_lengths(value).flatten() for value in tables.values()]).mean())
    return Budget(
        norm=norm,
        absolute=max(lengths.values()),
        relative=max(_share(lengths[key], beside.get(key, typical)) for key in lengths),
        rows=int((row_lengths > 0).sum()),
        largest_row=float(row_lengths.max()),
    )


def relative(eps: float, tables: Tensors, norm: str) -> float:
    """eps as a share of the mean length, under `norm`, of what noise is added to.

    Of several tensors the largest share counts, as in `measure`.
    """
    _check(eps, norm)
    return max(_share(eps, length) for length in _typical(tables, norm).values())


def _typical(tables: Tensors, norm: str) -> dict[str, float]:
    return {key: float(value.mean()) for key, value in _lengths(tables, norm).items()}


def _check(eps: float, norm: str) -> None:
    if norm not in NORMS:
        raise UsageError(f"There is no norm {norm!r}; there are {', '.join(NORMS)}.")
    if not 0 <= eps < float("inf"):
        raise UsageError(f"eps is {eps}; wanted a number from 0 up.")


def _row_lengths(x: Tensor) -> Tensor:  # [..., d] -> [..., 1]
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return lengths


def _lengths(tensors: Tensors, norm: str) -> dict[str, Tensor]:
    """What `norm` gives for each tensor, in a shape that broadcasts against it."""
    if norm in ("row", "sample"):
        return {key: _row_lengths(value) for key, value in tensors.items()}
    # In float64: over millions of entries a float32 sum loses three digits.
    whole = {
        key: torch.linalg.vector_norm(value, dtype=torch.float64) for key, value in tensors.items()
    }
    if norm == "joint":
        total = torch.linalg.vector_norm(torch.stack(list(whole.values())))
        whole = dict.fromkeys(whole, total)
    return {key: value.to(tensors[key].dtype) for key, value in whole.items()}


def _units(tensors: Tensors, norm: str) -> dict[str, Tensor]:
    """Everything that `norm` measures brought to length 1; zeros stay zeros."""
    if norm in ("row", "sample"):
        peaks = {key: value.abs().amax(-1, keepdim=True) for key, value in tensors.items()}
    else:
        peaks = {key: value.abs().max() for key, value in tensors.items()}
    if norm == "joint":
        peaks = dict.fromkeys(peaks, torch.stack(list(peaks.values())).max())
    # By the largest entry first: a tiny gradient's square is 0 in float32, the gradient is not.
    scaled = {key: value / _or_one(peaks[key]) for key, value in tensors.items()}
    lengths = _lengths(scaled, norm)
    return {key: value / _or_one(lengths[key]) for key, value in scaled.items()}


def _or_one(x: Tensor) -> Tensor:
    """x as a divisor: 1 where it is 0."""
    return torch.where(x > 0, x, torch.ones_like(x))


def _gaussian(like: Tensor, generator: torch.Generator) -> Tensor:
    # Drawn in float64 on the generator's device: the same directions in every precision.
    draw = torch.randn(
        like.shape, generator=generator, dtype=torch.float64, device=generator.device
    )
    return draw.to(like)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)


def _share(size: float, whole: float) -> float:
    if size == 0.0:
        return 0.0
    return size / whole if whole > 0 else float("inf")
