"""Suites: the worst of all members, at every budget, for every site; what relative budgets see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from support.small_models import small
from test_attacks import DATA as TRAINED
from test_attacks import trained
from test_certify import DATA, SITES, model_of
from torch import Tensor

from advrec import native
from advrec.data.dataset import Pairs
from advrec.errors import UsageError
from advrec.evaluation.evaluate import evaluate
from advrec.models import Recommender
from advrec.ops.positives import Positives
from advrec.robustness import margin, score_loss, surrogate
from advrec.robustness.attack import attack
from advrec.robustness.ball import UNITS, ball_of, exposure
from advrec.robustness.certify import certify
from advrec.robustness.members import SUITES, Member
from advrec.robustness.radius import pair_radius
from advrec.robustness.ranking import SmoothNdcg
from advrec.robustness.score_search import search_scores
from advrec.robustness.search import Plan
from advrec.robustness.suite import SuiteResult, run_suite
from advrec.robustness.target import target_of
from advrec.runs.subject import model_of_vectors

K = 5
NDCG = f"NDCG@{K}"
QUICK: dict[str, Any] = {"ks": (K,), "queries": 30}


@pytest.fixture(autouse=True, scope="module")
def one_thread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = torch.get_num_threads()
    native.set_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(surrogate.RECIPE, "steps", 60)
        yield
    native.set_threads(before)


def check(result: SuiteResult, model: Recommender, data: Any) -> None:
    """What holds of every suite."""
    for level in result.levels:
        known = {"worst": level.members, "worst_label_free": [
            member for member in level.members if member.knowledge == "label_free"]}  # fmt: skip
        for which, members in known.items():
            worst = getattr(level, which)
            for member in members:
                assert worst.evaluation.values[NDCG] <= member.evaluation.values[NDCG]
                assert member.measured <= level.size
            assert worst.size <= level.size
        assert level.worst.evaluation.values[NDCG] <= level.worst_label_free.evaluation.values[NDCG]
        assert level.worst.noise is not None
        again = evaluate(model, data, ks=(K,), metrics=["NDCG"], noise=level.worst.noise)
        assert again.values[NDCG] == level.worst.evaluation.values[NDCG]
    for which in ("worst", "worst_label_free"):
        figures = [getattr(level, which).evaluation.values[NDCG] for level in result.levels]
        assert all(after <= before for before, after in pairwise(figures))


@pytest.mark.parametrize(
    ("name", "site", "unit"),
    [
        *((name, site, "eps") for name, site in SITES),
        *((name, site, "rho") for name, site in SITES if name not in ("ngcf", "gnnguard")),
        ("ngcf", "weights", "rho"), ("neumf", "ego", "rho"), ("neumf", "mlp", "eps"),
        ("cdae", "decoder", "rho"), ("cdae", "user", "eps"), ("gnnguard", "ego", "rho"),
    ],
)  # fmt: skip
def test_at_every_site_the_worst_is_the_worst_and_nothing_beats_the_certificate(
    name: str, site: str, unit: str
) -> None:
    model = model_of(name)
    result = run_suite(model, DATA, site=site, **{unit: [0.3, 0.05]}, **QUICK)
    assert [level.size for level in result.levels] == [0.05, 0.3]
    check(result, model, DATA)
    assert (result.violations == 0) == ((name, site) in SITES)
    if (name, site) in SITES:
        proof = certify(model, DATA, **{unit: [0.05, 0.3]}, site=site, k=K)
        for level in result.levels:
            for member in level.members:
                for metric, bound in proof.per_user(level.size).items():
                    assert (member.evaluation.per_user[metric] >= bound - 1e-9).all()
            assert level.certified == proof.at(level.size)
    assert result.levels[-1].worst.evaluation.values[NDCG] < 0.95 * result.clean.values[NDCG]
    assert set(result.left_out) <= {
        "transfer from a surrogate", "minimum norm, test", "BPR, test, 1 step"
    }  # fmt: skip


def test_a_suite_of_a_trained_model_finds_more_with_the_labels_and_says_who_did(
    tmp_path: Any,
) -> None:
    model = trained("mf")
    result = run_suite(model, TRAINED, rho=[0.02, 0.1, 0.3], with_grid=True, **QUICK)
    check(result, model, TRAINED)
    level = result.at(0.3)
    blind = level.worst_label_free
    assert blind is not None
    assert level.worst.knowledge == "oracle"
    assert level.worst.evaluation.values[NDCG] < blind.evaluation.values[NDCG]
    (today,) = attack(model, TRAINED, rho=0.3, ks=(K,))
    assert level.worst.evaluation.values[NDCG] < 0.5 * today.attacked.values[NDCG]
    document = result.to_dict()
    entry = document["budgets"][-1]
    assert entry["rho"] == 0.3
    assert entry["worst"]["metrics"] == dict(level.worst.evaluation.values)
    assert entry["worst_label_free"]["metrics"] == dict(blind.evaluation.values)
    assert [member["member"] for member in entry["members"]] == [
        member.name for member in SUITES["standard"]
    ]
    assert len(document["grid"]) == 18
    assert document["norms_as_stored"]["rho"] == 0.3
    with pytest.raises(KeyError):
        result.at(0.5)


def test_the_suite_of_the_papers_is_their_attack() -> None:
    model = trained("mf")
    result = run_suite(model, TRAINED, suite="apr", eps=[0.4], **QUICK)
    (today,) = attack(model, TRAINED, eps=0.4, ks=(K,))
    (member,) = result.at(0.4).members
    assert member.evaluation.values[NDCG] == pytest.approx(today.attacked.values[NDCG], abs=1e-12)
    assert result.at(0.4).worst is member


@pytest.mark.parametrize("part", ["valid", "test"])
def test_labels_test_are_those_of_the_part_that_is_measured(part: Any) -> None:
    model = trained("mf")
    result = run_suite(model, TRAINED, eps=[0.4], part=part, **QUICK)
    assert result.clean.part == part
    worst = result.at(0.4).worst
    other = "test" if part == "valid" else "valid"
    assert worst.noise is not None
    lost = {
        which: 1 - evaluate(model, TRAINED, part=which, ks=(K,), noise=worst.noise).values[NDCG]
        / evaluate(model, TRAINED, part=which, ks=(K,)).values[NDCG]
        for which in (part, other)
    }  # fmt: skip
    assert lost[part] > lost[other]


def test_a_member_that_fails_leaves_the_noise_of_the_smaller_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = trained("mf")
    plain = SmoothNdcg.ascended

    def fails_above(self: Any, delta: Any, grads: Any, eps: float, step: int) -> Any:
        moved = plain(self, delta, grads, eps, step)
        return moved if eps < 0.3 else {key: 0 * value for key, value in moved.items()}

    monkeypatch.setattr(SmoothNdcg, "ascended", fails_above)
    monkeypatch.setitem(SUITES, "ranking", (SUITES["standard"][-2],))
    result = run_suite(model, TRAINED, suite="ranking", eps=[0.2, 0.4], **QUICK)
    small, large = result.levels
    assert large.members[0].evaluation.values == result.clean.values
    assert large.worst is small.worst
    assert large.worst.evaluation.values[NDCG] < result.clean.values[NDCG]


def test_where_every_attack_helps_the_worst_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained("mf")
    (strong,) = attack(model, TRAINED, eps=0.4, objective="ndcg", labels="test", ks=(K,))
    assert strong.noise is not None
    help_it = {key: -value for key, value in strong.noise.items()}
    monkeypatch.setitem(
        SUITES, "helper", (Member("helper", "label_free", lambda _: lambda _: iter([help_it])),)
    )
    result = run_suite(model, TRAINED, suite="helper", eps=[0.4], ks=(K,))
    level = result.at(0.4)
    assert level.members[0].evaluation.values[NDCG] > result.clean.values[NDCG]
    assert level.worst.name == level.worst_label_free.name == "no noise"
    assert level.worst.evaluation.values == result.clean.values


def test_what_makes_no_sense_is_refused() -> None:
    model = trained("mf")
    for options, message in (
        ({"suite": "standart"}, "unknown suite 'standart': choose standard or apr"),
        ({"eps": 0.1, "rho": 0.1}, "eps and rho exclude each other"),
        ({"rho": [0.0]}, "rho must be a finite number above 0, got 0"),
        ({"eps": []}, "a suite needs at least one eps, got none"),
        ({"suite": ""}, "a suite needs members"),
        ({"side": "left"}, "unknown side 'left'"),
        ({"norm": "sample"}, "an attack perturbs whole tables"),
    ):
        with pytest.raises(UsageError, match=message):
            run_suite(model, TRAINED, **options, **QUICK)


# -- relative budgets ----------------------------------------------------------------------------


def same_scores(kind: str, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Other vectors with the same rankings, which no relative figure may tell apart."""
    generator = torch.Generator().manual_seed(5)
    if kind == "user scales":
        powers = torch.randint(-10, 11, (len(users), 1), generator=generator)
        return users * 2.0**powers, items
    if kind == "shift":
        return users, items + torch.randn(items.shape[1], generator=generator)
    d = users.shape[1]
    left, _ = torch.linalg.qr(torch.randn(d, d, generator=generator).double())
    right, _ = torch.linalg.qr(torch.randn(d, d, generator=generator).double())
    change = left @ torch.diag(torch.logspace(0, 2, d).double()) @ right  # condition 100
    return users @ torch.linalg.inv(change).T, items @ change


