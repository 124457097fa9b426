"""`advrec attack`: what noise on the parameters costs a trained model."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advrec.choices import NOISES, PRACTICAL_NOISES
from advrec_cli import inputs
from advrec_cli.commands import attack_options as flags
from advrec_cli.commands import attack_suite
from advrec_cli.console import emit_json, note, plain, show_reports
from advrec_cli.help import examples
from advrec_cli.options import (
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
    shares,
    split_list,
    takes,
)
from advrec_cli.settings import RUN_DATA, named

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
    "advrec attack A --suite standard --rho 1%,5%,20%  # the worst of all attacks, two headlines",
    "advrec attack A --rho 5% --side items --objective softmax  # a budget relative to the norms",
    "advrec attack A --suite standard --eps 0.5 --save-noise worst.npz",
    "advrec attack A --eps 0.5 --load-noise worst.npz  # checked for its budget, evaluated",
    "advrec attack A --promote vim,emacs --eps 0.5,1  # only the items' own rows move",
    "advrec attack A --noise int8,staleness --stale A@last  # what storing and serving cost",
    "advrec attack --users U.npy --items I.npy --data interactions.csv  # vectors from elsewhere",
)


@takes([RUN_DATA, flags.SEED], named("device", "threads", "kernels"))
def attack(
    given: Given,
    *,
    runs: RunNames = None,
    users: UsersFile = None,
    items: ItemsFile = None,
    noise: flags.Noises = None,
    eps: flags.Sizes = None,
    rho: flags.Portions = None,
    side: flags.Sides = "both",
    site: flags.Sites = None,
    norm: flags.NormName = None,
    objective: flags.Objective = None,
    labels: flags.Labels = None,
    steps: flags.Steps = None,
    restarts: flags.Restarts = None,
    step_size: flags.StepSize = None,
    suite: flags.SuiteName = None,
    grid: flags.Grid = False,
    save_noise: flags.SaveNoise = None,
    load_noise: flags.LoadNoise = None,
    promote: flags.Promoted = None,
    demote: flags.Demoted = None,
    stale: StaleVectors = None,
    stale_side: StaleSide = "items",
    metric: flags.MetricNames = None,
    k: Cutoffs = None,
    part: HeldOut = "test",
    sampled: Sampled = None,
    plot: flags.Plot = None,
    out: TableFile = None,
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how much a run's rankings lose when noise of a budget is added to its parameters.

    By default the gradient of the model's loss is taken over all training pairs with fresh
    negatives, and every row of the table moves by ε. That is the attack of the papers, and a weak
    one. --suite standard makes the strongest that advrec knows and says what the worst leaves,
    without labels and with the held-out ones. The budget is printed as measured, because the same ε
    is little for one model and much for another; --rho counts it relative to the norms.

    Several runs are shown in one table; each result is also kept in its run folder as attack.json,
    or suite.json.
    """
    from advrec.errors import UsageError

    if eps and rho:
        raise UsageError("--eps and --rho exclude each other", hint="give one of them")
    targets = {"promote": split_list(promote or []), "demote": split_list(demote or [])}
    own = {
        "--noise": noise, "--objective": objective, "--labels": labels, "--steps": steps,
        "--restarts": restarts, "--step-size": step_size, "--sampled": sampled, "--plot": plot,
        "--stale": stale,
    }  # fmt: skip
    suited = suite is not None or bool(load_noise)
    special = "--promote and --demote" if any(targets.values()) else "a suite" if suited else None
    chosen = [flag for flag, value in own.items() if value]
    if special and chosen:
        raise UsageError(f"{special} and {', '.join(chosen)} exclude each other")
    if grid and suite is None:
        raise UsageError("--grid is a table of --suite", hint="add --suite standard")
    file = inputs.config_file(config)
    sizes: dict[str, Any] = {"rho": shares(rho, "--rho")} if rho else {}
    if eps:
        sizes["eps"] = numbers(eps, float, "--eps")
    common = attack_suite.Common(
        given=given,
        file=file,
        runs=runs or [],
        users=users,
        items=items,
        runs_dir=runs_dir,
        sizes=sizes,
        side=side,
        sites=split_list(site) if site else None,
        norm=norm,
        metrics=split_list(metric) if metric else None,
        ks=numbers(k or ["20"], int, "-k", low=1),
        part=part,
        seed={**file.train, **given.train}.get("seed", 0),
        json=json,
        out=out,
        quiet=quiet,
    )
    if any(targets.values()):
        if suited or save_noise is not None:
            raise UsageError("--promote and --demote are attacks of their own, without a suite")
        attack_suite.promotions(common, targets)
    elif suited:
        attack_suite.suites(common, suite or "", grid=grid, load=load_noise or [], save=save_noise)
    else:
        plan = {
            "objective": objective or "bpr",
            "labels": labels,
            "steps": steps,
            "restarts": restarts,
            "step_size": step_size,
        }
        _attacks(common, noise or ["both"], plan, sampled, stale, stale_side, plot, save_noise)


