"""The four steps and what follows them, on a csv file, as a user types them."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.cli_runner import advrec, write_ratings

TINY = ["--dim", 8, "--batch-size", 64, "--eval-every", 1, "--threads", 1]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with ratings.csv and two runs: base, and robust that started from it."""
    folder = tmp_path_factory.mktemp("flow")
    write_ratings(folder / "ratings.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        base = advrec(
            "pretrain", "--data", "ratings.csv", "--epochs", 2, "--name", "base", *TINY, "--json"
        )
        robust = advrec("adv-train", "--eps", 0.5, "--epochs", 2, "--name", "robust", "--json")
        (folder / "base.json").write_text(base.out)
        (folder / "robust.json").write_text(robust.out)
        (folder / "base.err").write_text(base.err)
        (folder / "robust.err").write_text(robust.err)
    return folder


@pytest.fixture(autouse=True)
def _there(home, monkeypatch):
    monkeypatch.chdir(home)


def documented(name: str) -> dict:
    return json.loads(Path(name).read_text())


# --- training ------------------------------------------------------------------------------------


def test_pretrain_tells_what_it_reached_and_every_option_it_used():
    run = documented("base.json")
    assert run["name"] == "base"
    assert run["path"] == str(Path("runs/base"))
    assert (run["model"], run["phase"], run["parent"]) == ("mf", "pretrain", None)
    assert (run["epoch"], run["finished"], run["stopped"]) == (2, True, "epochs")
    assert run["metric"] == "NDCG@20"
    assert 0 < run["best_value"] <= 1
    assert run["best_epoch"] in (1, 2)
    assert run["data"]["data"].endswith("ratings.csv")
    assert run["train"]["dim"] == 8
    assert None not in run["train"].values()
    assert set(run["versions"]) >= {"advrec", "torch", "python"}


def test_pretrain_says_what_it_understood_of_the_data_and_resolved_of_the_options():
    said = Path("base.err").read_text()
    assert "data ratings: 40 users, 26 items, 320 train, 40 validation, 40 test pairs" in said
    assert "pretraining of mf on ratings, in runs/base" in said
    assert "optimizer adagrad" in said
    assert "eps" not in said


def test_adv_train_takes_the_newest_pretraining_with_its_data_and_options():
    run, base = documented("robust.json"), documented("base.json")
    assert run["parent"] == str(Path("runs/base"))
    assert run["phase"] == "adversarial"
    assert run["data"] == base["data"]
    assert (run["train"]["dim"], run["train"]["eps"]) == (8, 0.5)
    assert (run["train"]["adv_weight"], run["train"]["norm"], run["train"]["site"]) == (
        1.0, "row", "ego",
    )  # fmt: skip
    said = Path("robust.err").read_text()
    assert "starting at runs/base (the newest finished pretraining)" in said
    assert "eps 0.5, adv_weight 1" in said


def test_without_json_the_result_is_on_stdout_and_the_rest_on_stderr(tmp_path):
    outcome = advrec("adv-train", "--from", "base", "--epochs", 1, "--runs-dir", tmp_path)
    assert outcome.code == 3  # runs are looked for in the folder that was named
    outcome = advrec(
        "adv-train", "--from", "runs/base", "--epochs", 1, "--runs-dir", tmp_path, "--name", "a"
    )
    assert outcome.code == 0
    assert re.search(r"^run +\S+a$", outcome.out, re.M)
    assert re.search(r"^started from +runs/base, epoch \d$", outcome.out, re.M)
    best = r"^best validation +NDCG@20 0\.\d{4} at epoch 1 \(before: 0"
    assert re.search(best, outcome.out, re.M)
    assert "epoch 1/1  " in outcome.err
    assert "next: advrec attack base a" in outcome.err


def test_quiet_says_nothing_beside_the_result(tmp_path):
    outcome = advrec(
        "pretrain", "--data", "ratings.csv", "--epochs", 1, *TINY, "--runs-dir", tmp_path, "--quiet"
    )
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith("run ")
    assert [path.name for path in tmp_path.iterdir()] == ["mf-ratings-1"]


