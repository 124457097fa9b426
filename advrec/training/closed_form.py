"""Steps of VBPR and AMR with their gradients written out: autograd's result in half the time.

With G the gradient of the item vectors v = q + W c, the gradient of the features is Γ = G Wᵀ. The
losses depend on Δ = ε·Γ/‖Γ‖ only through Δ W, so for many features the small matrix M = WᵀW is
enough:

    ‖Γ_row‖² = g M gᵀ,   (Δ W)_row = ε·g M/‖Γ_row‖,   Δᵀ G' = W·Σ_row ε·gᵀ g'/‖Γ_row‖

and the adversary costs the same however many features there are. M and the lengths are float64:
g may lie where W hardly stretches, and then g M gᵀ is a small difference of large numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from advrec import ops
from advrec.models.vbpr import VBPR, Rows
from advrec.ops import OPTIMIZERS
from advrec.robustness.objective import Terms
from advrec.training.composable import ComposableStepper
from advrec.training.stepper import budget

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.models.base import Recommender
    from advrec.ops.positives import Positives

NARROW: Final = 4
"""Up to this many features per column of W, Γ itself is computed: less work than float64."""


class Slopes(NamedTuple):
    """The BPR losses of a batch, and their gradient in the vectors of its rows."""

    loss: Tensor  # scalar, the sum
    users: Tensor  # [Ru, k]
    items: Tensor  # [Ri, k]

    @classmethod
    def of(cls, users: Tensor, items: Tensor, rows: Rows) -> Slopes:
        """The losses and gradients at these vectors."""
        margins = ops.triplet_margin(users, items, rows.triplets)
        grad = torch.sigmoid(-margins).neg_()  # of softplus(−margin)
        slopes = ops.triplet_margin_backward(grad, users, items, rows.triplets)
        return cls(ops.total(-functional.logsigmoid(margins)), *slopes)


class FeaturePerturbation(NamedTuple):
    """A perturbation of a batch's features, as far as the losses see it."""

    content: Tensor  # Δ W, [R, w]
    delta: Tensor  # Δ, [R, F]; or what Δ is `weights`ᵀ times, [R, w]
    weights: Tensor | None  # W, [F, w]

    @classmethod
    def of(cls, slopes: Tensor, weights: Tensor, eps: float) -> FeaturePerturbation:
        """The fast gradient method; `slopes`, [R, w], is the gradient of the items' content."""
        if len(weights) <= NARROW * weights.shape[1]:
            delta = ops.normalize_rows(ops.product(slopes, weights.T), eps)
            return cls(ops.product(delta, weights), delta, None)
        g, wide = slopes.double(), weights.double()  # there the square of a tiny float is not 0
        moved = ops.product(g, ops.product(wide.T, wide))
        lengths = torch.linalg.vecdot(moved, g).clamp_min_(0).sqrt_().unsqueeze(1)
        reach = torch.where(lengths > 0, eps / lengths, 0.0)
        return cls(moved.mul_(reach).to(slopes), (g * reach).to(slopes), weights)

    def by_weights(self, slopes: Tensor) -> Tensor:  # [F, w]
        """Δᵀ G': the gradient in W through Δ, from that in the perturbed content."""
        inner = ops.product(self.delta.T, slopes)
        return inner if self.weights is None else ops.product(self.weights, inner)


class ClosedFormStepper(ComposableStepper):
    """`ComposableStepper` for VBPR: the same batches and state, the same numbers to rounding."""

    def __init__(self, model: Recommender, positives: Positives, config: ResolvedConfig) -> None:
        super().__init__(model, positives, config)
        assert isinstance(model, VBPR)
        self._vbpr = model
        self._eps, self._adv_weight = budget(config)

    @staticmethod
    def supports(kind: type[Recommender], config: ResolvedConfig) -> bool:
        """Exactly VBPR, its features perturbed row by row or not at all, and an optimizer that
        leaves the rows outside a batch alone."""
        perturbs = budget(config)[1] != 0
        known = not perturbs or (config.site == "features" and config.norm == "row")
        by_row = not OPTIMIZERS[config.optimizer].moves_untouched_rows
        return kind is VBPR and known and by_row and config.precision != "bf16"

    @torch.no_grad()
    def _step(self, batch: Tensor) -> Terms:
        model, config = self._vbpr, self._config
        share = batch.shape[-1] if config.reduction == "mean" else 1
        rows = Rows.of(batch)
        user, own = model.user_rows(rows.users.ids), model.own_rows(rows.items.ids)
        features, weights = model.features.index_select(0, rows.items.ids), model.weights()
        content = ops.product(features, weights)
        wide = model.widened(user)
        clean = Slopes.of(wide, model.joined(own, content), rows)
        by_user, by_item, adversarial = clean.users, clean.items, torch.zeros_like(clean.loss)
        by_weights = torch.zeros_like(weights)
        if self._adv_weight > 0:
            noise = FeaturePerturbation.of(model.parts(clean.items)[1], weights, self._eps)
            worst = Slopes.of(wide, model.joined(own, content + noise.content), rows)
            adversarial = worst.loss
            by_user = torch.add(by_user, worst.users, alpha=self._adv_weight)
            by_item = torch.add(by_item, worst.items, alpha=self._adv_weight)
            by_weights = self._adv_weight * noise.by_weights(model.parts(worst.items)[1])
        by_user, (by_own, by_content) = by_user[:, : user.shape[1]], model.parts(by_item)
        penalty = torch.zeros_like(clean.loss)
        if config.reg > 0:
            penalty, pull_user, pull_item = self._pull(user, own, content, rows)
            by_user, by_own = by_user + pull_user, by_own + pull_item
            if model.scorer == "amr":  # the whole vector is shrunk, own and content
                by_content = by_own
        by_weights += ops.product(features.T, by_content)
        self._state.steps += 1
        for table, grad, ids in (
            ("users", by_user, rows.users.ids),
            ("items", by_own, rows.items.ids),
            ("projection", by_weights, None),
        ):
            self._move_table(table, grad if share == 1 else grad / share, ids)
        total = clean.loss + self._adv_weight * adversarial + penalty
        return Terms(total / share, clean.loss / share, adversarial / share, penalty / share)

    def _pull(
        self, user: Tensor, own: Tensor, content: Tensor, rows: Rows
    ) -> tuple[Tensor, Tensor, Tensor]:
        """γ·`VBPR.penalty`, and its gradient in the users' rows and in what items are shrunk."""
        model, reg = self._vbpr, self._config.reg
        item = own + content if model.scorer == "amr" else own
        by_user = 2 * reg * rows.users.counts(user) * user
        by_item = 2 * reg * model.reg_items * rows.items.counts(item) * item
        penalty = ops.total(by_user * user) + ops.total(by_item * item)
        return penalty / 2, by_user, by_item

    def _move_table(self, table: str, grad: Tensor, ids: Tensor | None) -> None:
        """The optimizer's steps on a table, and on the second one whose columns follow its own."""
        names = [name for name in self._params if name.split("_")[0] == table]
        dim = self._vbpr.dim
        parts = torch.split(grad, dim, 1) if grad.shape[1] > dim else [grad]
        for name, part in zip(names, parts, strict=True):
            self._move(name, part.contiguous(), ids)
