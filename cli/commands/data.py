"""`advrec data …`: list, inspect, convert, generate and download data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from advrec.choices import TARGETS
from advrec_cli.console import count, emit_json, escaped, facts, note, show, table
from advrec_cli.help import Command, Group, examples
from advrec_cli.inputs import config_file, data_config
from advrec_cli.options import ConfigFile, Given, Json, Quiet, one_of, takes, with_default
from advrec_cli.progress import CountProgress
from advrec_cli.settings import settings

if TYPE_CHECKING:
    from advrec.data.inspection import Inspection, Spread

EPILOG = examples(
    "advrec data list",
    "advrec data inspect ratings.csv  # how it would be read",
    "advrec data download ml-1m",
    "advrec data convert ratings.csv split/ --to lightgcn --split random",
    "advrec data synth big --users 1000000 --items 40000 --pairs 50000000",
)

app = typer.Typer(
    cls=Group,
    help="List, inspect, convert, generate and download data sets.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    no_args_is_help=False,
    invoke_without_command=True,
)

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATA]",
        help="An embedded or downloaded data set, or a path.",
        show_default="debian",
    ),
]

WITHOUT_DATA = tuple(setting for setting in settings("data") if setting.field != "data")


@app.callback()
def _data(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


@app.command(
    "list",
    cls=Command,
    epilog=examples("advrec data list", "advrec data list --json  # with terms of use and folders"),
)
@takes()
def list_(_: Given, *, json: Json = False) -> None:
    """List the embedded data set and the public ones that can be downloaded.

    The counts are the published ones; 'advrec data inspect NAME' counts what is on this machine.
    """
    from advrec.data.sources.catalog import data_home, list_datasets

    entries = list_datasets()
    if json:
        emit_json(
            {
                "folder": str(data_home()),
                "data": [
                    {**vars(entry), "folder": str(entry.folder) if entry.folder else None}
                    for entry in entries
                ],
            }
        )
        return
    about = "what it is"
    rows = table(["name", "state", "users", "items", "pairs", about], left=2, wrap=[about])
    for entry in entries:
        numbers = [count(n) if n else "" for n in (entry.users, entry.items, entry.pairs)]
        state = {"can be downloaded": "[dim]to download[/]"}.get(entry.state, entry.state)
        rows.add_row(f"[bold cyan]{escaped(entry.name)}[/]", state, *numbers, escaped(entry.about))
    show(rows)
    note(f"downloads go to {data_home()} ('advrec data download NAME'); --json shows their terms")


@app.command(
    "inspect",
    cls=Command,
    epilog=examples(
        "advrec data inspect  # the embedded set",
        "advrec data inspect ratings.csv --min-rating 4 --k-core 5",
        "advrec data inspect events.tsv --user-col visitor --item-col page",
    ),
)
@takes(WITHOUT_DATA)
def inspect(
    given: Given,
    *,
    data: Source = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show how a file or folder is read: its format, counts, ratings and times, and how it would be
    split. Item features and names are opened too. Training reads it in the same way. Nothing is
    written.
    """
    from advrec.data.inspection import inspect as look

    inspection = look(data_config(config_file(config), given, data))
    if json:
        emit_json(inspection.to_dict())
        return
    facts(_described(inspection), title=inspection.name)
    for sentence in inspection.notes:
        show(f"- {sentence}")


def _described(inspection: Inspection) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = [
        ("format", inspection.format),
        ("rows", count(inspection.rows)),
        ("pairs", f"{count(inspection.pairs)} different, {count(inspection.repeated)} repeated"),
        ("users", f"{count(inspection.users)}, pairs each: {_spread(inspection.pairs_per_user)}"),
        ("items", f"{count(inspection.items)}, pairs each: {_spread(inspection.pairs_per_item)}"),
        ("density", f"{100 * inspection.density:.4g} %"),
    ]
    if inspection.parts is not None:
        text = ", ".join(f"{name} {count(rows)}" for name, rows in inspection.parts.items())
        pairs.append(("given parts", text))
    pairs.append(("split", inspection.split))
    if inspection.ratings is not None:
        pairs.append(("ratings", _spread(inspection.ratings)))
    if inspection.timestamps is not None:
        times = inspection.timestamps
        first, last = times.first_date or times.first, times.last_date or times.last
        pairs.append(("times", f"{first} to {last}"))
    pairs.append(("first users", ", ".join(inspection.first_users)))
    pairs.append(("first items", ", ".join(inspection.first_items)))
    if inspection.named_items:
        pairs.append(("item names", count(inspection.named_items)))
    return pairs