def test_flags_win_over_the_configuration_file_and_it_wins_over_the_defaults(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        f"[data]\ndata = {str(Path('ratings.csv').resolve())!r}\nk_core = 2\n"
        "[train]\nmodel = 'lightgcn'\ndim = 4\nepochs = 1\nlr = 0.5\nthreads = 1\n"
    )
    run = advrec(
        "pretrain", "--config", file, "--lr", 0.25, "--layers", 1, "--runs-dir", tmp_path, "--json"
    ).json()
    options = run["train"]
    assert run["model"] == "lightgcn"
    assert (options["dim"], options["lr"], options["layers"]) == (4, 0.25, 1)
    assert options["optimizer"] == "adam"
    assert run["data"]["k_core"] == 2


def test_a_run_configuration_is_a_configuration_file(tmp_path):
    file = "runs/base/config.toml"
    again = advrec("pretrain", "--config", file, "--runs-dir", tmp_path, "--json")
    assert again.code == 0, again.err
    assert again.json()["train"] == documented("base.json")["train"]
    assert again.json()["best_value"] == documented("base.json")["best_value"]


def test_resume_goes_on_and_refuses_what_would_change_the_run(tmp_path):
    shutil.copytree("runs/base", tmp_path / "base")
    more = advrec("pretrain", "--resume", "base", "--epochs", 3, "--runs-dir", tmp_path, "--json")
    assert more.json()["epoch"] == 3
    assert "from epoch 2" in more.err
    other = advrec("pretrain", "--resume", "base", "--lr", 1, "--runs-dir", tmp_path)
    assert other.code == 2
    assert "lr cannot change" in other.err
    assert advrec("pretrain", "--resume", "base", "--epochs", 3, "--runs-dir", tmp_path).code == 3


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(tmp_path):
    def value(seed: int, name: str) -> float:
        words = ["--data", "ratings.csv", "--epochs", 1, *TINY, "--name", name, "--json"]
        run = advrec("pretrain", *words, "--seed", seed, "--runs-dir", tmp_path).json()
        return run["best_value"]

    assert value(1, "a") == value(1, "b") != value(2, "c")


# --- attack --------------------------------------------------------------------------------------


def test_attack_compares_the_newest_run_with_the_one_it_started_from():
    outcome = advrec("attack", "--json")
    document = outcome.json()
    assert [run["run"] for run in document["runs"]] == ["base", "robust"]
    for run in document["runs"]:
        results = run["results"]
        assert [(r["kind"], r["eps"]) for r in results] == [
            (kind, eps) for kind in ("random", "adversarial") for eps in (0.5, 1.0, 2.0)
        ]
        for result in results:
            assert math.isclose(result["budget"]["absolute"], result["eps"], rel_tol=1e-5)
            assert result["budget"]["relative"] > 0
            assert set(result["clean"]["metrics"]) == set(result["noisy"]["metrics"]) == {"NDCG@20"}
        assert json.loads(Path(run["path"], "attack.json").read_text()) == {"runs": [run]}
    assert "taking the newest, robust and its parent run, base" in outcome.err


def test_attack_prints_the_budget_as_measured_and_what_it_costs():
    outcome = advrec("attack", "base", "--noise", "adversarial", "--eps", "0.5,1")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    header = next(line for line in lines if "budget" in line)
    assert re.split(r"  +", header.strip()) == [
        "run", "noise", "ε", "budget", "relative", "clean", "attacked", "lost",
    ]  # fmt: skip
    rows = [line.split() for line in lines if re.search(r"\d%", line)]
    assert rows[0][:4] == ["base", "adversarial", "0.5", "0.5"]
    assert rows[1][0] == "1"  # the run and the noise are not repeated
    assert "test part, full ranking, 40 users; noise at ego (row)." in outcome.out


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ("--noise random", ["random"]),
        ("--noise both", ["random", "adversarial"]),
        ("--noise adversarial,random", ["random", "adversarial"]),
        ("--noise adversarial --noise random", ["random", "adversarial"]),
    ],
)
def test_noise_may_be_repeated_or_listed(words, kinds):
    results = advrec("attack", "base", *words.split(), "--eps", 1, "--json").json()["runs"][0]
    assert [result["kind"] for result in results["results"]] == kinds


