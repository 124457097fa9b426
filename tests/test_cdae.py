"""CDAE: sparse input, a loss without labels, and noise that is appended."""

from __future__ import annotations

import pytest
import torch
from support.small_models import EVERYONE, N_ITEMS, N_USERS, POSITIVES, SEEN, noise_of, small, spec
from support.training_data import FAST, bits, tiny_dataset
from torch.nn import functional

import advrec
from advrec.errors import UsageError
from advrec.models import base
from advrec.models.cdae import CDAE, SITES
from advrec.models.cross_entropy import (
    half_squares,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from advrec.robustness.objective import adversarial_step_loss
from advrec.robustness.search import noise_for

USERS = EVERYONE.int().unsqueeze(0)  # a batch of everyone, [1, U]
LABELS = torch.from_numpy(SEEN).double()


# -- scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [None, *SITES])
def test_scores_are_the_dot_products_of_the_vectors(site):
    model = small("cdae")
    noise = noise_of(model, site) if site else None
    users, items = model.vectors(noise)
    torch.testing.assert_close(model.scores(EVERYONE, noise), users @ items.T)
    some = torch.tensor([3, 0, 3])
    torch.testing.assert_close(model.scores(some, noise), (users @ items.T)[some])


def test_a_user_without_items_is_scored_by_vector_and_bias():
    model = small("cdae")
    hidden = torch.sigmoid(model.user[4] + model.hidden_bias)
    expected = model.decoder @ hidden + model.item_bias
    torch.testing.assert_close(model.scores(torch.tensor([4]))[0], expected)
    assert model.losses(torch.tensor([[4]], dtype=torch.int32)).isfinite().all()


@pytest.mark.parametrize("site", ["hidden_concat", "user_concat"])
def test_without_appended_noise_its_layer_is_not_there(site):
    model, other = small("cdae"), small("cdae")
    with torch.no_grad():
        other.hidden_mix.mul_(100)
        other.user_mix.mul_(100)
    assert torch.equal(model.scores(EVERYONE), other.scores(EVERYONE))
    assert not torch.equal(
        model.scores(EVERYONE, noise_of(model, site)), other.scores(EVERYONE, noise_of(model, site))
    )


# -- loss ----------------------------------------------------------------------------------------

ROWS, COLUMNS = LABELS.nonzero().T


def test_the_sigmoid_loss_is_torchs_on_a_tensor_of_labels():
    logits = torch.randn(N_USERS, N_ITEMS, dtype=torch.float64, requires_grad=True)
    found = sigmoid_cross_entropy(logits, ROWS, COLUMNS)
    expected = functional.binary_cross_entropy_with_logits(logits, LABELS, reduction="none").sum(1)
    torch.testing.assert_close(found, expected)
    weights = torch.rand(N_USERS, dtype=torch.float64)
    slopes = [torch.autograd.grad(loss, logits, weights)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes)


def test_the_gradients_that_are_written_out_are_those_of_finite_differences():
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    rows, columns = torch.tensor([0, 0, 2]), torch.tensor([1, 3, 0])
    for loss in (sigmoid_cross_entropy, softmax_cross_entropy):
        assert torch.autograd.gradcheck(lambda x, f=loss: f(x, rows, columns), logits)
    assert torch.autograd.gradcheck(half_squares, logits)


@pytest.mark.parametrize("logit", [-1000.0, 1000.0])
def test_the_sigmoid_loss_stays_exact_where_the_model_is_sure(logit):
    logits = torch.full((1, 2), logit, dtype=torch.float64, requires_grad=True)
    loss = sigmoid_cross_entropy(logits, torch.tensor([0]), torch.tensor([1]))
    assert loss.tolist() == [1000.0]  # of one of the two places, the other is right
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert slope.tolist() == [[1.0, 0.0]] if logit > 0 else [[0.0, -1.0]]


def test_the_penalty_is_of_every_weight_and_the_mean_loss_has_it_once():
    model = small("cdae")
    whole = sum(p.square().sum() for p in model.parameters()) / 2
    torch.testing.assert_close(model.penalty(USERS), N_USERS * whole)
    terms = adversarial_step_loss(model, USERS, eps=None, adv_weight=0.0, reg=0.3, reduction="mean")
    torch.testing.assert_close(terms.penalty, 0.3 * whole)


# -- corruption ----------------------------------------------------------------------------------


def test_corruption_is_drawn_anew_for_a_step_and_is_the_same_within_it():
    model = small("cdae", corruption=0.5)
    first, again = model.losses(USERS), model.losses(USERS)
    with model.training_step(rng_key=(0, 0, 1)):
        other = model.losses(USERS)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[4], other[4])  # a user without items has nothing to lose
    terms = adversarial_step_loss(model, USERS, norm="tensor", eps=0.0, adv_weight=1.0)
    assert torch.equal(terms.clean, terms.adversarial)


