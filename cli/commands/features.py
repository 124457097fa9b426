"""`advrec features`: content features of items, from their text or their images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from advrec.options import OUTPUT
from advrec_cli.console import count, emit_json, facts, note, percent
from advrec_cli.help import examples
from advrec_cli.options import Given, Json, Quiet, at_least, split_list, takes, with_default
from advrec_cli.settings import named, reworded

if TYPE_CHECKING:
    from collections.abc import Mapping

FROM = "Source (exactly one)"
TEXT = "Features from text"
IMAGES = "Features from images"

EPILOG = examples(
    "advrec features --text items.tsv --out features.npz  # item id, then its text",
    "advrec features --text movies.csv --column title,genres --dim 32",
    "advrec features --images photos/ --encoder google/vit-base-patch16-224",
    "advrec features --images photos/ --encoder ./my-encoder --batch-size 64",
    "advrec pretrain --model vbpr --data ratings.csv --features features.npz  # then use them",
)

DATA = reworded(
    "data",
    "Text of the items of a data set: descriptions for the embedded set, otherwise item names.",
    default="none",
    panel=FROM,
)
SEED = reworded("seed", "Seed of the decomposition (text).")
DEVICE = reworded("device", "Device to compute on (images).")


@takes([DATA, SEED, DEVICE], named("threads"))
def features(
    given: Given,
    *,
    text: Annotated[
        Path | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="Table of item ids and their text: TF-IDF, then SVD.",
            rich_help_panel=FROM,
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="Folder of images ITEM.jpg, ITEM.png, …, for a pretrained encoder.",
            rich_help_panel=FROM,
            show_default=False,
        ),
    ] = None,
    dim: Annotated[
        int,
        typer.Option(
            "--dim",
            metavar="N",
            help="Number of features, at most.",
            rich_help_panel=TEXT,
            callback=at_least(1),
        ),
    ] = 64,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME",
            help=with_default("Column of --text to read; may be repeated.", "all but the id"),
            rich_help_panel=TEXT,
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="NAME|PATH",
            help="Image model for transformers: its name on huggingface.co, or the folder that"
            " save_pretrained wrote.",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            metavar="N",
            help="Images per batch.",
            rich_help_panel=IMAGES,
            callback=at_least(1),
        ),
    ] = 32,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable",
            metavar="",
            help="Skip files that are not readable images instead of stopping at the first.",
            rich_help_panel=IMAGES,
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.npz",
            help="File to write, with the features and their item ids.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("features.npz"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compute item features for VBPR and AMR from text (TF-IDF and SVD) or images (an encoder).

    Training reads the result with --features. Items are matched by id, so the order of the rows
    does not matter. Items may be missing: training reports how many, and gives them zeros.

    Images need the extra 'images' (transformers, Pillow). To resume an interrupted extraction, give
    the same command again.
    """
    from advrec.errors import UsageError

    source = [name for name, value in _sources(text, images, given).items() if value is not None]
    if len(source) != 1:
        raise UsageError(
            f"exactly one of --text, --images and --data is needed, got "
            f"{' and '.join(source) or 'none'}",
            hint="advrec features --text items.tsv",
        )
    if images is not None:
        summary = _of_images(
            given, images, encoder, out, batch_size, skip=skip_unreadable, quiet=quiet
        )
    else:
        summary = _of_text(given, text, split_list(column or ()), dim, out)
    if json:
        emit_json(summary)
        return
    facts([(name.replace("_", " "), _shown(value)) for name, value in summary.items()])
    note(f"next: advrec pretrain --model vbpr --data … --features {out}", quiet=quiet)


def _sources(text: Path | None, images: Path | None, given: Given) -> Mapping[str, object]:
    return {"--text": text, "--images": images, "--data": given.data.get("data")}


def _of_text(
    given: Given, path: Path | None, columns: list[str], dim: int, out: Path
) -> dict[str, Any]:
    from advrec.data import DataConfig
    from advrec.data.item_text import read_texts, texts_of
    from advrec.data.load import read_interactions
    from advrec.features import save_features, text_features
    from advrec.features.files import checked_path

    checked_path(out)
    if path is not None:
        texts = read_texts(path, columns)
    else:
        rows = read_interactions(DataConfig.of(given.data["data"]))
        texts = dict(texts_of(given.data["data"], rows.names))
    features = text_features(list(texts.values()), dim=dim, seed=given.train.get("seed", 0))
    save_features(out, list(texts), features.values)
    return {
        "file": str(out),
        "items": len(texts),
        "columns": features.values.shape[1],
        "words": features.words,
        "kept": features.kept,
        "without_words": features.empty,
    }


def _of_images(
    given: Given,
    folder: Path,
    name: str | None,
    out: Path,
    batch_size: int,
    *,
    skip: bool,
    quiet: bool,
) -> dict[str, Any]:
    import torch

    from advrec.errors import UsageError
    from advrec.features.encoder import load_encoder
    from advrec.features.files import checked_path
    from advrec.features.images import find_images, image_features
    from advrec.native.gpu import device_of
    from advrec_cli.progress import CountProgress

    if name is None:
        raise UsageError(
            "--images needs --encoder, the name or the folder of an image model",
            hint="--encoder google/vit-base-patch16-224",
        )
    checked_path(out)
    find_images(folder)  # before a model is loaded
    if given.train.get("threads"):
        torch.set_num_threads(given.train["threads"])
    encoder = load_encoder(name, device_of(given.train.get("device", "auto")))
    with CountProgress("images", quiet=quiet) as progress:
        features = image_features(
            folder,
            encoder,
            out,
            batch_size=batch_size,
            skip_unreadable=skip,
            progress=progress,
        )
    return {
        "file": str(out),
        "items": features.items,
        "columns": features.columns,
        "encoder": name,
        "resumed": features.resumed,
        "unreadable": list(features.unreadable),
    }


def _shown(value: object) -> object:
    if isinstance(value, float):
        return percent(value) + " of the weight"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return count(value) if isinstance(value, int) else value
