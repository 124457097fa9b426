"""The loss of a step: what is in it, and where its perturbation comes from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from advrec.data.dataset import Pairs
from advrec.errors import UsageError
from advrec.models import MODELS, ModelSpec, Recommender, create
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.ops.reference import sample_triplets
from advrec.robustness import perturb
from advrec.robustness.objective import Terms, adversarial_step_loss, gradient, perturbation

N_USERS, N_ITEMS, DIM = 12, 15, 4
SEEN = np.random.default_rng(0).random((N_USERS, N_ITEMS)) < 0.3
PAIRS = Pairs.from_coo(*np.nonzero(SEEN), N_USERS, N_ITEMS)


def model_of(name: str, seed: int = 0) -> Recommender:
    return create(
        name,
        ModelSpec(
            n_users=N_USERS,
            n_items=N_ITEMS,
            dim=DIM,
            layers=2,
            seed=seed,
            graph=Graph.build(PAIRS, torch.float64),
            positives=Positives.from_pairs(PAIRS),
            dtype=torch.float64,
            init_std=0.5,
        ),
    )


BATCH = sample_triplets(Positives.from_pairs(PAIRS), seed=0, epoch=0, first=0, count=20)
WAYS = [
    (name, site.name, norm)
    for name in ("mf", "lightgcn")
    for site in MODELS[name].sites
    for norm in site.norms
]


def terms(model: Recommender, **changes: object) -> Terms:
    options: dict[str, object] = {"eps": 0.3, "adv_weight": 0.7, "reg": 0.01} | changes
    return adversarial_step_loss(model, BATCH, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("name", "site", "norm"), WAYS)
def test_the_total_is_clean_plus_adversarial_plus_penalty(
    name: str, site: str, norm: str, reduction: str
) -> None:
    model = model_of(name)
    found = terms(model, site=site, norm=norm, reduction=reduction)
    _, noise = perturbation(model, BATCH, site=site, norm=norm, eps=0.3)
    share = 1 if reduction == "sum" else BATCH.shape[1]
    torch.testing.assert_close(found.clean, model.losses(BATCH).sum() / share)
    torch.testing.assert_close(found.adversarial, model.losses(BATCH, noise).sum() / share)
    torch.testing.assert_close(found.penalty, 0.01 * model.penalty(BATCH) / share)
    torch.testing.assert_close(found.total, found.clean + 0.7 * found.adversarial + found.penalty)


@pytest.mark.parametrize(("name", "site", "norm"), WAYS)
def test_the_perturbation_is_constant_for_the_gradient(name: str, site: str, norm: str) -> None:
    model = model_of(name)
    (weights,) = model.parameters()
    (found,) = torch.autograd.grad(terms(model, site=site, norm=norm).total, weights)
    _, noise = perturbation(model, BATCH, site=site, norm=norm, eps=0.3)
    assert not any(tensor.requires_grad for tensor in noise.values())
    fixed = model.losses(BATCH).sum() + 0.7 * model.losses(BATCH, noise).sum()
    (expected,) = torch.autograd.grad(fixed + 0.01 * model.penalty(BATCH), weights)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["mf", "lightgcn"])
@pytest.mark.parametrize("off", [{"adv_weight": 0.0}, {"eps": None}])
def test_without_weight_or_eps_the_step_is_the_base_model_bit_for_bit(
    name: str, off: dict[str, object]
) -> None:
    model = model_of(name)
    (weights,) = model.parameters()
    found = terms(model, **off)
    plain = model.losses(BATCH).sum() + 0.01 * model.penalty(BATCH)
    assert torch.equal(found.total, plain)
    assert float(found.adversarial) == 0.0
    gradients = [torch.autograd.grad(total, weights)[0] for total in (found.total, plain)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize(("name", "site", "norm"), WAYS)
def test_the_perturbation_does_not_depend_on_what_was_computed_before(
    name: str, site: str, norm: str
) -> None:
    """RS_Zoos' LightGCN + APR perturbs by a gradient that holds the last step's as well."""
    model = model_of(name)
    _, fresh = perturbation(model, BATCH, site=site, norm=norm, eps=0.3)
    model.losses(BATCH.flip(1)[:, :5]).sum().backward()
    terms(model, site=site, norm=norm).total.backward()
    _, again = perturbation(model, BATCH, site=site, norm=norm, eps=0.3)
    assert all(torch.equal(fresh[key], again[key]) for key in fresh)


def test_taking_the_gradient_leaves_no_trace() -> None:
    model = model_of("lightgcn")
    gradient(model, BATCH)
    terms(model)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_gradient_can_be_taken_at_a_noise() -> None:
    model = model_of("mf")
    noise = {"ego": 0.1 * torch.randn(N_USERS + N_ITEMS, DIM, dtype=torch.float64)}
    losses, at_noise = gradient(model, BATCH, at=noise)
    moved = model_of("mf")
    moved.get_parameter("embedding").data.add_(noise["ego"])
    expected, at_zero = gradient(moved, BATCH)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(at_noise["ego"], at_zero["ego"])


def test_duplicates_are_summed_before_they_are_normalised() -> None:
    """Row noise of a batch is that of the summed gradient, not a sum of normalised ones."""
    model = model_of("mf")
    batch = torch.tensor([[0, 0, 0], [1, 1, 2], [3, 4, 3]], dtype=torch.int32)
    single = [gradient(model, batch[:, [b]])[1]["ego"] for b in range(3)]
    _, noise = perturbation(model, batch, eps=0.3)
    expected = perturb.fgm({"ego": sum(single, torch.zeros(()))}, eps=0.3, norm="row")
    torch.testing.assert_close(noise["ego"], expected["ego"])


def test_what_does_not_exist_is_refused() -> None:
    model = model_of("mf")
    with pytest.raises(UsageError, match="unknown reduction 'max'"):
        terms(model, reduction="max")
    with pytest.raises(UsageError, match="no site 'user'"):
        terms(model, site="user")
    with pytest.raises(UsageError, match="no norm 'l1'"):
        terms(model, norm="l1")
