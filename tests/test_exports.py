from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from support.training_data import tiny_dataset

from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.errors import RunError, UsageError
from advrec.models import MODELS
from advrec.runs.export import export_vectors
from advrec.runs.model import build_model

DATASET = tiny_dataset()
USERS = ["ü, 1", 'a "b"', *DATASET.user_ids[2:]]


@pytest.fixture(params=["mf", "lightgcn"])
def model(request):
    config = resolve(TrainConfig(model=request.param, dim=8), MODELS[request.param])
    return build_model(config, DATASET, "cpu")


def scores(model):
    with torch.no_grad():
        return model.scores(torch.arange(DATASET.n_users)).numpy()


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = (file["user_vectors"], file["item_vectors"])
        return *arrays, file["user_ids"].tolist(), file["item_ids"].tolist()


def read_safetensors(path):
    with safe_open(path, "np") as file:
        ids = json.loads(file.metadata()["advrec"])
        arrays = (file.get_tensor("user_vectors"), file.get_tensor("item_vectors"))
        return *arrays, ids["user_ids"], ids["item_ids"]


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    found = {}
    for kind in ("user", "item"):
        own = [row for row in rows if row[0] == kind]
        found[kind] = (np.array([row[2:] for row in own], np.float32), [row[1] for row in own])
    return found["user"][0], found["item"][0], found["user"][1], found["item"][1]


@pytest.mark.parametrize(
    ("ending", "read"), [(".npz", read_npz), (".safetensors", read_safetensors), (".csv", read_csv)]
)
def test_dot_products_of_exported_vectors_are_the_scores(tmp_path, model, ending, read):
    path = export_vectors(model, USERS, DATASET.item_ids, tmp_path / f"vectors{ending}")
    users, items, user_ids, item_ids = read(path)
    wanted = [tensor.detach().numpy() for tensor in model.vectors()]
    np.testing.assert_array_equal(users, wanted[0])  # the same bits, in csv too
    np.testing.assert_array_equal(items, wanted[1])
    np.testing.assert_allclose(users @ items.T, scores(model), rtol=1e-5, atol=1e-6)
    assert (user_ids, item_ids) == (USERS, list(DATASET.item_ids))


def test_another_ending_is_refused(tmp_path, model):
    with pytest.raises(
        UsageError, match=r"x\.bin must end in \.npz, \.safetensors or \.csv"
    ) as error:
        export_vectors(model, USERS, DATASET.item_ids, tmp_path / "x.bin")
    assert "x.npz" in str(error.value.hint)


def test_a_model_without_vectors_is_refused(tmp_path, model, monkeypatch):
    monkeypatch.setattr(model, "vectors", lambda noise=None: None)
    with pytest.raises(UsageError, match="does not score by dot products"):
        export_vectors(model, USERS, DATASET.item_ids, tmp_path / "x.npz")


def test_a_folder_that_is_not_there_is_an_error_with_the_systems_reason(tmp_path, model):
    with pytest.raises(RunError, match="No such file"):
        export_vectors(model, USERS, DATASET.item_ids, tmp_path / "none" / "x.npz")