@pytest.mark.parametrize("kind", ["user scales", "shift", "basis"])
@pytest.mark.parametrize("objective", ["ndcg", "softmax"])
def test_a_relative_budget_takes_the_same_from_all_vectors_with_the_same_rankings(
    kind: str, objective: str
) -> None:
    vectors = trained("mf").vectors()
    assert vectors is not None
    tables = tuple(table.detach() for table in vectors)
    figures = []
    for pair in (tables, same_scores(kind, *tables)):
        (result,) = attack(
            model_of_vectors(*pair), TRAINED, rho=0.1, objective=objective, labels="test",
            restarts=1, ks=(K,), metrics=["NDCG"],
        )  # fmt: skip
        figures.append(result.attacked.values[NDCG])
    assert figures[1] == pytest.approx(figures[0], abs=1e-6)
    assert figures[0] < 0.9 * evaluate(tables, TRAINED, ks=(K,)).values[NDCG]


def test_norms_as_stored_are_measured_next_to_the_canonical_form() -> None:
    users, items = (table.detach() for table in trained("mf").vectors() or ())
    stretched = torch.where(torch.arange(users.shape[1]) % 2 == 0, 4.0, 0.25)
    model = model_of_vectors(users / stretched, items * stretched)
    (result,) = attack(model, TRAINED, rho=0.1, objective="softmax", labels="test", ks=(K,))
    assert result.as_stored is not None
    assert result.as_stored.values[NDCG] != result.attacked.values[NDCG]
    assert result.unit == "rho"
    assert result.budget.relative == pytest.approx(0.1, rel=1e-3)
    again = type(result).from_dict(result.to_dict())
    assert again.to_dict() == result.to_dict()
    assert result.to_dict()["rho"] == 0.1