def _spread(spread: Spread) -> str:
    return (
        f"{spread.least:,.6g} to {spread.most:,.6g} "
        f"(mean {spread.mean:,.4g}, median {spread.median:,.4g})"
    )


@app.command(
    "convert",
    cls=Command,
    epilog=examples(
        "advrec data convert ratings.csv split/ --to lightgcn --split loo-time",
        "advrec data convert ml-1m ratings.inter --to recbole  # one file, nothing dropped",
        "advrec data convert debian debian.csv --to csv",
    ),
)
@takes(WITHOUT_DATA)
def convert(
    given: Given,
    *,
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="An embedded or downloaded data set, or a path."),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="With a file ending: one file with every row as read. Without: a folder with"
            " train, valid and test, filtered and split according to the options.",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="NAME",
            help=f"Format to write. One of {', '.join(TARGETS)}.",
            callback=one_of(TARGETS),
        ),
    ] = "lightgcn",
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Write a data set in another format: one file, or a folder that holds its split.

    Reading that folder gives the same three parts again. LightGCN text holds numbers only: if the
    ids are not numbers, users.tsv and items.tsv map each number to its id.
    """
    from advrec.data.convert import convert as write

    files = write(data_config(config_file(config), given, data), out, to=to)
    _show_files(files, json=json)


def _show_files(files: Sequence[Path], *, json: bool) -> None:
    sizes = {path: path.stat().st_size for path in files}
    if json:
        emit_json({"files": [{"path": str(path), "bytes": size} for path, size in sizes.items()]})
        return
    rows = table(["file", "bytes"])
    for path, size in sizes.items():
        rows.add_row(escaped(str(path)), count(size))
    show(rows)


@app.command(
    "synth",
    cls=Command,
    epilog=examples(
        "advrec data synth big --users 1000000 --items 40000 --pairs 50000000",
        "advrec data synth small.txt --users 2000 --items 1500 --pairs 30000 --seed 1",
    ),
)
@takes()
def synth(
    _: Given,
    *,
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Without file ending: a folder with train.txt and test.txt. With .txt: one file.",
        ),
    ],
    users: Annotated[int, typer.Option("--users", metavar="N", help="Number of users.")] = 10_000,
    items: Annotated[
        int, typer.Option("--items", metavar="N", help="Number of items, at most.")
    ] = 5_000,
    pairs: Annotated[int, typer.Option("--pairs", metavar="N", help="Number of pairs.")] = 200_000,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="The same seed gives the same files.")
    ] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Generate interactions of any size, to measure time and memory: there is nothing to learn.

    The activity of users and the popularity of items follow power laws, as in real data. Pairs are
    written as they are drawn, so that memory does not grow with their number.
    """
    from advrec.data.sources.synth import write_synthetic

    with CountProgress("pairs", quiet=quiet) as progress:
        files = write_synthetic(
            out, users=users, items=items, pairs=pairs, seed=seed, progress=progress
        )
    _show_files(files, json=json)
    if not json:
        note(f"next: advrec pretrain --data {out}", quiet=quiet)


@app.command(
    "download",
    cls=Command,
    epilog=examples(
        "advrec data download ml-1m",
        "advrec data download yelp2018 --again  # download it again and compare",
        "advrec data download ml-100k --sha256 50d2a982…",
    ),
)
@takes()
def download(
    _: Given,
    *,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name that 'advrec data list' shows.")
    ],
    sha256: Annotated[
        list[str] | None,
        typer.Option(
            "--sha256",
            metavar="[FILE=]HASH",
            help=with_default(
                "Require this checksum; may be repeated.", "the known or recorded one"
            ),
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", metavar="", help="Download it even if it is present.")
    ] = False,
    home: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help=with_default("Folder of data sets.", "$ADVREC_DATA, or the cache folder"),
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Download a public data set, check it, and keep it where --data NAME finds it.

    An interrupted download is resumed. The terms of use of the data set are printed; they are
    between you and its publisher.
    """
    from advrec.data.sources.download import download as fetch

    with CountProgress("bytes", quiet=quiet) as progress:
        downloaded = fetch(name, home=home, sha256=sha256 or [], again=again, progress=progress)
    if json:
        emit_json(
            {
                "name": downloaded.name,
                "folder": str(downloaded.folder),
                "notes": downloaded.notes,
            }
        )
        return
    facts([("data", downloaded.name), ("folder", downloaded.folder)])
    for sentence in downloaded.notes:
        show(f"- {sentence}")
    note(f"next: advrec pretrain --data {downloaded.name}", quiet=quiet)
