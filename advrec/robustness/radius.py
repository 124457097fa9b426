"""Certified radii: how far vectors must move before one item can overtake another.

A user vector p scores items i and j by p·q_i and p·q_j. With w = q_i − q_j and m = p·w > 0, let the
user's row move by at most r_u·ε and the rows of the two items by r_i·ε and r_j·ε, r_e = r_i + r_j.
Item j cannot reach item i exactly if ε is below

    ε* = m / √(r_e²‖p‖² + r_u²‖w‖² + 2·r_u·r_e·√(‖p‖²‖w‖² − m²)).

Proof. δq_i − δq_j ranges over the ball of radius r_e·ε. A vector within r_u·ε of p can turn by at
most arcsin(r_u·ε/‖p‖), one within r_e·ε of w by arcsin(r_e·ε/‖w‖). In the plane of p and w both
turns add up, and by the triangle inequality on the sphere no larger angle can be closed. So the
inner product stays positive if and only if the sum is below arcsin(m/(‖p‖‖w‖)); when the cosine of
the sum is squared the terms in ε⁴ cancel, which leaves ε*. In one dimension vectors cannot turn,
and ε* is min(‖p‖/r_u, |w|/r_e).

Rounding. The certificate is about scores as float32 computes them. Rounded dot products of
dimension d differ from exact ones by at most γ·‖p′‖(‖q_i′‖ + ‖q_j′‖) together, γ ≈ d·2⁻²⁴. An item
row that moves by γ·(‖q_i′‖ + ‖q_j′‖) more could do as much, so rounding is a fixed part of the
items' reach (`slack`): it is taken off m and added to the norms before the formula, which rises in
m and falls in both norms. Rounding of a perturbed row to storage is a fixed part of its own reach.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec import ops
from advrec.ops.reference.radii import UNIT, Reach, pair_radius

__all__ = ["UNIT", "Lists", "Radii", "Reach", "pair_radius", "smallest_radii"]


@dataclass(frozen=True, eq=False)
class Lists:
    """Ragged rows of item ids, one per user."""

    indptr: NDArray[np.int64]  # [U + 1]
    items: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Radii:
    """For every relevant item of every user: its rivals' radii, and its own."""

    users: NDArray[np.int64]  # [n] dense ids, ascending
    items: NDArray[np.int64]  # [n]
    ranks: NDArray[np.int64]  # [n] 1 is the top; ties count against the item
    rivals: NDArray[np.float64]  # [n, k] the k smallest ε* of non-relevant items, ascending
    stays: NDArray[np.float64]  # [n] below this ε the item is among the top k; 0: it is not now
    reach: Reach = field(repr=False)


def smallest_radii(
    users: Tensor,  # [U, d]
    items: Tensor,  # [I, d]
    reach: Reach,
    relevant: Lists,
    masked: Lists,
    k: int,
) -> Radii:
    """The k smallest radii of every relevant item; memory does not grow with the catalogue."""
    mask, own = (
        (torch.from_numpy(lists.indptr), torch.from_numpy(lists.items))
        for lists in (masked, relevant)
    )
    smallest = ops.smallest_radii(users.detach(), items.detach(), reach, mask, own, k)
    ranks, rivals, stays = (t.numpy() for t in smallest)
    owners = np.repeat(np.arange(len(users)), np.diff(relevant.indptr))
    return Radii(owners, relevant.items.astype(np.int64), ranks, rivals, stays, reach)
