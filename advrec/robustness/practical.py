"""Noise that happens in practice, on the axis of budgets: what storing and serving do to vectors.

Each kind changes the vectors whose dot products are the scores. What it did is measured row by row:
the largest row norm is the smallest absolute ε whose ball holds the noise, ρ the smallest relative
budget. Each pair's own norms ‖δp_u‖, ‖δq_i‖, ‖δq_j‖ then take the place of a budget in the radius
of `radius`: a hit is inside the certificate if fewer than K items can overtake it by any noise of
these norms, so that it stays, whatever the directions of the noise.

- `int8`, `int4`: symmetric quantisation per row, its largest entry at ±127 or ±7;
- `bf16`, `float16`: rounding of every number;
- `staleness`: users or items of an older model, the other side as it is now;
- `dropout-rows:5%`: a share of the rows of both tables is lost and replaced by the table's mean;
- `gaussian-dp:8`: users' rows as a client would release them under local differential privacy with
  this ε_dp and δ_dp = 1e-5: clipped to the median norm C, then Gaussian noise for the replace-one
  sensitivity 2C, σ by the analytic Gaussian mechanism (Balle and Wang, ICML 2018, Algorithm 1). It
  protects the released row and gives no guarantee about the training data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.special import log_ndtr
from torch import Tensor

from advrec.choices import PRACTICAL_NOISES, STALE_SIDES, Part
from advrec.errors import UsageError
from advrec.evaluation.evaluate import Evaluation, evaluate
from advrec.evaluation.scorer import merged_rows, rows_of, scoring
from advrec.robustness.attack import share_lost
from advrec.robustness.budget import canonical, item_scale
from advrec.robustness.certify import METRICS
from advrec.robustness.radius import Lists, Reach, smallest_radii
from advrec.validation import did_you_mean

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset
    from advrec.models.base import Recommender

DP_DELTA: Final = 1e-5
Tables: TypeAlias = "tuple[Tensor, Tensor]"  # users [U, d], items [I, d]


class PracticalKind(NamedTuple):
    """One kind of noise as it was asked for: "int8", "dropout-rows:5%"."""

    text: str
    name: str
    amount: float


@dataclass(frozen=True)
class RowNorms:
    """The row norms of the noise on one table."""

    moved: int  # rows that are not as they were
    largest: float
    mean: float  # over all rows
    relative: float  # the mean, as a share of the table's mean row norm


@dataclass(frozen=True, eq=False)
class PracticalResult:
    """What one kind of noise does to the vectors, and what to the rankings."""

    kind: str
    users: RowNorms
    items: RowNorms
    eps: float  # the smallest absolute budget that holds the noise
    rho: float  # the smallest relative one, in canonical form; inf if a row of zeros moved
    clean: Evaluation
    noisy: Evaluation
    hits: int  # held-out items among the top K without noise
    inside: float  # the share of them that is sure to stay; NaN without hits

    @property
    def lost(self) -> dict[str, float]:
        """Metric → the share that the noise takes; below 0 is a gain, NaN where nothing was."""
        return {
            name: share_lost(value, self.noisy.values[name])
            for name, value in self.clean.values.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON; null where a number is undefined."""
        numbers = {name: getattr(self, name) for name in ("eps", "rho", "inside")}
        finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        return {
            "kind": self.kind,
            "users": asdict(self.users),
            "items": asdict(self.items),
            **finite,
            "hits": self.hits,
            "clean": dict(self.clean.values),
            "metrics": dict(self.noisy.values),
        }


def practical(
    model: Recommender | Tables,
    dataset: Dataset,
    kinds: Sequence[str],
    *,
    stale: Tables | None = None,
    stale_side: str = "items",
    k: int = 20,
    part: Part = "test",
    seed: int = 0,
) -> list[PracticalResult]:
    """What each kind of noise does to a model that scores by dot products.

    Args:
        model: a model, or its vectors (user [U, d], item [I, d]).
        kinds: such as "int8", "dropout-rows:5%"; see the head of this file.
        stale: the older vectors of "staleness", of the same users and items.
        stale_side: "users" or "items": whose vectors are the older ones.
        k: the cut-off of NDCG, Recall and HR.
        seed: of rows that are lost and of Gaussian noise.

    Raises:
        UsageError: an unknown kind, an amount out of range, staleness without older vectors, a
            model that does not score by dot products.
    """
    plans = [practical_kind(text) for text in kinds]
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    if stale_side not in STALE_SIDES:
        raise UsageError(f"unknown stale side {stale_side!r}: choose {' or '.join(STALE_SIDES)}")
    place = _Measured(vectors_of(model), dataset, k, part)
    results = []
    for plan in plans:
        if plan.name == "staleness":
            moved = _stale(place.vectors, stale, stale_side)
        else:
            generator = torch.Generator().manual_seed(seed)
            moved = KINDS[plan.name].apply(*place.vectors, plan.amount, generator)
        results.append(place.result(plan.text, moved))
    return results


