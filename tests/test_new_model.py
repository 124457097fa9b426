"""A model that someone writes: one file, one line of registration, and everything works with it."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from support.cli_runner import advrec as command
from support.cli_runner import write_ratings
from support.training_data import FAST, tiny_dataset

import advrec
from advrec.evaluation.evaluate import evaluate
from advrec.models import MODELS

FILE = '''
from torch import nn, zeros

from advrec.models.base import Recommender, Site, check_noise
from advrec.models.losses import loss_of_scores


class Popular(Recommender):
    """Scores an item by one number, the same for every user."""

    name = "popular"
    about = "one number an item"
    sites = (Site("item", "the number", ("joint", "row")),)
    defaults = {"optimizer": "adam", "lr": 0.05, "reduction": "mean"}
    options = {"start": 0.0}

    def __init__(self, spec):
        super().__init__(spec)
        start = spec.options.get("start", 0.0)
        self.item = nn.Parameter(zeros(spec.n_items, 1, dtype=spec.dtype) + start)

    def scores(self, users, noise=None):
        noise = check_noise(noise, ("item",))
        moved = self.item + noise["item"] if "item" in noise else self.item
        return moved.T.expand(len(users), -1)

    def losses(self, batch, noise=None):
        row = self.scores(batch[0, :1], noise)[0]
        return loss_of_scores("bpr", row[batch[1].long()], row[batch[2].long()])

    def penalty(self, batch):
        return self.item[batch[1:].long()].square().sum() / 2

    def tables(self, site):
        return {"item": self.item.detach()}
'''


@pytest.fixture
def popular(tmp_path, monkeypatch):
    """The file is written and imported; the line is `MODELS["popular"] = Popular`."""
    (tmp_path / "popular_model.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("popular_model")
    monkeypatch.setitem(MODELS, module.Popular.name, module.Popular)
    yield module.Popular
    del sys.modules["popular_model"]


def test_the_api_takes_it_from_there(popular, tmp_path):
    dataset = tiny_dataset()
    base = advrec.pretrain(dataset, "popular", runs=tmp_path, **{**FAST, "epochs": 20})
    assert isinstance(base.model, popular)
    robust = advrec.adv_train(dataset, base.run, eps=0.5, **FAST)
    assert robust.run.config.model == "popular"
    clean = advrec.evaluate(base.run, dataset, metrics=["NDCG@10"]).values["NDCG@10"]
    counts = np.bincount(dataset.train.items, minlength=dataset.n_items).astype(np.float32)
    popularity = (torch.ones(dataset.n_users, 1), torch.from_numpy(counts[:, None]))
    best = evaluate(popularity, dataset, metrics=["NDCG@10"]).values["NDCG@10"]
    assert clean == pytest.approx(best, rel=0.2)
    results = advrec.attack(robust.run, dataset, noise="adversarial", eps=[0.5, 3.0])
    assert [result.plan.site for result in results] == ["item", "item"]
    assert results[1].attacked_loss > results[0].attacked_loss > results[0].clean_loss
    assert len(advrec.recommend(robust.run, "user 3", 5, dataset=dataset)) == 5


def test_the_four_commands_take_it_from_there(popular, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ratings(tmp_path / "ratings.csv")
    train = ["--epochs", 2, "--batch-size", 64, "--threads", 1]
    for words in (
        ["pretrain", "--data", "ratings.csv", "--model", "popular", "--option", "start=0.5"],
        ["adv-train", "--norm", "row"],
    ):
        outcome = command(*words, *train)
        assert outcome.code == 0, outcome.err
    attacked = command("attack", "--eps", 1, "--json")
    assert [run["model"] for run in attacked.json()["runs"]] == ["popular", "popular"]
    evaluated = command("eval", "--json")
    assert evaluated.code == 0, evaluated.err
    listed = command("models").out
    assert "popular" in listed
    assert "start 0" in listed
    shown = command("recommend", "--user", "user 3", "-k", 3)
    assert shown.code == 0, shown.err


def test_a_mistake_in_its_name_or_options_is_answered_with_what_there_is(popular, tmp_path):
    outcome = command("pretrain", "--model", "populer")
    assert (outcome.code, "did you mean 'popular'" in outcome.err) == (2, True)
    outcome = command("pretrain", "--model", "popular", "--option", "strat=1")
    assert (outcome.code, "did you mean 'start'" in outcome.err) == (3, True)
