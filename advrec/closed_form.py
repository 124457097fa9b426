"""Steps of VBPR and AMR with the way through the features written out: what autograd finds, in half
the operations, and with no more of the features than the batch's rows.

With G the gradient of the item vectors v = q + W c, the gradient of the features is Γ = G Wᵀ. Of
Δ = ε·Γ/‖Γ‖ the losses see Δ W alone, so that the small matrix M = WᵀW is enough:

    ‖Γ_row‖² = g M gᵀ,   (Δ W)_row = ε·g M/‖Γ_row‖,   Δᵀ G' = W·Σ_row ε·gᵀ g'/‖Γ_row‖

and the adversary costs the same however many features there are. M and the lengths are float64:
g may lie where W hardly stretches, and then g M gᵀ is a small difference of large numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from advrec.models.vbpr import VBPR, Rows
from advrec.objective import Terms
from advrec.stepper import ComposableStepper

if TYPE_CHECKING:
    from advrec.config import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.sampling import Positives


def supports(model: Recommender, config: ResolvedConfig) -> bool:
    """Exactly VBPR, its features perturbed row by row or not at all, and no Adam (it moves all)."""
    known = config.adv_weight == 0 or (config.site == "features" and config.norm == "row")
    by_row = config.optimizer != "adam" and config.precision != "bf16"
    return type(model) is VBPR and known and by_row


class Push(NamedTuple):
    """A perturbation of features as far as the losses see it."""

    content: Tensor  # Δ W, [R, w]
    toward: Tensor  # g·ε/‖Γ_row‖, [R, w]: Δ = toward Wᵀ

    @classmethod
    def of(cls, slopes: Tensor, weights: Tensor, eps: float) -> Push:
        """The fast gradient method; `slopes`, [R, w], is the gradient of the items' content."""
        # By the largest entry first: a tiny gradient's square is 0, the gradient is not.
        peaks = slopes.abs().amax(1, keepdim=True)
        units = slopes.double() / torch.where(peaks > 0, peaks, 1.0)
        moved = units @ (weights.double().T @ weights.double())
        lengths = (moved * units).sum(1, keepdim=True).clamp_min(0).sqrt()
        reach = torch.where(lengths > 0, eps / lengths, 0.0)
        return cls((moved * reach).to(slopes), (units * reach).to(slopes))


class ClosedFormStepper(ComposableStepper):
    """`ComposableStepper` for VBPR: the same batches and state, the same numbers to rounding.

    The rows that a batch names are gathered once; autograd sees them and their content, [R, w].
    """

    def __init__(self, model: VBPR, positives: Positives, config: ResolvedConfig) -> None:
        super().__init__(model, positives, config)
        self._vbpr = model

    def _step(self, batch: Tensor) -> Terms:
        model, config = self._vbpr, self._config
        share = batch.shape[-1] if config.reduction == "mean" else 1
        rows = Rows.of(batch)
        with torch.no_grad():
            features, weights = model.features.index_select(0, rows.items.ids), model.weights()
            leaves = [model.user_rows(rows.users.ids), model.own_rows(rows.items.ids)]
            leaves.append(features @ weights)
        user, own, content = (leaf.requires_grad_() for leaf in leaves)

        clean = model.bpr(user, own, content, rows).sum()
        total, adversarial = clean, torch.zeros_like(clean)
        if config.adv_weight > 0:
            (slopes,) = torch.autograd.grad(clean, content, retain_graph=True)
            push = Push.of(slopes, weights, config.eps)
            shift = push.content.requires_grad_()
            leaves.append(shift)
            adversarial = model.bpr(user, own, content + shift, rows).sum()
            total = clean + config.adv_weight * adversarial
        penalty = torch.zeros_like(clean)
        if config.reg > 0:
            penalty = config.reg * model.squares(user, own, content, rows)
        grads = torch.autograd.grad((total + penalty) / share, leaves)
        by_weights = features.T @ grads[2]
        if config.adv_weight > 0:
            by_weights.addmm_(weights, push.toward.T @ grads[3])
        self._steps += 1
        self._move_all(rows, grads[0], grads[1], by_weights)
        return Terms(total / share, clean / share, adversarial / share, penalty / share)

    def _move_all(self, rows: Rows, user: Tensor, own: Tensor, weights: Tensor) -> None:
        """The optimiser's steps; a model's second table has the columns behind the first's."""
        for names, grad, ids in (
            (("users", "users_visual"), user, rows.users.ids),
            (("items", "items_bias"), own, rows.items.ids),
            (("projection", "projection_bias"), weights, None),
        ):
            for name, part in zip(names, torch.split(grad, self._vbpr.dim, 1), strict=False):
                self._move(self._names.index(name), part.contiguous(), ids)
