"""Practical noise: what it does to the rows, what it is measured as, and the certificate holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from scipy.special import ndtr
from support.cli_runner import advrec, write_ratings
from support.training_data import two_kinds

from advrec import native
from advrec.choices import PRACTICAL_NOISES
from advrec.errors import UsageError
from advrec.models import ModelSpec, create
from advrec.ops.positives import Positives
from advrec.robustness.certify import certify
from advrec.robustness.practical import (
    DP_DELTA,
    KINDS,
    _Measured,
    analytic_gaussian,
    practical,
    practical_kind,
)

U, I, D, K = 24, 40, 6, 5
DATA = two_kinds(U, I, train=0.6, valid=0.1)
KEY = f"NDCG@{K}"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    native.set_threads(1)
    yield
    native.set_threads(before)


def tables(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of many lengths whose scores follow the two kinds of the data."""
    g = torch.Generator().manual_seed(seed)
    users, items = (torch.randn(n, D, generator=g) * 0.4 for n in (U, I))
    users[:, 0] += torch.where(torch.arange(U) % 2 == 0, 1.0, -1.0)
    items[:, 0] += torch.where(torch.arange(I) % 2 == 0, -1.0, 1.0)
    return users * torch.rand(U, 1, generator=g).add(0.2), items


def moved_by(kind: str, users: torch.Tensor, items: torch.Tensor, seed: int = 0):
    plan = practical_kind(kind)
    return KINDS[plan.name].apply(users, items, plan.amount, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("kind", "levels"), [("int8", 127), ("int4", 7)])
def test_a_quantised_row_has_few_levels_and_is_near_what_it_was(kind, levels):
    for before, after in zip(tables(), moved_by(kind, *tables()), strict=True):
        step = before.abs().amax(1, keepdim=True) / levels
        assert ((after - before).abs() <= step / 2 * (1 + 1e-5)).all()
        whole = after / step
        assert torch.allclose(whole, whole.round(), atol=1e-4)
        assert float(whole.abs().max()) <= levels * (1 + 1e-6)
    zeros = torch.zeros(3, D)
    assert torch.equal(moved_by(kind, zeros, zeros)[0], zeros)


def test_quantisation_moves_a_row_in_proportion_to_its_length():
    users, items = tables()
    scale = 2.0 ** torch.arange(U)[:, None]
    one, scaled = moved_by("int8", users, items)[0], moved_by("int8", users * scale, items)[0]
    assert torch.allclose(one * scale, scaled)


def test_lost_rows_become_the_mean_and_the_others_stay():
    users, items = tables()
    moved = moved_by("dropout-rows:25%", users, items)
    for before, after in zip((users, items), moved, strict=True):
        changed = (before != after).any(1)
        assert int(changed.sum()) == round(0.25 * len(before))
        assert torch.allclose(after[changed], before.mean(0).expand(int(changed.sum()), -1))


@pytest.mark.parametrize("eps", [0.1, 1.0, 8.0, 60.0])
def test_the_noise_of_differential_privacy_is_just_enough(eps):
    sensitivity = 3.0
    sigma = analytic_gaussian(eps, DP_DELTA, sensitivity)

    def delta(sigma: float) -> float:
        a, b = sensitivity / (2 * sigma), eps * sigma / sensitivity
        return ndtr(a - b) - math.exp(eps) * ndtr(-a - b)

    assert delta(sigma) <= DP_DELTA * (1 + 1e-6)
    assert delta(sigma * 0.999) > DP_DELTA
    if eps <= 1:  # the classical bound holds there, and is larger
        assert sigma < sensitivity * math.sqrt(2 * math.log(1.25 / DP_DELTA)) / eps


def test_private_rows_are_clipped_and_items_stay():
    users, items = tables()
    moved = moved_by("gaussian-dp:1e9", users, items)
    clip = float(users.norm(dim=1).median())
    assert float(moved[0].norm(dim=1).max()) <= clip * 1.01
    assert moved[1] is items


@pytest.mark.parametrize("kind", PRACTICAL_NOISES)
def test_what_is_inside_the_certificate_stays_and_the_budget_holds_the_noise(kind):
    users, items = tables()
    other = tables(2)
    stale = tuple(a + 0.02 * b for a, b in zip((users, items), other, strict=True))
    (result,) = practical((users, items), DATA, [kind], k=K, stale=stale)
    moved = (users, stale[1]) if kind == "staleness" else moved_by(kind, users, items)
    lengths = [(b - a).double().norm(dim=1) for a, b in zip((users, items), moved, strict=True)]
    assert result.eps == pytest.approx(max(float(n.max()) for n in lengths), rel=1e-6)
    place = _Measured((users, items), DATA, K, "test")
    known = [{*DATA.train.of(u).tolist(), *DATA.valid.of(u).tolist()} for u in range(U)]
    held = stayed = 0
    for u in range(U):
        for i in place.hits.items[place.hits.indptr[u] : place.hits.indptr[u + 1]].tolist():
            rank = []
            for p, q in ((users, items), moved):
                scores = p[u] @ q.T
                rivals = [j for j in range(I) if j not in known[u] and j != i]
                rank.append(1 + sum(float(scores[j]) >= float(scores[i]) for j in rivals))
            assert rank[0] <= K
            held += 1
            stayed += rank[1] <= K
    assert held == result.hits > 0
    assert result.inside <= stayed / held + 1e-12
    within = certify((users, items), DATA, eps=[result.eps], k=K)
    assert within.at(result.eps)[KEY] <= result.noisy.values[KEY] + 1e-12
    relative = certify((users, items), DATA, rho=[result.rho * (1 + 1e-6)], k=K)
    assert relative.at(result.rho)[KEY] <= result.noisy.values[KEY] + 1e-12


