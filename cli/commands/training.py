"""What `pretrain` and `adv-train` have in common: their options, and what they print at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advrec_cli.commands.runs import document
from advrec_cli.console import count, duration, emit_json, facts, figure, note
from advrec_cli.options import with_default
from advrec_cli.progress import TrainingProgress
from advrec_cli.settings import RUNS

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig
    from advrec.training.launch import TrainResult
    from advrec.training.loop import Event

Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help=with_default("Name of the new run folder.", "MODEL-DATA-N, or PARENT-apr"),
        rich_help_panel=RUNS,
        show_default=False,
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="Resume this run from its last checkpoint; the result is the same to the bit as if it"
        " had never stopped. Only --epochs, --patience, --device, --threads, --kernels and"
        " --checkpoint-seconds may change.",
        rich_help_panel=RUNS,
        show_default=False,
    ),
]


class Watcher:
    """The `on_event` of a command: progress, and every resolved option when training starts."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._progress = TrainingProgress(quiet=quiet)

    def __enter__(self) -> Watcher:
        self._progress.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._progress.__exit__(*problem)

    def __call__(self, event: Event) -> None:
        """Show an event of the training."""
        if event.kind == "started":
            note(event.message, quiet=self._quiet)
            if event.run is not None:
                from advrec.models import model_class

                self._progress.unit = model_class(event.run.config.model).batch_kind
                note(f"  {_listed(event.run.config)}", quiet=self._quiet)
        else:
            self._progress(event)


def _listed(config: ResolvedConfig) -> str:
    """Every resolved option that has a meaning in this phase, on one line."""
    from advrec.config.train import written

    hidden = {"phase", "model"}
    if config.phase == "pretrain":
        hidden |= {"eps", "adv_weight", "norm", "site", "site_eps", "site_adv_weight"}
    options = config.given()
    options |= options.pop("options", {})
    return ", ".join(
        f"{name} {written(value)}"
        for name, value in options.items()
        if name not in hidden and value != {}
    )


def refuse_with_resume(**given: object) -> None:
    """UsageError for an option that --resume excludes."""
    from advrec.errors import UsageError

    for name, value in given.items():
        if value:
            flag = "--" + name.rstrip("_").replace("_", "-")
            raise UsageError(
                f"{flag} and --resume exclude each other: a resumed run keeps its name and data",
                hint="leave one of them out",
            )


def new_folder(name: str | None, runs_dir: Path) -> Path | None:
    """The folder of `--name`; None lets the library choose one."""
    from advrec.runs import find

    return None if name is None else find.named_path(runs_dir, name)


def conclude(result: TrainResult, *, json: bool, quiet: bool) -> None:
    """The result on stdout, the next step on stderr."""
    run = result.run
    if json:
        emit_json(document(run))
        return
    progress, config = run.progress, run.config
    seconds = progress.seconds["train"]
    pairs: list[tuple[str, object]] = [("run", run.path)]
    if run.origin.parent is not None:
        pairs.append(("started from", f"{run.origin.parent}, epoch {run.origin.parent_epoch}"))
    before = _start_value(result)
    if result.best.value is None:
        pairs.append(
            ("kept", f"epoch {result.best.epoch}, the last one, without a validation part")
        )
    else:
        text = f"{config.metric} {figure(result.best.value)} at epoch {result.best.epoch}"
        pairs.append(("best validation", text + (f" (before: {figure(before)})" if before else "")))
    evaluation = duration(progress.seconds["evaluate"])
    epochs = "1 epoch" if progress.epoch == 1 else f"{progress.epoch} epochs"
    pairs.append(("time", f"{epochs} in {duration(seconds)}, evaluation {evaluation}"))
    pairs.append(("peak memory", f"{count(progress.peak_bytes >> 20)} MiB"))
    facts(pairs)
    if config.phase == "pretrain":
        note(f"next: advrec adv-train --from {run.name}", quiet=quiet)
    else:
        parent = Path(run.origin.parent).name + " " if run.origin.parent else ""
        note(f"next: advrec attack {parent}{run.name}", quiet=quiet)


def _start_value(result: TrainResult) -> float | None:
    """The validation metric of the weights that training started from, if it was measured."""
    first = result.history[0] if result.history else {}
    valid = first.get("valid") if first.get("epoch") == 0 else None
    return next(iter(valid.values())) if valid else None
