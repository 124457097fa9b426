"""Noise on whole tables, and what it does to rankings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from support.training_data import two_kinds
from torch import Tensor

from advrec import native
from advrec.errors import UsageError
from advrec.evaluation.evaluate import evaluate
from advrec.models import ModelSpec, Recommender, Site, base, create
from advrec.ops.graph import Graph
from advrec.ops.positives import ATTACK_EPOCH, Positives
from advrec.ops.reference import sample_triplets
from advrec.robustness import perturb
from advrec.robustness.attack import AttackResult, attack
from advrec.robustness.goal import AttackObjective
from advrec.robustness.objective import gradient
from advrec.robustness.search import OBJECTIVES, noise_for

N_USERS, N_ITEMS, DIM = 40, 50, 8


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tables this small are not worth a second thread, and waiting for one takes long."""
    before = torch.get_num_threads()
    native.set_threads(1)
    yield
    native.set_threads(before)


DATA = two_kinds(N_USERS, N_ITEMS, train=0.7, valid=0.1)
POSITIVES = Positives.from_pairs(DATA.train)


def trained(name: str = "mf") -> Recommender:
    """A model that has learned something and does not overfit yet: ten steps of Adam."""
    graph = Graph.build(DATA.train, torch.float64)
    spec = ModelSpec(
        N_USERS, N_ITEMS, DIM, layers=2, graph=graph, dtype=torch.float64, init_std=0.1
    )
    model = create(name, spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in range(10):
        batch = sample_triplets(POSITIVES, seed=0, epoch=epoch, first=0, count=len(POSITIVES))
        optimizer.zero_grad()
        model.losses(batch).sum().backward()
        optimizer.step()
    model.zero_grad()
    return model


@pytest.fixture(scope="module")
def mf() -> Recommender:
    return trained("mf")


@pytest.fixture(scope="module")
def lightgcn() -> Recommender:
    return trained("lightgcn")


def triplets(seed: int = 0) -> Tensor:
    return sample_triplets(POSITIVES, seed=seed, epoch=ATTACK_EPOCH, first=0, count=len(POSITIVES))


# -- noise_for -----------------------------------------------------------------------------------


def test_adversarial_noise_is_the_fast_gradient_over_all_of_train(lightgcn: Recommender) -> None:
    for site in ("ego", "final"):
        noise = noise_for(lightgcn, POSITIVES, eps=0.5, site=site, seed=3)
        _, gamma = gradient(lightgcn, triplets(3), site=site)
        expected = perturb.fgm(gamma, eps=0.5, norm="row")
        torch.testing.assert_close(noise[site], expected[site])


def test_every_row_with_a_gradient_moves_by_eps(mf: Recommender) -> None:
    lengths = noise_for(mf, POSITIVES, eps=0.5)["ego"].norm(dim=1)
    reached = torch.zeros(N_USERS + N_ITEMS, dtype=torch.bool)
    u, i, j = triplets().long()
    reached[torch.cat([u, N_USERS + i, N_USERS + j])] = True
    torch.testing.assert_close(lengths, 0.5 * reached.double())
    assert reached.sum() > 0.9 * (N_USERS + N_ITEMS)


@pytest.mark.parametrize("kind", ["adversarial", "random"])
def test_the_seed_decides_everything(mf: Recommender, kind: str) -> None:
    def noise(seed: int) -> Tensor:
        return noise_for(mf, POSITIVES, noise=kind, eps=0.5, seed=seed)["ego"]

    torch.manual_seed(0)
    first = noise(1)
    torch.manual_seed(1)
    assert torch.equal(first, noise(1))
    assert not torch.equal(first, noise(2))


@pytest.mark.parametrize(
    "options",
    [{}, {"noise": "random", "restarts": 2}, {"steps": 3, "restarts": 2}, {"norm": "joint"}],
)
def test_an_attack_leaves_the_model_as_it_was(mf: Recommender, options: dict[str, object]) -> None:
    before = {key: value.clone() for key, value in mf.state_dict().items()}
    for mode in (True, False):
        mf.train(mode)
        noise = noise_for(mf, POSITIVES, eps=0.5, **options)  # type: ignore[arg-type]
        assert mf.training == mode
    assert not any(tensor.requires_grad for tensor in noise.values())
    assert all(parameter.grad is None for parameter in mf.parameters())
    assert all(torch.equal(before[key], value) for key, value in mf.state_dict().items())


def test_several_random_restarts_keep_the_worst(mf: Recommender) -> None:
    def loss(restarts: int) -> float:
        noise = noise_for(mf, POSITIVES, noise="random", eps=1.0, restarts=restarts)
        return float(mf.losses(triplets(), noise).sum().detach())

    losses = [loss(restarts) for restarts in (1, 3, 10, 30)]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


def test_a_step_size_of_ones_own_still_stays_in_the_ball(mf: Recommender) -> None:
    noise = noise_for(mf, POSITIVES, eps=0.5, steps=4, step_size=10.0)["ego"]
    assert float(noise.norm(dim=1).max()) <= 0.5 * (1 + 1e-12)


def test_float32_noise_has_the_length_that_was_asked_for() -> None:
    graph = Graph.build(DATA.train)
    for name in ("mf", "lightgcn"):
        model = create(name, ModelSpec(N_USERS, N_ITEMS, 64, layers=2, graph=graph, init_std=0.1))
        for steps in (1, 5):
            noise = noise_for(model, POSITIVES, eps=0.5, steps=steps)["ego"]
            assert noise.dtype == torch.float32
            # Sums of 64 squares and a division: 2^-24 · 8 with room, after every projection anew.
            assert float(noise.double().norm(dim=1).max()) <= 0.5 * (1 + 2**-21)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "gaussian"}, "unknown noise 'gaussian': choose random or adversarial"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"restarts": 0}, "restarts must be at least 1, got 0"),
        ({"step_size": 0.0}, "step_size must be a number above 0, got 0.0"),
        ({"noise": "random", "steps": 5}, "random noise takes no steps"),
        ({"norm": "sample"}, "an attack perturbs whole tables"),
        ({"norm": "tensor"}, "no norm 'tensor'"),
        ({"site": "users"}, "no site 'users'"),
        ({"eps": -0.5}, "eps must be a number from 0 up, got -0.5"),
    ],
)
def test_what_makes_no_sense_is_refused(
    mf: Recommender, options: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {"eps": 0.5} | options
    with pytest.raises(UsageError, match=message):
        noise_for(mf, POSITIVES, **arguments)  # type: ignore[arg-type]


# -- attack --------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["ego", "final"])
def test_results_come_in_the_order_of_eps_with_the_budget_as_measured(
    lightgcn: Recommender, site: str
) -> None:
    sizes = [1.0, 0.25, 0.5]
    results = attack(lightgcn, DATA, eps=sizes, site=site, ks=(10,), metrics=("NDCG",))
    mean_row = float(lightgcn.tables(site)[site].norm(dim=1).mean())
    for eps, result in zip(sizes, results, strict=True):
        assert (result.eps, result.plan.site, result.plan.norm) == (eps, site, "row")
        assert math.isclose(result.budget.absolute, eps, rel_tol=1e-12)
        assert math.isclose(result.budget.relative, eps / mean_row, rel_tol=1e-12)
        assert result.attacked_loss > result.clean_loss


def test_a_result_is_what_evaluate_says_under_the_noise(mf: Recommender) -> None:
    (result,) = attack(mf, DATA, eps=0.5, ks=(10,), seed=4)
    noise = noise_for(mf, POSITIVES, eps=0.5, seed=4)
    assert result.clean.values == evaluate(mf, DATA, ks=(10,)).values
    assert result.attacked.values == evaluate(mf, DATA, ks=(10,), noise=noise).values
    clean, noisy = result.clean.values["NDCG@10"], result.attacked.values["NDCG@10"]
    assert math.isclose(result.lost["NDCG@10"], 1 - noisy / clean)
    batch = triplets(4)
    for found, delta in ((result.clean_loss, None), (result.attacked_loss, noise)):
        assert math.isclose(found, float(mf.losses(batch, delta).mean().detach()), rel_tol=1e-12)


def test_adversarial_noise_costs_rankings_more_than_random_noise(mf: Recommender) -> None:
    options = {"eps": [0.5, 1.0], "ks": (10,), "metrics": ("NDCG",)}
    adversarial = attack(mf, DATA, noise="adversarial", **options)  # type: ignore[arg-type]
    random = attack(mf, DATA, noise="random", **options)  # type: ignore[arg-type]
    for worst, control in zip(adversarial, random, strict=True):
        assert worst.lost["NDCG@10"] > control.lost["NDCG@10"]
        assert worst.lost["NDCG@10"] > 0.2
        assert math.isclose(worst.budget.absolute, control.budget.absolute, rel_tol=1e-12)


def test_eps_zero_changes_nothing(mf: Recommender) -> None:
    for noise in ("adversarial", "random"):
        (result,) = attack(mf, DATA, noise=noise, eps=0)
        assert result.attacked.values == result.clean.values
        assert result.attacked_loss == result.clean_loss
        assert (result.budget.absolute, result.budget.rows) == (0.0, 0)


def test_an_evaluation_that_exists_is_not_made_again(mf: Recommender) -> None:
    clean = evaluate(mf, DATA, part="valid", ks=(5,))
    results = attack(mf, DATA, eps=[0.5, 1.0], part="valid", ks=(5,), clean=clean)
    assert all(result.clean is clean for result in results)
    assert all(result.attacked.part == "valid" for result in results)


def test_a_result_goes_into_json(mf: Recommender) -> None:
    (result,) = attack(mf, DATA, eps=0.5, metrics=("NDCG",), ks=(10,))
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["budget"]["norm"] == written["norm"] == "row"
    assert written["kind"] == "adversarial"
    assert written["change"]["NDCG@10"] == -result.lost["NDCG@10"]
    assert AttackResult.from_dict(written).to_dict() == written


def test_what_is_undefined_or_zero_is_null_or_zero_in_json(mf: Recommender) -> None:
    (result,) = attack(mf, DATA, eps=0, metrics=("NDCG",), ks=(10,))
    assert str(result.to_dict()["change"]) == "{'NDCG@10': 0.0}"  # not -0.0
    nothing = replace(result.clean, values={"NDCG@10": 0.0})
    empty = replace(result, clean=nothing, attacked=nothing)
    assert math.isnan(empty.lost["NDCG@10"])
    assert empty.to_dict()["change"] == {"NDCG@10": None}


# -- several at once -----------------------------------------------------------------------------


def facts(results: Sequence[AttackResult]) -> list[dict[str, object]]:
    return [result.to_dict() for result in results]


@pytest.mark.parametrize("climb", [{}, {"steps": 3, "restarts": 2}])
def test_several_noises_sites_and_eps_are_the_separate_attacks_to_the_bit(
    lightgcn: Recommender, climb: dict[str, int]
) -> None:
    options: dict[str, Any] = {"seed": 5, "ks": (10,), "metrics": ("NDCG", "AUC")}
    noises, sites, sizes = ["random", "adversarial"], ["final", "ego"], [1.0, 0.25]
    together = attack(lightgcn, DATA, noise=noises, site=sites, eps=sizes, **options, **climb)
    separate = []
    for site, noise, eps in product(sites, noises, sizes):
        own = climb if noise == "adversarial" else {k: v for k, v in climb.items() if k != "steps"}
        separate += attack(lightgcn, DATA, noise=noise, site=site, eps=eps, **options, **own)
    assert facts(together) == facts(separate)
    assert all(result.clean is together[0].clean for result in together)


def test_the_gradient_over_all_of_train_is_taken_once_per_site(
    lightgcn: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    plain = AttackObjective.gradient
    monkeypatch.setattr(
        AttackObjective,
        "gradient",
        lambda self, noise: taken.append(self.site) or plain(self, noise),
    )
    attack(lightgcn, DATA, noise=["random", "adversarial"], site="all", eps=[0.1, 0.5, 1.0])
    assert taken == ["ego", "final"]


def test_sites_are_named_as_for_training_and_each_may_have_its_norm(lightgcn: Recommender) -> None:
    results = attack(lightgcn, DATA, site="final+ego", norm={"ego": "joint"}, eps=0.5)
    assert [(r.plan.site, r.plan.norm) for r in results] == [("final", "row"), ("ego", "joint")]
    with pytest.raises(UsageError, match="norm names site 'final', but the attack is at ego"):
        attack(lightgcn, DATA, site="ego", norm={"final": "row"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": []}, "at least one eps"),
        ({"noise": []}, "at least one noise"),
        ({"noise": ["random", "worst"]}, "unknown noise 'worst'"),
        ({"noise": ["random"], "steps": 2}, "random noise takes no steps"),
        ({"site": ["ego", "users"]}, "no site 'users'"),
        ({"objective": "bprr"}, "unknown objective 'bprr': choose bpr"),
    ],
)
def test_an_attack_that_makes_no_sense_is_refused_before_anything_is_computed(
    lightgcn: Recommender,
    options: dict[str, object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("advrec.robustness.attack.evaluate", lambda *_, **__: pytest.fail("ran"))
    with pytest.raises(UsageError, match=message):
        attack(lightgcn, DATA, **options)  # type: ignore[arg-type]


# -- another objective ---------------------------------------------------------------------------


class Opposite(AttackObjective):
    """Noise that makes the model better at what it was trained for."""

    def losses(self, batch: Tensor, noise: Mapping[str, Tensor]) -> Tensor:
        return -super().losses(batch, noise)


def test_an_objective_is_a_class_and_a_line_in_the_table(
    mf: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OBJECTIVES, "opposite", Opposite)
    (usual,) = attack(mf, DATA, eps=0.5)
    (result,) = attack(mf, DATA, eps=0.5, objective="opposite", steps=3)
    assert result.clean_loss == -usual.clean_loss
    assert result.attacked_loss > result.clean_loss  # what it raises
    noise = noise_for(mf, POSITIVES, eps=0.5, objective="opposite")
    assert float(mf.losses(triplets(), noise).mean().detach()) < usual.clean_loss
    assert result.to_dict()["objective"] == "opposite"
    assert "objective" not in usual.to_dict()
    assert AttackResult.from_dict(result.to_dict()).plan == result.plan


# -- a model of users, perturbed in whole weight tensors -------------------------------------------


class Autoencoder(Recommender):
    """A linear auto-encoder with dropout: batches of users, a Frobenius norm for each matrix."""

    name = "autoencoder"
    about = "a test"
    sites = (
        Site("weights", "both matrices", ("tensor", "joint")),
        Site("decoder", "the second matrix", ("tensor",)),
    )
    batch_kind = "users"

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.rows = torch.zeros(spec.n_users, spec.n_items, dtype=spec.dtype)
        self.rows[POSITIVES.pair_users.long(), POSITIVES.pair_items.long()] = 1
        self.encoder, self.decoder = (
            torch.nn.Parameter(
                0.1
                * torch.randn(
                    spec.n_items,
                    spec.dim,
                    dtype=spec.dtype,
                    generator=torch.Generator().manual_seed(spec.seed + n),
                )
            )
            for n in range(2)
        )

    def scores(self, users: Tensor, noise: Mapping[str, Tensor] | None = None) -> Tensor:
        given = base.check_noise(noise, ("encoder", "decoder"))
        encoder = self.encoder + given.get("encoder", 0)
        decoder = self.decoder + given.get("decoder", 0)
        rows = torch.nn.functional.dropout(self.rows[users.long()], 0.5, self.training)
        return rows @ encoder @ decoder.T

    def losses(self, batch: Tensor, noise: Mapping[str, Tensor] | None = None) -> Tensor:
        (users,) = batch
        return torch.nn.functional.binary_cross_entropy_with_logits(
            self.scores(users, noise), self.rows[users.long()], reduction="none"
        ).sum(1)

    def penalty(self, batch: Tensor) -> Tensor:
        return (self.encoder.square().sum() + self.decoder.square().sum()) / 2

    def tables(self, site: str) -> dict[str, Tensor]:
        both = {"encoder": self.encoder.detach(), "decoder": self.decoder.detach()}
        return both if self.site(site).name == "weights" else {"decoder": both["decoder"]}


def test_a_model_of_users_is_attacked_in_chunks_that_add_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Autoencoder(ModelSpec(N_USERS, N_ITEMS, DIM, dtype=torch.float64))
    whole = noise_for(model, POSITIVES, eps=0.5)
    monkeypatch.setattr(base, "ATTACK_USERS", 7)
    chunks = list(model.attack_batches(POSITIVES, 0))
    assert torch.equal(torch.cat(chunks, 1)[0], POSITIVES.active_users)
    assert max(chunk.shape[1] for chunk in chunks) == 7
    parts = noise_for(model, POSITIVES, eps=0.5)
    assert set(parts) == {"encoder", "decoder"}
    for key in parts:
        torch.testing.assert_close(parts[key], whole[key])
        assert math.isclose(float(parts[key].norm()), 0.5, rel_tol=1e-12)


@pytest.mark.parametrize("site", ["weights", "decoder"])
def test_a_model_without_vectors_is_attacked_and_evaluated(site: str) -> None:
    model = Autoencoder(ModelSpec(N_USERS, N_ITEMS, DIM, dtype=torch.float64)).train()
    for noise in ("adversarial", "random"):
        results = attack(model, DATA, noise=noise, eps=[0.1, 0.2], site=site, metrics=("NDCG",))
        assert results[0].plan.norm == "tensor"
        assert math.isclose(results[1].budget.absolute, 0.2, rel_tol=1e-12)
        # Dropout is off in an attack: otherwise two passes would not agree to so many digits.
        again = attack(model, DATA, noise=noise, eps=[0.1], site=site, metrics=("NDCG",))
        assert again[0].attacked_loss == results[0].attacked_loss
