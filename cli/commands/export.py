"""`advrec export`: the vectors of a trained model, for a recommendation server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advrec.options import OUTPUT
from advrec_cli import inputs
from advrec_cli.console import count, emit_json, facts
from advrec_cli.help import examples
from advrec_cli.options import ConfigFile, Given, Json, OneRun, Quiet, RunsDir, takes, with_default
from advrec_cli.settings import RUN_DATA, named

EPILOG = examples(
    "advrec export  # the newest run, into its folder",
    "advrec export mf-debian-1 --out vectors.npz  # for numpy, faiss and the like",
    "advrec export mf-debian-1 --out vectors.safetensors",
)


@takes([RUN_DATA], named("threads", "kernels"))
def export(
    given: Given,
    *,
    run: OneRun = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help=with_default(
                "A .npz, .safetensors or .csv file.", "vectors.npz in the run folder"
            ),
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's final user and item vectors with the original ids; a score is a dot product.

    The arrays are user_vectors and item_vectors, one row per user_ids and item_ids; for a graph
    model they are the vectors after propagation. The file appears whole or not at all.
    """
    file = inputs.config_file(config)
    chosen = inputs.chosen_runs([run] if run else [], runs_dir, quiet=quiet)[0]
    path = chosen.path / "vectors.npz" if out is None else out
    with inputs.computing(given, file):
        from advrec.runs.export import export_vectors

        loader = inputs.Loader(given, file, "cpu")
        model = loader.model(chosen)
        export_vectors(model, *chosen.ids(), path)
    if json:
        emit_json(
            {
                "run": chosen.name,
                "path": str(path),
                "users": model.n_users,
                "items": model.n_items,
                "dim": model.dim,
                "bytes": path.stat().st_size,
            }
        )
        return
    facts(
        [
            ("file", path),
            ("user vectors", f"{count(model.n_users)} × {model.dim}"),
            ("item vectors", f"{count(model.n_items)} × {model.dim}"),
            ("size", f"{path.stat().st_size / 2**20:.1f} MiB"),
        ]
    )
