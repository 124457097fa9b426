"""What a run folder keeps of measurements: attack.json, suite.json, eval.json, certificate.csv.

The command line prints the same documents with `--json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from advrec.errors import RunError, UsageError
from advrec.evaluation.evaluate import Evaluation
from advrec.robustness.attack import AttackResult
from advrec.robustness.flags import Facts
from advrec.runs.records import damaged
from advrec.runs.run import Run
from advrec.runs.subject import Subject
from advrec.system import files

ATTACK, EVAL, CERTIFICATE = "attack.json", "eval.json", "certificate.csv"
SUITE = "suite.json"

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset
    from advrec.robustness.certify import Certificate
    from advrec.robustness.suite import SuiteResult

FORM_ERRORS = (ValueError, TypeError, UsageError)

T = TypeVar("T")


def attack_document(
    attacks: Sequence[tuple[Run | Subject, Sequence[AttackResult]]],
) -> dict[str, Any]:
    """Every result in full: the plan, the budget as measured, losses and metrics."""
    return {
        "runs": [
            {**_described(of), "results": [result.to_dict() for result in results]}
            for of, results in attacks
        ]
    }


def _described(of: Run | Subject) -> dict[str, Any]:
    """What was attacked; for vectors from elsewhere, their files."""
    run = of.run if isinstance(of, Subject) else of
    if run is not None:
        return {
            "run": run.name,
            "path": str(run.path),
            "model": run.config.model,
            "phase": run.config.phase,
            "data_digest": run.origin.data_digest,
            "epoch": run.progress.best_epoch,
        }
    assert isinstance(of, Subject)
    return {
        "run": of.name,
        "files": [str(table.path) for table in of.vectors or ()],
        "model": of.kind,
        "data_digest": of.dataset.digest,
    }


def suite_document(suites: Sequence[tuple[Run | Subject, SuiteResult]]) -> dict[str, Any]:
    """Every suite in full: clean, and for each budget the worst noise and every member."""
    return {"runs": [{**_described(of), **suite.to_dict()} for of, suite in suites]}


def write_suite(run: Run, suite: SuiteResult) -> Path:
    """Put a suite into the run folder, over an earlier one; RunError if that fails."""
    return _write(run.path / SUITE, suite_document([(run, suite)]))


def facts_of(subject: Subject, row_norm: float) -> Facts:
    """What a comparison of trainings needs to know of one; vectors from elsewhere: nothing."""
    run = subject.run
    if run is None:
        return Facts(subject.name, subject.kind, False, 0, 0, row_norm)
    return Facts(
        name=run.name,
        model=run.config.model,
        adversarial=run.config.phase == "adversarial",
        epochs=run.origin.epoch_offset + run.progress.epoch,
        seed=run.config.seed,
        row_norm=row_norm,
    )


def evaluation_document(evaluations: Sequence[tuple[Run, Evaluation]]) -> dict[str, Any]:
    """The evaluations of several runs; each is what its eval.json holds."""
    return {"runs": [{"run": run.name, **evaluation.to_dict()} for run, evaluation in evaluations]}


def write_attack(run: Run, results: Sequence[AttackResult]) -> Path:
    """Put the results into the run folder, over earlier ones; RunError if that fails."""
    return _write(run.path / ATTACK, attack_document([(run, results)]))


def write_evaluation(run: Run, evaluation: Evaluation) -> Path:
    """Put the evaluation into the run folder, over an earlier one; RunError if that fails."""
    return _write(run.path / EVAL, evaluation_document([(run, evaluation)])["runs"][0])


def write_certificate(
    run: Run, certificate: Certificate, dataset: Dataset, path: str | Path | None = None
) -> Path:
    """Put the radius of every held-out item into the run folder, or to `path`, as csv."""
    return certificate.write(dataset, run.path / CERTIFICATE if path is None else path)


def read_attack(run: Run) -> list[AttackResult]:
    """The results in the run folder, without the users' own values.

    Raises RunError if there are none, or the file is not what `write_attack` writes.
    """

    def results(document: Mapping[str, Any]) -> list[AttackResult]:
        (entry,) = document["runs"]
        return [AttackResult.from_dict(content) for content in entry["results"]]

    return _read(run.path / ATTACK, results, f"advrec attack {run.path}")


def read_evaluation(run: Run) -> Evaluation:
    """The evaluation in the run folder, without the users' own values. Raises as `read_attack`."""
    return _read(run.path / EVAL, Evaluation.from_dict, f"advrec eval {run.path}")


def _write(path: Path, document: Mapping[str, Any]) -> Path:
    files.write(path, json.dumps(document, indent=2) + "\n")
    return path


def _read(path: Path, parse: Callable[[Mapping[str, Any]], T], command: str) -> T:
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise RunError(f"{path} does not exist", hint=f"{command} writes it") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, *FORM_ERRORS) as error:
        raise damaged(path, "it is not what advrec writes") from error
