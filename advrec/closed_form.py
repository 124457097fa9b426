"""Steps of VBPR and AMR with their gradients written out: what autograd finds, in a third of the
operations, and with nothing but the batch's rows of the features ever touched.

With G = ∂L/∂v the gradient of the batch's item vectors and v_i = q_i + W c_i, the gradient of the
features is Γ = G Wᵀ. Of Δ = ε·Γ/‖Γ‖ the loss sees Δ W alone, so M = WᵀW is enough:

    ‖Γ_row‖² = g M gᵀ,   (Δ W)_row = ε·g M/‖Γ_row‖,   Δᵀ G' = W·(Σ_row ε·gᵀ g'/‖Γ_row‖)

and AMR costs the same for any number of features, but for the two products that VBPR has, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from advrec import ops
from advrec.models.vbpr import VBPR, Distinct
from advrec.objective import Terms
from advrec.stepper import ComposableStepper

if TYPE_CHECKING:
    from advrec.config import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.sampling import Positives


def supports(model: Recommender, config: ResolvedConfig) -> bool:
    """Exactly VBPR, its features perturbed row by row or none, an optimiser that works on rows."""
    perturbs = config.adv_weight > 0
    known = not perturbs or (config.site == "features" and config.norm == "row")
    return type(model) is VBPR and known and config.optimizer != "adam"


class Slope(NamedTuple):
    """The losses of some triplets, and the gradient of their sum in the vectors."""

    loss: Tensor  # scalar
    users: Tensor  # [Ru, k]
    items: Tensor  # [Ri, k]


class ClosedFormStepper(ComposableStepper):
    """`ComposableStepper` for VBPR: the same batches, state and numbers, to rounding."""

    def __init__(self, model: VBPR, positives: Positives, config: ResolvedConfig) -> None:
        super().__init__(model, positives, config)
        self._vbpr = model
        self._index = {name: place for place, name in enumerate(self._names)}

    @torch.no_grad()
    def _step(self, batch: Tensor) -> Terms:
        model, config = self._vbpr, self._config
        users, items = Distinct.of(batch[0]), Distinct.of(batch[1:])
        triplets = torch.cat([users.place.unsqueeze(0), items.place]).to(batch.dtype)
        both = model.scorer == "vbpr"
        weights = model.projection
        if both:
            weights = torch.cat([model.projection, model.projection_bias], 1)  # [F, w]
        features = model.features.index_select(0, items.ids)  # [Ri, F]
        own = self._own(items.ids)
        content = features @ weights
        user, item = model._users(users.ids, None), self._joined(own, content)
        clean = _slope(user, item, triplets)
        by_user, by_item, adv_loss = clean.users, clean.items, torch.zeros_like(clean.loss)
        through_noise = None
        if config.adv_weight > 0:
            toward = self._content(clean.items)  # g, [Ri, w]
            square = weights.double().T @ weights.double()
            moved = toward.double() @ square
            lengths = (moved * toward).sum(1, keepdim=True).clamp_min_(0).sqrt_()
            reach = torch.where(lengths > 0, config.eps / lengths, 0.0)
            content = content + (moved * reach).to(content.dtype)
            worst = _slope(user, self._joined(own, content), triplets)
            adv_loss = worst.loss
            by_user = by_user + config.adv_weight * worst.users
            by_item = by_item + config.adv_weight * worst.items
            push = (toward * reach.to(toward.dtype)).T @ self._content(worst.items)
            through_noise = weights @ (config.adv_weight * push)
        share = batch.shape[-1] if config.reduction == "mean" else 1
        penalty = self._shrink(users, items, user, item, by_user, by_item)
        slope = features.T @ self._content(by_item)
        return Terms(clean.loss, clean.loss / share, adv_loss / share, penalty / share)


def _slope(user: Tensor, item: Tensor, triplets: Tensor) -> Slope:
    margins = ops.triplet_margin(user, item, triplets)
    slopes = torch.sigmoid(margins) - 1
    return Slope(
        -functional.logsigmoid(margins).sum(), *ops.triplet_slopes(slopes, user, item, triplets)
    )
