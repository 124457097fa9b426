"""One optimiser step after another, in both tiers."""

from __future__ import annotations

import pytest
import torch
from support.training_data import FAST, TIERS, bits, tiny_dataset

import advrec
from advrec import native
from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.errors import RunError
from advrec.models import MODELS, ModelSpec, Recommender, Site
from advrec.models.base import check_noise
from advrec.ops.positives import Positives
from advrec.runs.model import build_model
from advrec.training import launch
from advrec.training.composable import ComposableStepper
from advrec.training.tiers import make_stepper

DATASET = tiny_dataset()
POSITIVES = Positives.from_pairs(DATASET.train)


def config_of(model="mf", **options):
    return resolve(
        TrainConfig(model=model, **{"dim": 8, "batch_size": 64, **options}), MODELS[model]
    )


def stepper_of(config, kind=ComposableStepper):
    model = build_model(config, DATASET, "cpu")
    return model, kind(model, POSITIVES, config)


TORCH = {
    "sgd": torch.optim.SGD,
    "adagrad": lambda params, lr: torch.optim.Adagrad(params, lr, initial_accumulator_value=0.1),
    "adam": torch.optim.Adam,
}


@pytest.mark.parametrize("optimizer", sorted(TORCH))
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_step_is_autograds_gradient_and_torchs_optimiser(optimizer, reduction):
    """In float64 the two differ by the order of a few additions: 1e-12 is some thousand ulps."""
    options = {"precision": "float64", "optimizer": optimizer, "reduction": reduction, "reg": 0.01}
    config = config_of(**options)
    model, stepper = stepper_of(config)
    twin = build_model(config, DATASET, "cpu")
    optimiser = TORCH[optimizer](twin.parameters(), config.lr)
    total = 0.0
    for step in range(stepper.total_steps):
        users, items, negatives = stepper._batch(0, step).long()
        table = twin.embedding
        rows = [table[users], table[items + DATASET.n_users], table[negatives + DATASET.n_users]]
        margins = (rows[0] * rows[1]).sum(1) - (rows[0] * rows[2]).sum(1)
        losses = torch.nn.functional.softplus(-margins)
        total += float(losses.detach().sum())
        penalty = 0.01 * sum(row.square().sum() for row in rows) / 2
        loss = losses.sum() + penalty
        optimiser.zero_grad()
        (loss if reduction == "sum" else loss / len(users)).backward()
        optimiser.step()
    stats = stepper.run(0, 0, stepper.total_steps)
    torch.testing.assert_close(model.embedding, twin.embedding, rtol=1e-12, atol=1e-12)
    assert stats.loss == pytest.approx(total, rel=1e-12)
    assert stats.triplets == len(POSITIVES)


def test_sparse_adam_leaves_rows_outside_the_batch_alone():
    model, stepper = stepper_of(config_of(optimizer="sparse_adam", batch_size=4))
    stepper.run(0, 0, 3)
    before = model.embedding.detach().clone()
    batch = stepper._batch(0, 3)
    stepper.run(0, 3, 1)
    moved = (model.embedding != before).any(1).nonzero().flatten().tolist()
    rows = {*batch[0].tolist(), *(batch[1:] + DATASET.n_users).flatten().tolist()}
    assert set(moved) == rows


def test_an_epoch_has_every_pair_once_and_a_small_last_batch():
    _, stepper = stepper_of(config_of(batch_size=100))
    assert stepper.total_steps == 4
    batches = [stepper._batch(5, step) for step in range(4)]
    assert [batch.shape[1] for batch in batches] == [100, 100, 100, 20]
    pairs = torch.cat(batches, 1)[:2].T.tolist()
    assert len({tuple(pair) for pair in pairs}) == len(pairs) == len(DATASET.train)


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("optimizer", ["adagrad", "sgd", "adam"])
def test_the_state_of_a_stepper_is_all_of_it(kernels, optimizer):
    config = config_of(optimizer=optimizer, kernels=kernels)
    with launch._settings(config):
        (one, first), (two, second) = (
            stepper_of(config, make_stepper),
            stepper_of(config, make_stepper),
        )
        first.run(0, 0, 3)
        with torch.no_grad():
            two.embedding.copy_(one.embedding)
        second.load_state(first.state())
        for stepper in (first, second):
            stepper.run(0, 3, 2)
    assert torch.equal(one.embedding, two.embedding)
    assert int(second.state()["steps"]) == 5
    with pytest.raises(RunError, match="state"):
        second.load_state({**first.state(), "state3": torch.zeros(1)})


