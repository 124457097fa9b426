"""Studies: what a file may say, which cells it asks for, what they hold, how they resume."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runner import advrec as command
from cli_runner import write_ratings
from training_data import bits

import advrec
from advrec.data import DataConfig, load_dataset
from advrec.errors import AdvrecError, ConfigError, Interrupted, TrainingError, UsageError
from advrec.runs import Run
from advrec.stats import summarize
from advrec.study import read_study, run_study, schedule
from advrec.study.cell import make_cell
from advrec.study.expand import make_plan, merged
from advrec.study.plan import Cell, DataFacts, choose, with_parents
from advrec.study.results import Noise, gather, make_tests
from advrec.study.schedule import Schedule, load_result
from advrec.study.spec import data_config, parse_study
from advrec.study.verdict import conclusion, sentences

STUDY = """
title = "Tiny"
seeds = 2
metrics = ["NDCG@5", "Recall@5"]
[train]
dim = 8
batch_size = 64
eval_every = 1
[attack]
eps = [0.1, 0.5]
[data.tiny]
data = "ratings.csv"
[models.MF]
model = "mf"
pretrain.epochs = 3
adversarial.APR = { epochs = 2, eps = 0.3 }
controls = ["continued", "restarted"]
"""

FACTS = DataFacts("tiny", 40, 30, 280, 40, 80, "d1" * 32, None, {"data": "x"}, ())


def plan(text: str = STUDY, facts: DataFacts = FACTS, **overrides) -> list[Cell]:
    spec = parse_study(text)
    return make_plan(spec, dict.fromkeys(spec.data, facts), overrides, "the study")


def by_training(cells: list[Cell], seed: int = 0) -> dict[str, Cell]:
    return {cell.training: cell for cell in cells if cell.seed == seed}


# --- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("title", "titel"), "Unknown option 'titel' in the study."),
        (("seeds = 2", "seeds = 0"), "wanted a number of seeds from 1 up, or a list of seeds"),
        (("seeds = 2", "seeds = [1, 1]"), "wanted every seed once"),
        (('"NDCG@5"', '"NDCG"'), "wanted figures with their cut-off, such as NDCG@20"),
        (('"NDCG@5"', '"Gain@5"'), "Gain"),
        (("[0.1, 0.5]", "[0.5, 0.1]"), "wanted different numbers, ascending"),
        (("[0.1, 0.5]", "[-1]"), "'eps' in the attack of [models.MF] of the study is -1"),
        (("[models.MF]\n", "[models.MF]\nmodels = 1\n"), "'models' in [models.MF] of the study"),
        (('model = "mf"', 'model = "fm"'), "There is no model 'fm'"),
        (('model = "mf"', 'data = ["a"]\nmodel = "mf"'), "there is no [data.a]"),
        (("dim = 8", "dims = 8"), "Unknown option 'dims' in [train] of the study."),
        (("dim = 8", "seed = 8"), "Option 'seed' has no place in [train] of the study."),
        (("dim = 8", "layers = 8"), "the model 'mf' has no layers"),
        (("epochs = 3", "epochs = 0"), "'epochs' in [models.MF] pretrain of the study is 0"),
        (("adversarial.APR", "adversarial.continued"), "another name than 'continued'"),
        (("eps = 0.3", "dim = 4"), "has 'dim', which must be that of the pretraining"),
        (("eps = 0.3", 'site = "mars"'), "has no site 'mars'"),
        (("[attack]", '[attack]\nsites = ["mars"]'), "has no site 'mars'"),
        (("[attack]", '[attack]\nnorm = "sample"'), "belongs to training batches"),
        (("adversarial.APR = { epochs = 2, eps = 0.3 }", ""), "has controls, but no adversarial"),
        (("[models.MF]", "[models"), "not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_study_is_said_before_it_starts(change, sentence):
    before, after = change
    assert before in STUDY
    with pytest.raises(AdvrecError) as error:
        plan(STUDY.replace(before, after))
    assert sentence in str(error.value)


def test_controls_need_adversarial_trainings_of_equal_epochs():
    two = STUDY.replace("controls", "adversarial.long = { epochs = 9 }\ncontrols")
    with pytest.raises(ConfigError, match=r"different epochs \(2, 9\)"):
        plan(two)


def test_a_model_that_needs_features_is_refused_on_data_without():
    with pytest.raises(ConfigError, match="needs item features, and the data 'tiny' has none"):
        plan(STUDY.replace('"mf"', '"vbpr"'))


def test_paths_start_at_the_study_file_and_features_at_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "/somewhere")
    monkeypatch.setenv("ADVREC_DATA", "/downloads")

    def made(**section: str) -> DataConfig:
        return data_config(section, tmp_path, "[data.x]")

    assert made(data="sub/a").data == str(tmp_path / "sub/a")
    assert made(data="$PLACE/a").data == made(data="${PLACE}/a").data == "/somewhere/a"
    assert made(data="$ADVREC_DATA/a", features="f.npy").features == "/downloads/a/f.npy"
    assert made(data="debian").data == "debian"
    assert made(data="gowalla", features="f.npy").features == "/downloads/gowalla/f.npy"
    monkeypatch.delenv("ADVREC_DATA")
    assert made(data="$ADVREC_DATA/a").data.endswith("advrec/data/a")
    with pytest.raises(ConfigError, match=r"uses \$NOWHERE, which is not set"):
        made(data="$NOWHERE/a")
    with pytest.raises(ConfigError, match="no data option is called 'spilt'"):
        made(data="debian", spilt="random")


@pytest.mark.parametrize("path", sorted(Path("bench/studies").glob("*.toml")), ids=lambda p: p.stem)
def test_every_study_of_the_project_can_be_planned(path):
    spec = read_study(path)
    facts = replace(FACTS, features_digest="f" * 64)
    cells = make_plan(spec, dict.fromkeys(spec.data, facts), {}, str(path))
    assert {cell.data for cell in cells} == set(spec.data)
    assert {cell.model for cell in cells} == set(spec.models)


# --- the cells -----------------------------------------------------------------------------------


def test_each_seed_has_a_pretraining_and_what_starts_from_it():
    cells = plan()
    assert [(cell.training, cell.seed) for cell in cells] == [
        (training, seed)
        for seed in (0, 1)
        for training in ("pretrained", "APR", "continued", "restarted")
    ]
    own = by_training(cells)
    assert own["pretrained"].parent is None
    assert {own[t].parent for t in ("APR", "continued", "restarted")} == {own["pretrained"].run}
    assert own["continued"].config["epochs"] == 5
    assert (own["restarted"].config["epochs"], own["restarted"].config["adv_weight"]) == (2, 0.0)
    assert own["APR"].config["eps"] == 0.3
    assert {cell.config["metric"] for cell in cells} == {"NDCG@5"}
    assert {cell.config["patience"] for cell in cells} == {0}


def test_a_cell_is_named_by_what_decides_its_numbers():
    first = by_training(plan())

    def same(text: str = STUDY, facts: DataFacts = FACTS, **overrides) -> dict[str, set[str]]:
        other = by_training(plan(text, facts, **overrides))
        pairs = [(first[name], other[name]) for name in first]
        return {
            "runs": {a.training for a, b in pairs if a.run == b.run},
            "keys": {a.training for a, b in pairs if a.key == b.key},
        }

    everything = {"pretrained", "APR", "continued", "restarted"}
    assert same(threads=2, device="cpu") == {"runs": everything, "keys": everything}
    assert same(STUDY.replace('"Tiny"', '"Other"').replace("[models.MF]", "[models.other]")) == {
        "runs": everything,
        "keys": everything,
    }
    assert same(STUDY.replace("0.1, 0.5", "0.1, 0.6")) == {"runs": everything, "keys": set()}
    assert same(STUDY.replace("eps = 0.3", "eps = 0.4"))["keys"] == everything - {"APR"}
    assert same(STUDY.replace("epochs = 3", "epochs = 4"))["runs"] == set()
    assert same(facts=replace(FACTS, digest="d2" * 32))["runs"] == set()


def test_options_go_from_the_general_to_the_particular():
    text = STUDY + "on.tiny.pretrain.lr = 0.3\non.tiny.train.reg = 0.1\ntrain.lr = 0.2\n"
    own = by_training(plan(text))
    assert (own["pretrained"].config["lr"], own["pretrained"].config["reg"]) == (0.3, 0.1)
    assert (own["APR"].config["lr"], own["APR"].config["reg"]) == (0.2, 0.1)
    assert merged({"lr": {"a": 1, "b": 2}, "x": 1}, {"lr": {"b": 3}}, {"x": 2}) == {
        "lr": {"a": 1, "b": 3},
        "x": 2,
    }


def test_a_part_of_a_study_can_be_chosen_and_brings_its_pretrainings():
    cells = plan()
    chosen = choose(cells, {"training": ["APR"], "seed": ["1"]})
    assert [cell.label for cell in chosen] == ["tiny / MF / APR / seed 1"]
    assert [c.training for c in with_parents(chosen, cells)] == ["pretrained", "APR"]
    with pytest.raises(UsageError, match="no model 'mf'") as error:
        choose(cells, {"model": ["mf"]})
    assert error.value.hint == "there are MF"


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
    """Nobody listens."""


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
        assert [entry["metrics"] for entry in told] == [dict(f.noisy.values) for f in found]
    assert load_result(out, own["APR"]) == json.loads(json.dumps(results["APR"]))


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
def inline(monkeypatch):
    class Fresh(Inline):
        order = []  # noqa: RUF012 - one list a test

    monkeypatch.setattr(schedule, "Worker", Fresh)
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
    assert "; 1 thread a cell (8 cells)." in text
    for figure in ("robustness-tiny.png", "training-tiny-MF.png"):
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
    assert "Not complete: 6 of 8 cells are not made yet" in text
    assert "One seed: no interval." in text
    assert "one seed alone tests nothing" in text


def test_a_cell_that_fails_takes_only_its_own_children_with_it(tiny, inline):
    def make(self, cell, out):
        if cell.training == "pretrained" and cell.seed == 0:
            raise TrainingError("The loss is nan.", hint="a lower --lr")
        return make_cell(cell, out, silent)

    inline.make = make
    result = study(tiny, "failing")
    told = {failure.cell.label: failure.message for failure in result.failures}
    assert told.pop("tiny / MF / pretrained / seed 0") == "The loss is nan."
    assert set(told.values()) == {"The pretraining that it starts from failed."}
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


def test_a_process_that_dies_is_reported_with_its_last_words(monkeypatch, tmp_path):
    code = "import sys; sys.stdin.readline(); raise MemoryError('no room')"
    monkeypatch.setattr(schedule, "CELL_COMMAND", (sys.executable, "-c", code))
    (tmp_path / "cells").mkdir()
    lane = Schedule(plan()[:1], tmp_path, jobs=1, threads=1, on_event=silent)
    lane.run()
    (failure,) = lane.failures
    assert failure.message == "Its process ended with 1. MemoryError: no room"
    assert "Traceback" in Path(failure.hint.removeprefix("see ")).read_text()


# --- what they say -------------------------------------------------------------------------------


def fake(cell: Cell, out: Path, clean: float, noisy: float) -> None:
    """A result with the same figure for every metric, and another under every noise."""
    metrics = dict.fromkeys(cell.measures.metrics, clean)
    attacks = [
        {
            "site": site,
            "noise": kind,
            "eps": eps,
            "budget": {"relative": eps / 4},
            "metrics": dict.fromkeys(metrics, noisy if kind == "adversarial" else clean),
        }
        for site in cell.measures.sites
        for kind in cell.measures.noise
        for eps in cell.measures.eps
    ]
    result = {"key": cell.key, "clean": {"metrics": metrics}, "attacks": attacks}
    schedule.result_path(out, cell).write_text(json.dumps(result))


@pytest.fixture
def told(tmp_path):
    """Makes fake results: training → (clean, noisy) of each seed; gives the tests of NDCG@5."""

    def tell(**figures):
        (tmp_path / "cells").mkdir(exist_ok=True)
        seeds = len(figures["APR"])
        cells = plan(STUDY.replace("seeds = 2", f"seeds = {seeds}"))
        for cell in cells:
            if cell.training in figures:
                fake(cell, tmp_path, *figures[cell.training][cell.seed])
        lines = gather(cells, tmp_path)
        return lines, make_tests(lines, "NDCG@5")

    return tell


BASE = [(0.50, 0.40), (0.52, 0.41), (0.54, 0.44)]


def shifted(clean: float, noisy: float) -> list[tuple[float, float]]:
    """BASE and a difference, a little other for every seed."""
    return [(a + clean + 0.001 * n, b + noisy + 0.001 * n) for n, (a, b) in enumerate(BASE)]


def test_lines_hold_means_over_seeds_and_shares_lost(told):
    lines, _ = told(APR=shifted(0.1, 0.2), pretrained=BASE)
    assert [line.training for line in lines] == ["pretrained", "APR"]
    noise = Noise("ego", "adversarial", 0.5)
    assert lines[0].summary("NDCG@5") == summarize([0.50, 0.52, 0.54])
    assert lines[0].lost("NDCG@5", noise).mean == pytest.approx(
        (0.1 / 0.5 + 0.11 / 0.52 + 0.1 / 0.54) / 3
    )
    assert lines[0].budget(noise) == 0.125


@pytest.mark.parametrize(
    ("clean", "verdict", "words"),
    [
        (0.02, "helps", "it helps"),
        (-0.02, "hurts", "**it hurts**"),
        (-0.001, "no difference", "**no difference can be told**"),
    ],
)
def test_the_verdict_is_that_of_the_paired_test(told, clean, verdict, words):
    _, tests = told(APR=shifted(clean, 0.1), continued=BASE)
    assert tests[0].noise is None
    assert tests[0].verdict == verdict
    assert tests[0].comparison.difference == pytest.approx(clean + 0.001)
    said = sentences(tests)
    assert said[0].startswith("**tiny / MF / APR, without noise**: NDCG@5 ")
    assert words in said[0]
    assert "p = " in said[0] or "p < " in said[0]
    summed = conclusion(tests)
    assert ("helps in 1 of 1" in summed[0]) == (verdict == "helps")
    assert ("It hurts" in summed[0]) == (verdict == "hurts")
    assert ("It does not help" in summed[0]) == (verdict == "no difference")
    assert "helps in 2 of 2" in summed[1]  # under noise


def test_seeds_are_paired_and_only_those_that_both_have(told):
    _, tests = told(APR=[*shifted(0.1, 0.1), (0.9, 0.9)], pretrained=[*BASE, (0.1, 0.1)])
    assert tests[0].comparison.n == 4
    lines, _ = told(APR=shifted(0.1, 0.1), pretrained=BASE)
    one = replace(lines[0], results={2: lines[0].results[2]})
    (clean, *_) = make_tests([one, lines[1]], "NDCG@5")
    assert clean.comparison.n == 1
    assert clean.verdict == "untested"
    assert math.isnan(clean.comparison.p_t)


def test_controls_are_compared_with_before_the_pretraining(told):
    _, tests = told(APR=shifted(0.1, 0.1), pretrained=BASE, continued=BASE, restarted=BASE)
    opponents = dict.fromkeys(test.against.training for test in tests)
    assert list(opponents) == ["continued", "restarted", "pretrained"]
    assert len(conclusion(tests)) == 6


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
        (["--only", "model=LF"], 2, "The study has no model 'LF'."),
        (["--data", "huge=x"], 2, "has no data 'huge'"),
        (["--data", "tiny=nowhere"], 3, "no such file"),
        (["--jobs", "0"], 2, "wanted at least 1"),
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
        if list(out.glob("runs/*/metrics.jsonl")):
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
    assert "Stopped by SIGINT with 0 of 4 cells made" in err
    assert "the same command goes on" in err
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
    for _ in range(300):
        if free(run):
            return
        time.sleep(0.1)
    raise AssertionError("its cell still runs")


def test_cells_are_processes_of_their_own(tiny):
    only = {"training": ["pretrained"], "seed": ["0"]}
    result = study(tiny, "processes", only=only, jobs=2)
    assert len(result.lines) == 1
    assert result.lines[0].seeds == [0]
    assert result.failures == []