def measured(
    model: Recommender | Tables,
    dataset: Dataset,
    moved: Tables,
    kind: str,
    *,
    k: int = 20,
    part: Part = "test",
) -> PracticalResult:
    """Any change of a model's vectors, measured as practical noise is; UsageError for its shape."""
    vectors = vectors_of(model)
    shapes = [[tuple(table.shape) for table in pair] for pair in (vectors, moved)]
    if shapes[0] != shapes[1]:
        raise UsageError(f"the noise is for vectors of shapes {shapes[1]}, got {shapes[0]}")
    return _Measured(vectors, dataset, k, part).result(kind, moved)


def practical_kind(text: str) -> PracticalKind:
    """`dropout-rows:5%` → its name and .05. Raises UsageError."""
    name, colon, rest = text.partition(":")
    if name not in PRACTICAL_NOISES:
        raise UsageError(
            f"unknown noise {name!r}: choose {', '.join(PRACTICAL_NOISES)}",
            hint=did_you_mean(name, PRACTICAL_NOISES),
        )
    usual = KINDS[name].amount if name in KINDS else None
    if usual is None:
        if colon:
            raise UsageError(f"noise {name!r} has no amount, got {text!r}")
        return PracticalKind(name, name, 0.0)
    if not colon:
        shown = f"{usual:.0%}" if KINDS[name].share else f"{usual:g}"
        return PracticalKind(f"{name}:{shown}", name, usual)
    number, percent, after = rest.partition("%")
    try:
        amount = float(number) / (100 if percent else 1)
    except ValueError:
        amount = math.nan
    high = 1.0 if KINDS[name].share else math.inf
    if after or not 0 < amount <= high or math.isinf(amount) or (percent and high > 1):
        example = "dropout-rows:5%" if KINDS[name].share else "gaussian-dp:8"
        raise UsageError(f"noise {name!r} takes an amount such as {example}, got {text!r}")
    return PracticalKind(text, name, amount)


def vectors_of(model: Recommender | Tables) -> Tables:
    """The vectors whose dot products are a model's scores, on the CPU. Raises UsageError."""
    if isinstance(model, tuple):
        return model
    was_training = model.training
    with torch.no_grad():
        vectors = model.eval().vectors()
    model.train(was_training)
    if vectors is None:
        raise UsageError(
            f"model {model.name!r} does not score by dot products: it has no vectors to store",
            hint="advrec attack measures what noise on its parameters costs",
        )
    users, items = (table.detach().cpu() for table in vectors)
    return users, items


class _Measured:
    """Clean vectors with what every kind of noise is measured against."""

    def __init__(self, vectors: Tables, dataset: Dataset, k: int, part: Part) -> None:
        self.vectors, self.dataset, self.k, self.part = vectors, dataset, k, part
        self.clean = evaluate(vectors, dataset, part=part, ks=[k], metrics=METRICS)
        everyone = np.arange(dataset.n_users)
        hidden = [dataset.train, dataset.valid] if part == "test" else [dataset.train]
        self.masked = merged_rows(hidden, everyone)
        held_out = dataset.test if part == "test" else dataset.valid
        with scoring(vectors, dataset) as scorer:
            step = scorer.block_users()
            lists = [
                scorer.rank(
                    block, merged_rows(hidden, block), rows_of(held_out, block),
                    min(k, dataset.n_items),
                )
                for block in np.split(everyone, range(step, len(everyone), step))
            ]  # fmt: skip
        ids = np.concatenate([ranking.ids.numpy() for ranking in lists])  # [U, k]
        hit = np.concatenate([ranking.hits.numpy() for ranking in lists]).astype(bool)
        self.hits = Lists(np.concatenate([[0], np.cumsum(hit.sum(1))]), ids[hit].astype(np.int32))
        shown = torch.from_numpy(np.bincount(ids[ids >= 0], minlength=dataset.n_items))
        self.form = canonical(*vectors, shown)
        self.scales = self.form.users.norm(dim=1), item_scale(self.form.items, shown)

    def result(self, kind: str, moved: Tables) -> PracticalResult:
        """What this noise, from clean to moved, does."""
        deltas = [
            after.double() - before.double()
            for before, after in zip(self.vectors, moved, strict=True)
        ]
        lengths = [delta.norm(dim=1) for delta in deltas]
        own = Reach(*lengths, *(torch.zeros_like(length) for length in lengths))
        radii = smallest_radii(*self.vectors, own, self.hits, Lists(*self.masked), self.k)
        return PracticalResult(
            kind=kind,
            users=_norms(lengths[0], self.vectors[0]),
            items=_norms(lengths[1], self.vectors[1]),
            eps=max(float(length.max()) for length in lengths),
            rho=self._relative(*deltas),
            clean=self.clean,
            noisy=evaluate(moved, self.dataset, part=self.part, ks=[self.k], metrics=METRICS),
            hits=len(radii.stays),
            inside=float((radii.stays > 1).mean()) if len(radii.stays) else math.nan,
        )

    def _relative(self, users: Tensor, items: Tensor) -> float:
        """The smallest ρ with ‖δp_u‖ ≤ ρ‖p_u‖ and ‖δq_i‖ ≤ ρ·q̄, in canonical form."""
        norms, scale = self.scales
        moves = (users @ self.form.back).norm(dim=1)
        shares = torch.where(moves > 0, moves / norms, torch.zeros_like(moves))
        return max(float(shares.max()), float((items @ self.form.change).norm(dim=1).max()) / scale)


