"""Perturbations: the one place that knows eps, norms and projections. torch only.

A noise or a gradient is a mapping of tensors. Its *rows* are the vectors along the last dimension;
a tensor of one dimension is a single row. A norm says what has length eps:

- `row`: every row by itself, in L2 (the code of APR, He et al., SIGIR 2018);
- `sample`: the same, of tensors with a row for each triplet of a batch;
- `joint`: all tensors together, one L2 norm (the formula of the APR paper);
- `tensor`: every tensor by itself, its Frobenius norm (ACAE, Yuan et al., SIGIR 2019).

A new norm is a word in `advrec.choices` and an entry of NORMS; a model lists it at its sites.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from advrec.errors import UsageError
from advrec.native.fixed import length, total

Tensors = Mapping[str, Tensor]


class Draw(NamedTuple):
    """Uniform numbers: one for all tensors, drawn first under every norm, and more."""

    shared: Tensor
    more: Callable[[tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Norm:
    """What has length eps. Its functions give, per tensor, what broadcasts against the tensor."""

    name: str
    mean: str  # the mean of what it measures, in words
    label: str  # whose perturbation has length eps, in words
    lengths: Callable[[Tensors], dict[str, Tensor]]
    peaks: Callable[[Tensors], dict[str, Tensor]]  # largest |entry| of what it measures
    radii: Callable[[Tensors, dict[str, int], Draw], dict[str, Tensor]]
    """Radii of points drawn uniformly from unit balls; the int: entries of rows with a gradient.

    Volume grows as radius^D: a uniform point's radius is the D-th root of a uniform number.
    """

    def unit(self, tensors: Tensors) -> dict[str, Tensor]:
        """Everything that it measures brought to length 1; zeros stay zeros."""
        peaks = self.peaks(tensors)
        # By the largest entry first: a tiny gradient's square is 0 in float32, the gradient is not.
        scaled = {key: value / _or_one(peaks[key]) for key, value in tensors.items()}
        lengths = self.lengths(scaled)
        return {key: value / _or_one(lengths[key]) for key, value in scaled.items()}

    def project(self, noise: Tensors, eps: float) -> dict[str, Tensor]:
        """Scale back what is longer than eps; the rest stays as it is."""
        lengths = self.lengths(noise)
        return {
            key: torch.where(lengths[key] > eps, value * (eps / lengths[key]), value)
            for key, value in noise.items()
        }

    def random(self, grads: Tensors, eps: float, generator: torch.Generator) -> dict[str, Tensor]:
        """A point drawn uniformly from the ball of radius eps, in the rows with a gradient."""
        live = {key: (grad != 0).any(-1, keepdim=True) for key, grad in grads.items()}
        draws = {key: _gaussian(grad, generator) * live[key] for key, grad in grads.items()}
        units = self.unit(draws)
        entries = {key: int(live[key].sum()) * grad.shape[-1] for key, grad in grads.items()}
        draw = Draw(_uniform((), generator), lambda shape: _uniform(shape, generator))
        radii = self.radii(units, entries, draw)
        return {key: unit * (eps * radii[key]).to(unit) for key, unit in units.items()}


@dataclass(frozen=True)
class Budget:
    """A noise as measured, and how large that is relative to the values it is added to."""

    norm: str
    absolute: float  # the largest length under `norm`: of a row, of a tensor, or of all tensors
    relative: float  # absolute / the mean such length of the table (for rows: its mean row norm)
    rows: int  # how many rows are not zero
    largest_row: float  # the largest row norm, under any `norm`


def fgm(
    grads: Tensors,  # Γ, the gradient of the loss at the clean parameters
    *,
    eps: float,
    norm: str,
) -> dict[str, Tensor]:
    """The fast gradient method: Δ = eps·Γ/‖Γ‖ (APR), to *raise* the loss.

    What has a gradient of 0 gets no noise. Independent of the scale of Γ, however small.
    """
    units = _known(norm, eps).unit(grads)
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
    directions = ROW.unit({key: _gaussian(grad, generator) for key, grad in grads.items()})
    return {key: directions[key] * lengths[key] for key in grads}


def random_start(
    grads: Tensors,
    *,
    eps: float,
    norm: str,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """A point drawn uniformly from the ball of radius eps, in the rows that have a gradient."""
    return _known(norm, eps).random(grads, eps, generator)


def project(noise: Tensors, *, eps: float, norm: str) -> dict[str, Tensor]:
    """The nearest noise within eps: what is longer is scaled back, the rest stays as it is.

    For rows this is the projection onto each row's L2 ball. Clipping the elements to ±eps is not:
    it leaves rows of up to eps·√d.
    """
    return _known(norm, eps).project(noise, eps)


def within(noise: Tensors, *, eps: float, norm: str) -> dict[str, Tensor]:
    """`project` with lengths in float64, so that what is stored is at most eps long."""
    lengths = _known(norm, eps).lengths({key: value.double() for key, value in noise.items()})
    # Less than eps by more than the scaled entries are rounded by.
    scales = {key: eps * (1 - 2**-22) / _or_one(length) for key, length in lengths.items()}
    return {
        key: torch.where(lengths[key] > eps, value * scales[key], value.double()).to(value.dtype)
        for key, value in noise.items()
    }


def measure(noise: Tensors, tables: Tensors, norm: str) -> Budget:
    """How large a noise is, and relative to the tables it is added to.

    `tables` has the values under the keys of the noise. Noise of a batch's samples has keys of its
    own: it is compared with all tables together. Of several tensors the largest share counts.
    """
    known = _known(norm)
    lengths = {key: float(value.max()) for key, value in known.lengths(noise).items()}
    row_lengths = torch.cat([_row_lengths(value).flatten() for value in noise.values()])
    own = _typical(tables, known)
    typical = _mean(torch.cat([_row_lengths(value).flatten() for value in tables.values()]))
    return Budget(
        norm=norm,
        absolute=max(lengths.values()),
        relative=max(_share(lengths[key], own.get(key, typical)) for key in lengths),
        rows=int((row_lengths > 0).sum()),
        largest_row=float(row_lengths.max()),
    )


def relative(eps: float, tables: Tensors, norm: str) -> float:
    """eps as a share of the mean length, under `norm`, of what noise is added to.

    Of several tensors the largest share counts, as in `measure`.
    """
    return max(_share(eps, length) for length in _typical(tables, _known(norm, eps)).values())


def _typical(tables: Tensors, norm: Norm) -> dict[str, float]:
    return {key: _mean(value) for key, value in norm.lengths(tables).items()}


def _mean(x: Tensor) -> float:
    return float(total(x) / x.numel())


def _known(norm: str, eps: float = 0.0) -> Norm:
    """The norm of that name; UsageError for another, or an eps that is not a length."""
    if norm not in NORMS:
        raise UsageError(f"unknown norm {norm!r}: choose {', '.join(NORMS)}")
    if not 0 <= eps < float("inf"):
        raise UsageError(f"eps must be a number from 0 up, got {eps}")
    return NORMS[norm]


def _row_lengths(x: Tensor) -> Tensor:  # [..., d] -> [..., 1]
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return lengths


def _by_row(function: Callable[[Tensor], Tensor]) -> Callable[[Tensors], dict[str, Tensor]]:
    return lambda tensors: {key: function(value) for key, value in tensors.items()}


def _row_peaks(x: Tensor) -> Tensor:  # [..., d] -> [..., 1]
    return x.abs().amax(-1, keepdim=True)


def _row_radii(units: Tensors, _: dict[str, int], draw: Draw) -> dict[str, Tensor]:
    return {
        key: draw.more((*unit.shape[:-1], 1)) ** (1 / unit.shape[-1]) for key, unit in units.items()
    }


def _tensor_lengths(tensors: Tensors) -> dict[str, Tensor]:
    return _rounded(_exact_lengths(tensors), tensors)


def _tensor_peaks(tensors: Tensors) -> dict[str, Tensor]:
    return {key: value.abs().max() for key, value in tensors.items()}


def _tensor_radii(units: Tensors, entries: dict[str, int], draw: Draw) -> dict[str, Tensor]:
    return {key: draw.more(()) ** (1 / max(entries[key], 1)) for key in units}


def _joint_lengths(tensors: Tensors) -> dict[str, Tensor]:
    whole = _exact_lengths(tensors)
    total = torch.linalg.vector_norm(torch.stack(list(whole.values())))
    return _rounded(dict.fromkeys(whole, total), tensors)


def _joint_peaks(tensors: Tensors) -> dict[str, Tensor]:
    peaks = _tensor_peaks(tensors)
    return dict.fromkeys(peaks, torch.stack(list(peaks.values())).max())


def _joint_radii(units: Tensors, entries: dict[str, int], draw: Draw) -> dict[str, Tensor]:
    return dict.fromkeys(units, draw.shared ** (1 / max(sum(entries.values()), 1)))


def _exact_lengths(tensors: Tensors) -> dict[str, Tensor]:
    # In float64: over millions of entries a float32 sum loses three digits.
    return {key: length(value) for key, value in tensors.items()}


def _rounded(lengths: Tensors, tensors: Tensors) -> dict[str, Tensor]:
    return {key: value.to(tensors[key].dtype) for key, value in lengths.items()}


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


_rows: Final = ("mean row norm", "a row's", _by_row(_row_lengths), _by_row(_row_peaks), _row_radii)
_whole: Final = "mean norm of a tensor"

ROW: Final = Norm("row", *_rows)

NORMS: Final[Mapping[str, Norm]] = {
    norm.name: norm
    for norm in (
        ROW,
        Norm("sample", *_rows),
        Norm("joint", _whole, "the whole", _joint_lengths, _joint_peaks, _joint_radii),
        Norm("tensor", _whole, "a tensor's", _tensor_lengths, _tensor_peaks, _tensor_radii),
    )
}
