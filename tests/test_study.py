"""Studies: what a file may say, which cells it asks for, and what finished cells say together."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_study import FACTS, STUDY, by_training, plan

from advrec.data import DataConfig
from advrec.errors import AdvrecError, ConfigError, UsageError
from advrec.report.stats import summarize
from advrec.study import read_study
from advrec.study.expand import make_plan, merged
from advrec.study.plan import Cell, DataFacts, choose, with_parents
from advrec.study.results import Attack, gather, make_tests
from advrec.study.schedule import result_path
from advrec.study.spec import data_config
from advrec.study.verdict import conclusion, sentences

STUDIES = Path(__file__).parent.parent / "bench" / "studies"


# --- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("title", "titel"), "unknown option 'titel' in the study"),
        (("seeds = 2", "seeds = 0"), "must be a number of seeds from 1 up, or a list of seeds"),
        (("seeds = 2", "seeds = [1, 1]"), "must be different seeds"),
        (('"NDCG@5"', '"NDCG"'), "must be figures with their cut-off, such as NDCG@20"),
        (('"NDCG@5"', '"Gain@5"'), "Gain"),
        (("[0.1, 0.5]", "[0.5, 0.1]"), "must be different numbers, ascending"),
        (
            ("[0.1, 0.5]", "[-1]"),
            "eps in the attack of [models.MF] of the study must be more than 0, got -1",
        ),
        (("[models.MF]\n", "[models.MF]\nmodels = 1\n"), "'models' in [models.MF] of the study"),
        (('model = "mf"', 'model = "fm"'), "unknown model 'fm'"),
        (('model = "mf"', 'data = ["a"]\nmodel = "mf"'), "there is no [data.a]"),
        (("dim = 8", "dims = 8"), "unknown option 'dims' in [train] of the study"),
        (("dim = 8", "seed = 8"), "option 'seed' is not allowed in [train] of the study"),
        (("dim = 8", "layers = 8"), "model 'mf' has no layers"),
        (
            ("epochs = 3", "epochs = 0"),
            "epochs in [models.MF] pretrain of the study must be at least 1, got 0",
        ),
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
    with pytest.raises(ConfigError, match=r"must have equal epochs to have controls, got 2, 9"):
        plan(two)


def test_a_model_that_needs_features_is_refused_on_data_without():
    with pytest.raises(ConfigError, match="needs item features, and data 'tiny' has none"):
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
    with pytest.raises(ConfigError, match="unknown option 'spilt' in the data options"):
        made(data="debian", spilt="random")


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda p: p.stem)
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
    assert error.value.hint == "choose from MF"


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
    result_path(out, cell).write_text(json.dumps(result))


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
    attack = Attack("ego", "adversarial", 0.5)
    assert lines[0].summary("NDCG@5") == summarize([0.50, 0.52, 0.54])
    assert lines[0].lost("NDCG@5", attack).mean == pytest.approx(
        (0.1 / 0.5 + 0.11 / 0.52 + 0.1 / 0.54) / 3
    )
    assert lines[0].budget(attack) == 0.125


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
    assert tests[0].attack is None
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
