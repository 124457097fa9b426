"""`advrec attack`: what noise on the parameters costs a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advrec.choices import NOISES, NORMS
from advrec.options import OUTPUT
from advrec_cli import inputs
from advrec_cli.commands.robustness import document, draw, present
from advrec_cli.console import note
from advrec_cli.help import examples
from advrec_cli.options import (
    ConfigFile,
    Given,
    Json,
    Quiet,
    RunNames,
    RunsDir,
    not_one_of,
    numbers,
    one_of,
    split_list,
    takes,
)
from advrec_cli.settings import RUN_DATA, named, reworded

if TYPE_CHECKING:
    from advrec.models import Recommender
    from advrec.robustness.attack import AttackResult
    from advrec.runs.run import Run

EPILOG = examples(
    "advrec attack  # the newest run beside the one it started from",
    "advrec attack mf-debian-1 --noise adversarial --eps 0.5,1,2",
    "advrec attack A B --metric NDCG,Recall -k 10,50 --plot robustness.png",
    "advrec attack A --steps 10 --restarts 3  # projected gradient ascent instead of one step",
)

ATTACK = "Attack"
SEED = reworded("seed", "Seed of the negatives, the random directions and the random starts.")
RESULT = "attack.json"


@takes([RUN_DATA, SEED], named("device", "threads", "kernels"))
def attack(
    given: Given,
    *,
    runs: RunNames = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise",
            metavar="KIND",
            help="random, adversarial or both: adversarial noise is the worst of its size that is"
            " found, random noise has the same rows and norms. May be repeated, or hold commas."
            " [dim]\\[default: both][/]",
            rich_help_panel=ATTACK,
            show_default=False,
        ),
    ] = None,
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            metavar="X[,X…]",
            help="ε, the L2 norm of each row of the noise. [dim]\\[default: 0.5,1,2][/]",
            rich_help_panel=ATTACK,
            show_default=False,
        ),
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(
            "--site",
            metavar="NAME",
            help="Where the noise is added; 'advrec models' lists each model's sites. May be"
            " repeated, or hold commas, for one attack after the other; all is every site."
            " [dim]\\[default: the model's first][/]",
            rich_help_panel=ATTACK,
            show_default=False,
        ),
    ] = None,
    norm: Annotated[
        str | None,
        typer.Option(
            "--norm",
            metavar="NAME",
            help="What has norm ε: row, joint or tensor. [dim]\\[default: the site's first][/]",
            rich_help_panel=ATTACK,
            show_default=False,
            callback=one_of(NORMS),
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            metavar="N",
            help="Gradient steps of adversarial noise; more than 1 is PGD, with every row"
            " projected back onto its ball.",
            rich_help_panel=ATTACK,
        ),
    ] = 1,
    restarts: Annotated[
        int,
        typer.Option(
            "--restarts",
            metavar="N",
            help="Starts, of which the worst counts.",
            rich_help_panel=ATTACK,
        ),
    ] = 1,
    step_size: Annotated[
        float | None,
        typer.Option(
            "--step-size",
            metavar="X",
            help="Length of a step, in the unit of ε. [dim]\\[default: 2.5·ε/steps][/]",
            rich_help_panel=ATTACK,
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME[@K]",
            help="What to measure. May be repeated, or hold commas."
            " [dim]\\[default: the figure that chose the run's best epoch][/]",
            rich_help_panel=ATTACK,
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        list[str] | None,
        typer.Option(
            "-k",
            metavar="K[,K…]",
            help="Cut-offs of the metrics that are named without one. [dim]\\[default: 20][/]",
            rich_help_panel=ATTACK,
            show_default=False,
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            "--part",
            metavar="NAME",
            help="Which held-out part to measure on: test or valid.",
            rich_help_panel=ATTACK,
            callback=one_of(("test", "valid")),
        ),
    ] = "test",
    sampled: Annotated[
        int | None,
        typer.Option(
            "--sampled",
            metavar="N",
            help="Rank each held-out item against N random items instead of all; --seed chooses"
            " them, too. [dim]\\[default: full ranking][/]",
            rich_help_panel=ATTACK,
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw the metric over ε into a .png, .pdf or .svg.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the table too, as .md or .json.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how much a run's rankings lose when its parameters are disturbed by noise of norm ε.

    The gradient is taken over all training pairs with fresh negatives, and every row of the table
    moves by ε. The budget is printed as measured: the largest row norm of the noise, and its share
    of the mean row norm of the table, for ε alone says nothing before the norms are known.

    Several runs stand side by side; each result is also kept in its run folder as attack.json.
    """
    from advrec.errors import UsageError

    kinds = _kinds(noise or ["both"])
    budgets = numbers(eps or ["0.5,1,2"], float, "--eps")
    cutoffs = numbers(k or ["20"], int, "-k", low=1)
    if "random" in kinds and len(kinds) == 1 and (steps > 1 or step_size is not None):
        raise UsageError("Random noise takes no steps.", hint="use --noise adversarial")
    file = inputs.config_file(config)
    chosen = inputs.chosen_runs(runs or [], runs_dir, with_parent=True, quiet=quiet)
    plan: dict[str, Any] = {
        "norm": norm,
        "restarts": restarts,
        "ks": cutoffs,
        "part": part,
        "sampled": sampled,
    }
    climb: dict[str, Any] = {"steps": steps, "step_size": step_size}
    plan["seed"] = {**file.train, **given.train}.get("seed", 0)
    plan["sampled_seed"] = plan["seed"]
    found: list[tuple[Run, list[AttackResult]]] = []
    with inputs.computing(given, file) as device:
        from advrec.robustness.attack import attack as attack_model

        loader = inputs.Loader(given, file, device)
        for run in chosen:
            model, dataset = loader.model(run), loader.dataset(run)
            metrics = split_list(metric or [run.config.metric if not k else "NDCG"])
            results: list[AttackResult] = []
            for place, kind in product(_sites(model, site or []), kinds):
                at = f"{kind} noise at {place or 'the first site'}"
                note(f"{run.name}: {at}, ε = {_listed(budgets)}", quiet=quiet)
                results += attack_model(
                    model,
                    dataset,
                    noise=kind,
                    site=place,
                    eps=budgets,
                    metrics=metrics,
                    clean=results[0].clean if results else None,
                    **plan,
                    **(climb if kind == "adversarial" else {}),
                )
            kept = run.write_json(RESULT, document([(run, results)]))
            note(f"  kept in {kept}", quiet=quiet)
            found.append((run, results))
    present(found, json=json, out=out)
    if plot is not None:
        draw(found, plot)
        note(f"drawn into {plot}", quiet=quiet)


def _kinds(given: Sequence[str]) -> list[str]:
    """The kinds of noise of `--noise`, in the order random, adversarial."""
    known = (*NOISES, "both")
    wanted = split_list(given)
    for kind in wanted:
        if kind not in known:
            raise not_one_of(kind, known, "--noise")
    return [kind for kind in NOISES if kind in wanted or "both" in wanted]


def _sites(model: Recommender, given: Sequence[str]) -> list[str | None]:
    """The sites of `--site`; a combination is each of its sites, `all` whatever can be attacked."""
    if "all" in split_list(given):
        return [site.name for site in model.sites if any(norm != "sample" for norm in site.norms)]
    return [site.name for site in model.sites_of("+".join(split_list(given)))] if given else [None]


def _listed(budgets: Sequence[float]) -> str:
    return ", ".join(f"{eps:g}" for eps in budgets)
