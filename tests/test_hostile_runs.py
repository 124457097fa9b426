"""Whatever the files of a run folder hold, a command works or says one sentence."""

from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors.torch import load, save
from support.fuzz_runs import Folders, complaint, fuzz, invoke, last_frame, signed

from advrec.errors import RunError
from advrec.runs.run import Run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVREC_DATA_CACHE", "off")
        patch.setattr("tempfile.tempdir", str(root))
        yield Folders(root, models=("mf", "lightgcn"))


def with_files(folders, **files):
    """A run whose checksums fit these files; `state` is the body of the commit."""
    run, _ = folders.damaged(random.Random(0))
    content = dict(folders.sound["mf"])
    body = files.pop("state", json.loads(content["state.json"])["body"])
    content |= {name.replace("_", "."): text for name, text in files.items()}
    if "metrics.jsonl" in files:
        body["metrics_bytes"] = len(content["metrics.jsonl"])
    content["state.json"] = signed(content, body)
    for name, text in content.items():
        (run / name).write_bytes(text)
    return run


def test_40_forged_and_damaged_run_folders_are_read_or_refused(folders):
    wrong, codes = fuzz(folders, 40, 20)
    assert not wrong
    assert codes[0] > 10
    assert codes[3] > 5  # the damage does reach what reads it


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("epoch", "7", "epoch must be a whole number, got '7'"),
        ("epoch", -1, "epoch must be at least 0, got -1"),
        ("epoch", True, "epoch must be a whole number, got True"),
        ("epoch", 2**31, "epoch must be less than 2147483648, got 2147483648"),
        ("loss", None, "loss must be a number, got None"),
        ("best_value", float("nan"), "best_value must be a finite number, got nan"),
        ("stopped", "boredom", "stopped must be 'epochs' or 'patience', got 'boredom'"),
        ("updated", 1e300, "updated must be at most 2.53402e+11, got 1e+300"),
        ("seconds", [], "seconds must be a table of options, got []"),
        ("seconds", {}, "seconds has no checkpoint and no evaluate and no train"),
        ("seconds", {"train": "x"}, "seconds.train must be a number, got 'x'"),
    ],
)
def test_a_wrong_field_of_the_state_is_named(folders, field, value, said):
    body = json.loads(folders.sound["mf"]["state.json"])["body"]
    run = with_files(folders, state={**body, field: value})
    with pytest.raises(RunError) as caught:
        Run.open(run)
    assert str(caught.value) == f"{run}/state.json is damaged: {said}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"users": ["a"]}, "items is missing"),
        ({"users": "a", "items": []}, "users must be a list, got 'a'"),
        ({"users": [1], "items": []}, "users.0 must be text, got 1"),
        ([], "the content must be a table, got []"),
    ],
)
def test_a_wrong_field_of_the_ids_is_named(folders, content, said):
    run = with_files(folders, ids_json=json.dumps(content).encode())
    with pytest.raises(RunError, match="is damaged") as caught:
        Run.open(run).ids()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{}", "epoch is missing"),
        (b"[]", "the content must be a table"),
        (b'{"epoch": 1, "valid": 3}', "valid must be a table of options, got 3"),
        (b"{", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON: it is nested too deeply"),
    ],
)
def test_a_wrong_line_of_the_history_is_named(folders, line, said):
    run = with_files(folders, **{"metrics.jsonl": line + b"\n"})
    with pytest.raises(RunError, match="is damaged") as caught:
        Run.open(run).history()
    assert said in str(caught.value)


@pytest.mark.parametrize("steps", [-1, 2**62, 1.5, float("nan"), [1, 2]])
def test_a_number_of_steps_is_a_count(folders, steps):
    tensors = load(folders.sound["mf"]["state.safetensors"])
    content = save(tensors | {"optimizer.steps": torch.tensor(steps)})
    run = with_files(folders, **{"state.safetensors": content})
    with pytest.raises(RunError, match="the number of steps is not a count"):
        Run.open(run).state()


def test_the_commit_cannot_name_files_outside_its_folder(folders, tmp_path):
    victim = tmp_path / "victim.next"
    victim.write_text("mine")
    run = with_files(folders)
    commit = json.loads((run / "state.json").read_text())
    outside = {f"../../../../../../..{tmp_path}/victim": "0" * 64}
    (run / "state.json").write_bytes(
        signed(dict(folders.sound["mf"]), commit["body"], named=outside)
    )
    with pytest.raises(RunError, match="is not a file that advrec commits"):
        Run.open(run)
    assert victim.read_text() == "mine"


def test_the_fuzzer_sees_a_defect(folders, monkeypatch):
    """A test that can fail: an error that nobody meant is found, with its place."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("advrec.runs.run.Run.history", broken)
    run = with_files(folders)
    found, _ = complaint(["runs", "R", "--runs-dir", str(run.parent)])
    assert found is not None
    assert "ZeroDivisionError" in last_frame(found)


def test_a_name_of_a_run_is_text_on_the_screen(folders):
    run = with_files(folders)
    odd = run.with_name("a\x1b[2J[red]\x9bb")
    run.rename(odd)
    code, out, err = invoke(["runs", "--runs-dir", str(run.parent)])
    assert code == 0
    assert r"a\x1b[2J[red]\x9bb" in out
    assert "\x1b" not in out + err
    code, out, _ = invoke(["runs", "--runs-dir", str(run.parent), "--json"])
    assert code == 0
    assert json.loads(out)["runs"][0]["name"] == odd.name
