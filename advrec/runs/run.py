"""Run folders: everything that a training leaves behind, and all that it needs to resume.

    runs/NAME/config.toml          every resolved option, the data, versions, git revision
             /ids.json             original user and item ids, by dense index
             /model.safetensors    weights of the best epoch
             /state.safetensors    weights and optimiser of the last checkpoint
             /state.json           where that checkpoint is, the best so far, sha256 of the above
             /metrics.jsonl        one line per epoch
             /lock                 the process that trains it

How the files stay consistent: advrec/runs/commits.py. Nothing in a run folder is ever unpickled.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from advrec.config.file import read_toml
from advrec.config.train import ResolvedConfig
from advrec.errors import ConfigError, RunError
from advrec.runs import tensors
from advrec.runs.commits import COMMIT, CommitFolder, sha256
from advrec.runs.records import (
    Ids,
    Origin,
    Progress,
    Sections,
    checked,
    damaged,
    history_of,
    is_count,
    parsed,
    progress_of,
)
from advrec.system import files
from advrec.system.drafts import Draft
from advrec.system.locks import RunLock
from advrec.validation import parse
from advrec.visible import quoted

if TYPE_CHECKING:
    from torch import Tensor

    from advrec.data.dataset import Dataset

CONFIG, IDS, METRICS = "config.toml", "ids.json", "metrics.jsonl"
MODEL, STATE = "model.safetensors", "state.safetensors"


class Run:
    """One run folder. `open` reads it; `create` and `lock` make this process its trainer."""

    def __init__(
        self,
        folder: CommitFolder,
        *,
        config: ResolvedConfig,
        origin: Origin,
        data: dict[str, Any] | None,
        versions: dict[str, str],
        lock: RunLock | None = None,
    ) -> None:
        self.path = folder.path
        self.config = config
        self.origin = origin
        self.data = data  # [data] of config.toml; None for a data set made in memory
        self.versions = versions
        self._lock = lock
        self._folder = folder
        self.progress = _progress(folder)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        config: ResolvedConfig,
        origin: Origin,
        dataset: Dataset,
        data: Mapping[str, Any] | None,
        versions: Mapping[str, str],
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
    ) -> Run:
        """A new folder at epoch 0, locked. It appears all at once, its first checkpoint in it.

        Raises RunError if `path` exists and is not an empty folder.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise _exists(path)
        with Draft(path) as draft:
            contents = {
                CONFIG: _config_toml(config, origin, data, versions),
                IDS: _ids_json(dataset),
                MODEL: tensors.dump(weights, _about(config, origin, Progress())),
                STATE: tensors.dump(_state(weights, optimizer)),
            }
            files.write(draft.folder / METRICS, b"")
            CommitFolder.fill(draft.folder, contents, asdict(Progress(updated=time.time())))
            try:
                lock = draft.place()
            except FileExistsError as error:
                raise _exists(path) from error
        return cls(
            CommitFolder(path),
            config=config,
            origin=origin,
            data=None if data is None else _given(data),
            versions=dict(versions),
            lock=lock,
        )

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Read a run folder. RunError says what is missing or damaged."""
        if not Path(path).is_dir():
            raise RunError(f"no run folder {path}", hint="advrec runs lists them")
        folder = CommitFolder(Path(path))
        where = folder.path / CONFIG
        sections = _sections(folder.read(CONFIG), where)
        _progress(folder)  # a run of another version says so before its options are looked at
        try:
            config = parse(ResolvedConfig, sections.train, str(where))
        except ConfigError as error:
            writer = sections.versions.get("advrec", "another version")
            raise RunError(f"{where} was written by advrec {writer}: {error}") from error
        return cls(
            folder,
            config=config,
            origin=sections.run,
            data=sections.data,
            versions=sections.versions,
        )

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    def ids(self) -> tuple[list[str], list[str]]:
        """Original ids of users and items, by dense index."""
        where = self.path / IDS
        ids = checked(Ids.model_validate, parsed(self._folder.read(IDS), where), where)
        return ids.users, ids.items

    def weights(self) -> dict[str, Tensor]:
        """The weights of the best epoch, by parameter name, on the CPU."""
        return tensors.parse(self._folder.read(MODEL), self.path / MODEL)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights and optimiser state of the last checkpoint, on the CPU."""
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}}
        for name, tensor in tensors.parse(self._folder.read(STATE), self.path / STATE).items():
            group, _, key = name.partition(".")
            if group not in groups:
                raise damaged(self.path / STATE, f"{quoted(name)} is not a tensor of a training")
            groups[group][key] = tensor
        steps = groups["optimizer"].get("steps")
        if steps is not None and not is_count(steps):
            raise damaged(self.path / STATE, "the number of steps is not a count")
        return groups["weights"], groups["optimizer"]

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl up to the last checkpoint."""
        path = self.path / METRICS
        try:
            content = path.read_bytes()[: self.progress.metrics_bytes]
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}") from error
        return history_of(content, path)

    def summary(self) -> dict[str, Any]:
        """The figures that a list of runs shows."""
        progress = asdict(self.progress)
        return {
            "name": self.name,
            "phase": self.config.phase,
            "model": self.config.model,
            "dataset": self.origin.dataset,
            "parent": self.origin.parent,
            "finished": self.progress.finished,
            "metric": self.config.metric,
            **{key: progress[key] for key in _SUMMARY},
        }

    def check_data(self, dataset: Dataset) -> None:
        """RunError unless `dataset` is the one, bit for bit, that this run was made from."""
        for what, recorded, given in (
            ("data", self.origin.data_digest, dataset.digest),
            ("item features", self.origin.features_digest, features_digest(dataset)),
        ):
            if recorded is not None and recorded != given:
                raise RunError(
                    f"run {self.name} was made from {self.origin.dataset!r} with {what} "
                    f"{recorded[:12]}, but {dataset.name!r} has {what} {(given or 'none')[:12]}",
                    hint=f"give the data and split options in {self.path / CONFIG}",
                )

    def lock(self) -> None:
        """Lock the folder for this process, and put it in the state of its last checkpoint.

        Later lines of metrics.jsonl are cut off: they will be written again.
        """
        if self._lock is None:
            self._lock = RunLock(self.path)
        self._folder.reload()  # another process may have trained it since `open`
        self._folder.settle()
        self.progress = _progress(self._folder)
        metrics = self.path / METRICS
        if not metrics.exists() or metrics.stat().st_size < self.progress.metrics_bytes:
            raise damaged(metrics, f"it is shorter than {COMMIT} says")
        try:
            os.truncate(metrics, self.progress.metrics_bytes)
        except OSError as error:
            raise RunError(f"{metrics} cannot be written: {error.strerror}") from error

    def release(self) -> None:
        """Let another process train this run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl; the next `save` commits it."""
        path = self.path / METRICS
        try:
            with path.open("ab") as file:
                file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}") from error

    def save(
        self,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        best: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Commit a checkpoint of `self.progress`; `best`: new weights for model.safetensors."""
        contents = {STATE: tensors.dump(_state(weights, optimizer))}
        if best is not None:
            contents[MODEL] = tensors.dump(best, _about(self.config, self.origin, self.progress))
        self._commit(contents)

    def reconfigure(self, config: ResolvedConfig) -> None:
        """Change the options (more epochs, another device) and save them."""
        self.config = config
        self._commit({CONFIG: _config_toml(config, self.origin, self.data, self.versions)})

    def _commit(self, contents: Mapping[str, bytes]) -> None:
        path = self.path / METRICS
        try:
            with path.open("ab") as metrics:
                os.fsync(metrics.fileno())
                self.progress.metrics_bytes = metrics.tell()
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}") from error
        self.progress.updated = time.time()
        self._folder.commit(contents, asdict(self.progress))


