"""attack.json and eval.json: written by Python and the command alike, and read back whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli_runner import advrec as command
from support.cli_runner import write_ratings
from support.training_data import FAST, tiny_dataset

import advrec
from advrec.errors import RunError
from advrec.runs.results import (
    attack_document,
    evaluation_document,
    read_attack,
    read_evaluation,
)
from advrec.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose data can be read again."""
    folder = tmp_path_factory.mktemp("results")
    ratings = write_ratings(folder / "ratings.csv")
    return advrec.pretrain(str(ratings), runs=folder / "runs", **FAST).run


def kept(run: Run, name: str, make: Callable[[], object]) -> bytes:
    """What `make` leaves in the run folder under this name."""
    (run.path / name).unlink(missing_ok=True)
    make()
    return (run.path / name).read_bytes()


def test_an_attack_from_python_leaves_the_file_of_the_command(run: Run) -> None:
    options = ["--noise", "both", "--eps", "1,0.5", "--site", "ego", "--metric", "NDCG", "-k", 5]
    shown = kept(run, "attack.json", lambda: command("attack", run.path, *options, "--seed", 3))
    python = kept(
        run,
        "attack.json",
        lambda: advrec.attack(
            run, noise=["random", "adversarial"], eps=[1, 0.5], site="ego", metrics=["NDCG"],
            ks=[5], seed=3, sampled_seed=3,
        ),
    )  # fmt: skip
    assert python == shown


def test_an_evaluation_from_python_leaves_the_file_of_the_command(run: Run) -> None:
    shown = kept(run, "eval.json", lambda: command("eval", run.path, "-k", 5, "--part", "valid"))
    python = kept(run, "eval.json", lambda: advrec.evaluate(run, ks=[5], part="valid"))
    assert python == shown


def test_a_model_without_a_run_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = tiny_dataset()
    model = advrec.pretrain(dataset, runs=tmp_path / "runs", **FAST).model
    advrec.attack(model, dataset)
    advrec.evaluate(model, dataset)
    assert not list(tmp_path.rglob("attack.json")) + list(tmp_path.rglob("eval.json"))


def test_what_is_written_is_read_back(run: Run) -> None:
    results = advrec.attack(run, noise=["random", "adversarial"], eps=[0.5, 1.0], restarts=2)
    assert attack_document([(run, read_attack(run))]) == attack_document([(run, results)])
    assert read_attack(run)[1].lost == results[1].lost
    evaluation = advrec.evaluate(run, metrics=["AUC", "HR@3"], sampled=7)
    again = read_evaluation(run)
    assert evaluation_document([(run, again)]) == evaluation_document([(run, evaluation)])
    assert again.per_user == {}


@pytest.mark.parametrize(
    ("name", "read", "remedy"),
    [("attack.json", read_attack, "advrec attack"), ("eval.json", read_evaluation, "advrec eval")],
)
def test_a_missing_or_damaged_file_is_one_sentence(
    run: Run, name: str, read: Callable[[Run], object], remedy: str
) -> None:
    path = run.path / name
    path.unlink(missing_ok=True)
    with pytest.raises(RunError, match=f"{name} does not exist") as error:
        read(run)
    assert f"{remedy} {run.path}" in str(error.value.hint)
    for content in ("{", "[]", "{}", '{"runs": [{"results": [{"kind": "worst"}]}]}', "null"):
        path.write_text(content)
        with pytest.raises(RunError, match="is damaged: it is not what advrec writes"):
            read(run)
