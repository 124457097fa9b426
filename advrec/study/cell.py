"""One cell: train or resume one run, attack it, evaluate it, and write the result.

Each cell runs in its own process, so that its memory is its own and several can run at once:

    python -m advrec.study.cell

reads one line of JSON, {"out": folder, "cell": a Cell, "threads": n}, and writes lines of JSON:
{"progress": …} now and then, and at the end {"done": result} or {"failed": message, "hint": …}.
When its standard input is closed, because the study was stopped or killed, it saves and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import advrec
from advrec import native
from advrec.data import DataConfig, Dataset, load_dataset
from advrec.errors import AdvrecError, Interrupted, RunError
from advrec.evaluation.evaluate import evaluate
from advrec.models import Recommender
from advrec.robustness.attack import attack
from advrec.runs.model import load_model
from advrec.runs.run import Run
from advrec.study.plan import Cell, Measures
from advrec.system import files
from advrec.system.drafts import Draft
from advrec.system.interrupt import terminate_as_ctrl_c
from advrec.system.locks import wait_until_free
from advrec.system.machine import machine
from advrec.system.memory import peak_bytes
from advrec.system.refusals import refusal
from advrec.training.loop import Event
from advrec.versions import versions

Tell = Callable[[Mapping[str, Any]], None]
TELL_SECONDS = 0.2
SAVE_SECONDS = 60.0
"""Seconds that a cell of a study that was killed may take to save, before it is in the way."""


def make_cell(cell: Cell, out: Path, tell: Tell) -> dict[str, Any]:
    """Train and measure a cell below `out`; the result is also written to `out`/cells/KEY.json.

    An unfinished run is resumed, a finished one only measured. Raises what training and measuring
    raise, and RunError if the data are not those of the plan.
    """
    data = DataConfig.of(**cell.dataset["section"])
    dataset = load_dataset(data)
    if dataset.digest != cell.dataset["digest"]:
        raise RunError(f"data {cell.data!r} has changed since the study was started")
    run, model, before = _trained(cell, out / "runs", dataset, data, tell)
    tell({"stage": "measuring"})
    started = time.monotonic()
    measured = measure(model, dataset, cell.measures)
    seconds = {name: value - before.get(name, 0.0) for name, value in run.progress.seconds.items()}
    progress, origin = run.progress, run.origin
    result = {
        "key": cell.key,
        "run": str(Path("runs") / run.name),
        "data": cell.data,
        "data_digest": dataset.digest,
        "kind": cell.kind,
        "seed": cell.seed,
        "config": run.config.given(),
        "epochs": progress.epoch,
        "stopped": progress.stopped,
        "best_epoch": progress.best_epoch,
        "best_value": progress.best_value,
        "started_after": origin.epoch_offset,  # epochs of the run that it starts from
        "validation": _validation(run),
        **measured,
        "seconds": {**seconds, "measure": time.monotonic() - started},
        "peak_bytes": max(progress.peak_bytes, peak_bytes()),
        "threads": native.set_threads(None),
        "versions": versions(),
        "machine": machine(run.config.device),
    }
    files.write(out / "cells" / f"{cell.key}.json", json.dumps(result, indent=1) + "\n")
    return result


def measure(model: Recommender, dataset: Dataset, measures: Measures) -> dict[str, Any]:
    """The clean figures of a model, and every attack on it."""
    how: dict[str, Any] = {
        "metrics": measures.metrics,
        "sampled": measures.sampled,
        "sampled_seed": measures.seed,
    }
    clean = evaluate(model, dataset, **how)
    attacks = attack(
        model,
        dataset,
        noise=measures.noise,
        eps=measures.eps,
        site=measures.sites,
        norm=dict(zip(measures.sites, measures.norms, strict=True)),
        steps=measures.steps if "adversarial" in measures.noise else 1,
        restarts=measures.restarts,
        seed=measures.seed,
        clean=clean,
        **how,
    )
    return {
        "clean": clean.to_dict(),
        "attacks": [
            {
                "site": result.plan.site,
                "norm": result.plan.norm,
                "noise": result.plan.noise,
                "eps": result.eps,
                "budget": asdict(result.budget),
                "clean_loss": result.clean_loss,
                "noisy_loss": result.attacked_loss,
                "metrics": dict(result.attacked.values),
            }
            for result in attacks
        ],
    }


def _trained(
    cell: Cell, runs: Path, dataset: Dataset, data: DataConfig, tell: Tell
) -> tuple[Run, Recommender, dict[str, float]]:
    """The run, its best model, and those of its seconds that are its parent's."""
    path, options = runs / cell.run, dict(cell.options)
    before: dict[str, float] = {}
    changes: dict[str, Any] = {
        name: options[name] for name in ("threads", "kernels") if name in options
    }
    trained_by_parent = -1
    parent = None if cell.parent is None else Run.open(runs / cell.parent)
    if parent is not None and not parent.progress.finished:
        raise RunError(f"pretraining {parent.path} is not finished")
    if cell.kind == "continued":
        assert parent is not None
        before, trained_by_parent = dict(parent.progress.seconds), parent.progress.epoch
        if not path.exists():
            _copy(parent.path, path)
        changes["epochs"] = parent.progress.epoch + options["epochs"]
        if patience := cell.config["patience"]:  # as many validations as a training of its own has
            changes["patience"] = patience + parent.progress.stale
    if path.exists():
        wait_until_free(path, SAVE_SECONDS)
        run = Run.open(path)
        if run.progress.finished and run.progress.epoch > trained_by_parent:
            return run, load_model(run, dataset, options.get("device", "auto")), before
        result = advrec.resume(run, dataset, on_event=_teller(tell), **changes)
    elif parent is None:
        result = advrec.pretrain(dataset, out=path, data=data, on_event=_teller(tell), **options)
    else:
        result = advrec.adv_train(
            dataset, parent, out=path, data=data, on_event=_teller(tell), **options
        )
    return result.run, result.model, before


