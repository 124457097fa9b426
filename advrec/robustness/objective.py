"""The loss of a training step: clean, plus adversarial, plus regularisation.

Adversarial personalised ranking (APR; He et al., SIGIR 2018) on any model:

    L(Θ) + λ·L(Θ + Δ) + γ·½‖Θ_batch‖²,   Δ = ε·Γ/‖Γ‖,   Γ = ∂L(Θ)/∂Θ

and with several sites s side by side (ACAE and ACNN; Yuan et al., IJCNN and SIGIR 2019):

    L(Θ) + Σ_s λ_s·L(Θ, Δ_s) + γ·½‖Θ‖²,   Δ_s = ε_s·Γ_s/‖Γ_s‖

each Δ_s in a pass of its own, all Γ_s from the one clean loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import torch
from torch import Tensor

from advrec import ops
from advrec.errors import UsageError
from advrec.models.base import Recommender
from advrec.robustness import perturb

NO_SITE_HAS_ITS_OWN: Final[Mapping[str, float]] = MappingProxyType({})


class Terms(NamedTuple):
    """The parts of a step's loss, scalars. total = clean + λ·adversarial + penalty.

    Of several sites, λ is the sum of their λ_s and adversarial their mean weighted with these.
    """

    total: Tensor  # what is to be minimised; the only one whose gradient is needed
    clean: Tensor  # sum or mean of the losses over the batch
    adversarial: Tensor  # the same at Θ + Δ; 0 where nothing is perturbed
    penalty: Tensor  # γ and, for the mean, 1/B included


def adversarial_step_loss(
    model: Recommender,
    batch: Tensor,  # [3, B] int32, or [1, B] for a model of users
    *,
    site: str | None = None,  # as Recommender.sites_of reads it: one, several, a combination
    norm: str = "row",
    eps: float | None,
    adv_weight: float,
    site_eps: Mapping[str, float] = NO_SITE_HAS_ITS_OWN,
    site_adv_weight: Mapping[str, float] = NO_SITE_HAS_ITS_OWN,
    reg: float = 0.0,
    reduction: str = "sum",
) -> Terms:
    """The terms of one batch, with a graph from `total` to the parameters.

    Δ comes from the gradient of this batch's clean loss at the current parameters and nothing else,
    and is a constant for the gradient of `total`. reduction "sum" leaves the penalty as it is,
    "mean" divides the losses and the penalty by B. With eps None or adv_weight 0 nothing is
    perturbed, and the step is the base model's to the last bit. `site_eps` and `site_adv_weight`
    hold what single sites have instead of `eps` and `adv_weight`; a site of weight 0 costs nothing.
    Raises UsageError for a site, norm or reduction that does not exist.
    """
    if reduction not in ("sum", "mean"):
        raise UsageError(f"unknown reduction {reduction!r}: choose sum or mean")
    share = 1 if reduction == "sum" else batch.shape[-1]
    names = [place.name for place in model.sites_of(site)]
    weights = {name: site_adv_weight.get(name, adv_weight) for name in names}
    live = [name for name in names if eps is not None and weights[name] != 0]
    if eps is None or not live:
        clean = ops.total(model.losses(batch)) / share
        adversarial = torch.zeros_like(clean).detach()
        total = clean
    else:
        losses, grads = gradients(model, batch, sites=live, norm=norm)
        clean = total = ops.total(losses) / share
        weighted = []
        for name in live:
            noise = perturb.fgm(grads[name], eps=site_eps.get(name, eps), norm=norm)
            adversarial = ops.total(model.losses(batch, noise)) / share
            total = total + weights[name] * adversarial
            weighted.append(weights[name] * adversarial.detach())
        if len(live) > 1:
            adversarial = torch.stack(weighted).sum() / sum(weights[name] for name in live)
    if reg == 0:
        return Terms(total, clean, adversarial, torch.zeros_like(clean).detach())
    penalty = reg * model.penalty(batch) / share
    return Terms(total + penalty, clean, adversarial, penalty)


def perturbation(
    model: Recommender,
    batch: Tensor,
    *,
    site: str | None = None,
    norm: str = "row",
    eps: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The clean losses of a batch [B], still attached to their graph, and the Δ they call for."""
    losses, grads = gradient(model, batch, site=site, norm=norm)
    return losses, perturb.fgm(grads, eps=eps, norm=norm)


def gradient(
    model: Recommender,
    batch: Tensor,
    *,
    site: str | None = None,
    norm: str = "row",
    at: perturb.Tensors | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The losses of a batch [B] and Γ: the gradient of their sum with respect to noise at the site.

    `at` is the noise at which the gradient is taken; without one, Γ is that at the clean
    parameters. The sum is taken even where training takes the mean: a direction has no scale.
    Leaves every parameter's `.grad` as it is. The losses keep their graph to the parameters.
    """
    name = model.check_site(site, norm).name
    return _differentiate(model, batch, model.noise_like(name, norm, batch) if at is None else at)


def gradients(
    model: Recommender,
    batch: Tensor,
    *,
    sites: Sequence[str],
    norm: str = "row",
) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """As `gradient` at no noise, for several sites at once: one clean loss, Γ_s for each site s."""
    starts = {
        name: model.noise_like(model.check_site(name, norm).name, norm, batch) for name in sites
    }
    together = {key: value for start in starts.values() for key, value in start.items()}
    losses, grads = _differentiate(model, batch, together)
    return losses, {name: {key: grads[key] for key in start} for name, start in starts.items()}


def _differentiate(
    model: Recommender, batch: Tensor, at: perturb.Tensors
) -> tuple[Tensor, dict[str, Tensor]]:
    noise = {key: value.detach().requires_grad_() for key, value in at.items()}
    with torch.enable_grad():
        losses = model.losses(batch, noise)
        keeps = any(parameter.requires_grad for parameter in model.parameters())
        grads = torch.autograd.grad(ops.total(losses), tuple(noise.values()), retain_graph=keeps)
    return losses, dict(zip(noise, grads, strict=True))