# -- members -------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["ndcg", "softmax"])
@pytest.mark.parametrize("site", ["ego", "mlp"])
def test_without_vectors_the_gradient_is_that_of_central_differences(
    objective: str, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_loss, "BLOCK_SCORES", 40)
    model = small("neumf")
    generator = torch.Generator().manual_seed(1)
    relevant = Pairs.from_coo([0, 0, 1, 3, 3, 3, 7], [1, 2, 5, 0, 4, 9, 2], 12, 15)
    known = Pairs.from_coo([0, 0, 0, 1, 3, 3, 3, 7], [1, 2, 7, 5, 0, 4, 9, 2], 12, 15)
    start = model.noise_like(site, "joint", None)
    noise, way = (
        {k: 0.05 * torch.randn(v.shape, generator=generator).to(v) for k, v in start.items()}
        for _ in range(2)
    )
    tau = 0.3 + torch.rand(12, generator=generator).double()

    def loss(at: dict[str, Tensor], **more: bool) -> Any:
        return score_loss.loss_of_scores(objective, model, at, tau, relevant, known, 3, **more)

    _, grads = loss(noise, gradient=True)
    slope = sum(float((grads[key] * way[key]).sum()) for key in way)
    h = 1e-5
    ahead, behind = (
        loss({key: noise[key] + sign * h * way[key] for key in way})[0] for sign in (1.0, -1.0)
    )
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-5)
    assert abs(slope) > 1e-4


def test_losses_of_scores_are_those_of_vectors() -> None:
    model = trained("mf")
    positives = Positives.from_pairs(TRAINED.train)
    target = target_of(model, TRAINED, "test", "test", K, lambda _: 0.0)
    plan = Plan(objective="ndcg", labels="test")
    objective = SmoothNdcg(model, positives, plan, target)
    noise = {"ego": 0.1 * torch.ones_like(model.tables("ego")["ego"])}
    tau = objective.temperature_at(0.3)
    by_vectors = objective.gradient_at(noise, tau)
    lists = target.relevant, target.known, K
    by_scores = score_loss.loss_of_scores("ndcg", model, noise, tau, *lists, gradient=True)
    assert by_scores[0] == pytest.approx(by_vectors[0], rel=1e-9)
    torch.testing.assert_close(by_scores[1]["ego"], by_vectors[1]["ego"], rtol=1e-6, atol=1e-9)


