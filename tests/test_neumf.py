"""NeuMF: a product and a tower, whose first layer is computed once a user."""

from __future__ import annotations

import pytest
import torch
from support.small_models import DIM, EVERYONE, N_ITEMS, N_USERS, TRIPLETS, noise_of, small, spec

from advrec.models import neumf
from advrec.models.neumf import NeuMF


@pytest.mark.parametrize("site", [None, "ego", "mlp"])
def test_scores_of_everything_are_those_of_single_pairs(site):
    model = small("neumf")
    noise = noise_of(model, site) if site else None
    table, weights = model._parts(noise)
    users, items = table[:N_USERS], table[N_USERS:]
    scores = model.scores(EVERYONE, noise)
    for u, i in ((0, 0), (3, 7), (11, 14)):
        hidden = torch.cat([users[u, DIM:], items[i, DIM:]])
        for weight, bias in zip(weights[:-1], model.tower_bias, strict=True):
            hidden = torch.relu(weight @ hidden + bias)
        last = torch.cat([users[u, :DIM] * items[i, :DIM], hidden])
        torch.testing.assert_close(scores[u, i], (weights[-1] @ last + model.output_bias)[0])


def test_scores_do_not_depend_on_how_many_users_fit_at_once(monkeypatch):
    model = small("neumf")
    whole = model.scores(EVERYONE)
    monkeypatch.setattr(neumf, "CHUNK_NUMBERS", 2 * N_ITEMS * 2 * DIM)  # two users
    torch.testing.assert_close(model.scores(EVERYONE), whole)
    assert model.scores(EVERYONE[:0]).shape == (0, N_ITEMS)


@pytest.mark.parametrize(
    ("layers", "tower", "columns"),
    [(0, [], 4), (1, [(4, 8)], 8), (3, [(16, 32), (8, 16), (4, 8)], 20)],
)
def test_every_layer_halves_its_input_down_to_dim(layers, tower, columns):
    model = NeuMF(spec(layers=layers))
    assert [tuple(weight.shape) for weight in model.tower] == tower
    assert model.embedding.shape == (N_USERS + N_ITEMS, columns)
    assert model.output.shape == (1, DIM if layers == 0 else 2 * DIM)
    assert model.losses(TRIPLETS).shape == (TRIPLETS.shape[1],)


def test_without_layers_it_is_a_weighted_product():
    model = NeuMF(spec(layers=0))
    users, items = model.embedding[:N_USERS], model.embedding[N_USERS:]
    expected = (users * model.output[0]) @ items.T + model.output_bias
    torch.testing.assert_close(model.scores(EVERYONE), expected)


def test_a_weight_of_each_layer_and_the_output_are_the_site_mlp():
    model = small("neumf")
    assert list(model.tables("mlp")) == ["layer1", "layer2", "output"]
    sizes = {key: float(value.norm()) for key, value in model.tables("mlp").items()}
    assert all(size > 0 for size in sizes.values())


def test_scores_are_no_dot_products():
    assert small("neumf").vectors() is None
