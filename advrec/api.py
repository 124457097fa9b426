"""What `import advrec` offers: train, attack, evaluate, recommend, export, on runs and data sets.

A data set is a `Dataset`, a `DataConfig`, a name or path, or what `load_dataset` takes from memory:
a frame, an Arrow table, a sparse matrix. With a `DataConfig`, a name or a path,
the run records how the data was made, and later calls on that run need no data set.
A run is a `Run`, the path of its folder, or its name below `runs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

from advrec.auditing.measure import AuditOptions, write_report
from advrec.auditing.measure import audit as audit_subjects
from advrec.choices import Phase
from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.data import DataConfig, Dataset, load_dataset
from advrec.data.item_text import FROM_TEXT
from advrec.data.sources.embedded import EMBEDDED
from advrec.errors import AdvrecError, RunError, UsageError
from advrec.evaluation.evaluate import Evaluation
from advrec.evaluation.evaluate import evaluate as evaluate_model
from advrec.evaluation.recommend import Recommendation
from advrec.evaluation.recommend import recommend as recommend_from
from advrec.models import Recommender, model_class
from advrec.robustness.attack import AttackResult
from advrec.robustness.attack import attack as attack_model
from advrec.robustness.certify import Certificate
from advrec.robustness.certify import certify as certify_model
from advrec.robustness.suite import SuiteResult, run_suite
from advrec.runs.export import export_vectors
from advrec.runs.find import RUNS, find, newest_pretraining
from advrec.runs.model import load_model
from advrec.runs.results import write_attack, write_certificate, write_evaluation, write_suite
from advrec.runs.run import Run
from advrec.runs.subject import Subject, stale_for
from advrec.training import launch
from advrec.training.launch import TrainResult
from advrec.training.loop import Event, OnEvent
from advrec.validation import parse

Data: TypeAlias = Any
"""A `Dataset`, a `DataConfig`, a name or path; or a frame, an Arrow table or a sparse matrix."""
AnyRun: TypeAlias = Run | str | Path


def _silent(event: Event) -> None:
    """The default `on_event`."""


def pretrain(
    dataset: Data = "debian",
    model: str | None = None,
    out: str | Path | None = None,
    *,
    data: DataConfig | None = None,
    runs: str | Path = RUNS,
    on_event: OnEvent = _silent,
    config: TrainConfig | None = None,
    **options: Any,
) -> TrainResult:
    """Train a recommender with the BPR loss (or the model's own) into a new run folder.

    Args:
        dataset: what to train on.
        model: a name in `advrec.models.MODELS`; "mf" by default.
        out: the run folder to create; by default RUNS/MODEL-DATASET-N.
        data: how `dataset` was made, to be saved with the run, if it is a `Dataset`.
        runs: the folder of runs.
        on_event: called with every `Event` of the training.
        config: the options as a `TrainConfig`, in place of `model` and `options`.
        options: fields of `TrainConfig`; the others have the model's defaults.

    Raises:
        ConfigError, UsageError: an option that is wrong or does not fit the model; raised before
            the data is read.
        RunError: a folder that exists, or cannot be written.
        TrainingError: non-finite losses.
        Interrupted: Ctrl-C, after everything was saved.
    """
    asked = _asked("pretrain", config, {"model": model, **options})
    resolved = resolve(asked, model_class(asked.model))
    loaded, section = _loaded(dataset, data, resolved.model, on_event)
    return launch.start(
        resolved,
        loaded,
        section,
        out=None if out is None else Path(out),
        runs=Path(runs),
        parent=None,
        on_event=on_event,
    )


def adv_train(
    dataset: Data | None = None,
    from_: AnyRun | None = None,
    *,
    out: str | Path | None = None,
    data: DataConfig | None = None,
    runs: str | Path | None = None,
    on_event: OnEvent = _silent,
    config: TrainConfig | None = None,
    **options: Any,
) -> TrainResult:
    """Train with adversarial perturbations, L(Θ) + adv_weight·L(Θ + Δ) (APR, SIGIR 2018, eq. 8).

    Starts at the best epoch of a pretraining, with a fresh optimiser, that run's options, and
    triplets that it has not seen.

    Args:
        dataset: what to train on; by default the data of the run it starts from.
        from_: that run, or "scratch" for new weights; by default the newest finished pretraining
            of this data.
        out: the run folder to create; by default PARENT-apr, next to the parent or below `runs`.
        data, on_event: as for `pretrain`.
        runs: the folder of runs.
        config: the options as a `TrainConfig`, in place of `options`.
        options: eps, adv_weight, norm, site and the other fields of `TrainConfig`. Those left out
            are the parent's (epochs, lr, …) or the model's (eps, adv_weight, norm, site).

    Raises what `pretrain` raises, and RunError if there is no such run or it was made from other
    data.
    """
    asked = _asked("adversarial", config, options)
    kind = model_class(asked.model)
    folder = Path(RUNS if runs is None else runs)
    if from_ == "scratch":
        parent = None
        resolved = resolve(asked, kind)
        source = "debian" if dataset is None else dataset
        loaded, section = _loaded(source, data, resolved.model, on_event)
    else:
        model = asked.explicit().get("model")
        given = None
        if from_ is not None:
            parent = _run(from_, folder)
        else:
            if dataset is not None:
                given = _loaded(dataset, data, model, on_event)
            digest = None if given is None else given[0].digest
            parent = newest_pretraining(folder, model=model, data_digest=digest)
        resolved = launch.inherit(parent, asked)
        if given is None and dataset is not None:
            given = _loaded(dataset, data, resolved.model, on_event)
        loaded, section = given or (dataset_of(parent), None)
        parent.check_data(loaded)
        section = section or parent.data  # the same data: it can be made again in the same way
        folder = parent.path.parent if runs is None else folder
        _announce_parent(parent, on_event, chosen=from_ is None)
    return launch.start(
        resolved,
        loaded,
        section,
        out=None if out is None else Path(out),
        runs=folder,
        parent=parent,
        on_event=on_event,
    )


def resume(
    run: AnyRun,
    dataset: Data | None = None,
    *,
    runs: str | Path = RUNS,
    on_event: OnEvent = _silent,
    **changes: Any,
) -> TrainResult:
    """Resume an interrupted run, or a finished one with more epochs.

    The result is, to the bit, that of a run that never stopped.

    `changes`: epochs, patience, device, threads, kernels, checkpoint_seconds. Raises what
    `pretrain` raises, and RunError for a run that is finished, damaged, or being trained by
    another process.
    """
    opened = _run(run, runs)
    return launch.resume(opened, _data_of(opened, dataset), changes, on_event)


@overload
def attack(
    model: AnyRun | Recommender,
    dataset: Data | None = None,
    *,
    runs: str | Path = RUNS,
    device: str = "auto",
    suite: None = None,
    **options: Any,
) -> list[AttackResult]: ...


@overload
def attack(
    model: AnyRun | Recommender,
    dataset: Data | None = None,
    *,
    runs: str | Path = RUNS,
    device: str = "auto",
    suite: str,
    **options: Any,
) -> SuiteResult: ...


def attack(
    model: AnyRun | Recommender,
    dataset: Data | None = None,
    *,
    runs: str | Path = RUNS,
    device: str = "auto",
    suite: str | None = None,
    **options: Any,
) -> list[AttackResult] | SuiteResult:
    """What noise of each eps or rho costs a model, or the best epoch of a run.

    `dataset` None: the run's. `options` (noise, eps, rho, side, site, norm, steps, …) and errors
    are those of `advrec.robustness.attack.attack`, and RunError for a data set that the run was not
    made from; the results of a run are kept in its attack.json.

    With `suite` "standard" or "apr" the options are those of `advrec.robustness.suite.run_suite`,
    and the result is one `SuiteResult`, for a run kept in its suite.json.
    """
    loaded, ready = _ready(model, dataset, runs, device)
    if suite is not None:
        measured = run_suite(ready, loaded, suite=suite, **options)
        if not isinstance(model, Recommender):
            write_suite(_run(model, runs), measured)
        return measured
    results = attack_model(ready, loaded, **options)
    if not isinstance(model, Recommender):
        write_attack(_run(model, runs), results)
    return results


def certify(
    model: AnyRun | Recommender,
    dataset: Data | None = None,
    *,
    runs: str | Path = RUNS,
    **options: Any,
) -> Certificate:
    """Lower bounds of a model's metrics, or of a run's best epoch, within each budget.

    For a run, the radius of every held-out item is kept in its certificate.csv. `dataset` None: the
    run's. `options` (eps or rho, site, side, k, part) and errors are those of
    `advrec.robustness.certify.certify`, and RunError for a data set that the run was not made from.
    """
    loaded, ready = _ready(model, dataset, runs, "cpu")
    certificate = certify_model(ready, loaded, **options)
    if not isinstance(model, Recommender):
        write_certificate(_run(model, runs), certificate, loaded)
    return certificate


def audit(
    runs: AnyRun | Sequence[AnyRun] | None = None,
    *,
    users: str | Path | None = None,
    items: str | Path | None = None,
    dataset: Data | None = None,
    out: str | Path | None = None,
    stale: str | None = None,
    stale_side: str = "items",
    folder: str | Path = RUNS,
    device: str = "auto",
    **options: Any,
) -> dict[str, Any]:
    """Attacks, certificates and practical noise of runs, or of vectors from elsewhere.

    Args:
        runs: one run or several, on the same data.
        users, items: files of vectors instead, with `dataset`; see `advrec.runs.vectors`.
        dataset: None: the runs' own.
        out: where to write the HTML report; None: nowhere.
        stale: older vectors: a run, RUN@last or a file; None: the parent's, if there is one.
        stale_side: whose vectors are the older ones, "users" or "items".
        folder: the folder of runs.
        options: the fields of `advrec.auditing.measure.AuditOptions`.

    Returns the document that `advrec audit --json` prints. Raises UsageError for options that make
    no sense or a model that does not have them, and what reading runs, vectors and data raises.
    """
    given = [runs] if isinstance(runs, Run | str | Path) else list(runs or ())
    if users is not None or items is not None:
        if given or users is None or items is None or dataset is None:
            raise UsageError("vectors from elsewhere need users, items and dataset, and no run")
        loaded = _loaded(dataset, None, None)[0]
        subjects = [Subject.of_files(users, items, loaded, device)]
    else:
        opened = [_run(run, folder) for run in given]
        subjects = [Subject.of_run(run, _data_of(run, dataset), device) for run in opened]
    older = [stale_for(subject, stale, stale_side, folder) for subject in subjects]
    document = audit_subjects(subjects, AuditOptions(**options), stale=older)
    if out is not None:
        write_report(document, out)
    return document


def evaluate(
    model: AnyRun | Recommender,
    dataset: Data | None = None,
    *,
    runs: str | Path = RUNS,
    device: str = "auto",
    **options: Any,
) -> Evaluation:
    """Ranking metrics of a model, or of the best epoch of a run (kept in its eval.json).

    `dataset` None: the run's. `options` (part, ks, metrics, …) and errors are those of
    `advrec.evaluation.evaluate`, and RunError for a data set that the run was not made from.
    """
    loaded, ready = _ready(model, dataset, runs, device)
    evaluation = evaluate_model(ready, loaded, **options)
    if not isinstance(model, Recommender):
        write_evaluation(_run(model, runs), evaluation)
    return evaluation


def recommend(
    model: AnyRun | Recommender,
    user_id: str,
    k: int = 10,
    *,
    dataset: Data | None = None,
    runs: str | Path = RUNS,
    device: str = "auto",
) -> list[Recommendation]:
    """The k best items, best first, for a user given by the id that the data has."""
    loaded, ready = _ready(model, dataset, runs, device)
    return recommend_from(ready, loaded, user_id, k)


def export(
    run: AnyRun,
    path: str | Path,
    *,
    dataset: Data | None = None,
    runs: str | Path = RUNS,
) -> Path:
    """Write a run's user and item vectors with their ids: .npz, .safetensors or .csv."""
    opened = _run(run, runs)
    _, model = _ready(opened, dataset, runs, "cpu")
    return export_vectors(model, *opened.ids(), path)


def dataset_of(run: Run) -> Dataset:
    """The data set that a run was made from, read again; RunError if it is not the same."""
    if run.data is None:
        raise RunError(
            f"run {run.path} was made from a Dataset in memory, so its data cannot be read again",
            hint="pass the data set along",
        )
    try:
        dataset = load_dataset(parse(DataConfig, run.data, f"[data] of {run.path}/config.toml"))
    except AdvrecError as error:
        message = f"the data of run {run.path} cannot be read again: {error}"
        raise RunError(message, hint=error.hint) from error
    run.check_data(dataset)
    return dataset


def _asked(phase: Phase, config: TrainConfig | None, options: Mapping[str, Any]) -> TrainConfig:
    """The options of a training, checked: those of `config`, or single ones."""
    given = {name: value for name, value in options.items() if value is not None}
    if config is None:
        where = "the options of " + ("pretrain" if phase == "pretrain" else "adv_train")
        return parse(TrainConfig, {**given, "phase": phase}, where)
    if given:
        raise UsageError(
            f"config and the single options {', '.join(given)} exclude each other",
            hint="set them in config",
        )
    return config if config.phase == phase else config.model_copy(update={"phase": phase})


def _loaded(
    dataset: Data, data: DataConfig | None, model: str | None, on_event: OnEvent = _silent
) -> tuple[Dataset, dict[str, Any] | None]:
    """The data set, and the [data] section that makes it again; `model` may need item features."""
    if not isinstance(dataset, Dataset | DataConfig | str | Path):
        dataset = load_dataset(dataset)
    if isinstance(dataset, Dataset):
        return dataset, None if data is None else _section(data)
    if data is not None:
        raise UsageError(
            "data says how a Dataset was made, but dataset is not a Dataset",
            hint="leave data out",
        )
    config = dataset if isinstance(dataset, DataConfig) else DataConfig.of(str(dataset))
    if model is not None and model_class(model).needs_features:
        config = config.with_features()
    loaded = load_dataset(config)
    _announce_data(loaded, on_event)
    return loaded, _section(config)


def _section(config: DataConfig) -> dict[str, Any]:
    """As plain values, with absolute paths: the run may be resumed from another folder."""
    section = config.model_dump(exclude_none=True)
    for name in ("data", "features", "item_names"):
        path = Path(section.get(name, "")).expanduser()
        built_in = {"data": EMBEDDED, "features": (FROM_TEXT,)}.get(name, ())
        if name in section and section[name] not in built_in and path.exists():
            section[name] = str(path.resolve())
    return section


def _run(run: AnyRun, runs: str | Path) -> Run:
    return run if isinstance(run, Run) else find(run, runs)


def _ready(
    model: AnyRun | Recommender, dataset: Data | None, runs: str | Path, device: str
) -> tuple[Dataset, Recommender]:
    if isinstance(model, Recommender):
        if dataset is None:
            raise UsageError("a model does not know its data set", hint="pass the data set along")
        return _loaded(dataset, None, model.name)[0], model
    run = _run(model, runs)
    loaded = _data_of(run, dataset)
    return loaded, load_model(run, loaded, device)


def _data_of(run: Run, dataset: Data | None) -> Dataset:
    """The given data set, read if it is only named, or else the run's."""
    if dataset is None:
        return dataset_of(run)
    return _loaded(dataset, None, run.config.model)[0]


def _announce_data(dataset: Dataset, on_event: OnEvent) -> None:
    """One line of counts, then the data set's own notes."""
    counts = (
        f"{dataset.n_users:,} users, {dataset.n_items:,} items, {len(dataset.train):,} train, "
        f"{len(dataset.valid):,} validation, {len(dataset.test):,} test pairs"
    )
    on_event(Event("note", message=f"data {dataset.name}: {counts}"))
    for sentence in dataset.notes:
        on_event(Event("note", message=f"  {sentence}"))


def _announce_parent(parent: Run, on_event: OnEvent, *, chosen: bool) -> None:
    progress, metric = parent.progress, parent.config.metric
    value = "" if progress.best_value is None else f", {metric} {progress.best_value:.4f}"
    why = " (the newest finished pretraining)" if chosen else ""
    state = "" if progress.finished else "; that run is not finished"
    on_event(
        Event(
            "note",
            message=f"starting at {parent.path}{why}, epoch {progress.best_epoch}{value}{state}",
        )
    )
