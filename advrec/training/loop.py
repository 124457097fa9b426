"""The training loop, for pretraining and adversarial training alike.

The stepper makes the steps, the objective says what is perturbed. This module has epochs,
validation, the best epoch, early stopping, checkpoints, Ctrl-C, and non-finite values.
Everything that a resumed training needs is in the run's `Progress`, the weights and the
optimiser's state; an interruption does not change what a training computes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from advrec.errors import Interrupted, RunError, TrainingError
from advrec.evaluation.evaluate import evaluate
from advrec.runs.model import weights_of
from advrec.system.interrupt import StopRequest
from advrec.system.memory import peak_bytes
from advrec.training.divergence import advice
from advrec.training.stepper import StepStats

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset
    from advrec.models import Recommender
    from advrec.runs.run import Run
    from advrec.training.stepper import Stepper


Kind = Literal["started", "note", "progress", "epoch", "validation", "checkpoint", "finished"]


@dataclass(frozen=True)
class Event:
    """What a training reports to its observer. Losses are means over triplets."""

    kind: Kind
    message: str = ""  # for people: of "started", "note" and "finished"
    run: Run | None = None  # of "started": its config has every resolved option
    epoch: int = 0  # progress: the one that runs, from 1; otherwise the last that ended
    epochs: int = 0
    step: int = 0  # of the epoch that runs
    steps: int = 0  # of an epoch
    triplets: int = 0  # trained in the epoch so far, or in all of it
    seconds: float = 0.0  # of training for them
    rate: float = 0.0  # triplets per second, recently
    eta_seconds: float | None = None  # until the last epoch, if nothing stops it before
    loss: float = math.nan
    adv_loss: float | None = None  # None where nothing is perturbed
    metric: str = ""  # of the validation figures
    value: float | None = None  # the last one
    best_value: float | None = None
    best_epoch: int = 0


OnEvent = Callable[[Event], None]


class Training:
    """One run being trained: `loop` continues from the run's progress to the end."""

    def __init__(
        self,
        run: Run,
        model: Recommender,
        stepper: Stepper,
        dataset: Dataset,
        on_event: OnEvent,
    ) -> None:
        self.run, self.model, self.stepper, self.dataset = run, model, stepper, dataset
        self._on_event = on_event
        self._validates = len(dataset.valid) > 0
        self._best: dict[str, Tensor] | None = None  # better weights than model.safetensors has
        self._value: float | None = None  # the last validation figure
        self._saved = self._started = time.monotonic()
        self._steps_here = 0  # by this process
        self._rate = 0.0
        self._losses: dict[str, float] = {"loss": math.nan}  # means of the epoch, as last seen

    def loop(self) -> None:
        """Train to the end.

        Raises Interrupted after Ctrl-C, when everything is saved; TrainingError for a loss, weight
        or score that is not finite, and RunError for a checkpoint that cannot be written, with the
        last good checkpoint still in the run folder.
        """
        progress, config = self.run.progress, self.run.config
        try:
            with StopRequest() as stop:
                while not progress.finished:
                    while progress.step < self.stepper.total_steps:
                        self._train_a_grain()
                        if stop.name is not None:
                            self._interrupt(stop.name)
                        if time.monotonic() - self._saved >= config.checkpoint_seconds:
                            self._save()
                    self._end_epoch()
                self._save()
        except RunError as error:  # the disk: the last checkpoint is whole
            if error.hint is None and self.run.path.exists():
                error.hint = f"{self._resuming()} resumes at the last checkpoint"
            raise
        self._tell("finished", message=self._why())

    def validate_start(self) -> None:
        """Evaluate the weights that training starts from: metrics.jsonl gets a line of epoch 0."""
        if self._validates and self.run.progress.epoch == 0 and self.run.progress.step == 0:
            value = self._evaluate()
            self.run.log({"epoch": 0, "valid": {self.run.config.metric: value}})
            self._value = value
            self._tell("validation")

    def _train_a_grain(self) -> None:
        """As many steps as the stepper wants at once; boundaries are multiples of its grain."""
        progress, stepper = self.run.progress, self.stepper
        end = min((progress.step // stepper.grain + 1) * stepper.grain, stepper.total_steps)
        sampler_epoch = self.run.origin.epoch_offset + progress.epoch
        started = time.monotonic()
        stats = stepper.run(sampler_epoch, progress.step, end - progress.step)
        seconds = time.monotonic() - started
        self._check_loss(stats)
        self._steps_here += end - progress.step
        progress.step = end
        progress.loss += stats.loss
        progress.adv_loss += stats.adv_loss
        progress.triplets += stats.triplets
        progress.epoch_seconds += seconds
        progress.seconds["train"] += seconds
        rate = stats.triplets / max(seconds, 1e-9)
        self._rate = rate if self._rate == 0 else 0.8 * self._rate + 0.2 * rate
        self._losses = self._mean_losses()
        self._tell("progress", epoch=progress.epoch + 1)

    def _end_epoch(self) -> None:
        """Validate if it is time to, write the epoch's line, decide whether to continue."""
        progress, config = self.run.progress, self.run.config
        progress.epoch += 1
        last = progress.epoch >= config.epochs
        record: dict[str, object] = {"epoch": progress.epoch, **self._mean_losses()}
        self._tell("epoch")
        if self._validates and (last or progress.epoch % config.eval_every == 0):
            self._value = self._evaluate()
            record["valid"] = {config.metric: self._value}
            self._keep_if_best(self._value)
            self._tell("validation")
        self.run.log({**record, "seconds": round(progress.epoch_seconds, 6)})
        progress.step, progress.triplets = 0, 0
        progress.loss = progress.adv_loss = progress.epoch_seconds = 0.0
        if last:
            progress.stopped = "epochs"
        elif 0 < config.patience <= progress.stale:
            progress.stopped = "patience"

    def _evaluate(self) -> float:
        metric, started = self.run.config.metric, time.monotonic()
        try:
            values = evaluate(self.model, self.dataset, part="valid", metrics=(metric,)).values
        except TrainingError as error:  # scores without an order: here the options are known
            raise TrainingError(str(error), hint=advice(self.run.config)) from error
        self.run.progress.seconds["evaluate"] += time.monotonic() - started
        return next(iter(values.values()))

    def _keep_if_best(self, value: float) -> None:
        progress = self.run.progress
        if progress.best_value is not None and value <= progress.best_value:
            progress.stale += 1
            return
        progress.best_epoch, progress.best_value, progress.stale = progress.epoch, value, 0
        self._best = {name: tensor.clone() for name, tensor in weights_of(self.model).items()}

    def _save(self) -> None:
        """Commit a checkpoint; TrainingError if a weight is not finite."""
        progress, started = self.run.progress, time.monotonic()
        weights = weights_of(self.model)
        for name, tensor in weights.items():
            if not bool(torch.isfinite(tensor).all()):
                raise self._not_a_number(f"the weights {name!r} are not finite")
        if not self._validates:  # nothing to choose by: the last weights are the model
            progress.best_epoch, self._best = progress.epoch, weights
        progress.peak_bytes = max(progress.peak_bytes, peak_bytes())
        self.run.save(weights, self.stepper.state(), self._best)
        self._best = None
        self._saved = time.monotonic()
        progress.seconds["checkpoint"] += self._saved - started  # counted by the next checkpoint
        self._tell("checkpoint")

    def _interrupt(self, signal_name: str) -> None:
        self._save()
        epoch, epochs = self.run.progress.epoch, self.run.config.epochs
        raise Interrupted(
            f"stopped by {signal_name} after {epoch} of {epochs} epochs; everything is saved",
            hint=self._resuming(),
        )

    def _resuming(self) -> str:
        command = "pretrain" if self.run.config.phase == "pretrain" else "adv-train"
        return f"advrec {command} --resume {self.run.path}"

    def _check_loss(self, stats: StepStats) -> None:
        for name, value in (("loss", stats.loss), ("adversarial loss", stats.adv_loss)):
            if not math.isfinite(value):
                raise self._not_a_number(f"the {name} is {value}")

    def _not_a_number(self, what: str) -> TrainingError:
        progress = self.run.progress
        return TrainingError(
            f"{what} in epoch {progress.epoch + 1}, step {progress.step + 1} of "
            f"{self.stepper.total_steps}; {self.run.path} keeps the last good checkpoint",
            hint=advice(self.run.config),
        )

    def _mean_losses(self) -> dict[str, float]:
        """Over the triplets of the epoch that runs."""
        progress = self.run.progress
        losses = {"loss": progress.loss / progress.triplets}
        if self.run.config.adv_weight > 0:
            losses["adv_loss"] = progress.adv_loss / progress.triplets
        return losses

    def _why(self) -> str:
        progress, config = self.run.progress, self.run.config
        if progress.stopped == "patience":
            return (
                f"stopped after epoch {progress.epoch}: {config.metric} was best at epoch "
                f"{progress.best_epoch}, {progress.stale} validations ago"
            )
        if not self._validates:
            return f"all {progress.epoch} epochs done; the last is kept (no validation part)"
        return f"all {progress.epoch} epochs done; epoch {progress.best_epoch} is kept"

    def _eta(self) -> float | None:
        if self._steps_here == 0:
            return None
        progress, total = self.run.progress, self.stepper.total_steps
        done = progress.epoch * total + progress.step
        each = (time.monotonic() - self._started) / self._steps_here  # validation included
        return max(self.run.config.epochs * total - done, 0) * each

    def _tell(
        self,
        kind: Kind,
        message: str = "",
        epoch: int | None = None,
    ) -> None:
        progress = self.run.progress
        self._on_event(
            Event(
                kind,
                message=message,
                epoch=progress.epoch if epoch is None else epoch,
                epochs=self.run.config.epochs,
                step=progress.step,
                steps=self.stepper.total_steps,
                triplets=progress.triplets,
                seconds=progress.epoch_seconds,
                rate=self._rate,
                eta_seconds=self._eta(),
                loss=self._losses["loss"],
                adv_loss=self._losses.get("adv_loss"),
                metric=self.run.config.metric,
                value=self._value,
                best_value=progress.best_value,
                best_epoch=progress.best_epoch,
            )
        )
