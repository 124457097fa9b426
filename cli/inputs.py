"""From what was typed to what the library takes: configuration files, data sets, runs, devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advrec_cli.console import note
from advrec_cli.options import Given
from advrec_cli.values import BadValue

if TYPE_CHECKING:
    from advrec.config.file import ConfigFile
    from advrec.config.train import TrainConfig
    from advrec.data import DataConfig, Dataset
    from advrec.models import Recommender
    from advrec.runs.run import Run
    from advrec.runs.subject import Subject


def config_file(path: Path | None) -> ConfigFile:
    """The sections of `--config FILE`; empty without one."""
    from advrec.config.file import ConfigFile

    return ConfigFile() if path is None else ConfigFile.read(path)


def model_options(texts: Sequence[str]) -> dict[str, Any]:
    """`["alpha=0.5", "name=x"]` → values of TOML types; anything that is not TOML is text."""
    from advrec.config.file import tomllib

    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadValue(f"must be NAME=VALUE, got {text!r}", flag="--option")
        try:
            options[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[name.strip()] = value
    return options


def train_config(file: ConfigFile, given: Given) -> TrainConfig:
    """The training options of the file, overridden by the flags, checked."""
    from advrec.config.train import TrainConfig
    from advrec.validation import parse

    options = {name: value for name, value in file.under(given.train).items() if name != "phase"}
    return parse(TrainConfig, options, source_of(file))


def data_config(file: ConfigFile, given: Given, source: str | None = None) -> DataConfig:
    """The data options of the file, overridden by the flags, and both by an argument."""
    from advrec.data import DataConfig
    from advrec.validation import parse

    options = {**file.data, **given.data}
    if source is not None:
        options["data"] = source
    return parse(DataConfig, options, source_of(file))


def source_of(file: ConfigFile) -> str:
    """Where options come from, for error messages."""
    return "the options" if file.where is None else f"{file.where} and the flags"


def newest(runs_dir: Path, *, with_parent: bool, quiet: bool) -> list[Run]:
    """The finished run that was trained last; before it, if asked for, its parent run."""
    from advrec.errors import AdvrecError, RunError
    from advrec.runs import find

    finished = [run for run in find.all_runs(runs_dir) if run.progress.finished]
    if not finished:
        raise RunError(
            f"no finished run in {runs_dir}",
            hint="advrec pretrain makes one; --runs-dir looks in another folder",
        )
    run = finished[0]
    chosen = [run]
    if with_parent and run.origin.parent is not None:
        # The parent may be deleted or damaged; the run itself no longer needs it.
        with suppress(AdvrecError):
            chosen.insert(0, find.find(run.path.parent / Path(run.origin.parent).name, runs_dir))
    names = " and its parent run, ".join(entry.name for entry in reversed(chosen))
    note(f"no run given: taking the newest, {names}", quiet=quiet)
    return chosen


def chosen_runs(
    names: Sequence[str], runs_dir: Path, *, with_parent: bool = False, quiet: bool = False
) -> list[Run]:
    """The runs of these names or paths; by default the newest."""
    from advrec.runs import find

    if not names:
        return newest(runs_dir, with_parent=with_parent, quiet=quiet)
    return [find.find(name, runs_dir) for name in dict.fromkeys(names)]


class Loader:
    """Loads the runs of one command; runs on the same data share one data set in memory."""

    def __init__(self, given: Given, file: ConfigFile, device: str) -> None:
        self._overrides = {**file.data, **given.data}
        self._device = device
        self._data: dict[tuple[str, str | None], Dataset] = {}

    def dataset(self, run: Run) -> Dataset:
        """The data set of a run, as in its configuration, overridden by the flags."""
        from advrec.api import dataset_of
        from advrec.data import DataConfig, load_dataset

        key = (run.origin.data_digest, run.origin.features_digest)
        if key not in self._data:
            if self._overrides:
                config = DataConfig.of(**{**(run.data or {}), **self._overrides})
                self._data[key] = load_dataset(config)
            else:
                self._data[key] = dataset_of(run)
        return self._data[key]

    def subject(self, run: Run) -> Subject:
        """The best epoch of a run with its data."""
        from advrec.runs.subject import Subject

        return Subject.of_run(run, self.dataset(run), self._device)

    def vectors(self, users: Path, items: Path) -> Subject:
        """Vectors from elsewhere with the data of the flags."""
        from advrec.data import DataConfig, load_dataset
        from advrec.runs.subject import Subject

        dataset = load_dataset(DataConfig.of(**self._overrides))
        return Subject.of_files(users, items, dataset, self._device)

    def model(self, run: Run) -> Recommender:
        """The model of a run's best epoch, on the requested device."""
        from advrec.runs.model import load_model

        return load_model(run, self.dataset(run), self._device)


def subjects(
    names: Sequence[str],
    users: Path | None,
    items: Path | None,
    *,
    loader: Loader,
    runs_dir: Path,
    quiet: bool,
) -> Iterator[Subject]:
    """Runs by name (by default the newest and its parent), or vectors from elsewhere, one by one.

    UsageError where both or half of a pair of files are given.
    """
    from advrec.errors import UsageError

    if users is None and items is None:
        for run in chosen_runs(names, runs_dir, with_parent=True, quiet=quiet):
            yield loader.subject(run)
        return
    if names or users is None or items is None:
        raise UsageError(
            "vectors from elsewhere need --users and --items, and no RUN",
            hint="name both files, and with --data what they were trained on",
        )
    subject = loader.vectors(users, items)
    for table, kind in zip(subject.vectors or (), ("user", "item"), strict=True):
        if table.unused:
            note(f"{table.path}: {table.unused:,} rows of unknown {kind}s left out", quiet=quiet)
    yield subject


@contextmanager
def computing(given: Given, file: ConfigFile) -> Iterator[str]:
    """Sets the requested kernels and threads within `with`. Yields the name of the device."""
    from advrec import native
    from advrec.config.train import TrainConfig
    from advrec.native import gpu
    from advrec.validation import parse

    options = {
        name: value
        for name, value in file.under(given.train).items()
        if name in ("device", "threads", "kernels")
    }
    config = parse(TrainConfig, options, source_of(file))
    if config.kernels != "auto":
        native.use(config.kernels)
    if config.threads > 0:
        native.set_threads(config.threads)
    with gpu.errors():
        yield config.device
