"""A surrogate that an attacker trains without the model, and how its noise is carried over.

The surrogate is matrix factorisation with the BPR loss on the training pairs, by a fixed recipe and
seed, so that it knows nothing of the model or of held-out items. It is kept in the data cache.

The rows of noise of the surrogate are multiplied by the least-squares linear map W between the two
item tables, min_W ‖Q_s W − Q‖, and made as long as the budget allows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from advrec import ops
from advrec.data.cache import folder
from advrec.errors import AdvrecError
from advrec.models import ModelSpec, Recommender, create
from advrec.models.base import Noise
from advrec.ops.positives import Positives
from advrec.system import files

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset
    from advrec.robustness.ball import Ball

RECIPE: Final = {
    "dim": 32,
    "seed": 13,
    "init_std": 0.1,
    "lr": 0.02,
    "batch": 8192,
    "steps": 400,
    "version": 1,
}
"""Adam on the mean BPR loss of batches: so few steps that nothing need be regularised."""

TABLE: Final = "embedding"


def surrogate(dataset: Dataset) -> Recommender:
    """The surrogate of a data set: from the cache, or trained in seconds and put there."""
    path = _place(dataset)
    model = create("mf", _spec(dataset))
    weights = None if path is None else _read(path, model)
    if weights is None:
        _train(model, dataset)
        if path is not None:
            _write(path, model)
    else:
        with torch.no_grad():
            model.get_parameter(TABLE).copy_(weights)
    return model.eval()


def carried(
    noise: Tensor,  # [U+I, d_s] of the surrogate
    surrogate_items: Tensor,  # [I, d_s] Q_s
    tables: Noise,
    ball: Ball,
) -> dict[str, Tensor] | None:
    """Noise of the surrogate as directions of the rows at a site; None without rows of items.

    Lengths do not matter: `Ball.stretched` makes them what the budget allows.
    """
    n_items = len(surrogate_items)
    n_users = len(noise) - n_items
    of_owner = {"users": noise[:n_users].double(), "items": noise[n_users:].double()}
    moved: dict[str, Tensor] = {}
    for key, table in tables.items():
        rows = torch.zeros_like(table)
        owners = ball.owners.get(key, {})
        target = tables.get("items", table) if "items" not in owners else table
        place = next((o["items"] for o in ball.owners.values() if "items" in o), None)
        if place is None or target.shape[1] != table.shape[1]:
            return None
        first, last = owners.get("items", place)
        own = target[first:last].double().cpu()
        change = torch.linalg.lstsq(surrogate_items.double(), own).solution  # [d_s, d]
        for owner, (begin, end) in owners.items():
            rows[begin:end] = (of_owner[owner] @ change).to(rows)
        moved[key] = rows
    return moved


def _spec(dataset: Dataset) -> ModelSpec:
    return ModelSpec(
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        dim=int(RECIPE["dim"]),
        seed=int(RECIPE["seed"]),
        init_std=float(RECIPE["init_std"]),
    )


def _train(model: Recommender, dataset: Dataset) -> None:
    positives = Positives.from_pairs(dataset.train)
    table = model.get_parameter(TABLE).detach()
    users, items = table[: dataset.n_users], table[dataset.n_users :]
    means, squares = torch.zeros_like(table), torch.zeros_like(table)
    pairs, size = len(positives), min(int(RECIPE["batch"]), len(positives))
    per_epoch = max(1, pairs // size)
    for step in range(int(RECIPE["steps"])):
        epoch, place = divmod(step, per_epoch)
        batch = ops.sample_triplets(
            positives, seed=int(RECIPE["seed"]), epoch=epoch, first=place * size, count=size
        )
        slopes = -torch.sigmoid(-ops.triplet_margin(users, items, batch)) / size
        grad = torch.cat(ops.triplet_margin_backward(slopes, users, items, batch))
        ops.optimizer_step_(
            "adam", table, grad, means, squares, step=step + 1, lr=float(RECIPE["lr"]), opt_eps=1e-8
        )


def _place(dataset: Dataset) -> Path | None:
    home = folder()
    if home is None:
        return None
    key = hashlib.sha256(json.dumps([dataset.digest, RECIPE]).encode()).hexdigest()[:24]
    return home.parent / "surrogates" / f"{key}.safetensors"


def _read(path: Path, model: Recommender) -> Tensor | None:
    """The weights; None if there are none, or they cannot be trusted."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)[TABLE]
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    own = model.get_parameter(TABLE)
    usable = weights.shape == own.shape and weights.dtype == own.dtype
    return weights if usable and bool(torch.isfinite(weights).all()) else None


def _write(path: Path, model: Recommender) -> None:
    """Failing to write is not an error: the next suite trains it again."""
    from safetensors.torch import save

    with contextlib.suppress(OSError, AdvrecError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, save({TABLE: model.get_parameter(TABLE).detach().contiguous()}))
