"""What every model, site and norm must satisfy. A newly registered model is tested here unasked.

All in float64 on a model small enough for finite differences. The random weights are of the size
that training reaches (row norms near 1), so that a margin is neither 0 nor saturated.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from support.model_twins import TWINS
from torch import Tensor

from advrec import native
from advrec.data.dataset import Pairs
from advrec.models import MODELS, ModelSpec, Recommender, create
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.robustness import perturb
from advrec.robustness.objective import adversarial_step_loss, gradient, perturbation
from advrec.robustness.search import noise_for

N_USERS, N_ITEMS, DIM, LAYERS = 10, 14, 4, 2
SEEN = np.random.default_rng(5).random((N_USERS, N_ITEMS)) < 0.35
PAIRS = Pairs.from_coo(*np.nonzero(SEEN), N_USERS, N_ITEMS)
POSITIVES = Positives.from_pairs(PAIRS)

FORMS: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (name, {}) for name in MODELS},
    "vbpr scorer=vbpr": ("vbpr", {"scorer": "vbpr"}),
    "mf loss=bce": ("mf", {"loss": "bce"}),
    "neumf loss=bpr": ("neumf", {"loss": "bpr"}),
    "cdae loss=multinomial": ("cdae", {"loss": "multinomial"}),
}
"""Every model as it is, and the other forms that its options give it."""

WAYS = [
    (form, site.name, norm)
    for form, (name, _) in FORMS.items()
    for site in MODELS[name].sites
    for norm in site.norms
]
WHOLE = [way for way in WAYS if way[2] != "sample"]  # an attack perturbs whole tables
every_way = pytest.mark.parametrize(("name", "site", "norm"), WAYS)
every_attack = pytest.mark.parametrize(("name", "site", "norm"), WHOLE)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tables this small are not worth a second thread, and waiting for one takes long."""
    before = torch.get_num_threads()
    native.set_threads(1)
    yield
    native.set_threads(before)