def test_the_nearest_rivals_are_those_of_smallest_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margin, "BLOCK_NUMBERS", 200)
    users, items = (table.detach() for table in trained("mf").vectors() or ())
    target = target_of(trained("mf"), TRAINED, "test", "test", K, lambda _: 0.0)
    reach = torch.ones(len(users), dtype=torch.float64)
    nearest = margin.nearest_rivals(users, items, reach, 1.0, target.relevant, target.known, K)
    for row in range(0, len(nearest.users), 7):
        u, i = int(nearest.users[row]), int(nearest.items[row])
        radii = {}
        above = 0
        for j in set(range(len(items))) - set(target.known.of(u).tolist()):
            w = items[i] - items[j]
            m = users[u] @ w
            above += bool(m <= 0)
            if m > 0:
                radii[j] = float(
                    pair_radius(m, users[u].norm(), w.norm(), torch.tensor(1.0), torch.tensor(2.0))
                )
        expected = sorted(radii, key=lambda j: radii[j])[:K] if above < K else []
        kept = [int(j) for j, r in zip(nearest.rivals[row], nearest.radii[row], strict=True)
                if math.isfinite(float(r))]  # fmt: skip
        assert kept == expected


def test_the_surrogate_is_trained_once_and_noise_is_carried_by_least_squares() -> None:
    model = surrogate.surrogate(TRAINED)
    ranked = evaluate(model, TRAINED, ks=(K,)).values[NDCG]
    assert ranked > 2 * evaluate(model_of_vectors(torch.ones(40, 2), torch.ones(50, 2)), TRAINED,
                                 ks=(K,)).values[NDCG]  # fmt: skip
    table = model.tables("ego")["ego"]
    calls = []
    train = surrogate._train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surrogate, "_train", lambda *given: (calls.append(1), train(*given)))
        assert torch.equal(surrogate.surrogate(TRAINED).tables("ego")["ego"], table)
        assert not calls
        path = surrogate._place(TRAINED)
        assert path is not None
        path.write_bytes(b"damaged")
        assert torch.equal(surrogate.surrogate(TRAINED).tables("ego")["ego"], table)
        assert calls
    other = model_of_vectors(table[:40] @ torch.eye(32), table[40:] * 2)
    here = ball_of(other, "ego", "row", unit="eps")
    noise = torch.randn(len(table), 32, generator=torch.Generator().manual_seed(0))
    moved = surrogate.carried(noise, table[40:], other.tables("ego"), here)
    assert moved is not None
    torch.testing.assert_close(moved["ego"], 2 * noise, rtol=1e-2, atol=1e-2)


def test_own_first_items_are_the_labels_of_self() -> None:
    model = trained("mf")
    target = target_of(model, TRAINED, "self", "test", K, lambda _: 0.0, own=3)
    scores = model.scores(torch.arange(TRAINED.n_users)).detach()
    for user in range(0, TRAINED.n_users, 5):
        hidden = {*TRAINED.train.of(user).tolist(), *TRAINED.valid.of(user).tolist()}
        shown = sorted(set(range(50)) - hidden, key=lambda item: -float(scores[user, item]))
        assert set(target.relevant.of(user).tolist()) == set(shown[:3])


@pytest.mark.parametrize("unit", UNITS)
def test_the_search_that_sees_scores_moves_item_rows_only(unit: str) -> None:
    model = trained("mf")
    shown = exposure(model, TRAINED, "test", K)
    here = ball_of(model, "ego", "row", unit=unit, exposure=shown)
    target = target_of(model, TRAINED, "self", "test", K, lambda _: 0.0)
    plan = Plan(objective="ndcg", labels="self")
    positives = Positives.from_pairs(TRAINED.train)
    objective = SmoothNdcg(model, positives, plan, target, here)
    tau = objective.temperature_at(0.4)
    losses = []
    for queries in (1, 300):
        noise = search_scores(model, here, target, tau, 0.4, queries=queries)
        assert not noise["ego"][: TRAINED.n_users].any()
        assert 0.39 < here.size_of(noise) <= 0.4
        losses.append(objective.at(0.4).loss(noise))
    assert losses[1] > losses[0]


def test_the_same_seed_gives_the_same_suite() -> None:
    model = trained("mf")
    first, again = (run_suite(model, TRAINED, eps=[0.3], **QUICK).at(0.3).members for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(
            one.evaluation.per_user[NDCG], other.evaluation.per_user[NDCG]
        )
