"""What a search for noise may know of the data: which items it takes as relevant.

Labels say where these come from: `train` (the training pairs), `self` (the model's own first item
for each user, so no labels at all), `test` (the held-out items of the part that is measured: the
worst case for the metric, which no attacker knows).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advrec.choices import LABELS, Part
from advrec.data.dataset import Pairs
from advrec.errors import UsageError
from advrec.evaluation.scorer import merged_rows, scoring
from advrec.models.base import Noise, Recommender

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset


@dataclass(frozen=True, eq=False)
class Target:
    """The rankings that noise is to spoil, and the figure that says how far it did."""

    relevant: Pairs
    known: Pairs  # relevant items and those that no ranking shows: the others are rivals
    k: int  # the cut-off of the figure
    figure: Callable[[Noise], float]  # the metric under noise


def target_of(
    model: Recommender,
    dataset: Dataset,
    labels: str,
    part: Part,
    k: int,
    figure: Callable[[Noise], float],
    own: int = 1,
) -> Target:
    """The target that labels mean for this model and part. Raises UsageError for unknown labels.

    `own`: how many of the model's own first items labels `self` take.
    """
    everyone = np.arange(dataset.n_users)
    hidden_rows = merged_rows(
        [dataset.train, dataset.valid] if part == "test" else [dataset.train], everyone
    )
    hidden = Pairs(*hidden_rows, dataset.n_items)
    if labels == "train":
        relevant = dataset.train
    elif labels == "test":
        relevant = dataset.test if part == "test" else dataset.valid
    elif labels == "self":
        relevant = _first_items(model, dataset, hidden, own)
    else:
        raise UsageError(f"unknown labels {labels!r}: choose {' or '.join(LABELS)}")
    known = Pairs(*merged_rows([hidden, relevant], everyone), dataset.n_items)
    return Target(relevant, known, k, figure)


def _first_items(model: Recommender, dataset: Dataset, hidden: Pairs, own: int) -> Pairs:
    """The first items of each user's clean list; none for a user to whom nothing can be shown."""
    users, items = [], []
    with scoring(model, dataset) as scorer:
        step = scorer.block_users()
        for first in range(0, dataset.n_users, step):
            block = np.arange(first, min(first + step, dataset.n_users))
            nothing = (np.zeros(len(block) + 1, np.int64), np.empty(0, np.int32))
            mask = merged_rows([hidden], block)
            best = scorer.rank(block, mask, nothing, min(own, dataset.n_items)).ids.cpu().numpy()
            users.append(np.repeat(block, (best >= 0).sum(1)))
            items.append(best[best >= 0])
    return Pairs.from_coo(
        np.concatenate(users), np.concatenate(items), dataset.n_users, dataset.n_items
    )