def test_attack_measures_the_metrics_and_cutoffs_that_were_asked_for():
    words = ["--eps", 1, "--noise", "random", "--metric", "ndcg,Recall@3", "-k", "5,10", "--json"]
    [result] = advrec("attack", "base", *words).json()["runs"][0]["results"]
    assert list(result["clean"]["metrics"]) == ["NDCG@5", "NDCG@10", "Recall@3"]


def test_more_steps_never_make_the_attack_weaker():
    def loss(*words: object) -> float:
        words = ("--noise", "adversarial", "--eps", 1, *words, "--json")
        return advrec("attack", "base", *words).json()["runs"][0]["results"][0]["noisy_loss"]

    assert loss("--steps", 5, "--restarts", 2) >= loss()


def test_random_noise_alone_takes_no_steps():
    outcome = advrec("attack", "base", "--noise", "random", "--steps", 3)
    assert outcome.code == 2
    assert "random noise takes no steps" in outcome.err
    assert "adversarial" in outcome.err
    both = advrec("attack", "base", "--eps", 1, "--steps", 3, "--json").json()["runs"][0]
    assert [result["steps"] for result in both["results"]] == [1, 3]


def test_attack_writes_its_table_and_its_figure(tmp_path):
    words = ["--eps", "0.5,1", "--out", tmp_path / "table.md", "--plot", tmp_path / "figure.png"]
    assert advrec("attack", "base", "robust", *words).code == 0
    table = (tmp_path / "table.md").read_text()
    assert table.startswith("**NDCG@20 under noise**")
    assert table.count("| base") == 4
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    both = ["--eps", 1, "--metric", "NDCG,HR", "-k", 5]
    assert advrec("attack", "base", *both, "--out", tmp_path / "all.json").code == 0
    metrics = json.loads((tmp_path / "all.json").read_text())["runs"][0]["results"][0]["clean"]
    assert set(metrics["metrics"]) == {"NDCG@5", "HR@5"}
    assert advrec("attack", "base", "--eps", 1, "--out", tmp_path / "table.doc").code == 2


# --- eval, recommend, export ---------------------------------------------------------------------


def test_eval_gives_every_metric_of_the_newest_run():
    outcome = advrec("eval", "--json")
    [found] = outcome.json()["runs"]
    assert found["run"] == "robust"
    assert list(found["metrics"]) == [
        f"{name}@20" for name in ("Recall", "NDCG", "Precision", "HR", "MRR", "MAP")
    ]
    assert (found["part"], found["protocol"], found["users"]) == ("test", "full ranking", 40)
    kept = json.loads(Path("runs/robust/eval.json").read_text())
    assert kept == found


def test_eval_sets_runs_side_by_side():
    words = ["--metrics", "NDCG,AUC", "-k", "5,10", "--part", "valid"]
    outcome = advrec("eval", "base", "robust", *words)
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines() if line.strip()]
    assert ["model", "NDCG@5", "NDCG@10", "AUC"] in lines
    assert [line[0] for line in lines if len(line) == 4][1:] == ["base", "robust"]
    assert "validation part, full ranking, 40 users." in outcome.out


def test_eval_of_sampled_negatives_is_named_so_and_follows_the_seed():
    def metrics(seed: int) -> dict:
        words = ["eval", "base", "--sampled", 5, "--seed", seed, "-k", 2, "--json"]
        return advrec(*words).json()["runs"][0]

    assert metrics(0)["protocol"] == "sampled, 5 negatives, seed 0"
    assert metrics(0) == metrics(0)
    assert metrics(0)["metrics"] != metrics(1)["metrics"]


