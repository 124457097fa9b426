"""The folder of runs: names for new runs, and how existing ones are found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from advrec.errors import AdvrecError, RunError, UsageError
from advrec.runs.commits import COMMIT
from advrec.runs.run import CONFIG, Run
from advrec.validation import did_you_mean

RUNS = Path("runs")


def all_runs(root: str | Path = RUNS) -> list[Run]:
    """Every readable run below `root`, the most recently trained first."""
    return sorted(_readable(Path(root)), key=lambda run: run.progress.updated, reverse=True)


def find(run: str | Path, root: str | Path = RUNS) -> Run:
    """The run at a path, or of this name below `root`. RunError with the nearest name otherwise.

    A folder at the path that is not a run is passed over: `./shop` may be the data of `runs/shop`.
    """
    folders = [path for path in (Path(run), Path(root) / run) if path.is_dir()]
    for path in folders:
        if any((path / name).exists() for name in (CONFIG, COMMIT)):
            return Run.open(path)
    if folders:
        return Run.open(folders[0])  # which says what is missing
    names = [known.name for known in _readable(Path(root))]
    hint = did_you_mean(Path(run).name, names) or "advrec runs lists them"
    raise RunError(f"no run {run}: neither a path nor a name in {root}", hint=hint)


def newest_pretraining(
    root: str | Path = RUNS, *, model: str | None = None, data_digest: str | None = None
) -> Run:
    """The newest finished pretraining (of this model, on this data, where they are given).

    Raises RunError if there is none; if there are only some on other data, it names both.
    """
    runs = [
        run
        for run in all_runs(root)
        if run.config.phase == "pretrain"
        and run.progress.finished
        and model in (None, run.config.model)
    ]
    if not runs:
        what = "pretraining" if model is None else f"pretraining of {model!r}"
        raise RunError(
            f"no finished {what} in {root}",
            hint="advrec pretrain first, or --from scratch",
        )
    for run in runs:
        if data_digest in (None, run.origin.data_digest):
            return run
    newest = runs[0]
    raise RunError(
        f"the newest finished pretraining {newest.path} was made from {newest.origin.dataset!r} "
        f"with data {newest.origin.data_digest[:12]}, but the data given is "
        f"{(data_digest or '')[:12]}",
        hint="advrec pretrain on this data first, or give the data and split options of that run",
    )


def new_path(
    root: str | Path, *, model: str, dataset: str, adversarial: bool, parent: str | None = None
) -> Path:
    """The first free of MODEL-DATASET-1, -2, …; adversarial: PARENT-apr, PARENT-apr-2, …"""
    if parent is not None:
        stem, first = f"{parent}-apr", f"{parent}-apr"
    else:
        plain = re.sub(r"[^A-Za-z0-9.+_]+", "-", dataset).strip("-.") or "data"
        stem = f"{model}-{plain}-apr" if adversarial else f"{model}-{plain}"
        first = f"{stem}-1"
    number, path = 1, Path(root) / first
    while path.exists():
        number += 1
        path = Path(root) / f"{stem}-{number}"
    return path


def named_path(root: str | Path, name: str) -> Path:
    """`root`/`name`; UsageError for a name that would lead elsewhere or be hidden."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9.+_-]*", name):
        raise UsageError(
            f"run name {name!r} must be of letters, digits and . + _ -, and not start with . + -",
            hint="--runs-dir DIR chooses the folder that runs are made in",
        )
    return Path(root) / name


def _readable(root: Path) -> Iterator[Run]:
    folders = sorted(root.iterdir()) if root.is_dir() else []
    for path in folders:
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            yield Run.open(path)
        except AdvrecError:
            continue  # not a run, or a damaged one: naming it says why
