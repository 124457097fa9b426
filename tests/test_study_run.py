"""Running a study: what a cell holds, how cells are scheduled and resumed, what is printed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.cli_runner import advrec as command
from support.cli_runner import write_ratings
from support.tiny_study import STUDY, by_training, plan
from support.training_data import bits

import advrec
from advrec import native
from advrec.data import DataConfig, load_dataset
from advrec.errors import AdvrecError, Interrupted, RunError, TrainingError
from advrec.report.stats import summarize
from advrec.runs.run import Run
from advrec.study import run_study, schedule
from advrec.study.cell import make_cell
from advrec.study.plan import Cell, DataFacts
from advrec.study.schedule import Schedule, load_result

# --- one cell ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with study.toml and ratings.csv, and the plan made from them."""
    folder = tmp_path_factory.mktemp("study")
    write_ratings(folder / "ratings.csv")
    (folder / "study.toml").write_text(STUDY)
    return folder


def planned(folder: Path) -> list[Cell]:
    config = DataConfig.of(str(folder / "ratings.csv"))
    return plan(facts=DataFacts.of(load_dataset(config), config.model_dump()), threads=1)


def silent(news) -> None:
    """Progress that is ignored."""


@pytest.fixture(scope="module")
def made(tiny):
    """The plan, and all cells of seed 0 made in this process."""
    cells = planned(tiny)
    (tiny / "made/cells").mkdir(parents=True)
    (tiny / "made/runs").mkdir()
    own = by_training(cells)
    return tiny / "made", own, {name: make_cell(own[name], tiny / "made", silent) for name in own}


def test_a_cell_holds_what_the_four_steps_give(made, tiny):
    out, own, results = made
    dataset = load_dataset(str(tiny / "ratings.csv"))
    options = {"dim": 8, "batch_size": 64, "eval_every": 1, "metric": "NDCG@5", "threads": 1}
    base = advrec.pretrain(dataset, out=tiny / "base", epochs=3, patience=0, **options)
    robust = advrec.adv_train(dataset, base.run, epochs=2, eps=0.3, out=tiny / "robust")
    assert bits(Run.open(out / "runs" / own["APR"].run)) == bits(robust.run)
    metrics = ["NDCG@5", "Recall@5"]
    assert results["APR"]["clean"]["metrics"] == dict(
        advrec.evaluate(robust.model, dataset, metrics=metrics).values
    )
    for noise in ("random", "adversarial"):
        found = advrec.attack(robust.model, dataset, noise=noise, eps=[0.1, 0.5], metrics=metrics)
        told = [entry for entry in results["APR"]["attacks"] if entry["noise"] == noise]
        assert [entry["eps"] for entry in told] == [0.1, 0.5]
        assert [entry["metrics"] for entry in told] == [dict(f.attacked.values) for f in found]
    assert load_result(out, own["APR"]) == json.loads(json.dumps(results["APR"]))


