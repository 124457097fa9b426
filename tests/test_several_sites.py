"""Noise at several sites side by side: ACAE, ACNN, and any other two sites of any model."""

from __future__ import annotations

import pytest
import torch
from support.small_models import EVERYONE, TRIPLETS, small
from support.training_data import FAST, bits, tiny_dataset

import advrec
from advrec.config.file import ConfigFile
from advrec.config.resolve import resolve
from advrec.config.train import ResolvedConfig, TrainConfig
from advrec.errors import ConfigError, UsageError
from advrec.models import MODELS
from advrec.robustness.objective import adversarial_step_loss, gradient, gradients, perturbation
from advrec.validation import parse

CDAE = MODELS["cdae"]
ACNN = ("encoder", "decoder", "user", "hidden_concat", "user_concat")
CASES = [
    ("cdae", "acae", "tensor"),
    ("cdae", "acnn", "tensor"),
    ("cdae", "user+decoder", "row"),
    ("lightgcn", "ego+final", "row"),
    ("lightgcn", "ego+final", "joint"),
    ("ngcf", "final+weights", "joint"),
]
every_case = pytest.mark.parametrize(("name", "site", "norm"), CASES)


def batch_of(name):
    return EVERYONE.int().unsqueeze(0) if name == "cdae" else TRIPLETS


# -- the loss ------------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_total_is_the_clean_loss_and_each_noise_in_a_pass_of_its_own(
    name, site, norm, reduction
):
    model, batch = small(name).eval(), batch_of(name)
    names = [found.name for found in model.sites_of(site)]
    eps = {names[0]: 0.7}
    weights = {names[1]: 3.0}
    terms = adversarial_step_loss(
        model, batch, site=site, norm=norm, eps=0.2, adv_weight=0.5, site_eps=eps,
        site_adv_weight=weights, reg=0.1, reduction=reduction,
    )  # fmt: skip
    share = 1 if reduction == "sum" else batch.shape[1]
    expected, mean, whole = model.losses(batch).sum(), 0.0, 0.0
    for place in names:
        _, noise = perturbation(model, batch, site=place, norm=norm, eps=eps.get(place, 0.2))
        weight = weights.get(place, 0.5)
        expected = expected + weight * model.losses(batch, noise).sum()
        mean, whole = mean + weight * model.losses(batch, noise).sum(), whole + weight
    torch.testing.assert_close(terms.total, (expected + 0.1 * model.penalty(batch)) / share)
    torch.testing.assert_close(terms.adversarial, (mean / whole / share).detach())


@every_case
def test_one_clean_gradient_gives_every_noise(name, site, norm):
    model, batch = small(name).eval(), batch_of(name)
    names = [found.name for found in model.sites_of(site)]
    losses, together = gradients(model, batch, sites=names, norm=norm)
    assert list(together) == names
    for place in names:
        alone, grads = gradient(model, batch, site=place, norm=norm)
        assert torch.equal(losses, alone)
        assert grads.keys() == together[place].keys()
        for key, grad in grads.items():
            torch.testing.assert_close(together[place][key], grad, rtol=1e-12, atol=1e-14)


@every_case
def test_a_site_without_weight_is_not_there_to_the_bit(name, site, norm):
    model, batch = small(name).eval(), batch_of(name)
    names = [found.name for found in model.sites_of(site)]
    options = {"norm": norm, "eps": 0.2, "adv_weight": 0.5}
    alone = adversarial_step_loss(model, batch, site=names[0], **options)
    others = dict.fromkeys(names[1:], 0.0)
    both = adversarial_step_loss(model, batch, site=site, site_adv_weight=others, **options)
    assert all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))
    none = adversarial_step_loss(model, batch, site=site, norm=norm, eps=0.2, adv_weight=0.0)
    assert torch.equal(none.total, model.losses(batch).sum())


# -- names ---------------------------------------------------------------------------------------


