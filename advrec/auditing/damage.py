"""Whom a noise hits: popular and unpopular items, light and heavy users, and the worst of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advrec.choices import Part
from advrec.evaluation.evaluate import Evaluation
from advrec.evaluation.scorer import Noise, Scored, merged_rows, rows_of, scoring

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset

WORST = 10
"""Users and items that are named."""


@dataclass(frozen=True, eq=False)
class Lists:
    """The k best items of every user, and which of them are held-out ones."""

    ids: NDArray[np.int32]  # [U, k], -1 where there are fewer
    hits: NDArray[np.bool_]  # [U, k]

    def hits_of_items(self, n_items: int) -> NDArray[np.int64]:
        """How many held-out pairs of each item are in the lists, [I]."""
        return np.bincount(self.ids[self.hits], minlength=n_items)


def top_lists(model: Scored, dataset: Dataset, noise: Noise | None, part: Part, k: int) -> Lists:
    """Every user's list, as the evaluation ranks it."""
    hidden = [dataset.train, dataset.valid] if part == "test" else [dataset.train]
    held_out = dataset.test if part == "test" else dataset.valid
    ids, hits = [], []
    with scoring(model, dataset, noise) as scorer:
        step = scorer.block_users()
        for first in range(0, dataset.n_users, step):
            users = np.arange(first, min(first + step, dataset.n_users))
            lists = merged_rows(hidden, users), rows_of(held_out, users)
            ranking = scorer.rank(users, *lists, min(k, dataset.n_items))
            ids.append(ranking.ids.cpu().numpy())
            hits.append(ranking.hits.cpu().numpy().astype(bool))
    return Lists(np.concatenate(ids), np.concatenate(hits))


def groups(
    dataset: Dataset,
    part: Part,
    metric: str,
    clean: Evaluation,
    attacked: Evaluation,
    before: Lists,
    after: Lists,
) -> list[dict[str, Any]]:
    """The figures of popular and other items, of heavy and light users.

    Popular are the items that together have half of the training pairs, the most popular first.
    Heavy users have more training pairs than the median user who is measured.
    """
    held_out = dataset.test if part == "test" else dataset.valid
    pairs = dataset.train.item_degrees()
    order = np.argsort(-pairs, kind="stable")
    many = np.searchsorted(np.cumsum(pairs[order]), pairs.sum() / 2) + 1
    popular = np.zeros(dataset.n_items, bool)
    popular[order[:many]] = True
    least = int(pairs[order[many - 1]]) if many else 0
    wanted = held_out.item_degrees()
    hits = [lists.hits_of_items(dataset.n_items) for lists in (before, after)]
    rows = []
    for name, chosen in (
        (f"popular items (half of the training pairs; {least:,} or more each)", popular),
        ("other items", ~popular),
    ):
        total = int(wanted[chosen].sum())
        if total:
            rows.append(_group(name, int(chosen.sum()), "hit rate of held-out pairs",
                               *(float(own[chosen].sum() / total) for own in hits)))  # fmt: skip
    degrees = dataset.train.user_degrees()[clean.users]
    middle = float(np.median(degrees)) if len(degrees) else 0.0
    for name, chosen in (
        (f"heavy users (more than {middle:g} training pairs)", degrees > middle),
        (f"light users (at most {middle:g})", degrees <= middle),
    ):
        if chosen.any():
            values = [own.per_user[metric][chosen].mean() for own in (clean, attacked)]
            rows.append(_group(name, int(chosen.sum()), metric, *map(float, values)))
    return rows


def _group(name: str, size: int, figure: str, clean: float, attacked: float) -> dict[str, Any]:
    return {"name": name, "size": size, "figure": figure, "clean": clean, "attacked": attacked}


def worst_items(
    dataset: Dataset, before: Lists, after: Lists, radii: Mapping[int, float]
) -> list[dict[str, Any]]:
    """The items that lose most hits, by name; `radii`: the median certified radius of an item."""
    hits, left = (lists.hits_of_items(dataset.n_items) for lists in (before, after))
    lost = hits - left
    order = np.lexsort((-hits, -lost))
    names = dataset.item_names or dataset.item_ids
    return [
        {
            "id": dataset.item_ids[item],
            "name": names[item],
            "hits": int(hits[item]),
            "lost": int(lost[item]),
            "radius": radii.get(int(item)),
        }
        for item in order[:WORST].tolist()
        if lost[item] > 0 and hits[item] > 0
    ]


def worst_users(
    dataset: Dataset,
    metric: str,
    clean: Evaluation,
    attacked: Evaluation,
    before: Lists,
    after: Lists,
) -> list[dict[str, Any]]:
    """The users whose figure falls most, of equals those with most training pairs."""
    drop = clean.per_user[metric] - attacked.per_user[metric]
    degrees = dataset.train.user_degrees()[clean.users]
    order = np.lexsort((-degrees, -drop))
    names = dataset.item_names or dataset.item_ids

    def first(lists: Lists, user: int) -> str | None:
        item = int(lists.ids[user, 0])
        return names[item] if item >= 0 else None

    entries = []
    for place in order[:WORST].tolist():
        user = int(clean.users[place])
        if drop[place] <= 0:
            break
        entries.append(
            {
                "name": dataset.user_ids[user],
                "pairs": int(degrees[place]),
                "clean": float(clean.per_user[metric][place]),
                "attacked": float(attacked.per_user[metric][place]),
                "before": first(before, user),
                "after": first(after, user),
            }
        )
    return entries
