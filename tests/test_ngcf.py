"""NGCF: what its layers compute, and messages that are dropped."""

from __future__ import annotations

import torch
from support.model_twins import normalised
from support.small_models import DIM, EVERYONE, N_ITEMS, N_USERS, SEEN, TRIPLETS, small, spec
from support.training_data import FAST, bits, tiny_dataset
from torch.nn import functional

import advrec
from advrec.models import create
from advrec.models.ngcf import NGCF


def test_a_layer_is_equation_7_and_the_layers_stand_side_by_side():
    model = small("ngcf").eval()
    adjacency = normalised(torch.from_numpy(SEEN).double())
    layer = model.embedding
    around = adjacency @ layer
    mixed = (around + layer) @ model.sum[0] + (around * layer) @ model.product[0] + model.bias[0]
    expected = functional.normalize(torch.where(mixed > 0, mixed, 0.2 * mixed), dim=1)
    final = torch.cat(model.vectors())
    assert final.shape == (N_USERS + N_ITEMS, 3 * DIM)
    torch.testing.assert_close(final[:, :DIM], layer)
    torch.testing.assert_close(final[:, DIM : 2 * DIM], expected)
    torch.testing.assert_close(final[:, 2 * DIM :].norm(dim=1), torch.ones(27).double())


def test_without_layers_it_is_mf():
    model, mf = NGCF(spec(layers=0)), create("mf", spec(layers=None))
    with torch.no_grad():
        mf.embedding.copy_(model.embedding)
    torch.testing.assert_close(model.scores(EVERYONE), mf.scores(EVERYONE))
    assert torch.equal(model.losses(TRIPLETS), mf.losses(TRIPLETS))


def test_without_init_std_every_table_has_the_bound_of_its_own_size():
    model = NGCF(spec(init_std=None))
    for table, rows in ((model.embedding[:N_USERS], N_USERS), (model.embedding[N_USERS:], N_ITEMS)):
        bound = (6 / (rows + DIM)) ** 0.5
        assert 0.8 * bound < float(table.detach().abs().max()) <= bound


def test_messages_are_dropped_in_training_alone_and_anew_for_every_step():
    model = small("ngcf", message_dropout=0.5)
    first, again = model.losses(TRIPLETS), model.losses(TRIPLETS)
    with model.training_step(rng_key=(0, 1, 0)):
        other = model.losses(TRIPLETS)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    evaluated = model.eval().losses(TRIPLETS)
    assert torch.equal(evaluated, small("ngcf", message_dropout=0).losses(TRIPLETS))
    assert not torch.equal(evaluated, first)


def test_layers_drop_different_entries():
    model = small("ngcf")
    one, two = (model.dropout((1000,), 0.5, place=place) for place in (1, 2))
    assert 300 < int((one != two).sum()) < 700


def test_a_resumed_run_drops_what_it_would_have_dropped(tmp_path):
    options = {**FAST, "runs": tmp_path, "options": {"message_dropout": 0.3}}
    dataset = tiny_dataset()
    short = advrec.pretrain(dataset, "ngcf", **{**options, "epochs": 2})
    resumed = advrec.resume(short.run, dataset, epochs=4)
    straight = advrec.pretrain(dataset, "ngcf", **{**options, "epochs": 4})
    assert bits(resumed.run) == bits(straight.run)


def test_the_penalty_has_the_rows_as_named_and_the_weights_once_a_triplet():
    model = small("ngcf")
    rows = model.embedding[(TRIPLETS + torch.tensor([[0], [N_USERS], [N_USERS]])).flatten().long()]
    weights = sum(w.square().sum() for w in [*model.sum, *model.product])
    expected = rows.square().sum() / 2 + TRIPLETS.shape[1] * weights / 2
    torch.testing.assert_close(model.penalty(TRIPLETS), expected)
