"""`advrec adv-train`: train on against the worst perturbation of a given size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from advrec_cli import inputs
from advrec_cli.commands.training import (
    ModelOptions,
    Name,
    Resume,
    Watcher,
    conclude,
    new_folder,
    refuse_with_resume,
)
from advrec_cli.help import examples
from advrec_cli.options import ConfigFile, Given, Json, Quiet, RunsDir, takes
from advrec_cli.settings import ADVERSARY, MODEL, OUTPUT, RUNS, TRAINING, settings

EPILOG = examples(
    "advrec adv-train --eps 0.5  # from the newest pretraining",
    "advrec adv-train --from mf-debian-1 --eps 1 --adv-weight 2 --epochs 200",
    "advrec adv-train --from scratch --model lightgcn --site final",
    "advrec adv-train --resume mf-debian-1-apr  # go on with a run",
)

INHERITED = [
    replace(setting, default="as the run it starts from")
    for setting in (
        *settings("data"),
        *settings("train", panels=(MODEL, TRAINING)),
    )
]


@takes(settings("train", panels=(ADVERSARY,)), INHERITED, settings("train", panels=(OUTPUT,)))
def adv_train(
    given: Given,
    *,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN|scratch",
            help="The pretraining to start from, by name or path, or 'scratch' for new weights."
            " [dim]\\[default: the newest finished one on the same data][/]",
            rich_help_panel=RUNS,
            show_default=False,
        ),
    ] = None,
    name: Name = None,
    resume: Resume = None,
    runs_dir: RunsDir = Path("runs"),
    option: ModelOptions = None,
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on with clean + λ·adversarial loss (APR): every batch is also scored under the worst
    perturbation of norm ε, so that small changes of the parameters cost less afterwards.

    Starts at the best epoch of a pretraining with a fresh optimiser and the same data. What is not
    given is taken from that run; ε, λ, norm and site have the model's own defaults.
    """
    import advrec
    from advrec.data import DataConfig

    file = inputs.config_file(config)
    if option:
        given.train["options"] = inputs.model_options(option)
    with Watcher(quiet=quiet) as watcher:
        if resume is not None:
            refuse_with_resume(from_=start, name=name, config=config, data=given.data)
            result = advrec.resume(resume, runs=runs_dir, on_event=watcher, **given.train)
        else:
            data = {**file.data, **given.data}
            result = advrec.adv_train(
                DataConfig.of(**data) if data else None,
                start,
                config=inputs.train_config(file, given),
                out=new_folder(name, runs_dir),
                runs=runs_dir,
                on_event=watcher,
            )
    conclude(result, json=json, quiet=quiet)
