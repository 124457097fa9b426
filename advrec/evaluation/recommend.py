"""What a model would recommend to one user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advrec.errors import DataError, UsageError
from advrec.evaluation.scorer import Scored, merged_rows, scoring
from advrec.validation import did_you_mean

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset

SEARCHED = 20_000  # ids compared with one that is unknown: keeps the error message fast


@dataclass(frozen=True)
class Recommendation:
    """One line of a user's list."""

    rank: int  # from 1
    item: str  # the id in the user's data
    name: str | None  # where the data set has names
    score: float  # comparable within one list only


def recommend(
    model: Scored,
    dataset: Dataset,
    user_id: str,
    k: int = 10,
) -> list[Recommendation]:
    """The k best items for a user, best first; fewer if the user has nearly everything.

    Items that the user has in train or validation are known, so they are left out. Test items are
    not: a good list contains them. Items of equal score are in the order of the data set.

    Args:
        model: a model, or its vectors (user [U, d], item [I, d]).
        user_id: the id as the data has it.

    Raises:
        UsageError: k below 1.
        DataError: an unknown user; the hint names the ids that look alike.
        TrainingError: scores that are not finite.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    users = np.array([_dense(user_id, dataset)])
    known = merged_rows([dataset.train, dataset.valid], users)
    nothing = (np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32))
    with scoring(model, dataset) as scorer:
        ranking = scorer.rank(users, known, nothing, min(k, dataset.n_items))
    names = dataset.item_names
    best = zip(ranking.ids[0].tolist(), ranking.scores[0].tolist(), strict=True)
    return [
        Recommendation(rank, dataset.item_ids[item], names[item] if names else None, score)
        for rank, (item, score) in enumerate(best, start=1)
        if item >= 0
    ]


def _dense(user_id: str, dataset: Dataset) -> int:
    try:
        return list(dataset.user_ids).index(user_id)
    except ValueError:
        raise DataError(
            f"data set {dataset.name!r} has no user {user_id!r} among its "
            f"{dataset.n_users:,} users",
            hint=_alike(user_id, dataset.user_ids),
        ) from None


def _alike(user_id: str, ids: Sequence[str]) -> str:
    """Ids that start alike are searched first, and no more than SEARCHED in total."""
    lower = user_id.lower()
    near = [text for text in ids if lower[:2] == text[:2].lower()][:SEARCHED]
    pool = near or ids[:SEARCHED]
    return did_you_mean(user_id, pool, n=3) or f"user ids look like {', '.join(map(repr, ids[:3]))}"
