"""Certificates hold: against exact minimisation, attacks, rounding, and rescaled vectors."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cli_runner import advrec, write_ratings
from support.training_data import two_kinds
from torch import Tensor

from advrec import native, ops
from advrec.data.dataset import Pairs
from advrec.errors import UsageError
from advrec.evaluation.evaluate import evaluate
from advrec.models import ModelSpec, Recommender, create
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.robustness.budget import canonical
from advrec.robustness.certify import CERTIFIED, certify, threat_of
from advrec.robustness.radius import pair_radius
from advrec.robustness.search import noise_for

U, I, D, K = 24, 40, 6, 5
SITES = [(model, site) for model, sites in CERTIFIED.items() for site in sites]
EPS = (0.0, 0.05, 0.1, 0.2, 0.5)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    native.set_threads(1)
    yield
    native.set_threads(before)


DATA = two_kinds(U, I, train=0.6, valid=0.1)
EXPOSURE = torch.ones(I)


def row_of(pairs: Pairs, user: int) -> list[int]:
    return pairs.items[pairs.indptr[user] : pairs.indptr[user + 1]].tolist()


def tables(seed: int = 1, dim: int = D) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(U, dim, generator=generator),
        torch.randn(I, dim, generator=generator) + 0.3,
    )


def model_of(name: str, **options: object) -> Recommender:
    """With weights of the size that training reaches, and item features where it needs them."""
    spec = ModelSpec(
        U,
        I,
        D,
        layers=2,
        graph=Graph.build(DATA.train),
        positives=Positives.from_pairs(DATA.train),
        item_features=torch.randn(I, 7, generator=torch.Generator().manual_seed(3)),
        init_std=0.7,
        options=options,
    )
    return create(name, spec).eval()


def worst_margin(
    p: Tensor, w: Tensor, eps_user: float, eps_items: float, starts: int = 10
) -> float:
    """min (p + a)·(w + e), ‖a‖ ≤ eps_user, ‖e‖ ≤ eps_items, by alternating minimisation."""
    generator = torch.Generator().manual_seed(0)
    best = math.inf
    for start in range(10):
        a = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        a = -eps_user * w / w.norm() if start == 0 else a * eps_user / a.norm()
        for _ in range(300):
            x = p + a
            e = -eps_items * x / x.norm().clamp_min(1e-30)
            y = w + e
            a = -eps_user * y / y.norm().clamp_min(1e-30)
        best = min(best, float((p + a) @ (w + e)))
    return best


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 64])
@pytest.mark.parametrize(("r_u", "r_e"), [(1.0, 2.0), (0.0, 2.0), (1.0, 0.0), (0.3, 1.7)])
def test_the_worst_margin_changes_its_sign_at_the_radius(dim, r_u, r_e):
    generator = torch.Generator().manual_seed(dim)
    for _ in range(4):
        p, w = torch.randn(2, dim, generator=generator, dtype=torch.float64)
        w = w if p @ w > 0 else -w
        reaches = torch.tensor(r_u), torch.tensor(r_e)
        radius = float(pair_radius(p @ w, p.norm(), w.norm(), *reaches, dim=dim))
        scale = float(p.norm() * w.norm())
        assert worst_margin(p, w, r_u * radius * 0.999, r_e * radius * 0.999) > -1e-9 * scale
        assert worst_margin(p, w, r_u * radius * 1.001, r_e * radius * 1.001) < 1e-9 * scale


@pytest.mark.parametrize("side", ["both", "users", "items"])
def test_the_pass_finds_what_loops_over_pairs_find(side):
    users, items = tables()
    certificate = certify((users, items), DATA, side=side, k=K)
    p, q = users.double(), items.double()
    radii = certificate.radii
    r_u, r_e = float(side != "items"), 2 * float(side != "users")
    for row, (u, i) in enumerate(zip(radii.users, radii.items, strict=True)):
        known = {*row_of(DATA.train, u), *row_of(DATA.valid, u)}
        relevant = set(row_of(DATA.test, u))
        of_rivals, of_all = [], []
        for j in set(range(I)) - known - {int(i)}:
            w = q[i] - q[j]
            m = float(p[u] @ w)
            across = math.sqrt(max(0.0, float(p[u] @ p[u]) * float(w @ w) - m * m))
            squares = r_e**2 * float(p[u] @ p[u]) + r_u**2 * float(w @ w) + 2 * r_u * r_e * across
            radius = max(m, 0.0) / math.sqrt(squares)
            of_all.append(radius)
            of_rivals += [radius] * (j not in relevant)
        want = sorted(of_rivals)[:K]
        got = radii.rivals[row]
        assert (got <= want).all(), "rounding may only make a radius smaller"
        assert got == pytest.approx(want, rel=1e-3, abs=1e-4)
        assert radii.stays[row] == pytest.approx(sorted(of_all)[K - 1], rel=1e-3, abs=1e-4)
        score = p[u] @ q.T
        above = sum(float(score[j]) > float(score[i]) for j in set(range(I)) - known)
        assert radii.ranks[row] == above + 1


def perturbations(model: Recommender, site: str, eps: float) -> Iterator[dict[str, Tensor]]:
    """Noise of row norm at most eps: random, one step, several steps, and against ranks."""
    positives = Positives.from_pairs(DATA.train)
    for seed in range(3):
        yield noise_for(model, positives, noise="random", eps=eps, site=site, norm="row", seed=seed)
    yield noise_for(model, positives, eps=eps, site=site, norm="row")
    yield noise_for(model, positives, eps=eps, site=site, norm="row", steps=5)
    yield noise_for(model, Positives.from_pairs(DATA.test), eps=eps, site=site, norm="row")
    for user in range(0, U, 6):
        yield rank_attack(model, site, eps, [user])  # all item rows turned against one user
    yield rank_attack(model, site, eps, list(range(U)))


def rank_attack(
    model: Recommender, site: str, eps: float, users: list[int], steps: int = 20
) -> dict[str, Tensor]:
    """Frank-Wolfe on the smooth rank of the users' held-out items, labels known."""
    held = torch.zeros(U, I, dtype=torch.bool)
    held[torch.from_numpy(DATA.test.users()).long(), torch.from_numpy(DATA.test.items).long()] = 1
    known = torch.zeros_like(held)
    for pairs in (DATA.train, DATA.valid):
        known[torch.from_numpy(pairs.users()).long(), torch.from_numpy(pairs.items).long()] = 1
    noise = {key: torch.zeros_like(v) for key, v in model.noise_like(site, "row", None).items()}
    for step in range(steps):
        at = {key: value.clone().requires_grad_() for key, value in noise.items()}
        p, q = model.vectors(at)
        scores = p[users] @ q.T
        tau = 0.1 * eps * float(p.detach().norm(dim=1).mean() + q.detach().norm(dim=1).mean())
        over = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / tau)  # [user, i, j]
        counts = over.masked_fill((held | known)[users][:, None, :], 0.0).sum(2)
        loss = torch.log1p(counts)[held[users]].sum()
        grads = torch.autograd.grad(loss, list(at.values()))
        for key, grad in zip(at, grads, strict=True):
            vertex = ops.normalize_rows(grad, eps)
            noise[key] = noise[key] + 2 / (step + 2) * (vertex - noise[key])
    return noise


