"""`advrec attack`: what noise on the parameters costs a trained model."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advrec.choices import LABELS, NOISES, NORMS
from advrec.options import OUTPUT
from advrec_cli import inputs
from advrec_cli.console import emit_json, note, plain, show_reports
from advrec_cli.help import examples
from advrec_cli.options import (
    MEASURE,
    ConfigFile,
    Cutoffs,
    Given,
    HeldOut,
    Json,
    Quiet,
    RunNames,
    RunsDir,
    Sampled,
    TableFile,
    not_one_of,
    numbers,
    one_of,
    split_list,
    takes,
    with_default,
)
from advrec_cli.settings import RUN_DATA, named, reworded

if TYPE_CHECKING:
    from advrec.robustness.attack import AttackResult
    from advrec.runs.run import Run

EPILOG = examples(
    "advrec attack  # the newest run and the one that it started from",
    "advrec attack mf-debian-1 --noise adversarial --eps 0.5,1,2",
    "advrec attack A B --metric NDCG,Recall -k 10,50 --plot robustness.png",
    "advrec attack A --steps 10 --restarts 3  # projected gradient ascent instead of one step",
    "advrec attack A --objective ndcg --labels test  # against the ranking of the held-out items",
)

ATTACK = "Attack"
SEED = reworded("seed", "Seed of the negatives, the random directions and the random starts.")

Noises = Annotated[
    list[str] | None,
    typer.Option(
        "--noise",
        metavar="KIND",
        help=with_default(
            "random, adversarial or both: adversarial noise is the strongest of its size that is"
            " found, random noise has the same rows and norms. May be repeated, or hold commas.",
            "both",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
Sizes = Annotated[
    list[str] | None,
    typer.Option(
        "--eps",
        metavar="X[,X…]",
        help=with_default("ε, the L2 norm of each row of the noise.", "0.5,1,2"),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
Sites = Annotated[
    list[str] | None,
    typer.Option(
        "--site",
        metavar="NAME",
        help=with_default(
            "Where the noise is added; 'advrec models' lists each model's sites. May be repeated,"
            " or hold commas, for one attack after the other; all is every site.",
            "the model's first",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
NormName = Annotated[
    str | None,
    typer.Option(
        "--norm",
        metavar="NAME",
        help=with_default("What has norm ε: row, joint or tensor.", "the site's first"),
        rich_help_panel=ATTACK,
        show_default=False,
        callback=one_of(NORMS),
    ),
]
Objective = Annotated[
    str,
    typer.Option(
        "--objective",
        metavar="NAME",
        help="What adversarial noise raises: bpr is the model's own loss, in one step; ndcg the"
        " loss of NDCG at the first metric's K, in 20 steps; softmax is like ndcg in one step.",
        rich_help_panel=ATTACK,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="NAME",
        help=with_default(
            "What it takes as relevant: train, the training pairs; self, the model's own first item"
            " for each user; test, the held-out items, which no attacker knows.",
            "train for bpr, otherwise self",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
        callback=one_of(LABELS),
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        help=with_default(
            "Gradient steps of adversarial noise; with bpr more than 1 is PGD, with every row"
            " projected back onto its ball.",
            "1, for ndcg 20",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        "--restarts",
        metavar="N",
        help=with_default(
            "Number of starts, for ndcg and softmax of temperatures; the strongest noise is kept.",
            "1, for ndcg 4",
        ),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
StepSize = Annotated[
    float | None,
    typer.Option(
        "--step-size",
        metavar="X",
        help=with_default("Length of a step, in the unit of ε.", "2.5·ε/steps"),
        rich_help_panel=ATTACK,
        show_default=False,
    ),
]
MetricNames = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME[@K]",
        help=with_default(
            "What to measure. May be repeated, or hold commas.",
            "the metric that chose the run's best epoch",
        ),
        rich_help_panel=MEASURE,
        show_default=False,
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the metric over ε into a .png, .pdf or .svg.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]


@takes([RUN_DATA, SEED], named("device", "threads", "kernels"))
def attack(
    given: Given,
    *,
    runs: RunNames = None,
    noise: Noises = None,
    eps: Sizes = None,
    site: Sites = None,
    norm: NormName = None,
    objective: Objective = "bpr",
    labels: Labels = None,
    steps: Steps = None,
    restarts: Restarts = None,
    step_size: StepSize = None,
    metric: MetricNames = None,
    k: Cutoffs = None,
    part: HeldOut = "test",
    sampled: Sampled = None,
    plot: Plot = None,
    out: TableFile = None,
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how much a run's rankings lose when noise of norm ε is added to its parameters.

    By default the gradient of the model's loss is taken over all training pairs with fresh
    negatives, and every row of the table moves by ε. --objective ndcg attacks the ranking itself
    and takes far more; --labels says what the attack knows. The budget is printed as measured: the
    largest row norm of the noise, and its share of the mean row norm of the table, because the
    same ε is little for one model and much for another.

    Several runs are shown in one table; each result is also kept in its run folder as attack.json.
    """
    from advrec.robustness.search import Plan

    file = inputs.config_file(config)
    seed = {**file.train, **given.train}.get("seed", 0)
    plan: dict[str, Any] = {
        "objective": objective,
        "labels": labels,
        "steps": steps,
        "restarts": restarts,
        "step_size": step_size,
    }
    options: dict[str, Any] = {
        "noise": _kinds(noise or ["both"]),
        "eps": numbers(eps or ["0.5,1,2"], float, "--eps"),
        "site": split_list(site) if site else None,
        "norm": norm,
        **plan,
        "seed": seed,
        "ks": numbers(k or ["20"], int, "-k", low=1),
        "part": part,
        "sampled": sampled,
        "sampled_seed": seed,
    }
    # Before any run is read: a combination that no model could take.
    Plan(options["noise"][-1], norm=norm, **plan)
    chosen = inputs.chosen_runs(runs or [], runs_dir, with_parent=True, quiet=quiet)
    attacks: list[tuple[Run, list[AttackResult]]] = []
    with inputs.computing(given, file) as device:
        from advrec.robustness.attack import attack as attack_model
        from advrec.runs.results import write_attack

        loader = inputs.Loader(given, file, device)
        for run in chosen:
            what = f"{' and '.join(options['noise'])} noise"
            note(f"{run.name}: {what}, ε = {_listed(options['eps'])}", quiet=quiet)
            metrics = split_list(metric or [run.config.metric if not k else "NDCG"])
            results = attack_model(
                loader.model(run), loader.dataset(run), metrics=metrics, **options
            )
            note(f"  kept in {write_attack(run, results)}", quiet=quiet)
            attacks.append((run, results))
    _present(attacks, json=json, out=out, plot=plot, quiet=quiet)