@pytest.mark.parametrize("training", ["pretrained", "APR", "continued", "restarted"])
def test_any_command_takes_the_run_of_a_cell_from_any_folder(made, tmp_path, training, monkeypatch):
    out, own, results = made
    monkeypatch.chdir(tmp_path)
    run = out / "runs" / own[training].run
    evaluated = command("eval", run, "--metrics", "NDCG@5,Recall@5", "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json()["runs"][0]["metrics"] == results[training]["clean"]["metrics"]
    words = ("--eps", "0.1,0.5", "--metric", "NDCG@5,Recall@5", "--json")
    attacked = command("attack", run, *words).json()["runs"][0]["results"]
    measured = [entry["metrics"] for entry in results[training]["attacks"]]
    assert [entry["noisy"]["metrics"] for entry in attacked] == measured
    listed = command("recommend", run, "--user", "user 3", "-k", 2, "--json").json()["users"][0]
    assert len(listed["items"]) == 2
    assert command("export", run, "--out", tmp_path / "vectors.npz").code == 0


def test_continued_is_the_pretraining_that_never_stopped(made, tiny):
    out, own, results = made
    dataset = load_dataset(str(tiny / "ratings.csv"))
    options = {"dim": 8, "batch_size": 64, "eval_every": 1, "metric": "NDCG@5", "threads": 1}
    whole = advrec.pretrain(dataset, out=tiny / "whole", epochs=5, patience=0, **options)
    assert bits(Run.open(out / "runs" / own["continued"].run)) == bits(whole.run)
    assert results["continued"]["epochs"] == 5
    assert Run.open(out / "runs" / own["pretrained"].run).progress.epoch == 3


def test_restarted_is_adversarial_training_without_an_adversary(made, tiny):
    out, own, results = made
    dataset = load_dataset(str(tiny / "ratings.csv"))
    parent = out / "runs" / own["pretrained"].run
    plain = advrec.adv_train(
        dataset, parent, epochs=2, adv_weight=0.0, eps=0.0, out=tiny / "plain", threads=1
    )
    assert bits(Run.open(out / "runs" / own["restarted"].run)) == bits(plain.run)
    assert results["restarted"]["started_after"] == results["APR"]["started_after"] == 3


@pytest.mark.parametrize("training", ["pretrained", "APR", "continued"])
def test_a_cell_that_was_stopped_goes_on_to_the_same_bits(made, tiny, training, monkeypatch):
    monkeypatch.setattr("advrec.study.cell.TELL_SECONDS", 0.0)
    done, own, _ = made
    out = tiny / f"stopped-{training}"
    (out / "cells").mkdir(parents=True)
    (out / "runs").mkdir()
    parent = own["pretrained"]
    if training != "pretrained":
        make_cell(parent, out, silent)

    def stop(news) -> None:
        if news.get("epoch") == (4 if training == "continued" else 1):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        make_cell(own[training], out, stop)
    assert load_result(out, own[training]) is None
    make_cell(own[training], out, silent)
    name = own[training].run
    assert bits(Run.open(out / "runs" / name)) == bits(Run.open(done / "runs" / name))


def test_nothing_starts_from_a_pretraining_that_is_not_finished(made, tiny, monkeypatch):
    monkeypatch.setattr("advrec.study.cell.TELL_SECONDS", 0.0)
    _, own, _ = made
    out = tiny / "unfinished"
    (out / "cells").mkdir(parents=True)
    (out / "runs").mkdir()
    with pytest.raises(Interrupted):
        make_cell(own["pretrained"], out, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    for training in ("APR", "continued", "restarted"):
        with pytest.raises(RunError, match="is not finished"):
            make_cell(own[training], out, silent)


def test_data_that_changed_under_a_study_are_refused(made):
    out, own, _ = made
    odd = replace(own["APR"], dataset={**own["APR"].dataset, "digest": "0" * 64})
    with pytest.raises(AdvrecError, match="has changed since the study was started"):
        make_cell(odd, out, silent)


# --- all cells -----------------------------------------------------------------------------------


class Inline:
    """Stands in for `schedule.Worker`: makes the cell at once, in this process."""

    running = most = 0
    order: list[str]

    def __init__(self, cell, out, threads, answers):
        self.cell = cell
        type(self).running += 1
        type(self).most = max(self.most, self.running)
        self.order.append(cell.label)
        try:
            answers.put((cell.key, {"done": self.make(cell, out)}))
        except AdvrecError as error:
            answers.put((cell.key, {"failed": str(error), "hint": error.hint}))
        answers.put((cell.key, {"ended": True, "code": None}))

    def make(self, cell, out):
        return make_cell(cell, out, silent)

    def close(self):
        type(self).running -= 1

    def kill(self):
        """It has ended."""


@pytest.fixture
def inline(monkeypatch, request):
    class Fresh(Inline):
        order = []  # noqa: RUF012 - one list a test

    monkeypatch.setattr(schedule, "Worker", Fresh)
    if "figures" not in request.node.name:  # they take a second
        monkeypatch.setattr("advrec.study.run.draw", lambda lines, metric, out: ())
    return Fresh


def study(folder: Path, out: str, **options):
    return run_study(folder / "study.toml", folder / out, overrides={"threads": 1}, **options)


def test_a_study_is_made_once_and_edits_make_only_what_changed(tiny, inline):
    events = []
    result = study(tiny, "once", command=["advrec", "study", "a b.toml"], on_event=events.append)
    assert (result.missing, result.failures) == ([], [])
    assert len(inline.order) == 8
    assert [event.done for event in events if event.kind == "done"] == list(range(1, 9))
    inline.order.clear()
    again = study(tiny, "once", command=["advrec", "study", "a b.toml"])
    assert inline.order == []
    assert again.document == result.document

    edited = tiny / "edited.toml"
    edited.write_text(STUDY.replace("eps = 0.3", "eps = 0.4"))
    run_study(edited, tiny / "once", overrides={"threads": 1})
    assert inline.order == [f"tiny / MF / APR / seed {seed}" for seed in (0, 1)]


def test_results_are_kept_as_markdown_json_and_figures(tiny, inline):
    result = study(tiny, "kept", command=["advrec", "study", "a b.toml"])
    text = (tiny / "kept/results.md").read_text()
    assert text.startswith("# Tiny\n\n    advrec study 'a b.toml'\n\nadvrec ")
    # the cells run in this process here, with the threads that it has
    threads = native.set_threads(None)
    assert f"; {threads} thread{'' if threads == 1 else 's'} per cell (8 cells)." in text
    for figure in ("robustness-tiny-MF.png", "training-tiny-MF.png"):
        assert figure in text
        assert (tiny / "kept" / figure).read_bytes().startswith(b"\x89PNG")
    document = json.loads((tiny / "kept/results.json").read_text())
    assert document == json.loads(json.dumps(result.document))
    line = document["lines"][0]
    assert (line["training"], line["seeds"], line["seeds_planned"]) == ("pretrained", [0, 1], 2)
    clean = line["clean"]["NDCG@5"]
    assert clean["mean"] == pytest.approx(sum(clean["values"]) / 2)
    half = summarize(clean["values"]).high - clean["mean"]
    assert f"{clean['mean']:.4f} ± {half:.4f}" in text
    assert len(line["noise"]) == 4
    assert document["complete"]
    assert {test["against"] for test in document["tests"]} == {
        "continued",
        "restarted",
        "pretrained",
    }
    assert all(size > 0 for size in line["peak_bytes"])
    assert line["seconds"]["train"] > 0


def test_a_chosen_part_is_made_and_the_rest_is_said_to_be_missing(tiny, inline):
    result = study(tiny, "part", only={"training": ["APR"], "seed": ["0"]})
    assert inline.order == [f"tiny / MF / {name} / seed 0" for name in ("pretrained", "APR")]
    assert len(result.missing) == 6
    text = (tiny / "part/results.md").read_text()
    assert "Incomplete: 6 of 8 cells are missing" in text
    assert "One seed: no interval." in text
    assert "one seed alone tests nothing" in text


def test_a_cell_that_fails_takes_only_its_own_children_with_it(tiny, inline):
    def make(self, cell, out):
        if cell.training == "pretrained" and cell.seed == 0:
            raise TrainingError("the loss is nan", hint="a lower --lr")
        return make_cell(cell, out, silent)

    inline.make = make
    result = study(tiny, "failing")
    told = {failure.cell.label: failure.message for failure in result.failures}
    assert told.pop("tiny / MF / pretrained / seed 0") == "the loss is nan"
    assert set(told.values()) == {"the pretraining that it starts from failed"}
    assert len(told) == 3
    assert all(line.seeds == [1] for line in result.lines)
    assert (
        "**Failed:** tiny / MF / pretrained / seed 0" in (tiny / "failing/results.md").read_text()
    )
    inline.make = Inline.make
    assert study(tiny, "failing").failures == []  # it is tried again


def test_cells_run_side_by_side_and_never_before_their_parents(inline, tmp_path):
    inline.make = lambda self, cell, out: {}
    cells = plan()
    Schedule(cells, tmp_path, jobs=3, threads=1, on_event=silent).run()
    assert 1 < inline.most <= 3
    places = {cell.run: inline.order.index(cell.label) for cell in cells}
    assert all(places[cell.run] > places[cell.parent] for cell in cells if cell.parent)


def test_a_cell_that_someone_else_stops_is_reported_and_its_children_wait(inline, tmp_path):
    def worker(cell, out, threads, answers):
        made = inline(cell, out, threads, answers)
        if cell.training == "pretrained":
            answers.queue.clear()
            answers.put((cell.key, {"stopped": "stopped by SIGTERM after 1 of 3 epochs"}))
            answers.put((cell.key, {"ended": True, "code": None}))
        return made

    inline.make = lambda self, cell, out: {}
    schedule.Worker = worker  # the fixture puts the real one back
    lane = Schedule(plan()[:4], tmp_path, jobs=1, threads=1, on_event=silent)
    lane.run()
    assert [failure.cell.training for failure in lane.failures] == [
        "pretrained",
        "APR",
        "continued",
        "restarted",
    ]
    assert "stopped by SIGTERM" in lane.failures[0].message


def test_a_process_that_dies_is_reported_with_its_last_words(monkeypatch, tmp_path):
    code = "import sys; sys.stdin.readline(); raise MemoryError('no room')"
    monkeypatch.setattr(schedule, "CELL_COMMAND", (sys.executable, "-c", code))
    (tmp_path / "cells").mkdir()
    lane = Schedule(plan()[:1], tmp_path, jobs=1, threads=1, on_event=silent)
    lane.run()
    (failure,) = lane.failures
    assert failure.message == "its process ended with exit code 1: MemoryError: no room"
    assert "Traceback" in Path(failure.hint.removeprefix("see ")).read_text()


# --- the command ---------------------------------------------------------------------------------


def test_the_command_lists_cells_without_making_any(tiny):
    shown = command("study", tiny / "study.toml", "--out", tiny / "none", "--dry-run", "--json")
    assert shown.code == 0
    assert [cell["made"] for cell in shown.json()["cells"]] == [False] * 8
    assert not (tiny / "none").exists()


def test_the_command_shows_tables_and_says_where_everything_is(tiny, inline):
    args = ("study", tiny / "study.toml", "--out", tiny / "shown", "--threads", 1)
    shown = command(*args)
    assert shown.code == 0, shown.err
    assert "NDCG@5 under noise" in shown.out
    assert "Without noise, against continued" in shown.out
    assert "8/8  tiny / MF / restarted / seed 1" in shown.err
    assert "results.json" in shown.err
    document = command(*args, "--json", "--quiet").json()
    assert document == json.loads((tiny / "shown/results.json").read_text())


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["--only", "modell=MF"], 2, "did you mean 'model'?"),
        (["--only", "MF"], 2, "'MF' is not NAME=VALUE"),
        (["--only", "model=LF"], 2, "the study has no model 'LF'"),
        (["--data", "huge=x"], 2, "has no data 'huge'"),
        (["--data", "tiny=nowhere"], 3, "no such file"),
        (["--jobs", "0"], 2, "jobs must be at least 1, got 0"),
    ],
)
def test_what_is_typed_wrong_is_said(tiny, args, code, sentence):
    shown = command("study", tiny / "study.toml", "--out", tiny / "wrong", *args)
    assert shown.code == code
    assert sentence in shown.err


