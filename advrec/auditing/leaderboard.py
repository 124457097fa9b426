"""The leaderboard: one JSON file per entry, made from the runs of a study, one run at a time.

An entry is one training of one model on one data set, over several seeds, measured by the audit at
fixed budgets. `entries_of_study` measures whatever a study has finished; each measured run is kept
in the study's folder audits/, so that it can be stopped at any time and called again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from advrec.auditing.attacks import WAYS
from advrec.auditing.measure import AuditOptions, audit
from advrec.data import DataConfig, Dataset, load_dataset
from advrec.errors import ConfigError, DataError, RunError, UsageError
from advrec.robustness.practical import measured, vectors_of
from advrec.runs.run import Run
from advrec.runs.subject import Subject
from advrec.system import files
from advrec.system.arrays import read_npz
from advrec.validation import did_you_mean, parse
from advrec.versions import VERSION

FORMAT: Final = 1
OPTIONS: Final = AuditOptions(rho=(0.01, 0.05, 0.2), eps=(0.5,), noise=())
"""The budgets of every entry; both sides."""
FIGURES: Final = ("oracle", "label_free", "certified")
BY_HAND: Final = ("claimed", "external", "footnote")
"""What a person adds to an entry; it is kept when the entry is made again."""
NEEDED: Final = ("model", "training", "data", "data_digest", "metric", "part", "seeds", "clean",
                 "rho", "eps", "threat", "flags", *BY_HAND)  # fmt: skip

Say = Callable[[str], None]


def read_entries(folder: str | Path) -> list[dict[str, Any]]:
    """The entries of a folder, in the order of their file names.

    Raises ConfigError for a file that is not an entry, UsageError for a folder without any.
    """
    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise UsageError(
            f"no entries in {folder}",
            hint="advrec leaderboard --from STUDY makes them from the runs of a study",
        )
    return [_read(path) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(entry, dict) or entry.get("entry") != FORMAT:
        raise ConfigError(f"{path} is not an entry of the leaderboard, format {FORMAT}")
    missing = [name for name in NEEDED if name not in entry]
    if missing:
        raise ConfigError(f"{path} has no {', '.join(missing)}")
    lengths = {len(entry["seeds"]), len(entry["clean"])}
    for point in (*entry["rho"], *entry["eps"]):
        lengths |= {len(point[name]) for name in FIGURES if point.get(name) is not None}
    if len(lengths) != 1:
        raise ConfigError(f"{path} has not one figure per seed")
    return dict(entry, name=path.stem)


def entries_of_study(
    study: str | Path,
    folder: str | Path,
    *,
    only: Mapping[str, Sequence[str]] | None = None,
    say: Say = lambda _: None,
) -> Iterator[Path]:
    """Measure the finished runs of a study and write an entry for each of its lines.

    Args:
        study: the folder that `advrec study` made: results.json, runs/.
        folder: where the entries go.
        only: labels to make, by "data", "model" or "training".

    Yields the path of each entry as it is written; every seed that is finished is in it. Raises
    RunError for a folder that is not a study's, UsageError for labels that it does not have.
    """
    study, folder = Path(study), Path(folder)
    lines = _chosen(_lines(study), only or {})
    folder.mkdir(parents=True, exist_ok=True)
    data: dict[str, Dataset] = {}
    for line in lines:
        documents = []
        for name in line["runs"]:
            run = Run.open(study / name)
            kept = study / "audits" / f"{run.name}-{_digest()}.json"
            document = _kept(kept)
            if document is None:
                say(f"{line['data']} / {line['model']} / {line['training']}: {run.name}")
                if run.origin.data_digest not in data:
                    data.clear()  # one at a time: they are large
                    data[run.origin.data_digest] = _dataset(run)
                subject = Subject.of_run(run, data[run.origin.data_digest])
                document = audit([subject], OPTIONS)
                kept.parent.mkdir(exist_ok=True)
                files.write(kept, json.dumps(document, indent=1, allow_nan=False) + "\n")
            documents.append(document)
        path = folder / f"{_slug(line)}.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        content = _entry(line, documents, before)
        files.write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        yield path


def add_external(
    folder: str | Path, name: str, run: Run, noise: str | Path, source: str
) -> list[dict[str, Any]]:
    """Check noise that others have found on a run of an entry, and keep it where it is worse.

    `noise` is an .npz with the arrays `users` [U, d] and `items` [I, d] to be added to the vectors
    that `advrec export` writes (one of them may be missing: no noise). Its budgets are measured; at
    every budget of the entry that holds it and whose oracle attack left more for the run's seed,
    the figure is added to the entry's `external`.

    Returns what was added. Raises UsageError for an entry that does not exist, has not this run's
    data or seed, DataError for a file that is not such noise.
    """
    path = Path(folder) / f"{name}.json"
    entries = {entry["name"]: entry for entry in read_entries(folder)}
    if name not in entries:
        raise UsageError(
            f"no entry {name!r} in {folder}",
            hint=did_you_mean(name, entries) or f"choose from {', '.join(entries)}",
        )
    entry = entries[name]
    if run.origin.data_digest != entry["data_digest"] or run.config.seed not in entry["seeds"]:
        raise UsageError(f"run {run.name} has not the data or not a seed of entry {name!r}")
    seed = entry["seeds"].index(run.config.seed)
    dataset = _dataset(run)
    vectors = vectors_of(Subject.of_run(run, dataset, "cpu").model)
    moved, digest = _moved(Path(noise), vectors)
    k = int(entry["metric"].partition("@")[2])
    result = measured(vectors, dataset, moved, "external", k=k, part=entry["part"])
    value = result.noisy.values[entry["metric"]]
    added = []
    for kind, size in (("rho", result.rho), ("eps", result.eps)):
        for point in entry[kind]:
            oracle = point["oracle"]
            if size <= point["budget"] and (oracle is None or value < oracle[seed]):
                about = {"seed": run.config.seed, "from": source, "sha256": digest}
                added.append({kind: point["budget"], "value": value, **about})
    if added:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = [each for each in content["external"] if each not in added]
        content["external"] = [*known, *added]
        files.write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return added


def _moved(path: Path, vectors: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], str]:
    """The vectors under the noise of a file, and the file's sha256."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path) from None
    arrays = read_npz(path)
    if arrays.keys().isdisjoint(("users", "items")):
        raise DataError("expected the arrays users or items", path=path)
    tables = []
    for name, table in zip(("users", "items"), vectors, strict=True):
        delta = arrays.get(name)
        if delta is None:
            tables.append(table)
            continue
        if delta.shape != tuple(table.shape) or delta.dtype.kind != "f":
            raise DataError(
                f"{name}: expected numbers of shape {tuple(table.shape)}, found {delta.dtype} of"
                f" shape {delta.shape}",
                path=path,
            )
        if not np.isfinite(delta).all():
            raise DataError(f"{name}: non-finite values", path=path)
        tables.append(table + torch.from_numpy(delta).to(table))
    return (tables[0], tables[1]), hashlib.sha256(content).hexdigest()


