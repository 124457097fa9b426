"""A model with weights from elsewhere: all of them are put in, and none is drawn first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.training_data import tiny_dataset

from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.models import MODELS
from advrec.runs.model import build_model, weights_of

DATASET = replace(
    tiny_dataset(), item_features=np.random.default_rng(0).random((30, 5), dtype=np.float32)
)


@pytest.mark.parametrize("name", MODELS)
def test_given_weights_are_those_of_the_model_and_none_are_drawn(name, monkeypatch):
    config = resolve(TrainConfig(model=name, dim=8), MODELS[name])
    weights = {
        name: torch.randn_like(tensor)
        for name, tensor in weights_of(build_model(config, DATASET, "cpu")).items()
    }

    def refuse(*_, **__):
        raise AssertionError("weights are drawn")

    for draw in ("trunc_normal_", "normal_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, draw, refuse)
    own = weights_of(build_model(config, DATASET, "cpu", weights=weights))
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[name], weights[name]) for name in own)
