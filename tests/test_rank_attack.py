"""Attacks on the ranking itself: gradients, budgets, and what they take compared to BPR."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from support.cli_runner import advrec, write_ratings
from test_attacks import DATA, N_ITEMS, N_USERS, POSITIVES, trained
from test_certify import DATA as OTHER
from test_certify import SITES, model_of
from torch import Tensor

from advrec import native
from advrec.choices import LABELS
from advrec.data.dataset import Pairs
from advrec.errors import UsageError
from advrec.evaluation.evaluate import evaluate
from advrec.models import ModelSpec, Recommender, create
from advrec.report.robustness import Attacked, attack_tables
from advrec.robustness import perturb, rank_loss, search
from advrec.robustness.attack import AttackResult, attack
from advrec.robustness.certify import certify
from advrec.robustness.search import Plan, noise_for
from advrec.robustness.target import target_of

K = 5
EPS = (0.1, 0.2, 0.4, 0.8)
SMOOTH = ("ndcg", "softmax")
RANKS: dict[str, Any] = {"ks": (K,), "metrics": ("NDCG",)}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    native.set_threads(1)
    yield
    native.set_threads(before)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    choice = native.choice()
    yield
    native.use(choice)


@pytest.fixture(scope="module")
def mf() -> Recommender:
    return trained("mf")


@pytest.fixture(scope="module")
def lightgcn() -> Recommender:
    return trained("lightgcn")


def target(model: Recommender, labels: str) -> Any:
    return target_of(model, DATA, labels, "test", K, lambda _: 0.0)


def dense(
    objective: str, users: Tensor, items: Tensor, tau: Tensor, relevant: Pairs, known: Pairs
) -> Tensor:
    """L by its formula, one relevant item after the other; differentiable."""
    total = users.new_zeros(())
    gains = 1 / torch.log2(torch.arange(K, dtype=users.dtype) + 2)
    for user in range(len(users)):
        rivals = sorted(set(range(len(items))) - set(known.of(user).tolist()))
        own = relevant.of(user).tolist()
        for item in own:
            x = (users[user] @ items[rivals].T - users[user] @ items[item]) / tau[user]
            if objective == "softmax":
                total = total - 1 / (1 + x.exp().sum())
                continue
            rank = 1 + x.sigmoid().sum()
            cut = torch.sigmoid((K + 0.5 - rank) / (K / 2))
            total = total - cut / torch.log2(1 + rank) / gains[: len(own)].sum()
    return total


# -- the loss and its gradient -------------------------------------------------------------------


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("objective", SMOOTH)
@pytest.mark.parametrize("block", [0, 1, 3 * N_ITEMS, 1 << 21])
def test_loss_and_gradient_are_those_of_the_formula(
    mf: Recommender, objective: str, labels: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block:  # the twin, in blocks of this size
        native.use("reference")
        twin = importlib.import_module("advrec.ops.reference.smooth_rank")
        monkeypatch.setattr(twin, "BLOCK_NUMBERS", block)
    aim = target(mf, labels)
    users, items = (v.detach().clone().requires_grad_() for v in mf.vectors() or ())
    tau = 0.1 + 0.2 * torch.rand(N_USERS, generator=torch.Generator().manual_seed(0)).double()
    expected = dense(objective, users, items, tau, aim.relevant, aim.known)
    gradients = torch.autograd.grad(expected, (users, items))
    with torch.no_grad():
        result = rank_loss.rank_loss(objective, users, items, tau, aim.relevant, aim.known, K)
    assert result.loss == pytest.approx(float(expected.detach()), rel=1e-12)
    torch.testing.assert_close(result.users, gradients[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(result.items, gradients[1], rtol=1e-9, atol=1e-12)
    assert gradients[0].abs().max() > 0.01


@pytest.mark.parametrize("objective", SMOOTH)
@pytest.mark.parametrize("site", ["ego", "final"])
def test_the_gradient_of_noise_is_that_of_central_differences(
    lightgcn: Recommender, objective: str, site: str
) -> None:
    plan = Plan(objective=objective, labels="test", site=site)
    goal = search.OBJECTIVES[objective](lightgcn, POSITIVES, plan, target(lightgcn, "test"))
    sized = goal.at(0.5)
    generator = torch.Generator().manual_seed(1)
    noise, way = (
        {site: 0.1 * torch.randn(N_USERS + N_ITEMS, 8, generator=generator, dtype=torch.float64)}
        for _ in range(2)
    )
    slope = float((sized.gradient(noise)[1][site] * way[site]).sum())
    h = 1e-5
    ahead, behind = (sized.loss({site: noise[site] + sign * h * way[site]}) for sign in (1.0, -1.0))
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)
    assert abs(slope) > 1e-3


def test_items_that_are_masked_are_neither_targets_nor_rivals(mf: Recommender) -> None:
    hidden = {
        user: {*DATA.train.of(user).tolist(), *DATA.valid.of(user).tolist()}
        for user in range(N_USERS)
    }
    scores = mf.scores(torch.arange(N_USERS)).detach()
    own, held = target(mf, "self"), target(mf, "test")
    for user in range(N_USERS):
        shown = sorted(set(range(N_ITEMS)) - hidden[user], key=lambda i: -scores[user, i])
        assert own.relevant.of(user).tolist() == shown[:1]
        assert set(own.known.of(user).tolist()) == hidden[user] | set(shown[:1])
        assert set(held.known.of(user).tolist()) == hidden[user] | set(DATA.test.of(user).tolist())
    assert target(mf, "train").relevant is DATA.train
    validated = target_of(mf, DATA, "test", "valid", K, lambda _: 0.0)
    assert validated.relevant is DATA.valid


# -- the search ----------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["ndcg", "softmax"])
@pytest.mark.parametrize("scale", [1.0, 1e-25])
def test_every_row_is_within_the_budget_and_the_fast_rows_use_it_up(
    objective: str, scale: float
) -> None:
    model = create("mf", ModelSpec(N_USERS, N_ITEMS, 8, init_std=0.1))
    with torch.no_grad():
        model.get_parameter("embedding").mul_(scale)
    aim = target(model, "test")
    eps = 0.3
    noise = noise_for(model, POSITIVES, eps=eps, objective=objective, labels="test", target=aim)
    lengths = noise["ego"].double().norm(dim=1)
    assert noise["ego"].dtype == torch.float32
    assert float(lengths.max()) <= eps
    assert float(lengths.max()) > 0.9 * eps


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-9, 1.5])
@pytest.mark.parametrize("norm", ["row", "joint"])
def test_noise_is_scaled_back_to_at_most_eps(factor: float, norm: str) -> None:
    noise = {"a": torch.randn(200, 7, generator=torch.Generator().manual_seed(0))}
    units = perturb.NORMS[norm].unit(noise)
    inside = perturb.within({"a": units["a"] * 0.7 * factor}, eps=0.7, norm=norm)
    (length,) = perturb.NORMS[norm].lengths({"a": inside["a"].double()}).values()
    assert float(length.max()) <= 0.7
    assert float(length.min()) > 0.7 * (1 - 1e-6)


def lost(model: Recommender, eps: float = 0.4, **options: Any) -> float:
    (result,) = attack(model, DATA, eps=eps, **RANKS, **options)
    return result.lost[f"NDCG@{K}"]


@pytest.mark.parametrize("site", ["ego", "final"])
def test_knowing_the_labels_the_ranking_attack_takes_more_than_one_step_of_bpr(
    lightgcn: Recommender, site: str
) -> None:
    bpr = lost(lightgcn, site=site)
    informed = lost(lightgcn, site=site, labels="test")
    ndcg = lost(lightgcn, site=site, objective="ndcg", labels="test")
    assert ndcg > informed > bpr
    assert lost(lightgcn, site=site, objective="softmax", labels="test") > bpr


def test_more_eps_never_makes_the_attack_weaker_and_results_come_in_order(mf: Recommender) -> None:
    sizes = [0.8, 0.1, 0.4, 0.2]
    results = attack(mf, DATA, eps=sizes, objective="ndcg", restarts=1, steps=2, **RANKS)
    assert [result.eps for result in results] == sizes
    by_size = sorted(results, key=lambda result: result.eps)
    figures = [result.attacked.values[f"NDCG@{K}"] for result in by_size]
    assert all(after <= before for before, after in pairwise(figures))
    assert figures[-1] < figures[0]


def test_noise_of_a_smaller_eps_is_kept_if_the_larger_finds_nothing_better(
    mf: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = search.SmoothNdcg.candidates

    def fails_above(self: Any, plan: Plan, eps: float, generator: torch.Generator) -> Any:
        for delta in plain(self, plan, eps, generator):
            yield delta if eps < 0.3 else {key: 0 * value for key, value in delta.items()}

    monkeypatch.setattr(search.SmoothNdcg, "candidates", fails_above)
    small, large = attack(mf, DATA, eps=[0.2, 0.4], objective="ndcg", labels="test", **RANKS)
    assert large.attacked.values == small.attacked.values != small.clean.values
    assert large.budget.absolute == small.budget.absolute <= 0.2


def test_the_restart_with_the_smallest_metric_is_kept(mf: Recommender) -> None:
    options: dict[str, Any] = {"objective": "ndcg", "labels": "test", "eps": 0.1}
    ends = []
    plain = search.SmoothNdcg.temperatures
    for temperature in plain:
        search.SmoothNdcg.temperatures = (temperature,)
        try:
            ends.append(lost(mf, restarts=1, **options))
        finally:
            search.SmoothNdcg.temperatures = plain
    assert lost(mf, **options) == max(ends)
    assert min(ends) < max(ends)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("objective", ["ndcg", "softmax"])
def test_no_attack_goes_below_the_certificate_for_any_user(
    mf: Recommender, objective: str, labels: str
) -> None:
    certificate = certify(mf, DATA, eps=EPS, k=K)
    metrics = ("NDCG", "Recall", "HR")
    results = attack(
        mf, DATA, eps=EPS, objective=objective, labels=labels, ks=(K,), metrics=metrics
    )
    for result in results:
        for metric, bound in certificate.per_user(result.eps).items():
            assert (result.attacked.per_user[metric] >= bound - 1e-12).all()
    assert certificate.at(EPS[0])[f"NDCG@{K}"] > 0


@pytest.mark.parametrize(("name", "site"), [*SITES, ("ngcf", "ego"), ("gnnguard", "ego")])
def test_at_every_site_the_budget_is_kept_and_the_certificate_holds(name: str, site: str) -> None:
    model = model_of(name)
    options: dict[str, Any] = {"eps": [0.05, 0.5], "site": site, "labels": "test", **RANKS}
    weak = attack(model, OTHER, **options)
    strong = attack(model, OTHER, objective="ndcg", **options)
    for bpr, ndcg in zip(weak, strong, strict=True):
        assert 0.9 * ndcg.eps < ndcg.budget.absolute <= ndcg.eps * (1 + 1e-7)  # in float32
        assert ndcg.lost[f"NDCG@{K}"] >= bpr.lost[f"NDCG@{K}"]
    assert strong[1].lost[f"NDCG@{K}"] > 0.1
    if (name, site) in SITES:
        certificate = certify(model, OTHER, eps=(0.05, 0.5), site=site, k=K)
        for result in strong:
            bounds = certificate.per_user(result.eps)[f"NDCG@{K}"]
            assert (result.attacked.per_user[f"NDCG@{K}"] >= bounds - 1e-12).all()


# -- what it knows, and what it says -----------------------------------------------------------


@pytest.mark.parametrize("labels", LABELS)
def test_bpr_draws_triplets_of_the_relevant_items_and_their_rivals(
    mf: Recommender, labels: str
) -> None:
    aim = target(mf, labels)
    goal = search.AttackObjective(mf, POSITIVES, Plan(labels=labels), aim)
    ((u, i, j),) = goal.batches
    drawn = set(zip(u.tolist(), i.tolist(), strict=True))
    pairs = zip(aim.relevant.users().tolist(), aim.relevant.items.tolist(), strict=True)
    assert drawn == set(pairs)
    if labels != "train":
        assert all(b not in aim.known.of(a) for a, b in zip(u.tolist(), j.tolist(), strict=True))


def test_today_s_attack_is_what_it_was_with_or_without_its_name(mf: Recommender) -> None:
    (plain,) = attack(mf, DATA, eps=0.4, **RANKS)
    (named,) = attack(mf, DATA, eps=0.4, objective="bpr", labels="train", **RANKS)
    assert plain.to_dict() == named.to_dict()
    assert {"objective", "labels"}.isdisjoint(plain.to_dict())
    noise = noise_for(mf, POSITIVES, eps=0.4)
    assert plain.attacked.values == evaluate(mf, DATA, noise=noise, **RANKS).values


@pytest.mark.parametrize(
    ("objective", "labels"), [("ndcg", None), ("ndcg", "test"), ("bpr", "test")]
)
def test_results_and_tables_name_objective_and_labels(
    mf: Recommender, objective: str, labels: str | None
) -> None:
    results = attack(
        mf, DATA, noise=["random", "adversarial"], eps=0.4, objective=objective, labels=labels,
        **RANKS,
    )  # fmt: skip
    random, adversarial = results
    document = adversarial.to_dict()
    assert (document["objective"], document["labels"]) == (objective, labels or "self")
    assert document["steps"] == (20 if objective == "ndcg" else 1)
    assert document["restarts"] == (4 if objective == "ndcg" else 1)
    assert AttackResult.from_dict(document).to_dict() == document
    (control,) = attack(mf, DATA, noise="random", eps=0.4, **RANKS)
    assert random.to_dict() == control.to_dict()
    (table,) = attack_tables([Attacked("run", "mf", results)])
    kinds = [row[1] for row in table.rows]
    assert kinds == ["random", f"adversarial ({objective}, {labels or 'self'})"]
    assert any(note.startswith(f"{labels or 'self'}: relevant") for note in table.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "ndcg", "labels": "valid"}, "unknown labels 'valid': choose train or self"),
        ({"objective": "ndcg", "step_size": 0.1}, "objective 'ndcg' has no step size, got"),
        ({"objective": "ndcg", "restarts": 5}, "at most 4 restarts, one per temperature, got 5"),
        (
            {"objective": "x", "noise": ["random", "adversarial"]},
            "unknown objective 'x': choose bpr",
        ),
        ({"objective": "ndcg", "steps": 0}, "steps must be at least 1, got 0"),
        ({"objective": "softmax", "noise": "random"}, "random noise has neither objective"),
    ],
)
def test_what_makes_no_sense_is_refused(
    mf: Recommender, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        attack(mf, DATA, **options)


def test_losses_of_whole_users_have_no_other_labels(mf: Recommender) -> None:
    cdae = create("cdae", ModelSpec(N_USERS, N_ITEMS, 8, positives=POSITIVES))
    with pytest.raises(UsageError, match="trained on whole users, so its loss has labels train"):
        attack(cdae, DATA, labels="test")
    (result,) = attack(cdae, DATA, objective="ndcg", labels="test", eps=0.4, **RANKS)
    assert result.lost[f"NDCG@{K}"] > 0
    with pytest.raises(UsageError, match="objective 'ndcg' needs the data set"):
        noise_for(mf, POSITIVES, eps=0.4, objective="ndcg")


def test_the_command_takes_objective_and_labels(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = write_ratings(tmp_path / "log.csv")
    words = ["--model", "mf", "--epochs", 3, "--dim", 8, "--name", "a"]
    assert advrec("pretrain", "--data", log, *words).code == 0
    options = ["--objective", "ndcg", "--labels", "test", "--eps", 0.5]
    results = advrec("attack", "a", *options, "--json").json()["runs"][0]["results"]
    assert [result.get("labels") for result in results] == [None, "test"]
    shown = advrec("attack", "a", *options)
    assert "adversarial (ndcg, test)" in shown.out
    assert "test: relevant are the held-out items" in shown.out
    assert advrec("attack", "a", "--objective", "ndgc").code == 2
    assert np.isfinite(results[1]["noisy_loss"])
