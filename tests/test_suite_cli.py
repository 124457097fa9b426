"""`advrec attack` with suites, relative budgets, noise from files and targeted noise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli_runner import advrec, write_ratings

import advrec as library
from advrec.robustness import score_search, surrogate
from advrec.robustness.members import STANDARD, SUITES
from advrec.runs.find import find
from advrec_cli.commands import attack_options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run `a` and its adversarial training `a-apr`."""
    path = tmp_path_factory.mktemp("suite")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("ADVREC_CACHE", str(path / "cache"))
        patch.setitem(surrogate.RECIPE, "steps", 20)
        patch.setattr(score_search, "QUERIES", 20)
        log = write_ratings(path / "log.csv")
        words = ["--epochs", 3, "--dim", 8]
        assert advrec("pretrain", "--data", log, "--model", "mf", *words, "--name", "a").code == 0
        assert advrec("adv-train", "--from", "a", "--epochs", 2).code == 0
        yield path


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ADVREC_CACHE", str(folder / "cache"))
    monkeypatch.setitem(surrogate.RECIPE, "steps", 20)
    monkeypatch.setattr(score_search, "QUERIES", 20)


def test_the_suite_as_json_has_two_headlines_and_is_kept_in_the_run() -> None:
    words = ["--suite", "standard", "--rho", "5%,20%", "-k", 5]
    document = advrec("attack", "a", "a-apr", *words, "--json").json()
    plain, robust = document["runs"]
    assert [entry["rho"] for entry in plain["budgets"]] == [0.05, 0.2]
    for entry in plain["budgets"]:
        worst, blind = entry["worst"]["metrics"], entry["worst_label_free"]["metrics"]
        assert worst["NDCG@5"] <= blind["NDCG@5"] <= plain["clean"]["metrics"]["NDCG@5"]
        assert entry["certified"]["NDCG@5"] <= worst["NDCG@5"]
        assert [m["member"] for m in entry["members"]] == [m.name for m in STANDARD]
    assert plain["violations"] == robust["violations"] == 0
    kept = json.loads(Path("runs/a/suite.json").read_text())
    assert kept["runs"][0]["budgets"] == plain["budgets"]
    names = {flag["name"] for flag in robust["flags"]}
    assert {"undertrained control", "fewer than three seeds"} <= names
    assert not names & {flag["name"] for flag in plain["flags"]} & {"undertrained control"}


def test_the_suite_as_tables_says_what_it_knows_and_what_flags_say(tmp_path: Path) -> None:
    out = tmp_path / "suite.md"
    words = ["--suite", "apr", "--eps", "0.5", "--site", "ego", "--out", out]
    shown = advrec("attack", "a", "a-apr", *words)
    assert shown.code == 0
    for text in ("NDCG@20 under the suite apr", "label-free", "oracle", "certified",
                 "BPR, train, 1 step", "FLAG fewer than three seeds"):  # fmt: skip
        assert text in shown.out.replace("\n", " ")
    assert "a-apr" in out.read_text()
    grid = advrec("attack", "a", "--suite", "apr", "--rho", "10%", "--grid", "--json").json()
    cells = grid["runs"][0]["grid"]
    assert {(c["objective"], c["labels"], c["steps"]) for c in cells} >= {("ndcg", "test", 20)}
    assert len(cells) == 18
    assert "Objective, labels and steps" in advrec(
        "attack", "a", "--suite", "apr", "--rho", "10%", "--grid"
    ).out  # fmt: skip


def test_noise_is_saved_loaded_and_checked_for_its_budget(tmp_path: Path) -> None:
    file = tmp_path / "worst.npz"
    words = ["--suite", "standard", "--eps", 0.5, "-k", 5]
    first = advrec("attack", "a", *words, "--save-noise", file, "--json").json()
    again = advrec("attack", "a", "--eps", "0.5,1", "-k", 5, "--load-noise", file, "--json").json()
    for entry in again["runs"][0]["budgets"]:
        assert entry["worst"]["metrics"] == first["runs"][0]["budgets"][0]["worst"]["metrics"]
        assert entry["worst"]["measured"] <= 0.5
    refused = advrec("attack", "a", "--eps", 0.1, "--load-noise", file)
    assert refused.code == 2
    assert "more than the largest budget, ε = 0.1" in refused.err.replace("\n", " ")
    single = tmp_path / "single.npz"
    one = ["--noise", "adversarial", "--rho", "10%", "--save-noise", single, "-k", 5, "--json"]
    result = advrec("attack", "a", *one).json()["runs"][0]["results"][0]
    loaded = advrec("attack", "a", "--rho", "11%", "-k", 5, "--load-noise", single, "--json").json()
    metrics = loaded["runs"][0]["budgets"][0]["members"][0]["metrics"]
    assert metrics["NDCG@5"] == pytest.approx(result["noisy"]["metrics"]["NDCG@5"])


