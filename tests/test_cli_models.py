"""Every model through the four commands, and noise at several sites as one types it."""

from __future__ import annotations

import math

import pytest
from support.cli_runner import advrec, write_ratings

from advrec.models import MODELS

TRAIN = ["--epochs", 2, "--batch-size", 64, "--eval-every", 1, "--threads", 1]
OWN = [name for name, model in MODELS.items() if not model.needs_features]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with ratings.csv."""
    folder = tmp_path_factory.mktemp("models")
    write_ratings(folder / "ratings.csv")
    return folder


@pytest.fixture(autouse=True)
def _there(home, monkeypatch):
    monkeypatch.chdir(home)


def ran(*words):
    outcome = advrec(*words)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.mark.parametrize("name", OWN)
def test_a_model_is_trained_trained_against_noise_attacked_and_evaluated(name):
    base = f"{name}-base"
    ran("pretrain", "--data", "ratings.csv", "--model", name, "--dim", 4, "--name", base, *TRAIN)
    robust = ran("adv-train", "--from", base, "--name", f"{name}-robust", *TRAIN, "--json").json()
    assert (robust["model"], robust["finished"]) == (name, True)
    (found,) = ran("attack", f"{name}-robust", "--site", "all", "--eps", 1, "--json").json()["runs"]
    attackable = {site.name for site in MODELS[name].sites if set(site.norms) != {"sample"}}
    assert {result["site"] for result in found["results"]} == attackable
    assert {result["kind"] for result in found["results"]} == {"random", "adversarial"}
    assert all(math.isfinite(result["noisy_loss"]) for result in found["results"])
    assert ran("eval", base, f"{name}-robust", "--metrics", "NDCG,AUC", "--json").out


@pytest.fixture
def autoencoder(home):
    """A CDAE that is trained once."""
    if not (home / "runs" / "ae").exists():
        ran(
            "pretrain",
            "--data",
            "ratings.csv",
            "--model",
            "cdae",
            "--name",
            "ae",
            "--dim",
            8,
            *TRAIN,
        )
    return "ae"


def test_sites_are_named_one_after_the_other_or_together(autoencoder):
    together = ["--eps", 0.5, "--eps", "encoder=1", "--adv-weight", "decoder=2,encoder=3"]
    wanted = {
        "site": "encoder+decoder",
        "eps": 0.5,
        "site_eps": {"encoder": 1.0},
        "adv_weight": 1.0,
        "site_adv_weight": {"decoder": 2.0, "encoder": 3.0},
    }
    for number, site in enumerate(
        (["--site", "encoder", "--site", "decoder"], ["--site", "encoder,decoder"],
         ["--site", "encoder+decoder"], ["--site", "acae"], [])
    ):  # fmt: skip
        name = f"sites-{number}"
        words = ["adv-train", "--from", autoencoder, "--name", name, *site, *together, *TRAIN]
        train = ran(*words, "--json").json()["train"]
        assert {key: train[key] for key in wanted} == wanted


def header(shown):
    return next(line for line in shown.splitlines() if "noise" in line and "clean" in line)


def test_a_table_of_an_attack_on_several_sites_has_a_column_of_sites(autoencoder):
    words = ["attack", autoencoder, "--site", "encoder,decoder", "--noise", "adversarial"]
    shown = ran(*words, "--eps", "1,2", "--sampled", 9, "--metric", "HR@5", "--plot", "curves.png")
    assert "site" in header(shown.out)
    assert sum("encoder" in line for line in shown.out.splitlines()) == 2  # a row, and the note
    assert "noise at encoder (tensor) or decoder (tensor)" in shown.out
    assert "sampled, 9 negatives, seed 0" in shown.out
    one = ran("attack", autoencoder, "--site", "encoder", "--eps", 1)
    assert "site" not in header(one.out)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--eps", "0.5,1"], 2, "--eps takes one value for all, got 0.5, 1"),
        (["--eps", "encoder=x"], 2, "--eps must be a number, got 'x'"),
        (["--eps", "encoder=-1"], 2, "--eps must be at least 0, got -1"),
        (["--site", "encoder", "--eps", "decoder=1"], 3, "names site 'decoder'"),
        (["--site", "encodr"], 2, "did you mean 'encoder'?"),
    ],
)
def test_a_mistake_about_sites_is_told(autoencoder, words, code, said):
    outcome = advrec("adv-train", "--from", autoencoder, "--name", "wrong", *words, *TRAIN)
    assert outcome.code == code
    assert said in outcome.err