def _norms(lengths: Tensor, table: Tensor) -> RowNorms:
    mean, own = float(lengths.mean()), float(table.double().norm(dim=1).mean())
    return RowNorms(int((lengths > 0).sum()), float(lengths.max()), mean, mean / own if own else 0)


def _quantised(levels: int) -> Apply:
    """Symmetric quantisation per row: the largest entry becomes ±levels."""

    def apply(users: Tensor, items: Tensor, amount: float, generator: torch.Generator) -> Tables:
        del amount, generator

        def table(rows: Tensor) -> Tensor:
            scale = rows.abs().amax(1, keepdim=True) / levels
            scale = torch.where(scale > 0, scale, torch.ones_like(scale))
            return (rows / scale).round_().clamp_(-levels, levels).mul_(scale)

        return table(users), table(items)

    return apply


def _rounded(dtype: torch.dtype) -> Apply:
    def apply(users: Tensor, items: Tensor, amount: float, generator: torch.Generator) -> Tables:
        del amount, generator
        largest = max(float(table.abs().max()) for table in (users, items))
        if largest > torch.finfo(dtype).max:
            raise UsageError(
                f"the vectors reach {largest:.3g}, more than {str(dtype).removeprefix('torch.')}"
                " can hold",
                hint="leave this noise out, or scale the vectors",
            )
        return users.to(dtype).to(users.dtype), items.to(dtype).to(items.dtype)

    return apply


def _dropped(users: Tensor, items: Tensor, amount: float, generator: torch.Generator) -> Tables:
    """This share of the rows of both tables becomes the table's mean."""

    def table(rows: Tensor) -> Tensor:
        lost = torch.randperm(len(rows), generator=generator)[: round(amount * len(rows))]
        return rows.index_copy(0, lost, rows.mean(0).expand(len(lost), -1))

    return table(users), table(items)


def _private(users: Tensor, items: Tensor, amount: float, generator: torch.Generator) -> Tables:
    """Users' rows clipped to the median norm C, with noise for a sensitivity of 2C."""
    norms = users.norm(dim=1, keepdim=True)
    clip = float(norms.median())
    sigma = analytic_gaussian(amount, DP_DELTA, 2 * clip)
    noise = torch.randn(users.shape, generator=generator, dtype=torch.float64) * sigma
    return users * (clip / norms.clamp_min(clip)).nan_to_num(1.0) + noise.to(users.dtype), items


def analytic_gaussian(eps: float, delta: float, sensitivity: float) -> float:
    """The smallest σ with which Gaussian noise is (eps, delta)-private, by bisection.

    Balle and Wang, ICML 2018, Theorem 8: private if and only if
    Φ(Δ/2σ − εσ/Δ) − e^ε Φ(−Δ/2σ − εσ/Δ) ≤ δ, whose left side falls in σ.
    """
    if sensitivity <= 0:
        return 0.0

    def exceeds(ratio: float) -> bool:  # σ/Δ
        a, b = 1 / (2 * ratio), eps * ratio
        return math.exp(log_ndtr(a - b)) - math.exp(eps + log_ndtr(-a - b)) > delta

    low, high = 0.0, 1.0
    while exceeds(high):
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if middle > 0 and exceeds(middle) else (low, middle)
    return high * sensitivity


def _stale(vectors: Tables, stale: Tables | None, side: str) -> Tables:
    if stale is None:
        raise UsageError(
            "staleness needs the older vectors", hint="--stale RUN, RUN@last or a file of vectors"
        )
    place = STALE_SIDES.index(side)
    now, before = vectors[place], stale[place]
    if now.shape != before.shape:
        raise UsageError(
            f"the older {side} have shape {tuple(before.shape)}, those of now {tuple(now.shape)}",
            hint="both must be of the same data and dimension",
        )
    old = before.to(now)
    return (old, vectors[1]) if place == 0 else (vectors[0], old)


Apply: TypeAlias = Callable[[Tensor, Tensor, float, torch.Generator], Tables]


@dataclass(frozen=True)
class Kind:
    """How a kind of noise changes the vectors."""

    apply: Apply
    amount: float | None = None  # by default; None: it has none
    share: bool = True  # is the amount a share of rows?


KINDS: Final[Mapping[str, Kind]] = {
    "int8": Kind(_quantised(127)),
    "int4": Kind(_quantised(7)),
    "bf16": Kind(_rounded(torch.bfloat16)),
    "float16": Kind(_rounded(torch.float16)),
    "dropout-rows": Kind(_dropped, 0.01),
    "gaussian-dp": Kind(_private, 8.0, share=False),
}
"""All but staleness, which needs other vectors."""