@pytest.fixture(autouse=True, params=["native", "reference"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything below holds on the compiled operators and on their twins in plain torch."""
    if request.param == "native" and native.core() is None:
        pytest.skip("the compiled core is unavailable here; `advrec doctor` says why")
    native.use(request.param)
    yield
    native.use(os.environ.get("ADVREC_KERNELS", "auto"))


def model_of(name: str, seed: int = 0) -> Recommender:
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(N_ITEMS, 5, dtype=torch.float64, generator=generator)
    kind, options = FORMS[name]
    model = create(
        kind,
        ModelSpec(
            n_users=N_USERS,
            n_items=N_ITEMS,
            dim=DIM,
            layers=LAYERS,
            seed=seed,
            graph=Graph.build(PAIRS, torch.float64),
            positives=POSITIVES,
            item_features=features,
            dtype=torch.float64,
            init_std=0.5,
            options=options,
        ),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # a bias; training does not leave it at 0
                parameter.normal_(0, 0.5, generator=generator)
    return model.eval()  # dropout has tests of its own


def batches(model: Recommender, count: int = 5) -> Iterator[Tensor]:
    """Batches of 12 triplets (or users), rows repeated within each."""
    for seed in range(count):
        everything = torch.cat(list(model.attack_batches(POSITIVES, seed)), 1)
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(everything.shape[1], generator=generator)[:12]
        yield everything[:, chosen].contiguous()


def flat(noise: dict[str, Tensor]) -> Tensor:
    return torch.cat([noise[key].flatten() for key in sorted(noise)])


def blocks(noise: dict[str, Tensor], norm: str) -> list[Tensor]:
    """The vectors of which each has length eps, or is zero."""
    if norm == "joint":
        return [flat(noise)]
    if norm == "tensor":
        return [tensor.flatten() for tensor in noise.values()]
    return [row for tensor in noise.values() for row in tensor.reshape(-1, tensor.shape[-1])]


def length(site: str, norm: str) -> float:
    """An eps that bends the loss and does not turn it over: of a row, or of whole tables."""
    if site == "weights":  # of a few small matrices, before rows are brought to length 1
        return 0.1
    return 0.5 if norm == "row" else 2.0


# -- 1: nothing to perturb -----------------------------------------------------------------------


@every_way
def test_eps_zero_gives_equal_clean_and_adversarial_losses(name: str, site: str, norm: str) -> None:
    model = model_of(name)
    for batch in batches(model):
        terms = adversarial_step_loss(model, batch, site=site, norm=norm, eps=0.0, adv_weight=1.0)
        assert torch.equal(terms.clean, terms.adversarial)


# -- 2: direction and length ---------------------------------------------------------------------


@every_way
def test_a_small_perturbation_never_lowers_the_loss(name: str, site: str, norm: str) -> None:
    model = model_of(name)
    for batch in batches(model, 20):
        terms = adversarial_step_loss(model, batch, site=site, norm=norm, eps=0.01, adv_weight=1.0)
        assert float(terms.adversarial.detach()) > float(terms.clean.detach())


@every_way
def test_the_perturbation_points_along_the_gradient_with_length_eps(
    name: str, site: str, norm: str
) -> None:
    model = model_of(name)
    for batch in batches(model):
        _, gamma = gradient(model, batch, site=site, norm=norm)
        _, delta = perturbation(model, batch, site=site, norm=norm, eps=0.5)
        for grad, noise in zip(blocks(gamma, norm), blocks(delta, norm), strict=True):
            if not grad.any():
                assert not noise.any()
                continue
            assert math.isclose(float(noise.norm()), 0.5, rel_tol=1e-12)
            cosine = float(noise @ grad / (noise.norm() * grad.norm()))
            assert math.isclose(cosine, 1.0, rel_tol=1e-12)


@every_way
def test_rows_outside_the_batchs_reach_are_not_touched(name: str, site: str, norm: str) -> None:
    model = model_of(name)
    (batch,) = batches(model, 1)
    batch = batch[:, :1]
    before = model.losses(batch)
    noise = model.noise_like(site, norm, batch)
    _, delta = perturbation(model, batch, site=site, norm=norm, eps=0.5)
    # Whatever Δ leaves at 0 may be filled with anything: the batch's losses do not see it. But an
    # edge that was pruned, or a unit that was off, would be seen again after a large change.
    size = 1e-3 if (FORMS[name][0], site) in {("gnnguard", "ego"), ("neumf", "mlp")} else 1.0
    for key, tensor in delta.items():
        untouched = ~tensor.any(-1, keepdim=True)
        noise[key] = torch.randn_like(tensor) * untouched * size
    torch.testing.assert_close(model.losses(batch, noise), before, rtol=1e-12, atol=1e-12)


# -- 3: the gradient -----------------------------------------------------------------------------


@every_way
def test_the_gradient_is_that_of_central_differences(name: str, site: str, norm: str) -> None:
    model, step = model_of(name), 1e-5
    (batch,) = batches(model, 1)
    _, gamma = gradient(model, batch, site=site, norm=norm)

    def loss(noise: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            return model.losses(batch, noise).sum()

    for key, grad in gamma.items():
        differences = torch.zeros(grad.shape, dtype=grad.dtype)
        for place in range(grad.numel()):
            values = []
            for sign in (1, -1):
                noise = model.noise_like(site, norm, batch)
                noise[key].view(-1)[place] = sign * step
                values.append(loss(noise))
            differences.view(-1)[place] = (values[0] - values[1]) / (2 * step)
        # Truncation is of the order step² = 1e-10, rounding 1e-15 / step = 1e-10.
        torch.testing.assert_close(differences, grad, rtol=1e-7, atol=1e-8)


def test_every_model_has_a_twin() -> None:
    assert set(TWINS) == set(FORMS), "write the new model once more in model_twins.py"


@every_way
def test_losses_and_gradient_are_those_of_the_twin(name: str, site: str, norm: str) -> None:
    model = model_of(name)
    twin = TWINS[name](model, torch.from_numpy(SEEN).double(), LAYERS)
    for batch in batches(model):
        losses, gamma = gradient(model, batch, site=site, norm=norm)
        zeros = model.noise_like(site, norm, batch)
        noise = {key: value.requires_grad_() for key, value in zeros.items()}
        expected = twin(batch, noise)
        torch.testing.assert_close(losses, expected)
        grads = torch.autograd.grad(expected.sum(), tuple(noise.values()))
        for key, grad in zip(noise, grads, strict=True):
            torch.testing.assert_close(gamma[key], grad)


# -- 4: no memory --------------------------------------------------------------------------------


@every_way
def test_the_same_weights_and_batch_give_the_same_perturbation(
    name: str, site: str, norm: str
) -> None:
    trained, fresh = model_of(name), model_of(name)
    first, second = batches(trained, 2)
    optimizer = torch.optim.Adam(trained.parameters(), lr=0.1)
    for _ in range(3):
        adversarial_step_loss(
            trained, first, site=site, norm=norm, eps=0.5, adv_weight=1.0, reg=0.01
        ).total.backward()
        optimizer.step()
    fresh.load_state_dict(trained.state_dict())
    _, after_training = perturbation(trained, second, site=site, norm=norm, eps=0.5)
    _, from_nothing = perturbation(fresh, second, site=site, norm=norm, eps=0.5)
    assert all(torch.equal(after_training[key], from_nothing[key]) for key in from_nothing)


# -- 5: more of an attack is never less ----------------------------------------------------------


def loss_under(model: Recommender, noise: dict[str, Tensor] | None) -> float:
    with torch.no_grad():
        return sum(float(model.losses(b, noise).sum()) for b in model.attack_batches(POSITIVES, 0))


@every_attack
def test_more_steps_restarts_or_eps_never_help_the_model(name: str, site: str, norm: str) -> None:
    model, unit = model_of(name), length(site, norm)

    def loss(eps: float, steps: int, restarts: int) -> float:
        noise = noise_for(
            model, POSITIVES, eps=eps, site=site, norm=norm, steps=steps, restarts=restarts
        )
        assert all(float(block.norm()) <= eps * (1 + 1e-12) for block in blocks(noise, norm))
        return loss_under(model, noise)

    clean = loss_under(model, None)
    for losses in (
        # A single step of 2·unit may overshoot, its gradient is only that at no noise.
        [clean, *(loss(scale * unit, 1, 1) for scale in (0.25, 0.5, 1.0))],
        [clean, *(loss(scale * unit, 5, 1) for scale in (0.25, 0.5, 1.0, 2.0))],
        [loss(unit, steps, 1) for steps in (1, 2, 5, 20)],
        [loss(unit, 5, restarts) for restarts in (1, 2, 4)],
    ):
        assert losses == sorted(losses)


@every_attack
def test_many_steps_beat_one_at_equal_norm(name: str, site: str, norm: str) -> None:
    model, eps = model_of(name), length(site, norm)
    one, many = (
        noise_for(model, POSITIVES, eps=eps, site=site, norm=norm, steps=steps) for steps in (1, 20)
    )
    lengths = [perturb.measure(n, model.tables(site), norm).absolute for n in (one, many)]
    assert math.isclose(*lengths, rel_tol=1e-6)
    assert loss_under(model, many) > loss_under(model, one)


# -- 6: the random control -----------------------------------------------------------------------


@every_attack
def test_random_noise_has_the_same_row_norms_and_costs_less(
    name: str, site: str, norm: str
) -> None:
    model, eps = model_of(name), length(site, norm)
    worst = noise_for(model, POSITIVES, eps=eps, site=site, norm=norm)
    for seed in range(5):
        noise = noise_for(
            model, POSITIVES, noise="random", eps=eps, site=site, norm=norm, seed=seed
        )
        for key in worst:
            # The rows of another seed's negatives differ a little in joint and tensor norms.
            if norm == "row" or seed == 0:
                torch.testing.assert_close(noise[key].norm(dim=-1), worst[key].norm(dim=-1))
        assert loss_under(model, noise) < loss_under(model, worst)
