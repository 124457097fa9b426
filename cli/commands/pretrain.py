"""`advrec pretrain`: train a recommender with its clean loss."""

from __future__ import annotations

from pathlib import Path

from advrec.options import MODEL, OUTPUT, TRAINING
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
from advrec_cli.options import ConfigFile, Given, Json, ModelOptions, Quiet, RunsDir, takes
from advrec_cli.settings import settings

EPILOG = examples(
    "advrec pretrain  # matrix factorisation on the embedded data",
    "advrec pretrain --model lightgcn --epochs 100 --name first",
    "advrec pretrain --data ratings.csv --split loo-time --k-core 5",
    "advrec pretrain --resume first --epochs 200  # resume a run",
)


@takes(settings("data"), settings("train", panels=(MODEL, TRAINING, OUTPUT)))
def pretrain(
    given: Given,
    *,
    name: Name = None,
    resume: Resume = None,
    runs_dir: RunsDir = Path("runs"),
    option: ModelOptions = None,
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a recommender: it learns to score the items that a user has above the others.

    The loss is BPR, or the model's own. The result is a run folder with every resolved option, the
    weights of the epoch that was best on the validation part, and all that is needed to resume
    after Ctrl-C. The test part is not used.
    """
    import advrec

    file = inputs.config_file(config)
    if option:
        given.train["options"] = inputs.model_options(option)
    with Watcher(quiet=quiet) as watcher:
        if resume is not None:
            refuse_with_resume(name=name, config=config, data=given.data)
            result = advrec.resume(resume, runs=runs_dir, on_event=watcher, **given.train)
        else:
            result = advrec.pretrain(
                inputs.data_config(file, given),
                config=inputs.train_config(file, given),
                out=new_folder(name, runs_dir),
                runs=runs_dir,
                on_event=watcher,
            )
    conclude(result, json=json, quiet=quiet)
