"""Every flag is raised where it should be, and not by figures that are as they ought to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_attacks import DATA, trained

from advrec.robustness import flags
from advrec.robustness.flags import BLACK_BOX, RANDOM, RANKING, SATURATING, Evidence, Facts
from advrec.robustness.members import STANDARD
from advrec.robustness.suite import run_suite
from advrec.runs.subject import model_of_vectors

BPR = "BPR, train, 1 step"
KNOWLEDGE = {member.name: member.knowledge for member in STANDARD}
SMALL = dict.fromkeys(KNOWLEDGE, 0.38) | {RANDOM: 0.395, RANKING: 0.3, SATURATING: 0.32}
LARGE = {name: value - 0.1 for name, value in SMALL.items()} | {RANDOM: 0.39}
for name in BLACK_BOX:
    SMALL[name], LARGE[name] = 0.39, 0.385
SOUND = Evidence(
    metric="NDCG@20",
    unit="eps",
    clean=0.4,
    figures=((0.1, SMALL), (0.2, LARGE)),
    knowledge=KNOWLEDGE,
    violations=0,
    zero_share=0.0,
    beyond=0.0,
    row_norm=2.0,
    stored={"rho": 0.2, "canonical": 0.30, "as_stored": 0.305},
    floored=False,
)


def member(name: str, value: float, size: int = 1) -> Evidence:
    every = [dict(values) for _, values in SOUND.figures]
    every[size][name] = value
    return replace(SOUND, figures=tuple(zip((0.1, 0.2), every, strict=True)))


RAISING: dict[str, tuple[Evidence, str]] = {
    "certified above attacked": (replace(SOUND, violations=3), "left 3 users with less"),
    "ranking attack outdone": (member(SATURATING, 0.15), "At ε = 0.2 one step of the saturating"),
    "weaker than random": (member(BPR, 0.4, 0), f"random noise takes more than '{BPR}'"),
    "larger budget helps": (member("minimum norm, test", 0.387), "takes less at ε = 0.2 than at"),
    "zero gradients": (replace(SOUND, zero_share=0.02), "2.0% of the live rows"),
    "black box beats white box": (member(BLACK_BOX[1], 0.2), "'scores only' takes more than any"),
    "left at 100 times the norm": (replace(SOUND, beyond=0.01), "leaves 0.0100 of NDCG@20"),
    "budget above the norms": (replace(SOUND, row_norm=0.15), "ε = 0.2 is not less than the mean"),
    "norms as stored differ": (
        replace(SOUND, stored={"rho": 0.2, "canonical": 0.30, "as_stored": 0.35}),
        "leaves 0.3000 in canonical form and 0.3500 by the norms as stored",
    ),
    "canonical form floored": (replace(SOUND, floored=True), "too few users"),
}


def test_figures_as_they_should_be_raise_nothing() -> None:
    assert flags.raised(SOUND) == []


@pytest.mark.parametrize("name", flags.CHECKS)
def test_each_flag_of_a_suite_is_raised_by_its_sign(name: str) -> None:
    evidence, sentence = RAISING[name]
    entries = {entry["name"]: entry for entry in flags.raised(evidence)}
    assert name in entries
    assert sentence in entries[name]["raised"]
    assert entries[name]["means"] == flags.FLAGS[name].means
    assert entries[name]["do"]
    assert set(entries) <= {name, "weaker than random"}


def test_what_was_not_measured_raises_nothing() -> None:
    unknown = replace(SOUND, violations=None, zero_share=None, beyond=None, stored=None)
    assert flags.raised(unknown) == []
    relative = replace(SOUND, unit="rho", row_norm=0.01)
    assert flags.raised(relative) == []


CONTROL = Facts("base", "mf", adversarial=False, epochs=60, seed=0, row_norm=1.0)
LONGER = Facts("longer", "mf", adversarial=False, epochs=120, seed=0, row_norm=1.0)
ROBUST = Facts("robust", "mf", adversarial=True, epochs=120, seed=0, row_norm=1.0)


def between(*facts: Facts, unit: str = "eps") -> list[str]:
    return [entry["name"] for entry in flags.raised_between(facts, unit).get("robust", [])]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([LONGER, replace(ROBUST, row_norm=1.2)], {"norm growth", "fewer than three seeds"}),
        ([CONTROL, ROBUST], {"undertrained control", "fewer than three seeds"}),
        ([ROBUST], {"undertrained control", "fewer than three seeds"}),
        ([replace(LONGER, model="lightgcn"), ROBUST],
         {"undertrained control", "fewer than three seeds"}),
        ([LONGER, ROBUST], {"fewer than three seeds"}),
        ([LONGER, *(replace(ROBUST, name=n, seed=s) for s, n in enumerate(["robust", "b", "c"]))],
         set()),
    ],
)  # fmt: skip
def test_comparisons_of_trainings_raise_theirs(facts: list[Facts], expected: set[str]) -> None:
    assert set(between(*facts)) == expected
    assert set(flags.FLAGS) == {*flags.CHECKS, "norm growth", "undertrained control",
                                "fewer than three seeds"}  # fmt: skip


def test_longer_vectors_are_fair_under_a_relative_budget() -> None:
    grown = replace(ROBUST, row_norm=2.0)
    assert "norm growth" in between(LONGER, grown)
    assert "norm growth" not in between(LONGER, grown, unit="rho")


# -- raised by models ----------------------------------------------------------------------------


def names_of(model: Any, **options: Any) -> set[str]:
    result = run_suite(model, DATA, ks=(5,), queries=20, certificate=False, **options)
    return {flag["name"] for flag in result.flags}


def test_vectors_so_long_that_the_loss_is_flat_have_zero_gradients() -> None:
    model = trained("mf").float()
    assert "zero gradients" not in names_of(model, eps=[0.05])
    with torch.no_grad():
        model.get_parameter("embedding").mul_(100)
    assert "zero gradients" in names_of(model, eps=[0.05])


def test_columns_that_are_stretched_are_noticed() -> None:
    users, items = (table.detach() for table in trained("mf").vectors() or ())
    stretched = torch.where(torch.arange(users.shape[1]) % 2 == 0, 8.0, 0.125)
    model = model_of_vectors(users / stretched, items * stretched)
    assert "norms as stored differ" in names_of(model, rho=[0.1])
    assert "budget above the norms" in names_of(model, eps=[50.0])


def test_noise_of_a_hundred_times_the_norm_leaves_nothing_of_a_model_that_can_be_attacked() -> None:
    assert "left at 100 times the norm" not in names_of(trained("mf"), eps=[0.05])
    assert "left at 100 times the norm" not in names_of(trained("lightgcn"), rho=[0.05])
