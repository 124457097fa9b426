"""A training that diverges blames the option that is far from usual, not always the rate."""

from __future__ import annotations

import pytest
from support.training_data import FAST, tiny_dataset

import advrec
from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.errors import TrainingError
from advrec.models import model_class
from advrec.training.divergence import advice

DATASET = tiny_dataset()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"init_std": 1e20}, "a lower --init-std (now 1e+20)"),
        ({"reg": 1e38, "optimizer": "sgd"}, "a lower --reg (now 1e+38)"),
        ({"lr": 6, "reg": 1e38, "optimizer": "sgd"}, "a lower --reg (now 1e+38) and --lr (now 6)"),
        ({"lr": 1e30, "init_std": 1e18}, "a lower --lr (now 1e+30) and --init-std (now 1e+18)"),
    ],
)
def test_a_training_that_diverges_names_the_option_that_is_extreme(tmp_path, options, hint):
    with pytest.raises(TrainingError) as error:
        advrec.pretrain(DATASET, runs=tmp_path, **{**FAST, **options})
    assert error.value.hint == hint


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"eps": 1e30}, "a lower --eps (now 1e+30)"),
        ({"adv_weight": 1e38, "eps": 1e2}, "a lower --adv-weight (now 1e+38) and --eps (now 100)"),
    ],
)
def test_an_adversarial_training_that_diverges_names_what_is_extreme(tmp_path, options, hint):
    base = advrec.pretrain(DATASET, runs=tmp_path, **FAST)
    with pytest.raises(TrainingError) as error:
        advrec.adv_train(DATASET, base.run, runs=tmp_path, **options)
    assert error.value.hint == hint


def test_without_an_extreme_option_the_hint_names_the_step_sizes():
    usual = resolve(TrainConfig(model="mf", phase="adversarial"), model_class("mf"))
    hint = "a lower --lr (now 0.05), --eps (now 0.5) or --adv-weight (now 1)"
    assert advice(usual) == hint
    assert advice(resolve(TrainConfig(model="mf"), model_class("mf"))) == "a lower --lr (now 0.05)"
    rates = {"users": 1.0, "items": 1e9}
    assert (
        advice(usual.model_copy(update={"lr": rates})) == "a lower --lr (now users=1,items=1e+09)"
    )
