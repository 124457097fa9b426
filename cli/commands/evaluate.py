"""`advrec eval`: ranking metrics of trained models on a held-out part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from advrec.options import OUTPUT
from advrec_cli import inputs
from advrec_cli.console import emit_json, note, show_report
from advrec_cli.help import examples
from advrec_cli.options import (
    ConfigFile,
    Cutoffs,
    Given,
    HeldOut,
    Json,
    Metrics,
    Quiet,
    RunNames,
    RunsDir,
    Sampled,
    TableFile,
    numbers,
    split_list,
    takes,
)
from advrec_cli.settings import RUN_DATA, named, reworded

if TYPE_CHECKING:
    from advrec.evaluation.evaluate import Evaluation
    from advrec.runs.run import Run

EPILOG = examples(
    "advrec eval  # the newest run on the test part",
    "advrec eval mf-debian-1 mf-debian-1-apr --metrics NDCG,Recall,AUC -k 10,20,100",
    "advrec eval mf-debian-1 --sampled 99 --seed 1  # cheap; the table says so",
    "advrec eval mf-debian-1 --per-user users.csv",
)

SEED = reworded("seed", "Seed of the items that --sampled draws.")


@takes([RUN_DATA, SEED], named("device", "threads", "kernels"))
def evaluate(
    given: Given,
    *,
    runs: RunNames = None,
    metrics: Metrics = None,
    k: Cutoffs = None,
    part: HeldOut = "test",
    sampled: Sampled = None,
    per_user: Annotated[
        Path | None,
        typer.Option(
            "--per-user",
            metavar="FILE",
            help="Write every user's own figures as .csv or .tsv (one run only).",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    out: TableFile = None,
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how well a run ranks what was held out, as means over users.

    Every item that the user is not known to have is a candidate; ties count against the hit; users
    without held-out items are left out of the means and counted below the table. By default the
    newest run is evaluated. The result is also kept in the run folder as eval.json.
    """
    from advrec.errors import UsageError
    from advrec.evaluation.metrics import DEFAULT_METRICS
    from advrec.report.evaluation import evaluation_table

    names = split_list(metrics or DEFAULT_METRICS)
    cutoffs = numbers(k or ["20"], int, "-k", low=1)
    file = inputs.config_file(config)
    chosen = inputs.chosen_runs(runs or [], runs_dir, quiet=quiet)
    if per_user is not None and len(chosen) > 1:
        raise UsageError(f"--per-user needs one run, got {len(chosen)}", hint="name one RUN")
    seed = {**file.train, **given.train}.get("seed", 0)
    evaluations: list[tuple[Run, Evaluation]] = []
    with inputs.computing(given, file) as device:
        from advrec.evaluation.evaluate import evaluate as evaluate_model
        from advrec.evaluation.evaluate import write_per_user
        from advrec.runs.results import evaluation_document, write_evaluation

        loader = inputs.Loader(given, file, device)
        for run in chosen:
            dataset = loader.dataset(run)
            evaluation = evaluate_model(
                loader.model(run),
                dataset,
                part="valid" if part == "valid" else "test",
                ks=cutoffs,
                metrics=names,
                sampled=sampled,
                sampled_seed=seed,
            )
            note(f"{run.name}: kept in {write_evaluation(run, evaluation)}", quiet=quiet)
            if per_user is not None:
                write_per_user(evaluation, dataset, per_user)
                note(f"{evaluation.n_users:,} users in {per_user}", quiet=quiet)
            evaluations.append((run, evaluation))
    table = evaluation_table({run.name: evaluation for run, evaluation in evaluations})
    if json:
        emit_json(evaluation_document(evaluations))
    else:
        show_report(table)
    if out is not None:
        table.write(out)