_SUMMARY = (
    "epoch",
    "best_epoch",
    "best_value",
    "stopped",
    "seconds",
    "peak_bytes",
    "updated",
)


def features_digest(dataset: Dataset) -> str | None:
    """sha256 of the item features [I, F] and their shape; None without any."""
    features = dataset.item_features
    if features is None:
        return None
    return sha256(repr(features.shape).encode() + features.astype("<f4").tobytes())


def _progress(folder: CommitFolder) -> Progress:
    return progress_of(folder.body, folder.path, folder.path / COMMIT)


def _sections(content: bytes, path: Path) -> Sections:
    try:
        sections = read_toml(content.decode(), str(path))
    except (ConfigError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error
    return checked(Sections.model_validate, sections, path)


def _config_toml(
    config: ResolvedConfig,
    origin: Origin,
    data: Mapping[str, Any] | None,
    versions: Mapping[str, str],
) -> bytes:
    document: dict[str, Any] = {"run": _given(asdict(origin))}
    if data is not None:
        document["data"] = _given(data)
    return tomli_w.dumps({**document, "train": config.given(), "versions": versions}).encode()


def _given(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None}  # TOML has no None


def _ids_json(dataset: Dataset) -> bytes:
    ids = {"users": list(dataset.user_ids), "items": list(dataset.item_ids)}
    return json.dumps(ids, ensure_ascii=False).encode()


def _about(config: ResolvedConfig, origin: Origin, progress: Progress) -> dict[str, Any]:
    """The metadata of model.safetensors."""
    return {
        "model": config.model,
        "data_digest": origin.data_digest,
        "epoch": progress.best_epoch,
        "metric": config.metric,
        "value": progress.best_value,
    }


def _state(weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        **{f"weights.{name}": tensor for name, tensor in weights.items()},
        **{f"optimizer.{name}": tensor for name, tensor in optimizer.items()},
    }


def _exists(path: Path) -> RunError:
    return RunError(
        f"{path} already exists",
        hint=f"--resume {path} resumes it, --name chooses another name",
    )
