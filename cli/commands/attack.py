"""`advrec attack`: what noise on the parameters costs a trained model."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advrec.choices import LABELS, NOISES, NORMS, PRACTICAL_NOISES
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
    ItemsFile,
    Json,
    Quiet,
    RunNames,
    RunsDir,
    Sampled,
    StaleSide,
    StaleVectors,
    TableFile,
    UsersFile,
    not_one_of,
    numbers,
    one_of,
    split_list,
    takes,
    with_default,
)
from advrec_cli.settings import RUN_DATA, named, reworded

if TYPE_CHECKING:
    from advrec.report.table import Table
    from advrec.robustness.attack import AttackResult
    from advrec.robustness.practical import PracticalResult
    from advrec.runs.subject import Subject

EPILOG = examples(
    "advrec attack  # the newest run and the one that it started from",
    "advrec attack mf-debian-1 --noise adversarial --eps 0.5,1,2",
    "advrec attack A B --metric NDCG,Recall -k 10,50 --plot robustness.png",
    "advrec attack A --steps 10 --restarts 3  # projected gradient ascent instead of one step",
    "advrec attack A --objective ndcg --labels test  # against the ranking of the held-out items",
    "advrec attack A --noise int8,staleness --stale A@last  # what storing and serving cost",
    "advrec attack --users U.npy --items I.npy --data interactions.csv  # vectors from elsewhere",
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
            " found, random noise has the same rows and norms. Or noise of practice, which has a"
            f" size of its own: {', '.join(PRACTICAL_NOISES)}. May be repeated, or hold commas.",
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
    users: UsersFile = None,
    items: ItemsFile = None,
    noise: Noises = None,
    eps: Sizes = None,
    site: Sites = None,
    norm: NormName = None,
    objective: Objective = "bpr",
    labels: Labels = None,
    steps: Steps = None,
    restarts: Restarts = None,
    step_size: StepSize = None,
    stale: StaleVectors = None,
    stale_side: StaleSide = "items",
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
    from advrec.report.practical import practical_table
    from advrec.robustness.search import Plan

    kinds, practice = _kinds(noise or ["both"])
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
        "noise": kinds,
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
    Plan(kinds[-1] if kinds else "adversarial", norm=norm, **plan)
    attacks: list[tuple[Subject, list[AttackResult]]] = []
    noises: list[tuple[str, list[PracticalResult]]] = []
    with inputs.computing(given, file) as device:
        from advrec.robustness.attack import attack as attack_model
        from advrec.robustness.practical import practical
        from advrec.runs.results import write_attack
        from advrec.runs.subject import stale_for

        loader = inputs.Loader(given, file, device)
        for subject in inputs.subjects(
            runs or [], users, items, loader=loader, runs_dir=runs_dir, quiet=quiet
        ):
            run, model, dataset = subject.run, subject.model, subject.dataset
            if kinds:
                what = f"{' and '.join(kinds)} noise, ε = {_listed(options['eps'])}"
                note(f"{subject.name}: {what}", quiet=quiet)
                chooses = "NDCG" if run is None or k else run.config.metric
                metrics = split_list(metric or [chooses])
                results = attack_model(model, dataset, metrics=metrics, **options)
                if run is not None:
                    note(f"  kept in {write_attack(run, results)}", quiet=quiet)
                attacks.append((subject, results))
            if practice:
                note(f"{subject.name}: {', '.join(practice)}", quiet=quiet)
                older = stale_for(subject, stale, stale_side, runs_dir)
                of_practice = practical(
                    model,
                    dataset,
                    practice,
                    stale=None if older is None else older.vectors,
                    stale_side=stale_side,
                    k=options["ks"][0],
                    part=options["part"],
                    seed=seed,
                )
                noises.append((subject.name, of_practice))
    table = practical_table(noises, f"NDCG@{options['ks'][0]}") if practice else None
    practised = [(name, [entry.to_dict() for entry in results]) for name, results in noises]
    _present(attacks, table, practised, json=json, out=out, plot=plot, quiet=quiet)


def _present(
    attacks: Sequence[tuple[Subject, Sequence[AttackResult]]],
    of_practice: Table | None,
    practised: Sequence[tuple[str, list[dict[str, Any]]]],
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

    shown = [Attacked(subject.name, subject.kind, results) for subject, results in attacks]
    tables = attack_tables(shown) if shown else []
    if of_practice is not None:
        tables.append(of_practice)
    document = plain(attack_document(attacks))
    if practised:
        document["practical"] = [{"run": name, "results": each} for name, each in practised]
    if json:
        emit_json(document)
    else:
        show_reports(tables)
    if out is not None and out.suffix.lower() == ".json":
        files.write(out, json_text.dumps(plain(document), indent=2) + "\n")
    elif out is not None:
        write_tables(tables, out)
    if plot is not None:
        from advrec.errors import UsageError
        from advrec.report.figures import robustness_plot

        if not shown:
            raise UsageError("noise of practice has one size, so there is no curve to plot")
        metric = shown[0].metrics[0]
        robustness_plot(attack_curves(shown, metric), metric, plot)
        note(f"drawn into {plot}", quiet=quiet)


def _kinds(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """The kinds of noise of `--noise`: random before adversarial, and those of practice."""
    known = (*NOISES, "both")
    searched, practice = [], []
    for kind in split_list(given):
        if kind.partition(":")[0] in PRACTICAL_NOISES:
            practice.append(kind)
        elif kind in known:
            searched.append(kind)
        else:
            raise not_one_of(kind, (*known, *PRACTICAL_NOISES), "--noise")
    return [kind for kind in NOISES if kind in searched or "both" in searched], practice


def _listed(sizes: Sequence[float]) -> str:
    return ", ".join(f"{eps:g}" for eps in sizes)
