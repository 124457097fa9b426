"""The fused tier against the composable one: two ways to the same weights."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from advrec import native
from advrec.config.resolve import resolve
from advrec.config.train import ResolvedConfig, TrainConfig
from advrec.data.dataset import Pairs
from advrec.errors import ConfigError
from advrec.models import MODELS, create
from advrec.models.base import ModelSpec, Recommender
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.runs.model import DTYPES
from advrec.training.composable import ComposableStepper
from advrec.training.fused import FusedStepper
from advrec.training.stepper import StepStats
from advrec.training.tiers import TIERS, tier_of

pytestmark = pytest.mark.skipif(
    native.kernels() != "native", reason="the compiled core is switched off (ADVREC_KERNELS)"
)

U, I = 50, 40


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, U, 600), rng.integers(0, I, 600)
    return Pairs.from_coo(users.astype(np.int32), items.astype(np.int32), U, I)


def setting(model: str, **options: object) -> ResolvedConfig:
    values = dict(
        phase="adversarial", model=model, dim=7, batch_size=50, lr=0.01, seed=11, negatives=2,
        eps=0.5, adv_weight=0.7, init_std=0.3, precision="float64", device="cpu",
    )  # fmt: skip
    if model == "lightgcn":
        values["layers"] = 3
    return resolve(TrainConfig(**{**values, **options}), MODELS[model])


def train(
    pairs: Pairs, config: ResolvedConfig, stepper: type, calls: tuple[tuple[int, int], ...]
) -> tuple[Recommender, list[StepStats], dict[str, Tensor]]:
    dtype = DTYPES[config.precision]
    spec = ModelSpec(
        n_users=U, n_items=I, dim=config.dim, layers=config.layers, seed=3,
        graph=Graph.build(pairs, dtype=dtype), dtype=dtype, init_std=config.init_std,
    )  # fmt: skip
    model = create(config.model, spec)
    assert FusedStepper.supports(type(model), config)
    maker = stepper(model, Positives.from_pairs(pairs), config)
    stats = [maker.run(2, first, steps) for first, steps in calls]
    return model, stats, maker.state()


CASES = [
    *(
        ("mf", dict(optimizer=optimizer, norm=norm, reduction=reduction, reg=reg))
        for optimizer, norm, reduction, reg in itertools.product(
            ("sgd", "adagrad", "adam", "sparse_adam"),
            ("row", "joint", "sample"),
            ("sum", "mean"),
            (0.0, 0.01),
        )
    ),
    *(
        ("lightgcn", dict(optimizer=optimizer, norm=norm, site=site, layers=layers, reg=0.01))
        for optimizer, (site, norm), layers in itertools.product(
            ("sgd", "adagrad", "adam"),
            (("ego", "row"), ("ego", "joint"), ("final", "row"), ("final", "joint"),
             ("final", "sample")),
            range(5),
        )
    ),
    *((model, dict(adv_weight=0.0)) for model in ("mf", "lightgcn")),
    *((model, dict(sampling=way)) for model in ("mf", "lightgcn") for way in ("pairs", "users")),
]  # fmt: skip


@pytest.mark.parametrize(("model", "options"), CASES)
def test_the_fused_steps_are_the_composable_ones(pairs, model, options):
    """In float64, seven steps that differ by rounding alone: 1e-9 is a million times that."""
    config = setting(model, **options)
    calls = ((0, 3), (3, 4))
    one, two = (train(pairs, config, kind, calls) for kind in (ComposableStepper, FusedStepper))
    torch.testing.assert_close(one[0].embedding, two[0].embedding, rtol=0, atol=1e-9)
    for ours, theirs in zip(one[1], two[1], strict=True):
        assert ours.triplets == theirs.triplets
        assert abs(ours.loss - theirs.loss) < 1e-9
        assert abs(ours.adv_loss - theirs.adv_loss) < 1e-9
    assert one[2].keys() == two[2].keys()
    for name in one[2]:
        torch.testing.assert_close(one[2][name], two[2][name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])  # Adam: rows wait for their steps
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_bits_do_not_depend_on_threads_or_on_how_steps_are_cut_into_calls(
    pairs, model, optimizer, precision
):
    config = setting(model, dim=64, batch_size=37, optimizer=optimizer, precision=precision)
    before = native.set_threads(None)
    weights = []
    try:
        for threads, calls in ((1, ((0, 20),)), (2, ((0, 20),)), (3, ((0, 7), (7, 12), (19, 1)))):
            native.set_threads(threads)
            weights.append(train(pairs, config, FusedStepper, calls)[0].embedding)
    finally:
        native.set_threads(before)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("site", ["ego", "final"])
@pytest.mark.parametrize("layers", range(5))
def test_bfloat16_storage_changes_a_step_by_its_rounding(pairs, site, layers):
    """Gathered values are rounded by 2⁻⁹ of themselves; SGD's step is linear in the gradient."""
    weights, losses = [], []
    for precision in ("float32", "bf16"):
        config = setting(
            "lightgcn", site=site, layers=layers, dim=64, optimizer="sgd", precision=precision
        )
        spec_config = config.model_copy(update={"precision": "float32"})
        start = train(pairs, spec_config, FusedStepper, ())[0].embedding.detach().clone()
        model, stats, _ = train(pairs, config, FusedStepper, ((0, 1),))
        weights.append(model.embedding.detach() - start)
        losses.append(stats[0].loss)
    assert abs(losses[0] - losses[1]) < 2e-2 * losses[0]
    if layers > 0:
        assert not torch.equal(*weights)  # rounding did take place
    assert (weights[0] - weights[1]).norm() < 5e-2 * weights[0].norm()


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_without_weight_the_adversary_changes_no_bit(pairs, model):
    plain = setting(model, adv_weight=0.0, eps=0.0)
    weightless = setting(model, adv_weight=0.0, eps=3.0)
    a, b = (train(pairs, c, FusedStepper, ((0, 10),))[0].embedding for c in (plain, weightless))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("model", "options"),
    [("mf", dict(norm=norm)) for norm in ("row", "joint", "sample")]
    + [("lightgcn", dict(site="ego", norm="row")), ("lightgcn", dict(site="final", norm="sample"))],
)
def test_no_budget_no_difference_and_more_budget_more_loss(pairs, model, options):
    losses = []
    for eps in (0.0, 0.1, 0.5, 1.0):
        config = setting(model, eps=eps, lr=1e-9, optimizer="sgd", **options)
        stats = train(pairs, config, FusedStepper, ((0, 5),))[1][0]
        losses.append(stats.adv_loss)
        if eps == 0:
            assert abs(stats.adv_loss - stats.loss) < 1e-9
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_what_the_core_does_not_know_is_left_to_the_composable_tier(pairs, model, monkeypatch):
    """A norm that the core has no number for, on models whose other norms it knows."""
    kind = MODELS[model]
    sites = tuple(replace(site, norms=(*site.norms, "tensor")) for site in kind.sites)
    monkeypatch.setattr(kind, "sites", sites)
    assert tier_of(kind, setting(model)) is FusedStepper
    config = setting(model, norm="tensor")
    assert tier_of(kind, config) is ComposableStepper
    assert tier_of(kind, config.model_copy(update={"adv_weight": 0.0})) is FusedStepper
    weightless = config.model_copy(update={"adv_weight": 0.0})
    plain = setting(model, adv_weight=0.0)
    a, b = (train(pairs, c, FusedStepper, ((0, 3),))[0].embedding for c in (weightless, plain))
    assert torch.equal(a, b)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_site_s_own_eps_and_weight_are_those_of_the_step(pairs, model):
    own = setting(model, eps=3.0, adv_weight=2.0, site="ego", site_eps={"ego": 0.5},
                  site_adv_weight={"ego": 0.7})  # fmt: skip
    plain = setting(model, eps=0.5, adv_weight=0.7, site="ego")
    a, b = (train(pairs, c, FusedStepper, ((0, 3),))[0].embedding for c in (own, plain))
    assert torch.equal(a, b)


def test_a_subclass_may_compute_anything_and_is_not_fused():
    class Twice(MODELS["mf"]):
        """Exactly MF for all that the table can see."""

    assert tier_of(Twice, setting("mf")) is ComposableStepper


def test_every_tier_but_the_last_needs_a_compiled_core_or_a_model_of_its_own():
    assert TIERS[-1] is ComposableStepper
    assert tier_of(MODELS["mf"], setting("mf", kernels="reference")) is ComposableStepper
    with pytest.raises(ConfigError, match="precision bf16 is for lightgcn"):
        tier_of(MODELS["mf"], setting("mf", precision="bf16"))


def test_the_last_batch_may_be_short_and_no_step_lies_outside_the_epoch(pairs):
    config = setting("mf", batch_size=1000)
    model, stats, _ = train(pairs, config, FusedStepper, ((0, 1), (1, 1)))
    total = 2 * len(Positives.from_pairs(pairs))
    assert [step.triplets for step in stats] == [1000, total - 1000]
    assert 0 < stats[1].triplets < 1000
    with pytest.raises(ValueError, match="must lie in the epoch"):
        train(pairs, config, FusedStepper, ((0, 9),))
    assert torch.isfinite(model.embedding).all()
