"""VBPR and AMR: both scorers, noise on features, a rate for each table, and the closed form."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.training_data import FAST, bits, tiny_dataset

import advrec
from advrec import native, ops
from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.data import DataConfig
from advrec.errors import ConfigError, DataError, RunError, UsageError
from advrec.models import MODELS, ModelSpec, create
from advrec.models.vbpr import VBPR, Rows, scaled
from advrec.ops import reference
from advrec.ops.positives import Positives
from advrec.robustness import perturb
from advrec.robustness.objective import adversarial_step_loss, perturbation
from advrec.robustness.search import noise_for
from advrec.runs.model import build_model
from advrec.training import closed_form, fused, launch
from advrec.training.composable import ComposableStepper
from advrec.training.tiers import make_stepper

N_USERS, N_ITEMS, WIDTH, DIM = 6, 9, 5, 4


def with_features(width: int = WIDTH, scale: float = 3.0):
    dataset = tiny_dataset()
    rng = np.random.default_rng(1)
    values = scale * rng.standard_normal((dataset.n_items, width)).astype(np.float32)
    return replace(dataset, item_features=values)


DATASET = with_features()
POSITIVES = Positives.from_pairs(DATASET.train)
BATCH = torch.tensor([[0, 0, 3, 5], [1, 1, 7, 0], [2, 6, 0, 1]], dtype=torch.int32)


def model_of(scorer: str = "amr", **changes) -> VBPR:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(N_ITEMS, WIDTH, dtype=torch.float64, generator=generator)
    values = {"item_features": features, "init_std": 0.5, "options": {"scorer": scorer}} | changes
    model = create(
        "vbpr",
        ModelSpec(n_users=N_USERS, n_items=N_ITEMS, dim=DIM, dtype=torch.float64, **values),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(generator=generator)
    return model


def config_of(**options):
    options = {"dim": 8, "batch_size": 64, "lr": 0.05, **options}
    return resolve(TrainConfig(model="vbpr", **options), VBPR)


# -- scores --------------------------------------------------------------------------------------


def test_the_scorer_of_amr_is_one_user_vector_for_item_and_content():
    model = model_of()
    expected = model.users @ (model.items + model.features @ model.projection).T
    torch.testing.assert_close(model.scores(torch.arange(N_USERS)), expected)
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == {
        "users": (N_USERS, DIM), "items": (N_ITEMS, DIM), "projection": (WIDTH, DIM),
    }  # fmt: skip


def test_the_scorer_of_vbpr_has_a_visual_user_vector_and_two_biases():
    model = model_of("vbpr")
    expected = (
        model.users @ model.items.T
        + model.users_visual @ (model.features @ model.projection).T
        + (model.items_bias + model.features @ model.projection_bias).T
    )
    torch.testing.assert_close(model.scores(torch.arange(N_USERS)), expected)
    users, items = model.vectors()
    assert users.shape == (N_USERS, 2 * DIM + 1)
    assert items.shape == (N_ITEMS, 2 * DIM + 1)


@pytest.mark.parametrize("scorer", ["amr", "vbpr"])
def test_features_are_measured_by_their_largest_entry(scorer):
    model = model_of(scorer)
    again = model_of(scorer, item_features=1000 * model.features)
    assert float(model.features.abs().max()) == 1.0
    torch.testing.assert_close(again.features, model.features)
    with pytest.raises(UsageError, match="all item features are 0"):
        scaled(torch.zeros(3, 2))


def test_tables_of_one_seed_start_differently():
    model = model_of("vbpr")
    tables = [model.users, model.items[:N_USERS], model.users_visual]
    assert not any(torch.equal(a, b) for a in tables for b in tables if a is not b)


@pytest.mark.parametrize("scorer", ["amr", "vbpr"])
def test_the_penalty_counts_what_the_papers_count(scorer):
    model = model_of(scorer, options={"scorer": scorer, "reg_items": 0.25})
    if scorer == "amr":
        user, item = model.users, model.items + model.features @ model.projection
    else:
        user = torch.cat([model.users, model.users_visual], 1)
        item = torch.cat([model.items, model.items_bias], 1)
    expected = sum(
        user[u].square().sum() + 0.25 * (item[i].square().sum() + item[j].square().sum())
        for u, i, j in BATCH.T.tolist()
    )
    torch.testing.assert_close(model.penalty(BATCH), expected)


def test_a_wrong_option_is_refused():
    with pytest.raises(UsageError, match=r"'scorer'.*'arm': choose amr, vbpr") as caught:
        model_of("arm")
    assert caught.value.hint == "did you mean 'amr'?"
    with pytest.raises(UsageError, match=r"'reg_items'.*-1"):
        model_of(options={"reg_items": -1})


# -- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", ["amr", "vbpr"])
@pytest.mark.parametrize("site", ["features", "ego"])
def test_noise_of_a_batchs_rows_is_that_noise_in_the_whole_tables(scorer, site):
    model, rows = model_of(scorer), Rows.of(BATCH)
    noise = model.noise_like(site, "row", BATCH)
    whole = model.noise_like(site, "row", None)
    for key, value in noise.items():
        ids = (rows.users if key.startswith("users") else rows.items).ids
        assert len(value) == len(ids)
        value.normal_()
        whole[key][ids] = value
    torch.testing.assert_close(model.losses(BATCH, noise), model.losses(BATCH, whole))
    scores = model.scores(torch.arange(N_USERS), whole)
    margins = torch.stack([scores[u, i] - scores[u, j] for u, i, j in BATCH.T.tolist()])
    torch.testing.assert_close(model.losses(BATCH, noise), torch.log1p(torch.exp(-margins)))


def test_noise_of_another_shape_is_refused():
    with pytest.raises(UsageError, match=r"features has shape \[2, 5\], expected \[5, 5\]"):
        model_of().losses(BATCH, {"features": torch.zeros(2, WIDTH)})


def test_amr_perturbs_every_item_of_the_batch_once_positive_or_negative():
    model = model_of()
    _, delta = perturbation(model, BATCH, site="features", norm="row", eps=0.1)
    assert delta["features"].shape == (len({1, 7, 0, 2, 6}), WIDTH)
    torch.testing.assert_close(
        delta["features"].norm(dim=1), torch.full((5,), 0.1, dtype=torch.float64)
    )
    # Γ of a row is the gradient of its item vector times Eᵀ.
    losses = model.losses(BATCH)
    (by_item,) = torch.autograd.grad(losses.sum(), model.items)
    gamma = by_item[[0, 1, 2, 6, 7]] @ model.projection.T
    torch.testing.assert_close(
        delta["features"], perturb.fgm({"x": gamma}, eps=0.1, norm="row")["x"]
    )


def test_an_attack_on_features_spares_users_and_moves_every_item_it_reaches():
    dataset, model = DATASET, build_model(config_of(), DATASET, "cpu")
    noise = noise_for(model, POSITIVES, eps=0.2, site="features")
    assert set(noise) == {"features"}
    lengths = noise["features"].norm(dim=1)
    reached = lengths > 0
    torch.testing.assert_close(lengths[reached], torch.full_like(lengths[reached], 0.2))
    assert reached.sum() > dataset.n_items * 0.9
    plain, moved = model.vectors(), model.vectors(noise)
    assert torch.equal(plain[0], moved[0])
    assert bool((plain[1] != moved[1]).any(1)[reached].all())


# -- steps ---------------------------------------------------------------------------------------


def trained(kind, config, steps=5):
    model = build_model(config, DATASET, "cpu")
    stepper = kind(model, POSITIVES, config)
    stats = stepper.run(0, 0, steps)
    return stats, model, stepper


def assert_the_same(found, expected, rtol):
    """Losses, and to rtol weights and optimiser state, of two trainings (`trained`)."""
    (stats, model, stepper), (wanted, twin, other) = found, expected
    assert stats.triplets == wanted.triplets
    assert stats.loss == pytest.approx(wanted.loss, rel=1e-12)
    assert stats.adv_loss == pytest.approx(wanted.adv_loss, rel=1e-12)
    for name, value in twin.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), value, rtol=rtol, atol=1e-12)
    states = other.state(), stepper.state()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=rtol, atol=1e-12)


WAYS = [
    (scorer, optimizer, reduction, adversarial)
    for scorer in ("amr", "vbpr")
    for optimizer in ("adagrad", "sgd", "sparse_adam")
    for reduction in ("sum", "mean")
    for adversarial in (False, True)
]


@pytest.mark.parametrize(("scorer", "optimizer", "reduction", "adversarial"), WAYS)
@pytest.mark.parametrize("narrow", [0, 4], ids=["many features", "few features"])
def test_the_closed_form_is_what_autograd_finds(
    scorer, optimizer, reduction, adversarial, narrow, monkeypatch
):
    """In float64, to a thousand ulps: 5 steps of sums in another order."""
    monkeypatch.setattr(closed_form, "NARROW", narrow)
    phase = {"phase": "adversarial", "eps": 0.3, "adv_weight": 0.7} if adversarial else {}
    config = config_of(
        precision="float64", optimizer=optimizer, reduction=reduction, reg=0.02,
        options={"scorer": scorer, "reg_items": 0.3}, init_std=0.5, **phase,
    )  # fmt: skip
    assert closed_form.ClosedFormStepper.supports(VBPR, config)
    slow, twin, stepper = trained(ComposableStepper, config)
    fast, model, closed = trained(closed_form.ClosedFormStepper, config)
    assert (fast.adv_loss > fast.loss) is adversarial
    assert_the_same((fast, model, closed), (slow, twin, stepper), rtol=1e-12)


@pytest.mark.parametrize(
    ("scorer", "optimizer", "reduction", "adversarial"), [way for way in WAYS if way[0] == "amr"]
)
@pytest.mark.parametrize("dim", [3, 16, 70])
def test_the_fused_steps_are_what_autograd_finds(scorer, optimizer, reduction, adversarial, dim):
    """As the closed form, with widths that fill vectors and that do not."""
    phase = {"phase": "adversarial", "eps": 0.3, "adv_weight": 0.7} if adversarial else {}
    config = config_of(
        precision="float64", optimizer=optimizer, reduction=reduction, reg=0.02, dim=dim,
        options={"scorer": scorer, "reg_items": 0.3}, init_std=0.5 / dim**0.5, **phase,
        lr={"users": 0.05, "items": 0.03, "projection": 0.02},
    )  # fmt: skip
    assert fused.FusedVBPRStepper.supports(VBPR, config)
    slow, twin, stepper = trained(ComposableStepper, config)
    fast, model, quick = trained(fused.FusedVBPRStepper, config)
    assert_the_same((fast, model, quick), (slow, twin, stepper), rtol=1e-11)


@pytest.mark.parametrize("adversarial", [False, True])
def test_the_fused_steps_do_not_depend_on_threads_or_calls(adversarial):
    phase = {"phase": "adversarial"} if adversarial else {}
    config = config_of(reg=0.02, **phase)
    found = []
    for threads, calls in ((1, 1), (3, 1), (3, 2)):
        before = native.set_threads(threads)
        try:
            model = build_model(config, DATASET, "cpu")
            stepper = fused.FusedVBPRStepper(model, POSITIVES, config)
            for call in range(calls):
                stepper.run(0, call * 2 // calls, 2 // calls)
        finally:
            native.set_threads(before)
        found.append([weight.detach().clone() for weight in model.parameters()])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_many_features_keep_the_length_of_noise_where_the_weights_hardly_stretch(monkeypatch):
    """Weights of rank 1 but for 1e-3: g M gᵀ is 1e-6 of what it is a difference of. In float32 a
    sum of numbers 1e3 times as large as itself has an error of 1e3·6e-8."""
    monkeypatch.setattr(closed_form, "NARROW", 0)
    generator = torch.Generator().manual_seed(0)
    weights = torch.outer(torch.randn(WIDTH, generator=generator), torch.ones(DIM))
    weights += 1e-3 * torch.randn(WIDTH, DIM, generator=generator)
    slopes = torch.randn(20, DIM, generator=generator)
    slopes -= slopes.mean(1, keepdim=True)
    noise = closed_form.FeaturePerturbation.of(slopes, weights, 0.5)
    exact = perturb.fgm({"x": slopes.double() @ weights.double().T}, eps=0.5, norm="row")["x"]
    lengths = (noise.delta.double() @ weights.double().T).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.5), rtol=3e-4, atol=0)
    expected = exact @ weights.double()
    torch.testing.assert_close(noise.content.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("narrow", [0, 4])
def test_the_closed_form_follows_a_gradient_however_small(narrow, monkeypatch):
    """The square of 1e-30 is 0 in float32."""
    monkeypatch.setattr(closed_form, "NARROW", narrow)
    generator = torch.Generator().manual_seed(0)
    weights, slopes = torch.randn(WIDTH, DIM, generator=generator), torch.ones(1, DIM)
    noise = closed_form.FeaturePerturbation.of(slopes, weights, 0.5)
    tiny = closed_form.FeaturePerturbation.of(
        1e-30 * slopes, weights, 0.5
    )  # its square is 0 in float32
    torch.testing.assert_close(tiny.content, noise.content)
    assert not closed_form.FeaturePerturbation.of(torch.zeros(1, DIM), weights, 0.5).content.any()


def test_the_slopes_of_margins_are_autograds():
    generator = torch.Generator().manual_seed(0)
    users = torch.randn(7, DIM, generator=generator, requires_grad=True)
    items = torch.randn(9, DIM, generator=generator, requires_grad=True)
    grad = torch.randn(4, generator=generator)
    expected = torch.autograd.grad(reference.triplet_margin(users, items, BATCH) @ grad,
                                   (users, items))  # fmt: skip
    for module in (ops, reference):
        found = module.triplet_margin_backward(grad, users.detach(), items.detach(), BATCH)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


def test_the_closed_form_takes_what_it_has_and_nothing_else():
    def stepper(**options):
        config = config_of(**options)
        with launch._settings(config):
            return type(make_stepper(build_model(config, DATASET, "cpu"), POSITIVES, config))

    adversarial = {"phase": "adversarial"}
    assert stepper() is stepper(**adversarial) is fused.FusedVBPRStepper
    theirs = {"options": {"scorer": "vbpr"}}
    assert stepper(**theirs) is stepper(**adversarial, **theirs) is closed_form.ClosedFormStepper
    assert stepper(optimizer="adam") is ComposableStepper
    assert stepper(**adversarial, norm="joint") is ComposableStepper
    assert stepper(**adversarial, site="ego") is ComposableStepper
    assert stepper(kernels="reference") is ComposableStepper


@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
def test_steps_on_the_gathered_rows_are_steps_on_the_whole_tables(optimizer, monkeypatch):
    config = config_of(precision="float64", optimizer=optimizer, reg=0.02, init_std=0.5)
    _, rows, _ = trained(ComposableStepper, config)
    monkeypatch.setattr(VBPR, "gather", lambda self, table, ids: table.index_select(0, ids))
    _, whole, _ = trained(ComposableStepper, config)
    for name, value in whole.named_parameters():
        torch.testing.assert_close(rows.get_parameter(name), value, rtol=1e-12, atol=1e-12)


def test_sparse_gradients_are_for_the_stepper_alone():
    config = config_of()
    _, model, _ = trained(ComposableStepper, config)
    model.losses(BATCH).sum().backward()
    assert not model.users.grad.is_sparse


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_each_table_moves_at_its_own_rate(kernels):
    """Sgd makes it plain: a step is the gradient times the rate."""
    rates = {"users": 0.5, "items": 0.25, "projection": 0.125}
    config = config_of(lr=rates, optimizer="sgd", precision="float64", kernels=kernels,
                       options={"scorer": "vbpr"}, init_std=0.5)  # fmt: skip
    model = build_model(config, DATASET, "cpu")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with launch._settings(config):
        stepper = make_stepper(model, POSITIVES, config)
        batch = stepper._batch(0, 0)
        terms = adversarial_step_loss(model, batch, eps=None, adv_weight=0, reg=config.reg)
        grads = torch.autograd.grad(terms.total, list(model.parameters()))
        stepper.run(0, 0, 1)
    for (name, value), grad in zip(model.named_parameters(), grads, strict=True):
        rate = rates[name.split("_")[0]]
        torch.testing.assert_close(value.detach(), before[name] - rate * grad)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("scorer", ["amr", "vbpr"])
def test_results_do_not_depend_on_the_number_of_threads(scorer, threads, tmp_path):
    options = {**FAST, "runs": tmp_path, "options": {"scorer": scorer}}
    results = []
    for count in (1, threads):
        base = advrec.pretrain(DATASET, "vbpr", **(options | {"threads": count}))
        robust = advrec.adv_train(DATASET, base.run, threads=count, epochs=2)
        results.append((bits(base.run), bits(robust.run)))
    assert results[0] == results[1]


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    options = {**FAST, "runs": tmp_path}
    base = advrec.pretrain(DATASET, "vbpr", **options)
    straight = advrec.adv_train(DATASET, base.run, epochs=4, lr=0.05)
    first = advrec.adv_train(DATASET, base.run, epochs=2, lr=0.05)
    assert bits(advrec.resume(first.run, DATASET, epochs=4).run) == bits(straight.run)


def test_without_weight_amr_is_vbpr_to_the_bit(tmp_path):
    options = {**FAST, "runs": tmp_path, "epochs": 2}
    base = advrec.pretrain(DATASET, "vbpr", **options)
    none = advrec.adv_train(DATASET, "scratch", model="vbpr", adv_weight=0.0, **options)
    some = advrec.adv_train(DATASET, "scratch", model="vbpr", **options)
    assert bits(base.run)[1] == bits(none.run)[1] != bits(some.run)[1]


# -- configuration -------------------------------------------------------------------------------


def test_amr_has_the_rates_of_its_code_and_takes_others_table_by_table(tmp_path):
    base = advrec.pretrain(DATASET, "vbpr", **FAST, runs=tmp_path, reg=0.5)

    def adversarial(parent, **options):
        return launch.inherit(parent, TrainConfig(phase="adversarial", **options))

    own = adversarial(base.run)
    assert own.lr == {"users": 0.01, "items": 1e-4, "projection": 1e-3}
    assert own.reg == 0.1
    some = adversarial(base.run, lr={"items": 0.01}, reg=0.0)
    assert some.lr == {"users": 0.01, "items": 0.01, "projection": 1e-3}
    assert some.reg == 0.0
    assert adversarial(base.run, lr=0.1).lr == 0.1
    robust = advrec.adv_train(DATASET, base.run, epochs=1, lr={"items": 0.01})
    assert robust.run.config.lr == {"users": 0.01, "items": 0.01, "projection": 1e-3}
    assert robust.run.config.eps == 0.1
    again = adversarial(robust.run)  # as its parent was, not as the model starts
    assert again.lr == robust.run.config.lr


def test_rates_of_tables_are_filled_in_and_checked():
    config = resolve(TrainConfig(model="vbpr", lr={"users": 0.1}), VBPR)
    assert config.lr == {"users": 0.1, "items": 0.05, "projection": 0.05}
    assert config.lr_of("users_visual") == 0.1
    assert config.lr_of("items_bias") == 0.05
    with pytest.raises(ConfigError, match=r"'item'.*users, items, projection") as caught:
        resolve(TrainConfig(model="vbpr", lr={"item": 0.1}), VBPR)
    assert caught.value.hint == "did you mean 'items'?"
    with pytest.raises(ConfigError, match="'mf' has one rate"):
        resolve(TrainConfig(model="mf", lr={"users": 0.1}), MODELS["mf"])


def test_a_run_saves_its_rates(tmp_path):
    base = advrec.pretrain(DATASET, "vbpr", **FAST, runs=tmp_path, lr={"users": 0.02})
    again = advrec.runs.run.Run.open(base.run.path)
    assert again.config.lr == {"users": 0.02, "items": 0.05, "projection": 0.05}


# -- features ------------------------------------------------------------------------------------


def test_a_model_of_features_is_refused_without_any(tmp_path):
    with pytest.raises(UsageError, match="needs item features"):
        advrec.pretrain(tiny_dataset(), "vbpr", **FAST, runs=tmp_path)


def test_a_run_knows_its_features(tmp_path):
    base = advrec.pretrain(DATASET, "vbpr", **FAST, runs=tmp_path)
    with pytest.raises(RunError, match="item features"):
        advrec.attack(base.run, with_features(scale=2.0), eps=0.1)


def test_items_without_features_are_counted_and_have_zeros(tmp_path):
    rows = [f"u{u},i{(u + step) % 8}" for u in range(12) for step in range(4)]
    (tmp_path / "pairs.csv").write_text("\n".join(["user,item", *rows]) + "\n")
    table = ["item,a,b", *(f"i{i},{i + 1},{-i}" for i in range(6)), "other,1,1"]
    (tmp_path / "features.csv").write_text("\n".join(table) + "\n")
    dataset = advrec.load_dataset(tmp_path / "pairs.csv", features=str(tmp_path / "features.csv"))
    (sentence,) = [note for note in dataset.notes if "item features" in note]
    assert "2 of 8 items" in sentence
    assert "1 row" in sentence
    missing = [dataset.item_ids.index(name) for name in ("i6", "i7")]
    assert not dataset.item_features[missing].any()
    result = advrec.pretrain(dataset, "vbpr", **FAST, runs=tmp_path)
    model, items = result.model, result.model.vectors()[1]
    torch.testing.assert_close(items[missing], model.items[missing])


def test_the_embedded_set_brings_its_text(tmp_path):
    config = DataConfig.of("debian")
    assert config.features is None
    assert config.with_features().features == "text"
    assert DataConfig.of("debian", features="x.npy").with_features().features == "x.npy"
    assert DataConfig.of("pairs.csv").with_features().features is None
    base = advrec.pretrain("debian", "vbpr", **(FAST | {"batch_size": 8192, "epochs": 1}),
                           runs=tmp_path)  # fmt: skip
    assert base.run.data["features"] == "text"
    noisy = advrec.attack(base.run, eps=0.1, ks=(20,), metrics=("NDCG",))  # reads the data again
    assert noisy[0].plan.site == "features"
    assert noisy[0].attacked_loss > noisy[0].clean_loss


def test_text_needs_text(tmp_path):
    (tmp_path / "pairs.csv").write_text("user,item\na,x\na,y\nb,x\nb,z\n")
    with pytest.raises(ConfigError, match="neither text nor names"):
        advrec.load_dataset(tmp_path / "pairs.csv", features="text")
    names = tmp_path / "names.tsv"
    names.write_text("item\tname\nx\tred shoe\ny\tred hat\nz\tblue hat\n")
    dataset = advrec.load_dataset(
        tmp_path / "pairs.csv", features="text", item_names=str(names), split="random"
    )
    assert dataset.item_features.shape == (3, 2)
    names.write_text("item\tname\nx\tone\ny\ttwo\nz\tthree\n")
    with pytest.raises(DataError, match="no word is in two"):
        advrec.load_dataset(tmp_path / "pairs.csv", features="text", item_names=str(names))


def test_training_makes_no_noise_of_the_catalogues_size(monkeypatch):
    """The features of a batch are gathered, and what is made of them has no more rows than it."""
    dataset = with_features(width=50)
    config = config_of(phase="adversarial", batch_size=4)
    model = build_model(config, dataset, "cpu")
    sizes = []
    seen = perturb.fgm

    def watch(grads, **rest):
        sizes.extend(len(grad) for grad in grads.values())
        return seen(grads, **rest)

    monkeypatch.setattr("advrec.robustness.objective.perturb.fgm", watch)
    ComposableStepper(model, POSITIVES, config).run(0, 0, 3)
    assert sizes
    assert max(sizes) <= 8


def test_warnings_are_not_part_of_training():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(ComposableStepper, config_of(phase="adversarial"))
