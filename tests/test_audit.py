"""The audit: its figures bound each other, and its commands take what they say."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cli_runner import advrec, write_ratings
from support.training_data import two_kinds

from advrec import native
from advrec.auditing import curve
from advrec.auditing.attacks import KNOWLEDGE, attacks_on
from advrec.auditing.damage import top_lists
from advrec.auditing.flags import FLAGS, flags
from advrec.auditing.measure import AuditOptions, audit
from advrec.errors import UsageError
from advrec.models import ModelSpec, create
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives
from advrec.robustness.budget import canonical, item_scale
from advrec.runs.subject import Stale, Subject, model_of_vectors

U, I, D, K = 24, 40, 6, 5
DATA = replace(
    two_kinds(U, I, train=0.6, valid=0.1), item_names=[f"<i>item & {n}</i>" for n in range(I)]
)
METRIC = f"NDCG@{K}"
OPTIONS = AuditOptions(rho=(0.01, 0.05, 0.2), eps=(0.05, 0.2), k=K)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    native.set_threads(1)
    yield
    native.set_threads(before)


def tables(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    users, items = (torch.randn(n, D, generator=g) * 0.4 for n in (U, I))
    users[:, 0] += torch.where(torch.arange(U) % 2 == 0, 1.0, -1.0)
    items[:, 0] += torch.where(torch.arange(I) % 2 == 0, -1.0, 1.0)
    return users * torch.rand(U, 1, generator=g).add(0.2), items


def subject(seed: int = 1) -> Subject:
    return Subject("<b>vectors</b>", model_of_vectors(*tables(seed)), DATA)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    older = Stale(tables(2), "items", "last week's")
    return audit([subject()], OPTIONS, stale=[older], commands=["advrec audit <script>"])


def test_the_figures_bound_each_other_at_every_budget(document):
    (entry,) = document["subjects"]
    for kind in ("rho", "eps"):
        before = None
        for point in entry[kind]:
            assert point["certified"] <= point["oracle"] <= point["label_free"] + 1e-12
            assert point["oracle"] <= entry["clean"][METRIC]
            if before is not None:
                for name in ("certified", "oracle", "label_free"):
                    assert point[name] <= before[name] + 1e-12
            before = point
    assert entry["certificate"]["violations"] == 0
    assert entry["area"]["certified"] <= entry["area"]["oracle"] <= entry["area"]["label_free"] <= 1


def test_the_verdict_has_three_sentences(document):
    (entry,) = document["subjects"]
    assert len(entry["verdict"]) == 3
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in entry["verdict"])
    assert "certain to survive" in entry["verdict"][0]
    assert "int8" in entry["verdict"][2]
    assert "items of last week's" in entry["verdict"][2]


def test_a_document_is_plain_json_and_the_same_again(document):
    again = audit([subject()], OPTIONS, stale=[Stale(tables(2), "items", "last week's")])
    assert json.loads(json.dumps(document, allow_nan=False))["subjects"] == document["subjects"]
    assert again["subjects"] == document["subjects"]


def attacked(model, site: str, **options: Any):
    common = {"rho": (0.05, 0.2), "eps": (0.1,), "k": K, "part": "test", "seed": 0,
              "quick": False, "say": lambda _: None}  # fmt: skip
    return attacks_on(model, DATA, site, **{**common, **options})


def test_relative_noise_is_within_its_budget_in_canonical_form():
    users, items = tables()
    model = model_of_vectors(users, items)
    found = attacked(model, "ego")
    clean = top_lists(model, DATA, None, "test", K)
    weights = torch.from_numpy(np.bincount(clean.ids[clean.ids >= 0], minlength=I))
    form = canonical(users, items, weights)
    scale = item_scale(form.items, weights)
    norms = form.users.norm(dim=1)
    relative = [member for member in found.members if member.budget == "rho"]
    assert {member.way.knowledge for member in relative} == set(KNOWLEDGE)
    for member in relative:
        (noise,) = member.noise.values()
        # a user's row was brought to the norm q̄, and so was the noise on it
        own = noise[:U].double() * (norms / scale)[:, None]
        assert (own.norm(dim=1) <= member.size * norms * (1 + 1e-5)).all()
        assert float(noise[U:].double().norm(dim=1).max()) <= member.size * scale * (1 + 1e-5)


def test_relative_figures_do_not_change_with_the_scale_of_users_or_the_basis():
    users, items = tables()
    g = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(D, D, generator=g))[0] * (1 + torch.rand(D, generator=g))
    scales = 2.0 ** torch.randint(-4, 5, (U, 1), generator=g)
    figures = []
    for pair in ((users, items), (users * scales @ torch.linalg.inv(basis).T, items @ basis)):
        found = attacked(model_of_vectors(*pair), "ego", eps=())
        figures.append([found.figures("rho", 0.2, METRIC)[name] for name in ("oracle", "random")])
    assert figures[0] == pytest.approx(figures[1], abs=0.03)


@pytest.mark.parametrize("name", ["lightgcn", "vbpr", "cdae", "neumf"])
def test_every_kind_of_model_is_audited_as_far_as_it_can_be(name):
    spec = ModelSpec(
        U, I, D, layers=2, graph=Graph.build(DATA.train),
        positives=Positives.from_pairs(DATA.train), init_std=0.7,
        item_features=torch.randn(I, 7, generator=torch.Generator().manual_seed(3)),
    )  # fmt: skip
    options = replace(OPTIONS, quick=True, noise=("int8",))
    norms = {site.name: site.table_norms for site in create(name, spec).sites}
    result = audit([Subject(name, create(name, spec).eval(), DATA)], options)
    (entry,) = result["subjects"]
    assert "row" in norms[entry["site"]] or not entry["members"]
    if name in ("cdae", "neumf"):
        assert "no certificate" in entry["certificate"]["refused"]
    else:
        assert entry["certificate"]["violations"] == 0
    if name == "neumf":
        assert "dot products" in entry["practical_refused"]
    else:
        assert [noise["kind"] for noise in entry["practical"]] == ["int8"]
    assert len(entry["verdict"]) == 3


def test_groups_are_all_users_and_items_and_the_worst_come_first(document):
    (entry,) = document["subjects"]
    sizes = {group["name"].split()[0]: group["size"] for group in entry["groups"]}
    assert sizes["popular"] + sizes["other"] == I
    assert sizes["heavy"] + sizes["light"] == len(np.flatnonzero(DATA.test.user_degrees()))
    lost = [item["lost"] for item in entry["worst_items"]]
    assert lost == sorted(lost, reverse=True)
    assert all(item["lost"] <= item["hits"] for item in entry["worst_items"])
    drops = [user["clean"] - user["attacked"] for user in entry["worst_users"]]
    assert drops == sorted(drops, reverse=True)
    assert all(user["name"] in DATA.user_ids for user in entry["worst_users"])


def test_area_and_half_of_curves_that_are_known():
    assert curve.area([0.01, 0.1, 1.0], [0.4, 0.4, 0.4], 0.4) == pytest.approx(1)
    assert curve.area([0.01, 0.1], [0.4, 0.0], 0.4) == pytest.approx(0.5)
    assert math.isnan(curve.area([0.1], [0.4], 0.4))
    assert curve.half([0.01, 1.0], [0.4, 0.0], 0.4) == pytest.approx(0.1)
    assert math.isnan(curve.half([0.01, 1.0], [0.4, 0.3], 0.4))
    assert math.isnan(curve.half([0.01, 1.0], [0.1, 0.0], 0.4))


def raised(document: dict[str, Any], **changes: Any) -> set[str]:
    entry = copy.deepcopy(document["subjects"][0]) | changes
    return {flag["name"] for flag in flags(entry, METRIC)}


def members(*values: tuple[str, str, float, float]) -> list[dict[str, Any]]:
    names = ("name", "knowledge", "size", "value")
    return [{"budget": "rho", **dict(zip(names, each, strict=True))} for each in values]


def test_each_flag_is_raised_by_what_it_is_about(document):
    entry = document["subjects"][0]
    point = dict(entry["rho"][1])
    cases = {
        "certified above attacked": {"certificate": {**entry["certificate"], "violations": 2}},
        "weaker than random": {
            "members": members(("x", "oracle", 0.1, 0.3), ("r", "random", 0.1, 0.2))
        },
        "larger budget, smaller loss": {
            "members": members(("NDCG x", "oracle", 0.1, 0.1), ("NDCG x", "oracle", 0.2, 0.3))
        },
        "ranking attack outdone": {
            "members": members(("NDCG x", "oracle", 0.1, 0.3), ("softmax", "oracle", 0.1, 0.1))
        },
        "budget above the norms": {"row_norm": 0.1},
        "norms as stored mislead": {"rho": [{**point, "certified": 0.3, "certified_raw": 0.2}]},
        "canonical form floored": {"certificate": {**entry["certificate"], "floored": True}},
        "quick": {"quick": True},
        "one seed": {"trained": "adversarial"},
    }
    assert set(cases) == set(FLAGS)
    for name, changes in cases.items():
        assert name in raised(document, **changes), name
    quiet = {"rho": [], "eps": [], "members": [], "trained": "pretrain", "row_norm": 9.0,
             "certificate": {}}  # fmt: skip
    assert not raised(document, **quiet)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": ()}, "at least one relative budget"),
        ({"rho": (0.0,)}, "rho must be a finite number above 0"),
        ({"eps": (-1.0,)}, "eps must be a finite number above 0"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        AuditOptions(**options)


def test_the_headline_is_one_of_the_budgets():
    assert AuditOptions(rho=(0.2, 0.01, 0.2)).rho == (0.01, 0.2)
    assert AuditOptions(rho=(0.02, 0.3), headline=0.05).headline == 0.02


def test_models_of_different_data_are_refused():
    other = Subject("other", subject().model, two_kinds(U, I, train=0.5, valid=0.1, seed=4))
    with pytest.raises(UsageError, match="made from different data"):
        audit([subject(), other], OPTIONS)
    with pytest.raises(UsageError, match="at least one run"):
        audit([], OPTIONS)


def test_the_command_writes_a_report_for_runs_and_for_vectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ratings(Path("ratings.csv"))
    tiny = ["--dim", 8, "--batch-size", 64, "--epochs", 2, "--threads", 1, "--quiet"]
    assert advrec("pretrain", "--data", "ratings.csv", "--name", "base", *tiny).code == 0
    assert advrec("adv-train", "--name", "base-apr", *tiny).code == 0
    short = ("--quick", "--noise", "int8,staleness", "--threads", 1)
    shown = advrec("audit", *short)
    assert shown.code == 0, shown.err
    assert "certain to survive" in shown.out
    assert "At a glance" in shown.out
    page = Path("runs/base-apr/audit.html").read_text()
    assert "base-apr" in page
    document = json.loads(Path("runs/base-apr/audit.json").read_text())
    assert [entry["name"] for entry in document["subjects"]] == ["base", "base-apr"]
    kinds = [[noise["kind"] for noise in entry["practical"]] for entry in document["subjects"]]
    assert kinds == [["int8"], ["int8", "staleness"]], "the parent's vectors are the older ones"
    assert document["subjects"][1]["practical"][1]["of"] == "base"

    assert advrec("export", "base", "--out", "v.npz", "--quiet").code == 0
    pair = ("--users", "v.npz", "--items", "v.npz", "--data", "ratings.csv")
    elsewhere = advrec("audit", *pair, *short, "--stale", "v.npz", "--out", "mine.html", "--json")
    (same,) = elsewhere.json()["subjects"]
    for kind in ("rho", "eps"):
        for one, other in zip(same[kind], document["subjects"][0][kind], strict=True):
            assert one == pytest.approx(other)
    assert same["practical"][1]["eps"] == 0
    assert Path("mine.html").is_file()
    assert "v.npz" in Path("mine.json").read_text()

    assert "must end in .html" in advrec("audit", "base", "--out", "report.pdf").err
    assert "no RUN" in advrec("audit", "base", *pair).err
    assert "a share such as 5%" in advrec("audit", "base", "--rho", "5").err
    assert "unknown noise 'int9'" in advrec("audit", "base", *short[:1], "--noise", "int9").err
    assert advrec("audit", "base", *short, "--stale", "base@last", "-q").code == 0


def test_python_audits_runs_and_vectors(tmp_path, monkeypatch):
    import advrec as library

    monkeypatch.chdir(tmp_path)
    users, items = tables()
    np.save("u.npy", users.numpy())
    np.save("i.npy", items.numpy())
    document = library.audit(
        users="u.npy", items="i.npy", dataset=DATA, out="report.html", k=K, rho=(0.05,), eps=(),
        noise=("bf16",), quick=True,
    )  # fmt: skip
    assert document["subjects"][0]["name"] == "u+i"
    assert Path("report.html").is_file()
    with pytest.raises(UsageError, match="need users, items and dataset"):
        library.audit(users="u.npy")