@pytest.mark.parametrize(("name", "site"), SITES)
def test_no_attack_goes_below_the_certificate_for_any_user(name, site):
    model = model_of(name)
    certificate = certify(model, DATA, eps=EPS, site=site, k=K)
    assert certificate.exact == ((name, site) != ("lightgcn", "ego"))
    compared = 0
    for eps in EPS[1:]:
        bounds = certificate.per_user(eps)
        for noise in perturbations(model, site, eps):
            under = evaluate(model, DATA, ks=[K], metrics=["NDCG", "Recall", "HR"], noise=noise)
            for metric, bound in bounds.items():
                assert (under.per_user[metric] >= bound - 1e-12).all(), (eps, metric)
            compared += under.n_users
    assert compared > 500
    assert certificate.at(EPS[1])[f"NDCG@{K}"] > 0, "a bound of 0 could not be violated"


@pytest.mark.parametrize(("name", "site"), SITES)
def test_without_a_budget_the_certificate_is_the_clean_metric_and_then_falls(name, site):
    model = model_of(name)
    certificate = certify(model, DATA, eps=EPS, site=site, k=K)
    values = [certificate.at(eps) for eps in EPS]
    assert values[0] == pytest.approx(dict(certificate.clean), abs=1e-12)
    for smaller, larger in pairwise(values):
        assert all(larger[metric] <= smaller[metric] for metric in smaller)