def _present(
    attacks: Sequence[tuple[Run, Sequence[AttackResult]]],
    *,
    json: bool,
    out: Path | None,
    plot: Path | None,
    quiet: bool,
) -> None:
    """Tables or JSON on stdout, and the files that were asked for."""
    from advrec.report.robustness import Attacked, attack_curves, attack_tables
    from advrec.report.table import write_tables
    from advrec.runs.results import attack_document
    from advrec.system import files

    shown = [Attacked(run.name, run.config.model, results) for run, results in attacks]
    tables = attack_tables(shown)
    document = plain(attack_document(attacks))
    if json:
        emit_json(document)
    else:
        show_reports(tables)
    if out is not None and out.suffix.lower() == ".json":
        files.write(out, json_text.dumps(document, indent=2) + "\n")
    elif out is not None:
        write_tables(tables, out)
    if plot is not None:
        from advrec.report.figures import robustness_plot

        metric = shown[0].metrics[0]
        robustness_plot(attack_curves(shown, metric), metric, plot)
        note(f"drawn into {plot}", quiet=quiet)


def _kinds(given: Sequence[str]) -> list[str]:
    """The kinds of noise of `--noise`, in the order random, adversarial."""
    known = (*NOISES, "both")
    kinds = split_list(given)
    for kind in kinds:
        if kind not in known:
            raise not_one_of(kind, known, "--noise")
    return [kind for kind in NOISES if kind in kinds or "both" in kinds]


def _listed(sizes: Sequence[float]) -> str:
    return ", ".join(f"{eps:g}" for eps in sizes)
