"""From resolved options to a trained run: new, started from another run's weights, or resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from advrec import native
from advrec.config.resolve import resolve
from advrec.config.train import ResolvedConfig, TrainConfig
from advrec.errors import ConfigError, RunError, UsageError
from advrec.models import Recommender, model_class
from advrec.native import gpu
from advrec.native.forks import set_torch_threads
from advrec.native.gpu import device_of
from advrec.ops.positives import Positives
from advrec.robustness.perturb import NORMS, relative
from advrec.runs.find import new_path
from advrec.runs.model import build_model, put_weights, weights_of
from advrec.runs.records import Origin
from advrec.runs.run import Run, features_digest
from advrec.training.forecast import Forecast, forecast
from advrec.training.loop import Event, OnEvent, Training
from advrec.training.tiers import make_stepper
from advrec.validation import parse
from advrec.versions import versions

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset
    from advrec.training.stepper import Stepper

RESUMABLE = ("epochs", "patience", "device", "threads", "kernels", "checkpoint_seconds")
"""Options that may change when a run is resumed. None changes what an epoch computes, except that
kernels and device change its rounding."""

NOT_INHERITED = (
    "phase", "eps", "adv_weight", "site_eps", "site_adv_weight", "norm", "site", "device",
)  # fmt: skip
"""Options that adversarial training does not inherit from its parent run."""

ARCHITECTURE = ("model", "dim", "layers", "precision", "options")
"""Options that must be the parent's, because its weights are used."""