@pytest.mark.skipif(not native.core(), reason="the compiled core is missing")
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_a_run_can_change_tier_because_both_have_the_same_state(model, optimizer):
    """There and back, against one tier all the way: float64, seven steps, rounding alone."""
    config = config_of(model, precision="float64", optimizer=optimizer)
    straight, twin = stepper_of(config)
    stats = [twin.run(0, 0, 3), twin.run(0, 3, 1), twin.run(1, 0, 3)]

    changing, slow = stepper_of(config)
    fused = make_stepper(changing, POSITIVES, config)
    assert type(fused).__name__ == "FusedStepper"
    changed = [slow.run(0, 0, 3)]
    fused.load_state(slow.state())
    changed.append(fused.run(0, 3, 1))
    slow.load_state(fused.state())
    changed.append(slow.run(1, 0, 3))

    torch.testing.assert_close(changing.embedding, straight.embedding, rtol=0, atol=1e-9)
    for one, other in zip(changed, stats, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-9)
    for name, value in twin.state().items():
        torch.testing.assert_close(slow.state()[name], value, rtol=0, atol=1e-9)


class Popular(Recommender):
    """Scores items by a weight, the same for every user: a model of users with two parameters."""

    name = "popular"
    about = "for tests"
    sites = (Site("item", "the weights", ("row",)),)
    defaults = {"optimizer": "adam", "batch_size": 16}  # noqa: RUF012
    batch_kind = "users"

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.item = torch.nn.Parameter(torch.zeros(spec.n_items, 1))
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def losses(self, batch, noise=None):
        noise = check_noise(noise, ("item",))
        weights = self.item + noise["item"] if "item" in noise else self.item
        return (weights.sum() + self.bias - 1).square().expand(batch.shape[1])

    def penalty(self, batch):
        return self.item.square().sum()

    def tables(self, site):
        return {"item": self.item.detach()}

    def scores(self, users, noise=None):
        return self.item.T.expand(len(users), -1) + self.bias


def test_a_model_of_users_sees_every_user_once_an_epoch(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "popular", Popular)
    _, stepper = stepper_of(config_of("popular", batch_size=16))
    assert stepper.total_steps == 3
    batches = [stepper._batch(1, step) for step in range(3)]
    assert sorted(torch.cat(batches, 1)[0].tolist()) == list(range(DATASET.n_users))
    assert set(stepper.state()) == {
        "steps", "item.state1", "item.state2", "bias.state1", "bias.state2",
    }  # fmt: skip
    result = advrec.pretrain(DATASET, "popular", runs=tmp_path, epochs=2)
    again = advrec.resume(result.run, DATASET, epochs=4)
    straight = advrec.pretrain(DATASET, "popular", runs=tmp_path, epochs=4)
    assert bits(again.run)[1] == bits(straight.run)[1]


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_without_weight_adversarial_training_is_the_base_models_to_the_bit(
    tmp_path, model, kernels
):
    options = {**FAST, "epochs": 2, "runs": tmp_path, "kernels": kernels}
    base = advrec.pretrain(DATASET, model, **options)
    robust = advrec.adv_train(DATASET, "scratch", model=model, eps=0.5, adv_weight=0.0, **options)
    assert torch.equal(base.run.state()[0]["embedding"], robust.run.state()[0]["embedding"])
    assert bits(base.run)[1] == bits(robust.run)[1]
    with_weight = advrec.adv_train(DATASET, "scratch", model=model, eps=0.5, **options)
    assert bits(base.run)[1] != bits(with_weight.run)[1]


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_the_adversarial_loss_is_the_clean_one_at_eps_0_and_larger_above(tmp_path, model, kernels):
    options = {**FAST, "epochs": 2, "runs": tmp_path, "kernels": kernels, "model": model}
    for line in advrec.adv_train(DATASET, "scratch", eps=0.0, **options).history:
        # float32 losses of the same rows, added up in two orders: a few of its ulps (6e-8)
        assert line["adv_loss"] == pytest.approx(line["loss"], rel=1e-6)
    for line in advrec.adv_train(DATASET, "scratch", eps=0.1, **options).history:
        assert line["adv_loss"] > line["loss"]