def test_a_tie_has_no_radius_and_no_certificate():
    users, items = tables()
    certificate = certify((users, torch.zeros_like(items)), DATA, eps=[0.0], k=K)
    assert certificate.at(0.0) == certificate.clean == dict.fromkeys(certificate.clean, 0.0)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_vectors_of_any_size_are_sound(scale):
    """Products of tiny vectors underflow: nothing is certified then, and nothing goes wrong."""
    users, items = tables()
    certificate = certify((users * scale, items * scale), DATA, eps=[0.0, 0.1 * scale], k=K)
    assert certificate.at(0.0)[f"NDCG@{K}"] <= certificate.clean[f"NDCG@{K}"] + 1e-12
    assert not np.isnan(certificate.radii.rivals).any()


def test_rounding_is_counted():
    """Margins below what float32 can resolve are not certified, larger ones are."""
    users = torch.ones(U, 64)
    items = torch.ones(I, 64)
    items[:, 0] += torch.arange(I) * 2e-5
    close = certify((users, items), DATA, eps=[0.0], k=K)
    assert close.at(0.0)[f"HR@{K}"] == 0 < close.clean[f"HR@{K}"]
    items[:, 0] += torch.arange(I) * 0.1
    apart = certify((users, items), DATA, eps=[0.0], k=K)
    assert apart.at(0.0) == pytest.approx(dict(apart.clean))


def test_of_items_alone_the_radius_is_reached_by_moving_against_the_user():
    users, items = tables()
    radii = certify((users, items), DATA, side="items", k=K).radii
    for row in range(0, len(radii.users), 7):
        u, i = radii.users[row], radii.items[row]
        for share, reached in ((0.99, False), (1.02, True)):
            push = share * radii.rivals[row, 0] * users[u] / users[u].norm()
            scores = (items + push) @ users[u]
            scores[i] = (items[i] - push) @ users[u]
            rivals = set(range(I)) - {int(i), *row_of(DATA.train, u), *row_of(DATA.valid, u)}
            rivals -= set(row_of(DATA.test, u))
            if radii.rivals[row, 0] > 0:
                assert any(scores[j] >= scores[i] for j in rivals) == reached


def test_propagated_noise_moves_a_row_by_the_dense_propagation_of_the_budgets():
    model = model_of("lightgcn")
    reach = threat_of(model, "ego", "both").reach(None)
    adjacency = np.zeros((U + I, U + I))
    adjacency[DATA.train.users(), U + DATA.train.items] = 1
    adjacency += adjacency.T
    degrees = adjacency.sum(1)
    scale = np.where(degrees > 0, np.maximum(degrees, 1) ** -0.5, 0)
    hat = scale[:, None] * adjacency * scale
    mean = (np.eye(U + I) + hat + hat @ hat) / 3
    got = torch.cat([reach.users, reach.items]).numpy()
    assert got == pytest.approx(mean.sum(1), rel=1e-4)
    assert (got >= mean.sum(1)).all()


def test_longer_vectors_have_larger_absolute_radii_and_the_same_relative_ones():
    users, items = tables()
    small, large = (
        certify((c * users, c * items), DATA, eps=[0.1], k=K).radii.rivals for c in (1.0, 8.0)
    )
    assert large == pytest.approx(8 * small, rel=1e-6)
    small, large = (
        certify((c * users, c * items), DATA, rho=[0.1], k=K).radii.rivals for c in (1.0, 8.0)
    )
    assert large == pytest.approx(small, rel=1e-5)