def test_less_noise_leaves_more_hits_inside():
    results = practical(tables(), DATA, ["float16", "bf16", "int8", "int4"], k=K)
    inside = [result.inside for result in results]
    assert inside == sorted(inside, reverse=True)
    assert inside[0] > inside[-1]
    assert results[0].eps < results[-1].eps


def test_the_relative_budget_is_the_same_in_any_basis():
    users, items = (table.double() for table in tables())
    change = torch.randn(D, D, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    rho = []
    for basis in (torch.eye(D, dtype=torch.float64), change):
        p, q = users @ torch.linalg.inv(basis).T, items @ basis
        place = _Measured((p, q), DATA, K, "test")
        rho.append(place.result("", (p * 1.1, q * 0.9)).rho)
    assert rho[0] == pytest.approx(rho[1], rel=1e-3)
    assert rho[0] >= 0.1 - 1e-9


def test_a_model_is_measured_by_its_vectors():
    model = create(
        "mf", ModelSpec(U, I, D, init_std=0.7, positives=Positives.from_pairs(DATA.train))
    )
    pair = tuple(table.detach() for table in model.vectors())
    (one,), (other,) = practical(model, DATA, ["int8"], k=K), practical(pair, DATA, ["int8"], k=K)
    assert one.to_dict() == other.to_dict()
    assert one.to_dict()["kind"] == "int8"


@pytest.mark.parametrize("side", [0, 1])
def test_vectors_that_are_all_zero_are_refused(side):
    pair = [*tables()]
    pair[side] = torch.zeros_like(pair[side])
    with pytest.raises(UsageError, match="are 0, so a relative budget means nothing"):
        practical((pair[0], pair[1]), DATA, ["int8"], k=K)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("int9", {}, "unknown noise 'int9'"),
        ("int8:3", {}, "'int8' has no amount"),
        ("dropout-rows:0", {}, "takes an amount such as dropout-rows:5%"),
        ("dropout-rows:120%", {}, "takes an amount"),
        ("dropout-rows:5%x", {}, "takes an amount"),
        ("gaussian-dp:-1", {}, "takes an amount such as gaussian-dp:8"),
        ("gaussian-dp:8%", {}, "takes an amount"),
        ("staleness", {}, "staleness needs the older vectors"),
        ("staleness", {"stale": (torch.zeros(2, D), torch.zeros(2, D))}, "the older items have"),
        ("staleness", {"stale_side": "both"}, "unknown stale side 'both'"),
        ("int8", {"k": 0}, "k must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(kind, options, message):
    with pytest.raises(UsageError, match=message):
        practical(tables(), DATA, [kind], **options)


def test_a_model_without_vectors_is_refused():
    model = create("neumf", ModelSpec(U, I, D))
    with pytest.raises(UsageError, match="does not score by dot products"):
        practical(model, DATA, ["int8"])


def test_vectors_that_half_precision_cannot_hold_are_refused():
    with pytest.raises(UsageError, match="more than float16 can hold"):
        practical(tuple(1e5 * table for table in tables()), DATA, ["float16"], k=K)


def test_attack_takes_noise_of_practice_and_vectors_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ratings(Path("ratings.csv"))
    tiny = ["--dim", 8, "--batch-size", 64, "--epochs", 2, "--threads", 1, "--quiet"]
    assert advrec("pretrain", "--data", "ratings.csv", "--name", "base", *tiny).code == 0
    shown = advrec("attack", "base", "--noise", "int8,dropout-rows:25%,staleness", "--stale",
                   "base@last", "-q")  # fmt: skip
    assert shown.code == 0, shown.err
    assert "noise of practice" in shown.out
    assert "dropout-rows:25%" in shown.out
    both = advrec("attack", "base", "--noise", "adversarial,int8", "--eps", "0.1", "-q", "--json")
    document = both.json()
    assert [result["kind"] for result in document["runs"][0]["results"]] == ["adversarial"]
    (measured,) = document["practical"][0]["results"]
    assert measured["kind"] == "int8"
    assert measured["eps"] > 0

    assert advrec("export", "base", "--out", "v.npz", "--quiet").code == 0
    pair = ("--users", "v.npz", "--items", "v.npz", "--data", "ratings.csv")
    same = advrec("attack", *pair, "--noise", "adversarial,int8", "--eps", "0.1", "-q", "--json")
    (entry,) = same.json()["runs"]
    assert entry["model"] == "vectors"
    for key in ("eps", "clean", "noisy", "budget"):
        assert entry["results"][0][key] == document["runs"][0]["results"][0][key]
    assert same.json()["practical"][0]["results"] == [measured]

    assert "staleness needs the older" in advrec("attack", "base", "--noise", "staleness").err
    assert "int9" in advrec("attack", "base", "--noise", "int9").err
    assert "no curve" in advrec("attack", "base", "--noise", "int8", "--plot", "a.png").err
    assert "no run" in advrec("attack", "base", "--noise", "int8", "--stale", "b").err