def test_sites_are_one_several_or_a_combination():
    def names(text):
        return tuple(site.name for site in CDAE.sites_of(text))

    assert names(None) == ("decoder",)
    assert names("user") == ("user",)
    assert names("acae") == names("encoder + decoder") == names("encoder,decoder")
    assert names("acnn") == ACNN
    assert names("user+acae+user") == ("user", "encoder", "decoder")
    with pytest.raises(UsageError, match="no site 'decodr'") as caught:
        names("encoder+decodr")
    assert caught.value.hint == "did you mean 'decoder'?"


def test_the_sites_of_a_combination_exist():
    for kind in MODELS.values():
        for combination in kind.combinations:
            assert len(kind.sites_of(combination)) > 1
            assert combination not in {site.name for site in kind.sites}


# -- configuration -------------------------------------------------------------------------------


def of(**options):
    return resolve(TrainConfig(model="cdae", phase="adversarial", **options), CDAE)


def test_acae_is_what_adversarial_training_of_cdae_means():
    config = of()
    assert (config.site, config.norm, config.eps) == ("encoder+decoder", "tensor", 1.0)
    assert of(site="acae") == of(site=["encoder", "decoder"]) == config


def test_a_site_can_have_an_eps_and_a_weight_of_its_own_however_it_is_written():
    config = of(site="acnn", eps=0.5, site_eps={"user": 4}, adv_weight={"decoder": 10})
    assert (config.eps, config.site_eps) == (0.5, {"user": 4.0})
    assert (config.adv_weight, config.site_adv_weight) == (1.0, {"decoder": 10.0})
    file = ConfigFile.parse(
        '[train]\nsite = ["user", "acae"]\neps = {user = 4}\nadv_weight = 2.0', "c.toml"
    )
    found = of(**file.train)
    assert (found.site, found.eps, found.site_eps) == ("user+encoder+decoder", 1.0, {"user": 4.0})
    assert parse(ResolvedConfig, found.given(), "c.toml") == found


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (
            {"eps": {"user": 1}},
            ConfigError,
            "site_eps names site 'user', but the perturbed sites are",
        ),
        ({"eps": {"usr": 1}}, UsageError, "no site 'usr'"),
        (
            {"adv_weight": {"decoder": -1}},
            ConfigError,
            "site_adv_weight in x must be at least 0, got -1",
        ),
        ({"adv_weight": {"decoder": "much"}}, ConfigError, "must be a number"),
        ({"site": "encoder+decoder", "norm": "joint"}, UsageError, "no norm 'joint'"),
    ],
)
def test_what_does_not_fit_the_sites_is_refused(options, kind, said):
    with pytest.raises(kind, match=said):
        resolve(parse(TrainConfig, {"model": "cdae", "phase": "adversarial", **options}, "x"), CDAE)


def test_pretraining_has_no_sites_to_weigh():
    with pytest.raises(ConfigError, match=r"site_eps is.*pretraining has no perturbation"):
        resolve(TrainConfig(model="cdae", eps={"decoder": 1.0}), CDAE)


# -- training ------------------------------------------------------------------------------------


def test_the_noises_train_and_a_resumed_run_has_the_same_bits(tmp_path):
    dataset, options = tiny_dataset(), {**FAST, "runs": tmp_path}
    base = advrec.pretrain(dataset, "cdae", **options)
    assert base.run.config.lr == 0.05

    def train(**more):
        wanted = {**options, "site": "acnn", "eps": {"user": 3.0}, **more}
        return advrec.adv_train(dataset, base.run, **wanted)

    straight = train()
    resumed = advrec.resume(train(epochs=2).run, dataset, epochs=4)
    assert bits(resumed.run) == bits(straight.run)
    assert straight.run.config.lr == 0.005
    assert straight.run.config.site_eps == {"user": 3.0}
    assert all(line["adv_loss"] > line["loss"] for line in straight.history if line["epoch"])
    assert bits(train(eps={"user": 0.0}).run) != bits(straight.run)
    moved = [run.state()[0]["user_mix"] for run in (base.run, straight.run)]
    assert not torch.equal(*moved)