def test_eval_writes_the_figures_of_each_user(tmp_path):
    file = tmp_path / "users.csv"
    outcome = advrec("eval", "base", "--metrics", "HR@10", "--per-user", file, "--json")
    lines = file.read_text().splitlines()
    assert lines[0] == "user,HR@10"
    mean = np.mean([float(line.rsplit(",", 1)[1]) for line in lines[1:]])
    assert len(lines) == 41
    assert math.isclose(mean, outcome.json()["runs"][0]["metrics"]["HR@10"])
    assert advrec("eval", "base", "robust", "--per-user", file).code == 2


def test_compare_is_paired_over_the_users():
    document = advrec("compare", "robust", "base", "--metrics", "NDCG,HR", "--json").json()
    assert (document["a"], document["b"], document["users"]) == ("robust", "base", 40)
    values = {run: advrec("eval", run, "--json").json()["runs"][0] for run in ("robust", "base")}
    for name, found in document["metrics"].items():
        assert math.isclose(found["a"], values["robust"]["metrics"][name])
        assert math.isclose(found["difference"], found["a"] - found["b"], abs_tol=1e-12)
    shown = advrec("compare", "robust", "base", "--metrics", "NDCG")
    assert "Wilcoxon" in shown.out
    assert "not about other seeds" in shown.err
    assert advrec("compare", "base", "base").code == 2


def test_recommend_lists_items_that_the_user_does_not_have():
    outcome = advrec("recommend", "base", "--user", "user 3", "-k", 4, "--json")
    [found] = outcome.json()["users"]
    assert found["user"] == "user 3"
    assert [line["rank"] for line in found["items"]] == [1, 2, 3, 4]
    scores = [line["score"] for line in found["items"]]
    assert scores == sorted(scores, reverse=True)
    shown = advrec("recommend", "base", "--user", "user 3", "-k", 4).out
    assert "For user 3" in shown
    assert all(line["item"] in shown for line in found["items"])


def test_recommend_names_the_users_that_look_alike():
    outcome = advrec("recommend", "base", "--user", "usr 3")
    assert outcome.code == 3
    assert "did you mean 'user 3'" in outcome.err


def test_export_writes_vectors_whose_product_is_the_score(tmp_path):
    outcome = advrec("export", "base", "--out", tmp_path / "v.npz", "--json")
    assert outcome.json() == {
        "run": "base", "path": str(tmp_path / "v.npz"), "users": 40, "items": 26, "dim": 8,
        "bytes": (tmp_path / "v.npz").stat().st_size,
    }  # fmt: skip
    file = np.load(tmp_path / "v.npz")
    user = list(file["user_ids"]).index("user 3")
    best = advrec("recommend", "base", "--user", "user 3", "-k", 1, "--json").json()["users"][0]
    item = list(file["item_ids"]).index(best["items"][0]["item"])
    score = file["user_vectors"][user] @ file["item_vectors"][item]
    assert math.isclose(score, best["items"][0]["score"], rel_tol=1e-5)
    assert advrec("export", "base", "--out", tmp_path / "v.pt").code == 2


# --- runs ----------------------------------------------------------------------------------------


def test_runs_lists_the_last_one_first_and_shows_one():
    listed = advrec("runs", "--json").json()
    assert {run["name"] for run in listed["runs"]} == {"base", "robust"}
    one = advrec("runs", "base", "--json").json()
    assert [line["epoch"] for line in one["history"]] == [1, 2]
    shown = advrec("runs", "robust").out
    assert re.search(r"^started from +runs/base, epoch \d$", shown, re.M)
    assert re.search(r"^adv_weight +1.0$", shown, re.M)
    assert re.search(r"robust .* adversarial .* 2/2 .* finished", advrec("runs").out)


def test_data_that_moved_is_given_anew_and_other_data_refused(tmp_path):
    shutil.copytree("runs/base", tmp_path / "base")
    config = tmp_path / "base" / "config.toml"
    moved = tmp_path / "elsewhere.csv"
    shutil.copy("ratings.csv", moved)
    words = ["eval", "base", "--runs-dir", tmp_path, "--json"]
    assert config.exists()
    assert advrec(*words, "--data", moved).json()["runs"][0]["users"] == 40
    write_ratings(moved, seed=1)
    refused = advrec(*words, "--data", moved)
    assert refused.code == 3
    assert "was made from" in refused.err