def _attacks(
    common: attack_suite.Common,
    noise: Sequence[str],
    plan: dict[str, Any],
    sampled: int | None,
    stale: str | None,
    stale_side: str,
    plot: Path | None,
    save: Path | None,
) -> None:
    """Single attacks and noise of practice."""
    from advrec.report.practical import practical_table
    from advrec.robustness.noise_file import check_noise_path
    from advrec.robustness.search import Plan

    kinds, practice = _kinds(noise)
    sizes = common.sizes or {"eps": [0.5, 1.0, 2.0]}
    (unit,) = sizes
    quiet = common.quiet
    options: dict[str, Any] = {
        "noise": kinds,
        **sizes,
        "side": common.side,
        "site": common.sites,
        "norm": common.norm,
        **plan,
        "seed": common.seed,
        "ks": common.ks,
        "part": common.part,
        "sampled": sampled,
        "sampled_seed": common.seed,
    }
    # Before any run is read: a combination that no model could take.
    Plan(kinds[-1] if kinds else "adversarial", norm=common.norm, **plan)
    if save is not None:
        check_noise_path(save)
        common.check_one(save, sizes[unit])
    attacks: list[tuple[Subject, list[AttackResult]]] = []
    noises: list[tuple[str, list[PracticalResult]]] = []
    with inputs.computing(common.given, common.file) as device:
        from advrec.robustness.attack import attack as attack_model
        from advrec.robustness.practical import practical
        from advrec.runs.results import write_attack
        from advrec.runs.subject import stale_for

        for subject in common.subjects(device):
            run, model, dataset = subject.run, subject.model, subject.dataset
            if kinds:
                what = f"{' and '.join(kinds)} noise, {attack_suite.listed(unit, sizes[unit])}"
                note(f"{subject.name}: {what}", quiet=quiet)
                chooses = "NDCG" if run is None or common.ks != [20] else run.config.metric
                metrics = common.metrics or split_list([chooses])
                results = attack_model(model, dataset, metrics=metrics, **options)
                if run is not None:
                    note(f"  kept in {write_attack(run, results)}", quiet=quiet)
                if save is not None:
                    attack_suite.save_worst(subject, results, save, quiet=quiet)
                attacks.append((subject, results))
            if practice:
                note(f"{subject.name}: {', '.join(practice)}", quiet=quiet)
                older = stale_for(subject, stale, stale_side, common.runs_dir)
                of_practice = practical(
                    model,
                    dataset,
                    practice,
                    stale=None if older is None else older.vectors,
                    stale_side=stale_side,
                    k=common.ks[0],
                    part=common.part,  # type: ignore[arg-type]
                    seed=common.seed,
                )
                noises.append((subject.name, of_practice))
    table = practical_table(noises, f"NDCG@{common.ks[0]}") if practice else None
    practised = [(name, [entry.to_dict() for entry in results]) for name, results in noises]
    _present(attacks, table, practised, json=common.json, out=common.out, plot=plot, quiet=quiet)


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
