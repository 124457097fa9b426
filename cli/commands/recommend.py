"""`advrec recommend`: the items that a trained model ranks highest for a user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from advrec_cli import inputs
from advrec_cli.console import emit_json, escaped, note, show, table
from advrec_cli.help import examples
from advrec_cli.options import ConfigFile, Given, Json, OneRun, Quiet, RunsDir, takes
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
            help="The user's id as the data has it. May be repeated, or hold several ids with"
            " commas; an id that itself holds a comma is taken as it is.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", metavar="K", help="Number of items.", min=1)] = 10,
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the items that a run ranks highest for a user, leaving out those the user has.

    Scores are comparable within one list only. Items of the test part may appear: a good list
    contains them.
    """
    from advrec.errors import UsageError

    if not any(user or []):
        raise UsageError("no user to recommend to", hint="--user ID")
    file = inputs.config_file(config)
    chosen = inputs.chosen_runs([run] if run else [], runs_dir, quiet=quiet)[0]
    with inputs.computing(given, file) as device:
        from advrec.evaluation.recommend import recommend as recommend_from

        loader = inputs.Loader(given, file, device)
        dataset, model = loader.dataset(chosen), loader.model(chosen)
        lists = {
            name: recommend_from(model, dataset, name, k)
            for name in _users(user or [], dataset.user_ids)
        }
    if json:
        emit_json(
            {
                "run": chosen.name,
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
    names = dataset.item_names
    show_names = names is not None and list(names) != list(dataset.item_ids)
    for name, lines in lists.items():
        columns = ["", "item", *(["name"] if show_names else []), "score"]
        shown = table(columns, title=f"For {escaped(name)}", left=len(columns) - 1)
        shown.columns[0].justify = "right"
        for line in lines:
            texts = [line.item, line.name or ""] if show_names else [line.item]
            shown.add_row(str(line.rank), *map(escaped, texts), f"{line.score:.4f}")
        show(shown)
        if len(lines) < k:
            note(f"{name} has nearly every item: only {len(lines)} are left", quiet=quiet)


def _users(texts: Sequence[str], ids: Sequence[str]) -> list[str]:
    """The users that the options name: a text is one id if the data has it, otherwise several.

    A text without a part in the data stays whole, so that the error shows it as typed.
    """
    known = set(ids)
    users = []
    for text in texts:
        parts = [part if part in known else part.strip() for part in text.split(",")]
        if text in known or not known.intersection(parts):
            users.append(text)
        else:
            users += [part for part in parts if part]
    return users