class Best(NamedTuple):
    """The epoch that was kept, and its validation metric (None without a validation part)."""

    epoch: int
    value: float | None


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A finished training: its run, the model of the best epoch, the lines of metrics.jsonl."""

    run: Run
    model: Recommender
    history: list[dict[str, Any]]
    best: Best


def start(
    config: ResolvedConfig,
    dataset: Dataset,
    data: Mapping[str, Any] | None,
    *,
    out: Path | None,
    runs: Path,
    parent: Run | None,
    on_event: OnEvent,
) -> TrainResult:
    """Train in a new run folder: `out`, or one below `runs` with a name chosen here."""
    config = config.model_copy(update={"device": device_of(config.device)})
    with _settings(config):
        memory = forecast(config, dataset)
        memory.check()
        positives = Positives.from_pairs(dataset.train, config.device)
        model = build_model(
            config,
            dataset,
            config.device,
            positives,
            weights=None if parent is None else parent.weights(),
        )
        stepper = make_stepper(model, positives, config)
        run = _create(
            out,
            runs,
            config=config,
            origin=_origin(dataset, parent, uses_features=model.needs_features),
            dataset=dataset,
            data=data,
            versions=versions(),
            weights=weights_of(model),
            optimizer=stepper.state(),
        )
        with _released(run):
            training = Training(run, model, stepper, dataset, on_event)
            _announce(run, dataset, stepper, memory, on_event)
            if parent is not None:
                _tell_sizes(model, config, on_event)
                training.validate_start()
            training.loop()
        return _result(run, model)


def resume(
    run: Run, dataset: Dataset, changes: Mapping[str, Any], on_event: OnEvent
) -> TrainResult:
    """Resume a run at its last checkpoint, as if it had never stopped; `changes` of RESUMABLE."""
    given = {name: value for name, value in changes.items() if value is not None}
    for name in given:
        if name not in RESUMABLE:
            raise UsageError(
                f"{name} cannot change when a run is resumed, only {', '.join(RESUMABLE)}",
                hint="start a new run",
            )
    run.check_data(dataset)
    config = parse(ResolvedConfig, {**run.config.given(), **given}, "the options to resume with")
    config = config.model_copy(update={"device": device_of(config.device)})
    with _settings(config), _released(run):
        run.lock()
        _check_more_to_do(run, config)
        memory = forecast(config, dataset)
        memory.check()
        weights, optimizer = run.state()
        positives = Positives.from_pairs(dataset.train, config.device)
        model = build_model(config, dataset, config.device, positives, weights=weights)
        stepper = make_stepper(model, positives, config)
        stepper.load_state(optimizer)
        run.progress.stopped = None
        if config != run.config:
            run.reconfigure(config)
        training = Training(run, model, stepper, dataset, on_event)
        _announce(run, dataset, stepper, memory, on_event)
        if run.origin.parent is not None:
            training.validate_start()
        training.loop()
        return _result(run, model)


def inherit(parent: Run, config: TrainConfig) -> ResolvedConfig:
    """Resolve the options of adversarial training that starts from `parent`.

    What was not given is the parent's, or else what the model fixes for this case
    (`Recommender.adversarial_defaults`). ConfigError for a given option that would need other
    weights than the parent's.
    """
    kind = model_class(parent.config.model)
    own = {k: v for k, v in parent.config.given().items() if k not in NOT_INHERITED}
    if parent.config.phase == "pretrain":
        own |= kind.adversarial_defaults
    given = config.explicit()
    for name in ARCHITECTURE:
        # Other weights because of a model option are noticed when the weights are loaded.
        if name != "options" and name in given and given[name] != own.get(name):
            raise ConfigError(
                f"{name} is {given[name]!r}, but {parent.path} has {own.get(name)!r}",
                hint="leave it out, or train --from scratch",
            )
    return resolve(config, kind, own)


def _create(out: Path | None, runs: Path, **content: Any) -> Run:
    """`Run.create`; without `out`, under the next free name if another process took the first."""
    config, origin = content["config"], content["origin"]
    while True:
        path = out or new_path(
            runs,
            model=config.model,
            dataset=origin.dataset,
            adversarial=config.phase == "adversarial",
            parent=None if origin.parent is None else Path(origin.parent).name,
        )
        try:
            return Run.create(path, **content)
        except RunError:
            if out is not None or not path.exists():
                raise


def _origin(dataset: Dataset, parent: Run | None, *, uses_features: bool) -> Origin:
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    features = features_digest(dataset) if uses_features else None
    origin = Origin(dataset.name, dataset.digest, features, created=created)
    if parent is None:
        return origin
    trained = parent.progress.epoch + (parent.progress.step > 0)
    return Origin(
        dataset.name,
        dataset.digest,
        features,
        parent=str(parent.path),
        parent_epoch=parent.progress.best_epoch,
        epoch_offset=parent.origin.epoch_offset + trained,
        created=created,
    )


def _check_more_to_do(run: Run, config: ResolvedConfig) -> None:
    done, stale = run.progress.epoch, run.progress.stale
    if config.epochs <= done:
        what = "is finished" if run.progress.finished else "is past that epoch"
        raise RunError(
            f"run {run.path} {what}: it has {done} epochs, and epochs is {config.epochs}",
            hint=f"--epochs {2 * done} would double them",
        )
    if 0 < config.patience <= stale:
        raise RunError(
            f"run {run.path} is finished: it stopped at epoch {done}, because "
            f"{run.config.metric} had not improved in {stale} validations",
            hint=f"--patience {2 * stale} trains on, --patience 0 never stops early",
        )


def _announce(
    run: Run, dataset: Dataset, stepper: Stepper, memory: Forecast, on_event: OnEvent
) -> None:
    config, progress = run.config, run.progress
    what = "pretraining" if config.phase == "pretrain" else "adversarial training"
    where = f" from epoch {progress.epoch}" if progress.epoch or progress.step else ""
    on_event(
        Event(
            "started",
            message=f"{what} of {config.model} on {dataset.name}{where}, in {run.path}, "
            f"on {config.device} ({type(stepper).__name__})",
            run=run,
            epoch=progress.epoch,
            epochs=config.epochs,
        )
    )
    on_event(Event("note", message=memory.sentence()))
    triplets = len(dataset.train) * config.negatives
    if stepper.total_steps == 1 and config.batch_size > triplets:
        note = (
            f"batch size {config.batch_size:,} is more than the {triplets:,} training triplets of"
        )
        on_event(Event("note", message=f"{note} an epoch: one step per epoch"))
    if not len(dataset.valid):
        note = "no validation part: the last epoch is kept, and nothing stops early"
        on_event(Event("note", message=note))


def _tell_sizes(model: Recommender, config: ResolvedConfig, on_event: OnEvent) -> None:
    """ε relative to what it is added to: the same ε is small for one model, large for another."""
    for site in model.sites_of(config.site):
        eps = config.site_eps.get(site.name, config.eps)
        if eps == 0 or config.site_adv_weight.get(site.name, config.adv_weight) == 0:
            continue
        share = relative(eps, model.tables(site.name), config.norm)
        percent, what = f"{100 * share:.0f} %", NORMS[config.norm].mean
        note = f"noise at {site.name}: ε {eps:g} is {percent} of the {what}"
        if share > 1:
            note += ": it outweighs the embeddings; pretrain for longer, or choose a smaller --eps"
        on_event(Event("note", message=note))


def _result(run: Run, model: Recommender) -> TrainResult:
    put_weights(model, run.weights())
    best = Best(run.progress.best_epoch, run.progress.best_value)
    return TrainResult(run, model.eval(), run.history(), best)


@contextmanager
def _released(run: Run) -> Iterator[None]:
    try:
        yield
    finally:
        run.release()


@contextmanager
def _settings(config: ResolvedConfig) -> Iterator[None]:
    """Sets kernels and threads as configured within `with`, and restores them afterwards."""
    with ExitStack() as stack:
        stack.enter_context(gpu.errors())
        if config.kernels != "auto":
            stack.callback(native.use, native.choice())
            native.use(config.kernels)
        if config.threads > 0:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            set_torch_threads(config.threads)
            if native.kernels() == "native":
                stack.callback(native.set_threads, native.set_threads(None))
                native.set_threads(config.threads)
        yield