def test_relative_budgets_and_sides_of_single_attacks() -> None:
    words = ["--rho", "5%,0.2", "--side", "items", "--objective", "softmax", "--labels", "test"]
    results = advrec("attack", "a", *words, "--json").json()["runs"][0]["results"]
    assert [result["rho"] for result in results] == [0.05, 0.2, 0.05, 0.2]
    assert all(result["side"] == "items" and "eps" not in result for result in results)
    assert all("noisy_as_stored" in result for result in results)
    shown = advrec("attack", "a", *words, "--plot", "curve.svg")
    assert "attacked, norms as stored" in shown.out
    assert "rows of items move" in shown.out.replace("\n", " ")
    assert Path("curve.svg").exists()


def test_items_are_promoted_and_demoted() -> None:
    item = find("a", "runs").ids()[1][0]
    words = ["--promote", item, "--demote", item, "--eps", "0.5,2", "-k", 3]
    results = advrec("attack", "a", *words, "--json").json()["runs"][0]["results"]
    assert [result["goal"] for result in results] == ["promote", "promote", "demote", "demote"]
    for result in results:
        exposure = result["exposure@3"]
        sign = 1 if result["goal"] == "promote" else -1
        assert sign * (exposure["after"] - exposure["before"]) >= 0
    assert "Exposure@3 of items" in advrec("attack", "a", *words).out
    unknown = advrec("attack", "a", "--promote", "no-such-item")
    assert unknown.code == 3
    assert "has no item 'no-such-item'" in unknown.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a --eps 0.5 --rho 5%", "--eps and --rho exclude each other"),
        ("a --rho 5x", "--rho must be a share such as 5% or 0.05, got '5x'"),
        ("a --suite standart", "--suite must be standard or apr, got 'standart'"),
        ("a --suite apr --objective ndcg --steps 3", "a suite and --objective, --steps exclude"),
        ("a --grid", "--grid is a table of --suite"),
        ("a --side left", "--side must be both, users or items, got 'left'"),
        ("a --suite apr --site ego,final", "a suite takes one --site, got ego, final"),
        ("a --promote x --suite apr", "are attacks of their own, without a suite"),
        ("a --promote x --side users", "move rows of items, got --side users"),
        ("a --promote x --labels test", "--promote and --demote and --labels exclude each other"),
        ("a a-apr --eps 0.5 --save-noise n.npz", "--save-noise n.npz writes one noise"),
        ("a --eps 0.5,1 --save-noise n.npz", "--save-noise n.npz writes one noise"),
        ("a --eps 0.5 --save-noise n.txt", "n.txt must end in .npz"),
        ("a --suite apr --rho 0", "rho must be a finite number above 0, got 0"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(words: str, message: str) -> None:
    outcome = advrec("attack", *words.split())
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())


def test_python_takes_the_same_words(folder: Path) -> None:
    result = library.attack("a", runs="runs", suite="apr", rho=[0.05], side="users", ks=(5,))
    assert result.side == "users"
    assert result.at(0.05).worst_label_free.evaluation.values["NDCG@5"] > 0
    assert json.loads((folder / "runs/a/suite.json").read_text())["runs"][0]["suite"] == "apr"
    (single,) = library.attack("a", runs="runs", rho=0.05, side="items", ks=(5,))
    assert (single.unit, single.side) == ("rho", "items")


def test_the_command_names_the_suites_that_there_are() -> None:
    assert set(attack_options.SUITES) == set(SUITES)
    text: Any = advrec("attack", "--help").out
    for flag in ("--suite", "--rho", "--side", "--save-noise", "--load-noise", "--promote",
                 "--demote", "--grid"):  # fmt: skip
        assert flag in text
