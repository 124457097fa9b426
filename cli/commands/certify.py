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
    ItemsFile,
    Json,
    Quiet,
    RunNames,
    RunsDir,
    TableFile,
    UsersFile,
    numbers,
    one_of,
    shares,
    takes,
)
from advrec_cli.settings import RUN_DATA, named

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
    users: UsersFile = None,
    items: ItemsFile = None,
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
    portions = shares(rho, "--rho") if rho else None
    options: dict[str, Any] = {"eps": sizes, "rho": portions, "side": side, "k": k, "part": part}
    file = inputs.config_file(config)
    certificates: list[tuple[str, Certificate]] = []
    with inputs.computing(given, file):
        from advrec.robustness.certify import certify as certify_model
        from advrec.runs.results import write_certificate

        loader = inputs.Loader(given, file, "cpu")
        several = users is None and len(runs or []) != 1
        for subject in inputs.subjects(
            runs or [], users, items, loader=loader, runs_dir=runs_dir, quiet=quiet
        ):
            if radii is not None and several:
                raise UsageError("--radii writes the radii of one run", hint="name one RUN")
            certificate = certify_model(subject.model, subject.dataset, site=site, **options)
            certificates.append((subject.name, certificate))
            if subject.run is not None:
                path = write_certificate(subject.run, certificate, subject.dataset, radii)
            elif radii is not None:
                path = certificate.write(subject.dataset, radii)
            else:
                continue
            note(f"{subject.name}: radii in {path}", quiet=quiet)
    if json:
        emit_json({"runs": [{"run": name, **entry.to_dict()} for name, entry in certificates]})
    else:
        table = certificate_table(certificates, f"{METRIC}@{k}")
        show_report(table)
        if out is not None:
            table.write(out)