def test_corruption_drops_the_share_and_keeps_the_mean_and_stays_out_of_evaluation():
    model = small("cdae", corruption=0.3)
    factors = model.dropout((100_000,), 0.3)
    # 6 standard deviations of a mean of 100,000 coins
    assert float((factors == 0).double().mean()) == pytest.approx(0.3, abs=0.009)
    assert sorted(set(factors.tolist())) == pytest.approx([0.0, 1 / 0.7])
    clean = small("cdae")
    assert torch.equal(model.eval().losses(USERS), clean.losses(USERS))
    assert torch.equal(clean.train().losses(USERS), clean.eval().losses(USERS))


def test_a_resumed_run_is_corrupted_as_if_it_had_never_stopped(tmp_path):
    options = {**FAST, "runs": tmp_path, "options": {"corruption": 0.5}}
    dataset = tiny_dataset()
    short = advrec.pretrain(dataset, "cdae", **{**options, "epochs": 2})
    resumed = advrec.resume(short.run, dataset, epochs=4)
    straight = advrec.pretrain(dataset, "cdae", **{**options, "epochs": 4})
    assert bits(resumed.run) == bits(straight.run)
    plain = advrec.pretrain(dataset, "cdae", **{**FAST, "runs": tmp_path, "epochs": 4})
    assert bits(plain.run) != bits(straight.run)


def test_adversarial_training_may_go_on_without_the_corruption_that_it_starts_from(tmp_path):
    dataset = tiny_dataset()
    options = {**FAST, "runs": tmp_path, "options": {"loss": "multinomial", "corruption": 0.5}}
    base = advrec.pretrain(dataset, "cdae", **options)
    robust = advrec.adv_train(dataset, base.run, options={"corruption": 0.0}, epochs=1)
    assert robust.run.config.options == {"loss": "multinomial", "corruption": 0.0}


# -- options and size ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "sigmoidal"}, "'loss' of model 'cdae' is 'sigmoidal': choose sigmoid"),
        (
            {"corruption": 1.5},
            "'corruption' of model 'cdae' must be a number from 0 to 0.99, got 1.5",
        ),
        (
            {"corruption": True},
            "'corruption' of model 'cdae' must be a number from 0 to 0.99, got True",
        ),
        (
            {"corruption": "half"},
            "'corruption' of model 'cdae' must be a number from 0 to 0.99, got 'half'",
        ),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        CDAE(spec(options=options))


def test_the_attack_takes_fewer_users_at_a_time_from_a_large_catalogue(monkeypatch):
    model = small("cdae")
    monkeypatch.setattr(base, "ATTACK_SCORES", 5 * N_ITEMS)
    batches = list(model.attack_batches(POSITIVES, 0))
    assert [batch.shape for batch in batches] == [(1, 5), (1, 5), (1, 1)]
    whole = noise_for(model, POSITIVES, eps=1.0, site="encoder")
    monkeypatch.undo()
    assert len(list(model.attack_batches(POSITIVES, 0))) == 1
    torch.testing.assert_close(noise_for(model, POSITIVES, eps=1.0, site="encoder"), whole)


# -- what the paper found ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_noise_in_the_decoder_hurts_most_and_gaussian_noise_little(tmp_path, seed):
    dataset = tiny_dataset(seed)
    options = {**FAST, "epochs": 100, "eval_every": 100, "lr": 0.1, "seed": seed}
    model = advrec.pretrain(dataset, "cdae", runs=tmp_path, **options).model

    def rise(site: str, kind: str) -> float:
        (result,) = advrec.attack(model, dataset, noise=kind, site=site, eps=2.0, metrics=["HR@5"])
        return result.attacked_loss - result.clean_loss

    adversarial = {site: rise(site, "adversarial") for site in SITES}
    assert max(adversarial, key=adversarial.__getitem__) == "decoder"
    assert all(rise(site, "random") < 0.5 * adversarial[site] for site in SITES)
