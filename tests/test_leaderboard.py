"""The leaderboard: entries from a study's runs, made once, kept by hand where a person wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli_runner import advrec, write_ratings

from advrec.auditing.leaderboard import FORMAT, OPTIONS, read_entries
from advrec.errors import ConfigError, UsageError
from advrec.report.leaderboard import leaderboard_tables

STUDY = """
title = "tiny"
seeds = 2
metrics = ["NDCG@20"]
[train]
dim = 8
batch_size = 64
eval_every = 2
[attack]
eps = [0.5]
[data.tiny]
data = "ratings.csv"
[models.MF]
model = "mf"
pretrain.epochs = 2
adversarial.APR = { epochs = 2 }
"""


def entry(name: str, oracle: float, **more: Any) -> dict[str, Any]:
    point = {"oracle": [oracle, oracle], "label_free": [0.3, 0.3], "certified": [0.1, 0.1]}
    return {
        "entry": FORMAT, "model": "MF", "training": name, "data": "d", "data_digest": "a" * 64,
        "metric": "NDCG@20", "part": "test", "seeds": [0, 1], "clean": [0.4, 0.5],
        "rho": [{"budget": 0.05, **point}], "eps": [{"budget": 0.5, **point}],
        "threat": {"site": "ego", "side": "both", "norm": "row"}, "flags": ["one seed"],
        "claimed": None, "external": [], "footnote": "", **more,
    }  # fmt: skip


def test_the_worst_of_oracle_and_external_orders_the_table():
    external = [{"rho": 0.05, "value": 0.05, "from": "a paper"}, {"eps": 0.5, "value": 0.01}]
    entries = [
        entry("first", 0.2),
        entry("broken by others", 0.3, external=external, footnote="See there."),
        entry("second", 0.15, claimed={"value": 0.38, "source": "its paper"}),
    ]
    (table,) = leaderboard_tables(entries)
    names = [str(row[1]) for row in table.rows]
    assert names == ["MF, first", "MF, second", "MF, broken by others [1]"]
    by_column = dict(zip([column.name for column in table.columns], table.rows[2], strict=True))
    assert by_column["external"] == 0.05
    assert by_column["clean NDCG@20"] == pytest.approx(0.45)
    assert table.rows[1][3] == 0.38
    assert "[1] See there." in table.notes


def test_every_data_set_has_a_table_of_its_own():
    other = entry("x", 0.1) | {"data": "e", "data_digest": "b" * 64}
    assert len(leaderboard_tables([entry("x", 0.1), other])) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "not an entry"),
        (json.dumps({"entry": FORMAT}), "has no model, training"),
        (json.dumps(entry("x", 0.1) | {"seeds": [0]}), "one figure per seed"),
    ],
)
def test_a_file_that_is_not_an_entry_is_refused(content, message, tmp_path):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_entries(tmp_path)


def advrec_vectors(run: Path) -> Path:
    assert advrec("export", run, "--out", "vectors.npz", "-q").code == 0
    return Path("vectors.npz")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no entries"):
        read_entries(tmp_path)


def test_entries_are_made_from_a_study_once_and_keep_what_was_written_by_hand(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_ratings(Path("ratings.csv"))
    Path("study.toml").write_text(STUDY)
    assert advrec("study", "study.toml", "--threads", 1, "-q").code == 0
    folder = ("leaderboard", "board", "--threads", 1)
    made = advrec(*folder, "--from", "runs/studies/study", "--only", "training=APR")
    assert made.code == 0, made.err
    (path,) = Path("board").glob("*.json")
    assert path.name == "tiny-mf-apr.json"
    content = json.loads(path.read_text())
    assert content["seeds"] == [0, 1]
    assert [point["budget"] for point in content["rho"]] == list(OPTIONS.rho)
    for point in (*content["rho"], *content["eps"]):
        for certified, oracle in zip(point["certified"], point["oracle"], strict=True):
            assert certified <= oracle
    audits = {file: file.stat().st_mtime_ns for file in Path("runs/studies/study/audits").iterdir()}
    assert len(audits) == 2

    path.write_text(json.dumps(content | {"footnote": "Mine.", "clean": [0, 0]}))
    again = advrec(*folder, "--from", "runs/studies/study", "--json")
    names = [each["name"] for each in again.json()["entries"]]
    assert names == ["tiny-mf-apr", "tiny-mf-pretrained"]
    assert json.loads(path.read_text()) == content | {"footnote": "Mine."}
    assert all(file.stat().st_mtime_ns == before for file, before in audits.items())

    run = Path("runs/studies/study") / next(iter(audits)).name.rpartition("-")[0]
    run = run.parent / "runs" / run.name
    with np.load(advrec_vectors(run)) as vectors:
        users, items = vectors["user_vectors"], vectors["item_vectors"]
    seed = json.loads((next(iter(audits))).read_text())["subjects"][0]["origin"]
    np.savez("all.npz", users=-users * 0.02, items=0 * items)  # less than 5 % of the norms
    np.savez("bad.npz", users=users[1:])
    external = (*folder, "--entry", "tiny-mf-apr", "--run", run)
    assert dict(seed)["run"].endswith(run.name)
    kept = advrec(*external, "--external", "all.npz")
    assert "not kept" in kept.err, kept.err
    floor = {"budget": 0.05, "oracle": [1.0, 1.0], "label_free": None, "certified": None}
    path.write_text(json.dumps(content | {"rho": [floor]}))
    assert "rho 0.05" in advrec(*external, "--external", "all.npz", "--source", "us").err
    (noise,) = [each for each in json.loads(path.read_text())["external"] if "rho" in each]
    assert noise["value"] < 1
    assert noise["from"] == "us"
    assert len(noise["sha256"]) == 64
    assert "expected numbers of shape" in advrec(*external, "--external", "bad.npz").err
    assert "needs --entry" in advrec(*folder, "--external", "all.npz").err
    assert "no entry 'x'" in advrec(*folder, "--entry", "x", "--run", run, "--external",
                                    "all.npz").err  # fmt: skip
    path.write_text(json.dumps(content | {"footnote": "Mine."}))

    assert "Mine." in advrec(*folder, "--out", "board.md").out
    assert "oracle" in Path("board.md").read_text()
    assert "no finished training 'x'" in advrec(*folder, "--from", "runs/studies/study",
                                                "--only", "training=x").err  # fmt: skip
    assert "must be data=…" in advrec(*folder, "--from", "s", "--only", "seed=1").err
    assert "not the results of a study" in advrec(*folder, "--from", "board").err
    assert "no entries in nowhere" in advrec("leaderboard", "nowhere").err
