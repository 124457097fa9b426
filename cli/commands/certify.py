"""`advrec certify`: what no perturbation within a budget can take from a model's rankings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advrec.choices import SIDES
from advrec.options import OUTPUT
from advrec_cli import inputs
from advrec_cli.console import emit_json, note, show_report
from advrec_cli.help import examples
from advrec_cli.options import (
    MEASURE,
    ConfigFile,
    Given,
    HeldOut,
    Json,
    Quiet,
    RunNames,
    RunsDir,
    TableFile,
    numbers,
    one_of,
    split_list,
    takes,
)
from advrec_cli.settings import RUN_DATA, named
from advrec_cli.values import BadValue

if TYPE_CHECKING:
    from advrec.robustness.certify import Certificate

EPILOG = examples(
    "advrec certify  # the newest run and the one that it started from",
    "advrec certify mf-debian-1 mf-debian-1-apr --rho 1%,5%,20%  # budgets relative to the norms",
    "advrec certify lightgcn-debian-1 --site ego --side items --eps 0.05",
    "advrec certify --users U.npy --items I.npy --data interactions.csv  # vectors from elsewhere",
)

BUDGET = "Budget"
METRIC = "NDCG"


@takes([RUN_DATA], named("threads"))
def certify(
    given: Given,
    *,
    runs: RunNames = None,
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            metavar="X[,X…]",
            help="Absolute budgets: the L2 norm by which each row may move."
            " [dim]\\[default: 0.1,0.2,0.5,1][/]",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None,
    rho: Annotated[
        list[str] | None,
        typer.Option(
            "--rho",
            metavar="X%[,X%…]",
            help="Relative budgets instead of --eps: shares of the rows' norms, such as 5%.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None,
    side: Annotated[
        str,
        typer.Option(
            "--side",
            metavar="NAME",
            help="Whose rows may move: both, users or items.",
            rich_help_panel=BUDGET,
            callback=one_of(SIDES),
        ),
    ] = "both",
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            metavar="NAME",
            help="What may move; 'advrec models' lists the sites."
            " [dim]\\[default: the model's first with a certificate][/]",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        int,
        typer.Option("-k", "--k", metavar="K", help="Cut-off.", min=1, rich_help_panel=MEASURE),
    ] = 20,
    part: HeldOut = "test",
    users: Annotated[
        Path | None,
        typer.Option(
            "--users",
            metavar="FILE.npy",
            help="User vectors from elsewhere, in the order of the data's user ids; with --items"
            " and --data, instead of a run.",
            rich_help_panel=MEASURE,
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            "--items",
            metavar="FILE.npy",
            help="Item vectors from elsewhere, in the order of the data's item ids.",
            rich_help_panel=MEASURE,
            show_default=False,
        ),
    ] = None,
    radii: Annotated[
        Path | None,
        typer.Option(
            "--radii",
            metavar="FILE.csv",
            help="Where to write user, item, rank and radius of every held-out item (one model)."
            " [dim]\\[default: certificate.csv in the run folder][/]",
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
    """Certify how much of a run's rankings survives every perturbation within a budget.

    An attack shows what one search has found, a certificate bounds what any search can find; the
    truth lies between the two. It covers noise on the rows of MF, on the final vectors of graph
    models, on LightGCN's embeddings before propagation (a looser bound), and on VBPR's features and
    embeddings. The radius of each held-out item, the budget below which it is sure to stay among
    the top K, is kept in the run folder as certificate.csv.
    """
    from advrec.errors import UsageError
    from advrec.report.certificate import certificate_table

    if eps and rho:
        raise UsageError("--eps and --rho exclude each other", hint="give one of them")
    sizes = numbers(eps, float, "--eps") if eps else None
    shares = [_share(text) for text in split_list(rho)] if rho else None
    options: dict[str, Any] = {"eps": sizes, "rho": shares, "side": side, "k": k, "part": part}
    file = inputs.config_file(config)
    certificates: list[tuple[str, Certificate]] = []
    with inputs.computing(given, file):
        from advrec.robustness.certify import certify as certify_model
        from advrec.runs.results import write_certificate

        if users is not None or items is not None:
            if runs or users is None or items is None:
                raise UsageError(
                    "vectors from elsewhere need --users and --items, and no RUN",
                    hint="advrec certify --users U.npy --items I.npy --data interactions.csv",
                )
            from advrec.data import DataConfig, load_dataset
            from advrec.runs.vectors import read_vectors

            dataset = load_dataset(DataConfig.of(**{**file.data, **given.data}))
            pair = read_vectors(users, items, dataset)
            certificate = certify_model(pair, dataset, site=site, **options)
            certificates.append((users.stem, certificate))
            if radii is not None:
                note(f"radii in {certificate.write(dataset, radii)}", quiet=quiet)
        else:
            chosen = inputs.chosen_runs(runs or [], runs_dir, with_parent=True, quiet=quiet)
            if radii is not None and len(chosen) > 1:
                raise UsageError("--radii writes the radii of one run", hint="name one RUN")
            loader = inputs.Loader(given, file, "cpu")
            for run in chosen:
                dataset = loader.dataset(run)
                certificate = certify_model(loader.model(run), dataset, site=site, **options)
                path = write_certificate(run, certificate, dataset, radii)
                note(f"{run.name}: radii in {path}", quiet=quiet)
                certificates.append((run.name, certificate))
    if json:
        emit_json({"runs": [{"run": name, **entry.to_dict()} for name, entry in certificates]})
    else:
        table = certificate_table(certificates, f"{METRIC}@{k}")
        show_report(table)
        if out is not None:
            table.write(out)


def _share(text: str) -> float:
    """`5%` or `0.05`."""
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        rest = text
        share = 0.0
    if rest or not 0 <= share < float("inf"):
        raise BadValue(f"must be a share such as 5% or 0.05, got {text!r}", flag="--rho")
    return share
