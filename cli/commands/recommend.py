"""`advrec recommend`: the list that a trained model makes for a user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advrec_cli import inputs
from advrec_cli.console import emit_json, note, show, table
from advrec_cli.help import examples
from advrec_cli.options import ConfigFile, Given, Json, OneRun, Quiet, RunsDir, split_list, takes
from advrec_cli.settings import RUN_DATA, named

EPILOG = examples(
    "advrec recommend --user gimp  # from the newest run",
    "advrec recommend mf-debian-1 --user gimp,inkscape -k 5",
    "advrec recommend mf-debian-1 --user gimp --json",
)


@takes([RUN_DATA], named("device", "threads", "kernels"))
def recommend(
    given: Given,
    *,
    run: OneRun = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            "--user",
            "-u",
            metavar="ID",
            help="The user's id as it stands in the data. May be repeated, or hold commas.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", metavar="K", help="How many items.", min=1)] = 10,
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the items that a run ranks highest for a user, leaving out those the user has.

    The score orders one list; it means nothing beyond it. Items in the test part may appear: they
    are what a good list should hold.
    """
    from advrec.errors import UsageError

    wanted = split_list(user or [])
    if not wanted:
        raise UsageError("There is no user to recommend to.", hint="--user ID")
    file = inputs.config_file(config)
    found = inputs.chosen_runs([run] if run else [], runs_dir, quiet=quiet)[0]
    with inputs.computing(given, file) as device:
        from advrec.evaluation.recommend import recommend as recommend_from

        loader = inputs.Loader(given, file, device)
        dataset, model = loader.dataset(found), loader.model(found)
        lists = {name: recommend_from(model, dataset, name, k) for name in wanted}
    if json:
        emit_json(
            {
                "run": found.name,
                "users": [
                    {
                        "user": name,
                        "items": [
                            {
                                "rank": line.rank,
                                "item": line.item,
                                "name": line.name,
                                "score": line.score,
                            }
                            for line in lines
                        ],
                    }
                    for name, lines in lists.items()
                ],
            }
        )
        return
    from rich.markup import escape

    names = dataset.item_names
    show_names = names is not None and list(names) != list(dataset.item_ids)
    for name, lines in lists.items():
        columns = ["", "item", *(["name"] if show_names else []), "score"]
        made = table(columns, title=f"For {escape(name)}", left=len(columns) - 1)
        made.columns[0].justify = "right"
        for line in lines:
            texts = [line.item, line.name or ""] if show_names else [line.item]
            made.add_row(str(line.rank), *map(escape, texts), f"{line.score:.4f}")
        show(made)
        if len(lines) < k:
            note(f"{name} has nearly every item: {len(lines)} are left", quiet=quiet)