def _lines(study: Path) -> list[dict[str, Any]]:
    path = study / "results.json"
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["lines"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} is not the results of a study", hint="advrec study FILE.toml makes them"
        ) from error


def _chosen(
    lines: Sequence[dict[str, Any]], only: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    for field, labels in only.items():
        known = list(dict.fromkeys(str(line[field]) for line in lines))
        for label in labels:
            if label not in known:
                raise UsageError(
                    f"the study has no finished {field} {label!r}",
                    hint=did_you_mean(label, known) or f"choose from {', '.join(known)}",
                )
    return [line for line in lines if all(line[field] in labels for field, labels in only.items())]


def _entry(
    line: Mapping[str, Any], documents: Sequence[Mapping[str, Any]], before: Mapping[str, Any]
) -> dict[str, Any]:
    subjects = [document["subjects"][0] for document in documents]
    first = documents[0]
    metric = first["metric"]
    by_hand: dict[str, Any] = {"claimed": None, "external": [], "footnote": ""}
    return {
        "entry": FORMAT,
        "model": line["model"],
        "training": line["training"],
        "data": line["data"],
        "data_digest": first["data"]["digest"],
        "metric": metric,
        "part": first["part"],
        "threat": {"site": subjects[0]["site"], "side": "both", "norm": "row"},
        "seeds": line["seeds"],
        "clean": [subject["clean"][metric] for subject in subjects],
        "rho": _points(subjects, "rho"),
        "eps": _points(subjects, "eps"),
        "flags": sorted({flag["name"] for subject in subjects for flag in subject["flags"]}),
        **{name: before.get(name, empty) for name, empty in by_hand.items()},
        "config": line["config"],
        "advrec": VERSION,
    }


def _points(subjects: Sequence[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    """One entry per budget: lists of figures, one per seed; null where there is none."""
    points = []
    for place, point in enumerate(subjects[0][kind]):
        figures: dict[str, Any] = {"budget": point["budget"]}
        for name in FIGURES:
            values = [subject[kind][place].get(name) for subject in subjects]
            figures[name] = None if None in values else values
        points.append(figures)
    return points


def _dataset(run: Run) -> Dataset:
    where = f"[data] of {run.path}/config.toml"
    if run.data is None:
        raise RunError(f"run {run.path} does not say how its data was made")
    return load_dataset(parse(DataConfig, run.data, where))


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _digest() -> str:
    """Eight hex digits of what is measured."""
    measures = [VERSION, asdict(OPTIONS), [repr(way) for way in WAYS]]
    return hashlib.sha256(json.dumps(measures, sort_keys=True).encode()).hexdigest()[:8]


def _slug(line: Mapping[str, Any]) -> str:
    text = "-".join(str(line[name]) for name in ("data", "model", "training"))
    return re.sub(r"[^A-Za-z0-9.]+", "-", text.lower()).strip("-")
