"""The loss of a training step: clean, plus adversarial, plus regularisation.

Adversarial personalised ranking (APR; He et al., SIGIR 2018) on any model:

    L(Θ) + λ·L(Θ + Δ) + γ·½‖Θ_batch‖²,   Δ = ε·Γ/‖Γ‖,   Γ = ∂L(Θ)/∂Θ
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from advrec import perturb
from advrec.errors import UsageError
from advrec.models.base import Recommender


class Terms(NamedTuple):
    """The parts of a step's loss, scalars. total = clean + λ·adversarial + penalty."""

    total: Tensor  # what is to be minimised; the only one whose gradient anyone needs
    clean: Tensor  # sum or mean of the losses over the batch
    adversarial: Tensor  # the same at Θ + Δ; 0 where nothing is perturbed
    penalty: Tensor  # γ and, for the mean, 1/B included


def adversarial_step_loss(
    model: Recommender,
    batch: Tensor,  # [3, B] int32, or [1, B] for a model of users
    *,
    site: str | None = None,
    norm: str = "row",
    eps: float | None,
    adv_weight: float,
    reg: float = 0.0,
    reduction: str = "sum",
) -> Terms:
    """The terms of one batch, with a graph from `total` to the parameters.

    Δ comes from the gradient of this batch's clean loss at the current parameters and nothing else,
    and is a constant for the gradient of `total`. reduction "sum" leaves the penalty as it is,
    "mean" divides the losses and the penalty by B. With eps None or adv_weight 0 nothing is
    perturbed, and the step is the base model's to the last bit.
    Raises UsageError for a site, norm or reduction that does not exist.
    """
    if reduction not in ("sum", "mean"):
        raise UsageError(f"There is no reduction {reduction!r}; there are sum, mean.")
    share = 1 if reduction == "sum" else batch.shape[-1]
    if eps is None or adv_weight == 0:
        clean = model.losses(batch).sum() / share
        adversarial = torch.zeros_like(clean).detach()
        total = clean
    else:
        losses, noise = perturbation(model, batch, site=site, norm=norm, eps=eps)
        clean = losses.sum() / share
        adversarial = model.losses(batch, noise).sum() / share
        total = clean + adv_weight * adversarial
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

    `at` is the noise at which the gradient is taken; None is no noise, which gives Γ at the clean
    parameters. Of the sum even where training takes the mean: a direction has no scale. Touches no
    parameter's `.grad`. The losses keep their graph to the parameters.
    """
    name = model.check_site(site, norm).name
    start = model.noise_like(name, norm, batch) if at is None else at
    noise = {key: value.detach().requires_grad_() for key, value in start.items()}
    with torch.enable_grad():
        losses = model.losses(batch, noise)
        keeps = any(parameter.requires_grad for parameter in model.parameters())
        grads = torch.autograd.grad(losses.sum(), tuple(noise.values()), retain_graph=keeps)
    return losses, dict(zip(noise, grads, strict=True))
