"""The final vectors of a model with the original ids, for a recommendation server."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from advrec.errors import UsageError
from advrec.models import Recommender
from advrec.runs import tensors
from advrec.system import files

Vectors = NDArray[np.floating]


def export_vectors(
    model: Recommender,
    user_ids: Sequence[str],  # [U]
    item_ids: Sequence[str],  # [I]
    path: str | Path,
) -> Path:
    """Write user vectors [U, d], item vectors [I, d] and their ids; a dot product is a score.

    By the ending of `path`:

    - .npz: arrays user_vectors, item_vectors, user_ids, item_ids (text, no pickle);
    - .safetensors: user_vectors, item_vectors; the ids are JSON in the metadata, key "advrec";
    - .csv: columns kind (user or item), id, 0, 1, …, with enough digits to give the number back.

    The file appears whole or not at all. Raises UsageError for another ending or a model whose
    scores are not dot products, RunError for a path that cannot be written.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise UsageError(
            f"{path} must end in .npz, .safetensors or .csv",
            hint=f"for example {path.with_suffix('.npz')}",
        )
    with torch.no_grad():
        vectors = model.eval().vectors()
    if vectors is None:
        raise UsageError(
            f"model {model.name!r} does not score by dot products, so it has no vectors to export",
            hint="advrec recommend works with every model",
        )
    users, items = (tensor.detach().cpu().numpy() for tensor in vectors)
    files.write(path, writer(users, items, list(user_ids), list(item_ids)))
    return path


def _npz(users: Vectors, items: Vectors, user_ids: list[str], item_ids: list[str]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(
        file,
        user_vectors=users,
        item_vectors=items,
        user_ids=np.array(user_ids, dtype=np.str_),
        item_ids=np.array(item_ids, dtype=np.str_),
    )
    return file.getvalue()


def _safetensors(users: Vectors, items: Vectors, user_ids: list[str], item_ids: list[str]) -> bytes:
    pair = {"user_vectors": torch.from_numpy(users), "item_vectors": torch.from_numpy(items)}
    return tensors.dump(pair, {"user_ids": user_ids, "item_ids": item_ids})


def _csv(users: Vectors, items: Vectors, user_ids: list[str], item_ids: list[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "id", *range(users.shape[1])])
    for kind, ids, rows in (("user", user_ids, users), ("item", item_ids, items)):
        # str of a numpy scalar is the shortest text that reads back as the same number.
        writer.writerows([kind, name, *map(str, row)] for name, row in zip(ids, rows, strict=True))
    return text.getvalue().encode()


WRITERS: dict[str, Callable[[Vectors, Vectors, list[str], list[str]], bytes]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".csv": _csv,
}
