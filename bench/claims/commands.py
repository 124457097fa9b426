"""Claim: whole commands compared with the sum of their kernels."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from bench import child
from bench.lab import Lab
from bench.measure import Timing
from bench.results import Check, Facts, Part, Table, Target, Unit

TITLE = "Whole commands"
KERNELS, WORKING, WHOLE = "the kernels alone", "at work", "from start to end"
TRAIN_SECONDS = 15.0  # of training, so that what comes once does not decide
LIMIT = 1.15


def run(lab: Lab) -> list[Part]:
    parts: list[Part] = []
    for model in lab.few(("mf", "lightgcn"), ("lightgcn",)):
        parts += _pretrain(lab, model)
    return [*parts, _eval(lab)]


def _pretrain(lab: Lab, model: str) -> list[Part]:
    folder, count = lab.work.folder, lab.most_threads
    epochs = 1
    if not lab.quick:
        lab.say(f"one epoch of {model}, to see how many it takes")
        once = child.python(
            "bench.kernels_only", "pretrain", model, folder, 1, n_threads=count
        ).found
        epochs = max(1, round(TRAIN_SECONDS / once["steps"]))
    table = _table(f"advrec pretrain --model {model} --epochs {epochs}", count)
    words = ["pretrain", "--data", str(folder), "--model", model, "--epochs", str(epochs)]
    words += ["--eval-every", str(epochs), "--json", "--quiet"]
    accounts: list[dict[str, float]] = []
    kernels: list[float] = []
    for number in range(min(lab.pace.rounds, 2)):
        lab.say(f"{table.title}, round {number + 1}")
        run_folder = lab.scratch / "runs" / f"{model}-{number}"
        ended = child.command([*_advrec(), *words, *_where(run_folder, count)], n_threads=count)
        alone = child.python(
            "bench.kernels_only", "pretrain", model, folder, epochs, n_threads=count
        ).found
        account = _account(run_folder)
        kernels.append(alone["seconds"])
        accounts.append({"whole": ended.seconds, **account})
        for timing, seconds in zip(
            table.timings,
            (alone["seconds"], sum(account.values()), ended.seconds),
            strict=True,
        ):
            timing.rounds.append(seconds)
    table.checks = [_trained(lab.scratch / "runs" / f"{model}-0", epochs)]
    best = min(accounts, key=lambda account: account["whole"])
    rest = best["whole"] - sum(v for k, v in best.items() if k != "whole")
    rows = [
        *((name, best[name]) for name in ("train", "evaluate", "checkpoint")),
        ("start of Python, imports, reading the data, last checkpoint", rest),
        ("together", best["whole"]),
        ("the kernels alone", min(kernels)),
    ]
    facts = Facts(f"Where {table.title} spends its time, seconds", ("", "seconds"), rows)
    return [table, facts]


def _eval(lab: Lab) -> Table:
    count = lab.most_threads
    table = _table("advrec eval", count)
    table.targets = []
    del table.timings[1]
    run_folder = lab.scratch / "runs" / "lightgcn-0"
    for number in range(min(lab.pace.rounds, 3)):
        lab.say(f"advrec eval, round {number + 1}")
        words = ["eval", str(run_folder), "--json", "--quiet", "--threads", str(count)]
        words += ["--runs-dir", str(run_folder.parent)]
        ended = child.command([*_advrec(), *words], n_threads=count)
        alone = child.python(
            "bench.kernels_only", "eval", "lightgcn", lab.work.folder, 0, n_threads=count
        ).found
        table.timings[0].rounds.append(alone["seconds"])
        table.timings[1].rounds.append(ended.seconds)
    table.note = "A second of kernel behind the start of Python, the import of torch and the data."
    return table


def _table(title: str, n_threads: int) -> Table:
    name = title.split(" --epochs", maxsplit=1)[0]
    return Table(
        title,
        Unit("s", 1.0),
        timings=[Timing(name, n_threads) for name in (KERNELS, WORKING, WHOLE)],
        targets=[
            Target(f"{name}, {what}: at most 15 % above its kernels", LIMIT, (what,), KERNELS, True)
            for what in (WORKING, WHOLE)
        ],
        ours=KERNELS,
        note="At work: training, validation and checkpoints, as the run itself accounts for them. "
        "The kernels alone: the same steps and rankings in one process, data already laid out.",
    )


def _advrec() -> list[str]:
    """The command of this environment."""
    sibling = Path(sys.executable).with_name("advrec")
    command = str(sibling) if sibling.is_file() else shutil.which("advrec")
    if command is None:
        raise RuntimeError("found no command advrec here (pip install -e .)")
    return [command]


def _where(run_folder: Path, n_threads: int) -> list[str]:
    words = ["--runs-dir", str(run_folder.parent), "--name", run_folder.name]
    return [*words, "--threads", str(n_threads)]


def _account(run_folder: Path) -> dict[str, float]:
    state: dict[str, Any] = json.loads((run_folder / "state.json").read_text())
    seconds = _find(state, "seconds")
    return {name: float(seconds.get(name, 0.0)) for name in ("train", "evaluate", "checkpoint")}


def _find(state: dict[str, Any], name: str) -> dict[str, Any]:
    """The seconds of each purpose, at any level of the state."""
    if isinstance(state.get(name), dict):
        return state[name]
    for value in state.values():
        if isinstance(value, dict):
            found = _find(value, name)
            if found:
                return found
    return {}


def _trained(run_folder: Path, epochs: int) -> Check:
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    done = last["epoch"] == epochs and last.get("valid")
    found = ", ".join(f"{name} {value:.4f}" for name, value in last.get("valid", {}).items())
    return Check("advrec pretrain", "all epochs trained and validated", bool(done), found)
