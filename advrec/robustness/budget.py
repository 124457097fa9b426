"""What a budget lets an adversary move: sides, absolute and relative budgets, the canonical form.

An absolute budget ε moves every row by at most ε. But a ranking does not change when every vector
is made longer, and an absolute ε then hurts less: growing norms can pass it. A relative budget ρ
moves user u's row by ρ·‖p_u‖ and every item's row by ρ·q̄, where q̄ is the mean item norm weighted
by exposure (the number of clean top-k lists that hold the item), so that shrinking items which are
never shown changes nothing.

Scores are also the same under P → P A⁻ᵀ, Q → Q A for any invertible A, and norms are not. Relative
budgets are therefore taken in a canonical form that depends on the scores alone: items are centred
at their exposure-weighted mean (no ranking sees a shift of all items), S_P is Tyler's M-estimator
of the users' directions (blind to each user's scale), S_Q the exposure-weighted covariance of the
items, X the geometric mean with X S_Q X = S_P, and M = X^½. Then (P, Q) ← (P M⁻ᵀ, Q M) gives both
tables one shape.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from advrec import ops
from advrec.choices import SIDES
from advrec.errors import UsageError
from advrec.robustness.radius import UNIT, Reach

FLOOR: Final = 1e-6
"""Smallest eigenvalue of a covariance, as a share of its largest."""


class Canonical(NamedTuple):
    """Two tables in canonical form, float64, and how the form was reached."""

    users: Tensor  # [U, d]
    items: Tensor  # [I, d]
    forward: float  # ‖M‖: what the rounding of an item or of a score is multiplied by
    backward: float  # ‖M⁻¹‖: what a user's is multiplied by
    floored: bool  # too few users or directions: eigenvalues were raised to FLOOR
    change: Tensor  # [d, d] M, symmetric: items are Q M
    back: Tensor  # [d, d] M⁻¹: users are P M⁻¹


def absolute_reach(users: Tensor, items: Tensor, side: str) -> Reach:
    """Every row of the side may move by ε."""
    on_users, on_items = _sides(side)
    return Reach(
        users=torch.full((len(users),), on_users, dtype=torch.float64),
        items=torch.full((len(items),), on_items, dtype=torch.float64),
        user_slack=_rounding(users) * on_users,
        item_slack=_rounding(items) * on_items,
    )


def relative_reach(users: Tensor, items: Tensor, exposure: Tensor, side: str) -> Reach:
    """User u's row may move by ρ·‖p_u‖, every item's by ρ·q̄ (exposure-weighted mean norm)."""
    on_users, on_items = _sides(side)
    mean = item_scale(items, exposure)
    return Reach(
        users=users.double().norm(dim=1) * on_users,
        items=torch.full((len(items),), mean * on_items, dtype=torch.float64),
        user_slack=_rounding(users) * on_users,
        item_slack=_rounding(items) * on_items,
    )


def canonical_reach(
    users: Tensor, items: Tensor, exposure: Tensor, side: str
) -> tuple[Canonical, Reach]:
    """As `relative_reach`, in canonical form; rounding is that of the tables as stored."""
    form = canonical(users, items, exposure)
    reach = relative_reach(form.users, form.items, exposure, side)
    # Rows and scores are rounded in proportion to the norms of the stored vectors, not of these.
    rounding = 1.001 * (users.shape[1] + 10) * UNIT
    grow = 1 + rounding * form.forward * form.backward
    return form, Reach(
        users=reach.users * grow,
        items=reach.items * grow,
        user_slack=_rounding(users) * form.backward,
        item_slack=rounding * form.forward * items.double().norm(dim=1),
    )


def item_scale(items: Tensor, exposure: Tensor) -> float:
    """q̄ = Σ e_i‖q_i‖/Σ e_i, the mean norm of what users are shown."""
    weights = exposure.double()
    return float(ops.total(weights * items.double().norm(dim=1)) / ops.total(weights))


@ops.one_thread()
def canonical(users: Tensor, items: Tensor, exposure: Tensor) -> Canonical:
    """The form of (P, Q) that no change of basis, user scale or shift of the items can alter.

    Raises UsageError where all users' rows are 0, or all shown items' equal: every score ties.
    """
    p, q, weights = users.double(), items.double(), exposure.double()
    q = q - (weights[:, None] * q).sum(0) / weights.sum()
    for what, rows in (("users", p), ("shown items, less their mean,", q[weights > 0])):
        if not rows.any():
            raise UsageError(
                f"the vectors of all {what} are 0, so a relative budget means nothing",
                hint="check the vectors, or give an absolute budget",
            )
    shape_p, few = _tyler(p)
    shape_q, flat = _floored(q.T @ (weights[:, None] * q) / weights.sum())
    root = _power(shape_p, 0.5)
    mean = root @ _power(root @ shape_q @ root, -0.5) @ root
    change, back = _power(mean, 0.5), _power(mean, -0.5)
    forward, backward = (float(torch.linalg.matrix_norm(m, ord=2)) for m in (change, back))
    return Canonical(p @ back, q @ change, forward, backward, few or flat, change, back)


def _tyler(rows: Tensor, steps: int = 200) -> tuple[Tensor, bool]:
    """Tyler's M-estimator S ← (d/n) Σ p pᵀ/(pᵀ S⁻¹ p), scaled to determinant 1 (Tyler 1987)."""
    norms = rows.norm(dim=1, keepdim=True)
    rows = (rows / norms)[norms[:, 0] > 0]  # its scale does not matter; a row of zeros has none
    n, d = rows.shape
    shape = torch.eye(d, dtype=torch.float64)
    floored = n < 2 * d
    for _ in range(steps):
        weights = 1 / ((rows @ torch.linalg.inv(shape)) * rows).sum(1)
        moved, flat = _floored(rows.T @ (weights[:, None] * rows) / max(n, 1))
        moved = moved * (d / moved.trace())
        floored |= flat
        change = float((moved - shape).abs().max())
        shape = moved
        if change < 1e-12:
            break
    return shape / torch.exp(torch.linalg.slogdet(shape).logabsdet / d), floored


def _floored(shape: Tensor) -> tuple[Tensor, bool]:
    """A covariance whose eigenvalues are at least FLOOR of the largest; was one raised?"""
    values, vectors = torch.linalg.eigh((shape + shape.T) / 2)
    least = values[-1] * FLOOR
    if values[0] >= least:
        return shape, False
    raised: Tensor = (vectors * values.clamp_min(least)) @ vectors.T
    return raised, True


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric positive definite matrix."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    powers = values.clamp_min(torch.finfo(values.dtype).tiny) ** exponent
    result: Tensor = (vectors * powers) @ vectors.T
    return result


def _rounding(rows: Tensor) -> Tensor:
    """How far storage in float32 can move a perturbed row."""
    norms: Tensor = rows.double().norm(dim=1)
    return 2 * UNIT * norms


def _sides(side: str) -> tuple[float, float]:
    if side not in SIDES:
        raise UsageError(f"unknown side {side!r}: choose {', '.join(SIDES)}")
    return float(side != "items"), float(side != "users")