def _copy(parent: Path, path: Path) -> None:
    """Copy the parent's folder to another name, whole or not at all."""
    with Draft(path) as draft:
        try:
            ignored = shutil.ignore_patterns("lock", ".*", "*.tmp")
            shutil.copytree(parent, draft.folder, ignore=ignored, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise RunError(f"{path} cannot be copied from {parent}: {error}") from error
        draft.place().release()


def _validation(run: Run) -> list[tuple[int, float]]:
    """(epoch, validation figure) of every validation."""
    metric = run.config.metric
    history = [line for line in run.history() if metric in line.get("valid", {})]
    return [(line["epoch"], line["valid"][metric]) for line in history]


def _teller(tell: Tell) -> Callable[[Event], None]:
    """Pass on the progress events, a few times per second at most."""
    last = 0.0

    def on_event(event: Event) -> None:
        nonlocal last
        if event.kind not in ("progress", "validation") or time.monotonic() - last < TELL_SECONDS:
            return
        last = time.monotonic()
        tell(
            {
                "stage": "training",
                "epoch": event.epoch,
                "epochs": event.epochs,
                "rate": event.rate,
                "metric": event.metric,
                "value": event.value,
                "best_value": event.best_value,
                "eta_seconds": event.eta_seconds,
            }
        )

    return on_event


def _stop_with_parent() -> None:
    """Make this process save and stop when the other end of its input is closed."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: a thread that holds its lock at exit is fatal
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main() -> int:
    """Make the cell that stdin names. The exit code is 0 also after a reported failure."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # other output must not come between the lines of JSON

    def say(answer: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the study is gone; the training is saved all the same
            answers.write(json.dumps(answer) + "\n")

    task = json.loads(sys.stdin.readline())
    terminate_as_ctrl_c()
    _stop_with_parent()
    fields = task["cell"]
    cell = Cell(**{**fields, "measures": Measures(**fields["measures"])})
    try:
        if task["threads"]:
            native.set_threads(task["threads"])
        say({"done": make_cell(cell, Path(task["out"]), lambda news: say({"progress": news}))})
    except Interrupted as error:
        say({"stopped": str(error)})
    except KeyboardInterrupt:
        say({"stopped": "stopped before it was trained"})
    except AdvrecError as error:
        say({"failed": str(error), "hint": error.hint})
    except (OSError, MemoryError, RuntimeError) as error:
        refused = refusal(error)
        if refused is None:
            raise
        say({"failed": str(refused), "hint": refused.hint})
    with contextlib.suppress(OSError):
        answers.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