def transformed(kind: str, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Other vectors with the same rankings."""
    generator = torch.Generator().manual_seed(5)
    if kind == "basis":
        a = torch.randn(D, D, generator=generator, dtype=torch.float64) + 2 * torch.eye(D)
        return users @ torch.linalg.inv(a).T, items @ a
    if kind == "columns":
        column = torch.tensor([4.0, 0.25] * (D // 2))
        return users / column, items * column
    if kind == "scales":
        return users * 2.0 ** torch.randint(-10, 11, (U, 1), generator=generator), items
    return users, items + torch.randn(D, generator=generator)


@pytest.mark.parametrize("kind", ["basis", "columns", "scales", "shift"])
def test_a_relative_budget_is_the_same_for_all_vectors_with_the_same_scores(kind):
    users, items = (table.double() for table in tables())
    form, same = (
        canonical(*pair, EXPOSURE) for pair in ((users, items), transformed(kind, users, items))
    )
    one, two = (
        (f.users / f.users.norm(dim=1, keepdim=True)) @ f.items.T / f.items.norm()
        for f in (form, same)
    )
    assert torch.allclose(one, two, rtol=1e-8, atol=1e-9)
    raw, other = (
        certify(pair, DATA, rho=[0.05], k=K)
        for pair in ((users, items), transformed(kind, users, items))
    )
    assert other.radii.rivals == pytest.approx(raw.radii.rivals, rel=2e-2, abs=1e-4)
    if kind in ("basis", "columns"):
        assert other.raw.rivals != pytest.approx(raw.raw.rivals, rel=0.2)


def test_the_canonical_form_keeps_scores_up_to_a_constant_per_user():
    users, items = tables()
    form = canonical(users, items, EXPOSURE)
    difference = users.double() @ items.double().T - form.users @ form.items.T
    assert float((difference - difference[:, :1]).abs().max()) < 1e-9


def test_shrinking_items_that_are_never_shown_changes_little():
    users, items = tables()
    top = certify((users, items), DATA, rho=[0.05], k=K)
    scores = users @ items.T
    shown = torch.bincount(scores.topk(K, 1).indices.flatten(), minlength=I)
    shrunk = torch.where((shown == 0)[:, None], items / 100, items)
    after = certify((users, shrunk), DATA, rho=[0.05], k=K)
    key = f"NDCG@{K}"
    assert abs(after.at(0.05)[key] - top.at(0.05)[key]) < 0.03 + abs(
        after.clean[key] - top.clean[key]
    )


def test_one_row_per_held_out_item_is_written(tmp_path):
    certificate = certify(tables(), DATA, k=K)
    path = certificate.write(DATA, tmp_path / "radii.csv")
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == len(DATA.test)
    for row in rows:
        assert (float(row["radius"]) > 0) <= (int(row["rank"]) <= K)
    assert certificate.to_dict()["budgets"][0]["eps"] == 0.1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cdae", {}, "model 'cdae' has no certificate"),
        ("neumf", {}, "model 'neumf' has no certificate"),
        ("ngcf", {"site": "weights"}, "has no certificate at site 'weights'"),
        ("mf", {"eps": [0.1], "rho": [0.1]}, "exclude each other"),
        ("mf", {"eps": [-1.0]}, "at least 0, got -1.0"),
        ("mf", {"side": "left"}, "unknown side 'left'"),
        ("mf", {"k": 0}, "k must be at least 1"),
        ("vbpr", {"side": "users"}, "no rows of users"),
    ],
)
def test_what_has_no_certificate_is_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        certify(model_of(name), DATA, **options)


def test_separate_rows_of_one_user_are_refused():
    with pytest.raises(UsageError, match="moves p and θ as separate rows"):
        certify(model_of("vbpr", scorer="vbpr"), DATA, site="ego")


def test_the_command_keeps_radii_and_takes_vectors_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ratings(Path("ratings.csv"))
    tiny = ["--dim", 8, "--batch-size", 64, "--epochs", 2, "--threads", 1, "--quiet"]
    assert advrec("pretrain", "--data", "ratings.csv", "--name", "base", *tiny).code == 0
    (entry,) = advrec("certify", "base", "--eps", "0.01,0.1", "-q", "--json").json()["runs"]
    assert [sorted(budget) for budget in entry["budgets"]] == [["certified", "eps"]] * 2
    assert entry["budgets"][0]["certified"]["NDCG@20"] <= entry["clean"]["NDCG@20"]
    with Path("runs/base/certificate.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"user", "item", "rank", "radius"}
    shown = advrec("certify", "base", "--rho", "5%", "-q")
    assert "canonical form" in " ".join(shown.out.split())

    assert advrec("export", "base", "--out", "vectors.npz", "--quiet").code == 0
    with np.load("vectors.npz") as vectors:
        np.save("U.npy", vectors["user_vectors"])
        np.save("I.npy", vectors["item_vectors"])
        np.save("few.npy", vectors["item_vectors"][:-1])
    elsewhere = ("certify", "--data", "ratings.csv", "--users", "U.npy", "-q")
    (same,) = advrec(*elsewhere, "--items", "I.npy", "--eps", "0.01,0.1", "--json").json()["runs"]
    assert same["budgets"] == entry["budgets"]
    assert "rows, but the data set has" in advrec(*elsewhere, "--items", "few.npy").err
    assert "vectors must end in .npy" in advrec(*elsewhere, "--items", "ratings.csv").err
    assert "need --users and --items" in advrec(*elsewhere).err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rho", "5x"], "--rho must be a share such as 5% or 0.05, got '5x'"),
        (["--eps", "1", "--rho", "5%"], "--eps and --rho exclude each other"),
        (["--side", "left"], "--side must be both, users or items, got 'left'"),
    ],
)
def test_wrong_budgets_of_the_command_are_one_sentence(flags, message):
    outcome = advrec("certify", *flags)
    assert outcome.code == 2
    assert message in outcome.err
