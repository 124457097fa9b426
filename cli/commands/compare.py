"""`advrec compare`: is one run better than another, user by user."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

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
    RunsDir,
    numbers,
    split_list,
    takes,
)
from advrec_cli.settings import RUN_DATA, named

EPILOG = examples(
    "advrec compare mf-debian-1-apr mf-debian-1",
    "advrec compare A B --metrics NDCG,Recall -k 10,100 --part valid",
)


@takes([RUN_DATA], named("device", "threads", "kernels"))
def compare(
    given: Given,
    *,
    a: Annotated[str, typer.Argument(metavar="A", help="A run, by name or path.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The run it is compared with.")],
    metrics: Metrics = None,
    k: Cutoffs = None,
    part: HeldOut = "test",
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare two runs on the same users: the mean difference with its 95 % interval, and the
    p-values of a paired t-test and of Wilcoxon's signed-rank test.

    The users are the sample and the two trained models are fixed, so the test says nothing about
    another seed. To learn about the method, train several seeds (advrec study).
    """
    from advrec.errors import UsageError
    from advrec.evaluation.metrics import DEFAULT_METRICS
    from advrec.report.evaluation import comparison_table
    from advrec.report.stats import compare as compare_values

    cutoffs = numbers(k or ["20"], int, "-k", low=1)
    file = inputs.config_file(config)
    runs = inputs.chosen_runs([a, b], runs_dir)
    if len(runs) != 2 or runs[0].origin.data_digest != runs[1].origin.data_digest:
        raise UsageError(
            f"compare needs two runs on the same data, got {a} and {b}",
            hint="advrec runs shows the data of each run",
        )
    with inputs.computing(given, file) as device:
        from advrec.evaluation.evaluate import evaluate

        loader = inputs.Loader(given, file, device)
        first, second = (
            evaluate(
                loader.model(run),
                loader.dataset(run),
                part="valid" if part == "valid" else "test",
                ks=cutoffs,
                metrics=split_list(metrics or DEFAULT_METRICS),
            )
            for run in runs
        )
    comparisons = {
        name: compare_values(first.per_user[name], second.per_user[name]) for name in first.values
    }
    if json:
        emit_json(
            {
                "a": runs[0].name,
                "b": runs[1].name,
                "part": first.part,
                "users": first.n_users,
                "metrics": {name: asdict(comparison) for name, comparison in comparisons.items()},
            }
        )
        return
    names = (runs[0].name, runs[1].name)
    show_report(comparison_table(comparisons, names, f"{part} part, {first.n_users:,} users"))
    note("p-values are about these two models and other users, not about other seeds", quiet=quiet)
