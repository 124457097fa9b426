"""`advrec adv-train`: keep training, against the worst perturbation of a given norm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from advrec.options import ADVERSARY, MODEL, OUTPUT, TRAINING
from advrec_cli import inputs
from advrec_cli.commands.training import (
    Name,
    Resume,
    Watcher,
    conclude,
    new_folder,
    refuse_with_resume,
)
from advrec_cli.help import examples
from advrec_cli.options import (
    ConfigFile,
    Given,
    Json,
    ModelOptions,
    Quiet,
    RunsDir,
    takes,
    with_default,
)
from advrec_cli.settings import RUNS, settings

EPILOG = examples(
    "advrec adv-train --eps 0.5  # from the newest pretraining",
    "advrec adv-train --from mf-debian-1 --eps 1 --adv-weight 2 --epochs 200",
    "advrec adv-train --from scratch --model lightgcn --site final",
    "advrec adv-train --resume mf-debian-1-apr  # resume a run",
)

INHERITED = [
    replace(setting, default="the parent run's") if setting.field != "device" else setting
    for setting in (*settings("data"), *settings("train", panels=(MODEL, TRAINING, OUTPUT)))
]


@takes(settings("train", panels=(ADVERSARY,)), INHERITED)
def adv_train(
    given: Given,
    *,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN|scratch",
            help=with_default(
                "Parent run: the pretraining to start from, by name or path, or 'scratch' for new"
                " weights.",
                "the newest finished pretraining on the same data",
            ),
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
    """Keep training a pretrained model, now with the clean loss plus λ times the adversarial loss
    (APR): the loss of each batch under the worst perturbation of norm ε. Small changes of the
    parameters cost the trained model less.

    Starts at the best epoch of a pretraining, the parent run, with a fresh optimiser. Options that
    are not given are the parent run's; ε, λ, norm and site have the model's own defaults.
    """
    import advrec

    file = inputs.config_file(config)
    if option:
        given.train["options"] = inputs.model_options(option)
    with Watcher(quiet=quiet) as watcher:
        if resume is not None:
            refuse_with_resume(from_=start, name=name, config=config, data=given.data)
            result = advrec.resume(resume, runs=runs_dir, on_event=watcher, **given.train)
        else:
            result = advrec.adv_train(
                inputs.data_config(file, given) if file.data or given.data else None,
                start,
                config=inputs.train_config(file, given),
                out=new_folder(name, runs_dir),
                runs=runs_dir,
                on_event=watcher,
            )
    conclude(result, json=json, quiet=quiet)
