"""`advrec data …` and `advrec models`, `doctor`, `--version`: looking around."""

from __future__ import annotations

import re

import pytest
import torch
from support.cli_runner import advrec, write_ratings

import advrec as library
from advrec.data import load_dataset
from advrec.models import MODELS


@pytest.fixture(autouse=True)
def ratings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVREC_DATA", str(tmp_path / "downloads"))
    return write_ratings(tmp_path / "ratings.csv")


def test_data_alone_shows_its_commands():
    shown = advrec("data")
    assert shown.code == 0
    for command in ("list", "inspect", "convert", "download"):
        assert command in shown.out


def test_list_has_the_embedded_set_first_and_says_where_downloads_go(tmp_path):
    document = advrec("data", "list", "--json").json()
    assert document["folder"] == str(tmp_path / "downloads")
    first, *others = document["data"]
    assert (first["name"], first["state"]) == ("debian", "embedded")
    assert first["pairs"] > 100_000
    assert {entry["state"] for entry in others} == {"can be downloaded"}
    assert all(entry["terms"] for entry in document["data"])
    shown = advrec("data", "list")
    assert "ml-1m" in shown.out
    assert "downloads" in shown.err


def test_inspect_says_what_is_in_a_file():
    found = advrec("data", "inspect", "ratings.csv", "--json").json()
    assert (found["format"], found["rows"], found["users"]) == ("csv", 400, 40)
    assert found["split"] == "loo-time"
    shown = advrec("data", "inspect", "ratings.csv").out
    assert re.search(r"^pairs +400 different, 0 repeated$", shown, re.M)
    assert re.search(r"^ratings +1 to 5 ", shown, re.M)
    assert re.search(r"^times +2001-09-", shown, re.M)


def test_inspect_takes_the_options_of_training():
    filtered = advrec("data", "inspect", "ratings.csv", "--min-rating", 5, "--json").json()
    assert 0 < filtered["pairs"] < 400
    assert advrec("data", "inspect", "--json").json()["name"] == "debian"


def test_a_malformed_line_is_named(tmp_path):
    (tmp_path / "ratings.csv").write_text("user,item,rating\na,b,1\na,c,many\n")
    outcome = advrec("data", "inspect", "ratings.csv")
    assert outcome.code == 3
    assert "ratings.csv:3: " in outcome.err


def test_convert_writes_a_split_that_reads_the_same(tmp_path):
    outcome = advrec(
        "data", "convert", "ratings.csv", "out", "--to", "lightgcn", "--split", "random", "--json"
    )
    names = [path["path"] for path in outcome.json()["files"]]
    assert {name.rpartition("/")[2] for name in names} >= {"train.txt", "test.txt"}
    before, after = load_dataset("ratings.csv", split="random"), load_dataset("out")
    assert (len(before.train), len(before.test)) == (len(after.train), len(after.test))
    again = advrec("data", "convert", "ratings.csv", "out")
    assert again.code == 2
    assert "already exists" in again.err


def test_convert_to_one_file_keeps_every_row(tmp_path):
    outcome = advrec("data", "convert", "ratings.csv", "one.inter", "--to", "recbole")
    assert outcome.code == 0
    assert "one.inter" in outcome.out
    assert len((tmp_path / "one.inter").read_text().splitlines()) == 401


def test_models_have_sites_norms_and_defaults():
    described = {entry["name"]: entry for entry in advrec("models", "--json").json()["models"]}
    assert set(described) == set(MODELS)
    assert described["mf"]["defaults"]["lr"] == 0.05
    names = [site["name"] for site in described["lightgcn"]["sites"]]
    assert names[0] == "ego"
    assert all(site["norms"] for entry in described.values() for site in entry["sites"])
    shown = advrec("models").out
    assert all(name in shown for name in MODELS)


def test_doctor_reports_every_check():
    outcome = advrec("doctor", "--json")
    document = outcome.json()
    assert {check["name"] for check in document["checks"]} >= {"python", "torch", "ops run on"}
    assert outcome.code == (0 if document["ok"] else 1)
    assert "torch" in advrec("doctor").out


def test_version_names_advrec_torch_and_the_core():
    shown = advrec("--version")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].startswith(f"advrec {library.__version__}")
    assert lines[1].startswith(f"torch {torch.__version__}, ")
    assert lines[2].startswith("core ")