def started(tiny: Path, out: Path) -> subprocess.Popen[str]:
    """A study in a process of its own whose one cell would take for ever, well under way."""
    endless = tiny / "endless.toml"
    endless.write_text(STUDY.replace("epochs = 3", "epochs = 10_000_000"))
    words = ["study", str(endless), "--out", str(out), "--threads", "1", "--only", "seed=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "advrec_cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if list(out.glob("runs/[!.]*/metrics.jsonl")):  # not in the draft, which gets another name
            return process
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.kill()
    raise AssertionError("nothing was started in a minute")


def free(run: Path) -> bool:
    """Can another process train this run?"""
    with contextlib.suppress(AdvrecError):
        opened = Run.open(run)
        opened.lock()
        opened.release()
        return True
    return False


def test_ctrl_c_saves_the_cells_that_run(tiny, tmp_path):
    process = started(tiny, tmp_path / "out")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped by SIGINT with 0 of 4 cells made" in err
    assert "the same command resumes" in err
    (run,) = (tmp_path / "out/runs").iterdir()
    assert free(run)
    assert not Run.open(run).progress.finished
    assert (tmp_path / "out/results.md").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_cells_end_with_a_study_that_was_killed(tiny, tmp_path):
    process = started(tiny, tmp_path / "out")
    process.kill()
    process.communicate(timeout=60)
    (run,) = (tmp_path / "out/runs").iterdir()
    for _ in range(600):
        if free(run):
            break
        time.sleep(0.1)
    assert free(run), f"its cell still runs: {(run / 'lock').read_text()}"


def test_a_cell_whose_study_is_gone_before_its_run_is_created_leaves_no_draft(tiny, tmp_path):
    (tmp_path / "runs").mkdir()
    own = by_training(planned(tiny))
    task = {"out": str(tmp_path), "threads": 1, "cell": asdict(own["pretrained"])}
    code = (  # the study ends while the first file of the run is written
        "import os, sys, time; from advrec.study import cell\n"
        "def slow(handle):\n    os.write(2, b'.'); time.sleep(60)\n"
        "os.fsync = slow; sys.exit(cell.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    process.stdin.write(json.dumps(task).encode() + b"\n")
    process.stdin.flush()
    assert process.stderr.read(1) == b"."
    assert list((tmp_path / "runs").glob(".*.new"))
    process.stdin.close()
    process.wait(60)
    assert list((tmp_path / "runs").iterdir()) == []


def test_cells_are_processes_of_their_own(tiny):
    only = {"training": ["pretrained"], "seed": ["0"]}
    result = study(tiny, "processes", only=only, jobs=2)
    assert len(result.lines) == 1
    assert result.lines[0].seeds == [0]
    assert result.failures == []


def test_two_lines_of_a_table_that_ask_for_the_same_training_share_it(tiny, inline):
    shared = tiny / "shared.toml"
    both = STUDY.replace("seeds = 2", "seeds = 1") + STUDY[STUDY.index("[models.MF]") :]
    again, last = both.rsplit("[models.MF]", 1)
    shared.write_text(f"{again}[models.strong]{last.replace('eps = 0.3', 'eps = 0.6')}")
    result = run_study(shared, tiny / "shared", overrides={"threads": 1})
    assert len(inline.order) == result.cells == 5
    assert len(result.lines) == 8
    assert result.missing == []
