"""The benchmarks run and compute the same as their peers. No timing is looked at."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from advrec import native

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # bench/ is not installed

from bench import peers, report
from bench.__main__ import CLAIMS, main
from bench.lab import Lab
from bench.measure import QUICK, Contender, Pace, Timing, race, ratio
from bench.results import Check, Facts, Section, Table, Target, Unit

IN_A_CHILD = ("ranking", "load", "commands", "scale")  # these start processes, which takes seconds

needs_core = pytest.mark.skipif(not native.core(), reason="the compiled core is missing")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(pace=QUICK, threads=(1,), quick=True, scratch=tmp_path_factory.mktemp("bench"))


def marks(name):
    if name == "roofline":
        absent = not (shutil.which("c++") or shutil.which("g++"))
        return [pytest.mark.skipif(absent, reason="there is no C++ compiler")]
    return [pytest.mark.slow] if name in IN_A_CHILD else []


@needs_core
@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in CLAIMS])
def test_a_claim_measures_something_and_everyone_computes_the_same(lab, name):
    parts = importlib.import_module(f"bench.claims.{name}").run(lab)
    assert parts
    wrong = [check for part in parts for check in part.checks if not check.ok]
    assert not wrong
    for part in parts:
        if isinstance(part, Table):
            assert all(timing.rounds and timing.best > 0 for timing in part.timings)
            assert part.ours in part.of(1)
        else:
            assert all(len(row) == len(part.columns) for row in part.rows)


@needs_core
@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
def test_a_run_writes_a_report_and_a_later_one_replaces_only_its_claims(tmp_path):
    out = tmp_path / "RESULTS.md"
    arguments = ["--quick", "--threads", "1", "--out", str(out), "--only"]
    assert main([*arguments, "propagate"]) == 0
    first = json.loads(out.with_suffix(".json").read_text())
    first["quick"] = False  # as if it had been a real one
    out.with_suffix(".json").write_text(json.dumps(first))
    assert "torch CSR" in out.read_text()
    assert "figures mean nothing" in out.read_text()
    assert main([*arguments, "sampler"]) == 0
    assert [s["name"] for s in _sections(out)] == ["sampler"]  # a quick run keeps nothing


def _sections(out):
    return json.loads(out.with_suffix(".json").read_text())["sections"]


def test_contenders_take_turns_and_slow_ones_take_fewer():
    calls = []

    def contender(name, seconds=0.0):
        def call():
            calls.append(name)
            _wait(seconds)

        return Contender(name, call, threads=None)

    def _wait(seconds):
        importlib.import_module("time").sleep(seconds)

    pace = Pace(rounds=4, block_seconds=0.0, contender_seconds=0.05, least_rounds=2, pause=0.0)
    timings = race([contender("a"), contender("b"), contender("slow", 0.05)], 1, pace)
    assert calls[:3] == ["a", "b", "slow"]  # once before anything is timed
    assert calls[3:9] == ["a", "b", "slow", "b", "slow", "a"]
    assert [len(timing.rounds) for timing in timings] == [4, 4, 2]


def test_who_cannot_use_so_many_threads_does_not_run():
    one = Contender("one", lambda: None, threads=(1,))
    assert race([one], 2, QUICK) == []


def test_a_ratio_is_of_the_minima_with_what_single_rounds_gave():
    found = ratio(Timing("a", 1, [1.0, 2.0]), Timing("b", 1, [4.0, 5.0]))
    assert (found.value, found.low, found.high) == (4.0, 2.5, 4.0)


@pytest.mark.parametrize(
    ("target", "state"),
    [
        (Target("", 3, ("slow",)), "reached"),
        (Target("", 5, ("slow",)), "missed"),
        (Target("", 1, ("near",)), "unresolved"),
        (Target("", 3, ("slow", "near")), "missed"),
        (Target("", 1.15, ("near",), at_most=True), "missed"),
        (Target("", 1.25, ("near",), at_most=True), "reached"),
        (Target("", 3, ("absent",)), "not measured"),
        (Target("", 2), "reached"),
        (Target("", 0.5), "missed"),
    ],
)
def test_what_becomes_of_a_target(target, state):
    timings = [Timing("advrec", 1, [1.0]), Timing("slow", 1, [4.0]), Timing("near", 1, [1.2])]
    table = Table("t", Unit("s", 1.0), timings, targets=[target])
    assert [verdict.state for verdict in table.verdicts()] == [state]


def test_a_difference_is_shouted_in_the_report_and_is_not_in_order():
    section = Section("x", "X", [Facts("f", ("a",), [(1,)], checks=[Check("me", "sum", False)])])
    assert not section.ok
    document = {
        "quick": False,
        "command": "",
        "data": "",
        "machine": _machine(),
        "sections": [{**section.to_json(), "machine": _machine()}],
    }
    assert "me **FAILED**" in report.markdown(document, None)


def _machine():
    names = ("processor", "cores", "memory_gib", "system", "python", "instruction_set")
    return {**dict.fromkeys(names, "?"), "versions": {}, "environment": {}}


def test_a_missing_peer_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(peers.MODULES, "nobody", ("nobody_has_this", "pip install it"))
    assert "pip install it" in str(peers.why_missing("nobody", {}))
    assert "--checkout rs-zoos=PATH" in str(peers.why_missing("rs-zoos", {}))
    assert peers.why_missing("rs-zoos", {"rs-zoos": Path()}) is None


def test_a_checkout_must_be_one(capsys):
    with pytest.raises(SystemExit):
        main(["--checkout", "rs-zoos=/nowhere"])
    assert "has no model/ALGN.py" in capsys.readouterr().err
