"""Ranking metrics of one user, computed for many users at once. numpy only.

Everything starts from the hits of a ranking: `hits [B, k] bool` (position p of user b's list is a
relevant item) and `n_relevant [B]` (how many relevant items the user has). Ties, masks and the
order of the list are left to `advrec.ops`; the metrics see positions only.

A user without relevant items has no defined value: NaN, to be left out of every mean.
Definitions: docs/evaluation.md. Tested against trec_eval.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from advrec.errors import UsageError
from advrec.validation import did_you_mean

Values = NDArray[np.float64]

AUC: Final = "AUC"
DEFAULT_METRICS: Final = ("Recall", "NDCG", "Precision", "HR", "MRR", "MAP")
DEFAULT_KS: Final = (20,)


class MetricSpec(NamedTuple):
    """One column of results: a metric and its cut-off (None for AUC: it reads the whole list)."""

    name: str
    k: int | None

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"


@dataclass(frozen=True)
class RankedHits:
    """The hits of B ranked lists, one entry per hit: lists hold few, so this form is small."""

    users: NDArray[np.intp]  # [H] the row of each hit, ascending
    ranks: NDArray[np.intp]  # [H] its position in the list, 0 is the top; ascending within a row
    ordinals: NDArray[np.intp]  # [H] 1 for a row's first hit, 2 for the second, …
    n_relevant: NDArray[np.int64]  # [B]

    @classmethod
    def from_hits(
        cls,
        hits: NDArray[np.bool_],  # [B, k]
        n_relevant: NDArray[np.integer],  # [B]
    ) -> RankedHits:
        """Collect the positions of the hits. Raises ValueError when the two disagree."""
        if hits.ndim != 2 or n_relevant.shape != (hits.shape[0],):
            raise ValueError(f"hits {hits.shape} and n_relevant {n_relevant.shape} do not agree")
        users, ranks = np.nonzero(hits)
        per_user = np.bincount(users, minlength=len(n_relevant))
        if (per_user > n_relevant).any():
            raise ValueError("a user has more hits than relevant items")
        first = np.cumsum(per_user) - per_user  # where each row's hits begin
        ordinals = np.arange(len(users)) - first[users] + 1
        return cls(users, ranks, ordinals, n_relevant.astype(np.int64))

    def total(self, k: int, weights: NDArray[np.generic] | None = None) -> Values:
        """Sums `weights [H]` (1 when None) over each user's hits within the first k -> [B]."""
        inside = self.ranks < k
        if weights is not None:
            weights = weights[inside]
        sums = np.bincount(self.users[inside], weights, minlength=len(self.n_relevant))
        return sums.astype(np.float64)


def recall(ranked: RankedHits, k: int) -> Values:
    """Recall@K = hits / |relevant|  -> [B]."""
    return _ratio(ranked.total(k), ranked.n_relevant)


def precision(ranked: RankedHits, k: int) -> Values:
    """Precision@K = hits / K, also where the user has fewer than K relevant items  -> [B]."""
    return _defined(ranked.total(k) / k, ranked)


def hit_rate(ranked: RankedHits, k: int) -> Values:
    """HR@K = 1 if any of the first K is relevant, else 0  -> [B]."""
    return _defined((ranked.total(k) > 0).astype(np.float64), ranked)


def ndcg(ranked: RankedHits, k: int) -> Values:
    """NDCG@K with binary gains, Σ 1/log2(rank + 2) over the best that min(|relevant|, K) allows."""
    gains = ranked.total(k, 1.0 / np.log2(ranked.ranks + 2.0))
    best = np.minimum(ranked.n_relevant, k)
    longest = int(best.max(initial=0))
    ideal = np.concatenate(([0.0], np.cumsum(1.0 / np.log2(np.arange(longest) + 2.0))))
    return _ratio(gains, ideal[best])


def reciprocal_rank(ranked: RankedHits, k: int) -> Values:
    """MRR@K = 1/(rank + 1) of the first hit, 0 when it is not within the first K  -> [B]."""
    firsts = (ranked.ordinals == 1) / (ranked.ranks + 1.0)
    return _defined(ranked.total(k, firsts), ranked)


def average_precision(ranked: RankedHits, k: int) -> Values:
    """MAP@K = Σ over hits of the precision at that hit, over min(|relevant|, K)  -> [B]."""
    precisions = ranked.ordinals / (ranked.ranks + 1.0)
    return _ratio(ranked.total(k, precisions), np.minimum(ranked.n_relevant, k))


def auc(
    above: NDArray[np.integer],  # [nnz] negatives scoring at least as high as each relevant item
    indptr: NDArray[np.integer],  # [B+1] which entries of `above` are a user's
    n_negatives: NDArray[np.integer],  # [B] unmasked items that are not relevant
) -> Values:
    """AUC: mean over the user's relevant items of 1 − above / n_negatives  -> [B].

    The share of (relevant, negative) pairs in the right order; a tie is a pair in the wrong order.
    A user for whom there is no negative has no pair that could be wrong: 1.
    """
    n_relevant = np.diff(indptr)
    owners = np.repeat(np.arange(len(n_relevant)), n_relevant)
    wrong = np.bincount(owners, above, minlength=len(n_relevant))
    pairs = n_relevant * n_negatives.astype(np.int64)
    values: Values = 1.0 - wrong / np.maximum(pairs, 1)
    values[n_relevant == 0] = np.nan
    return values


AT_K: Final[Mapping[str, Callable[[RankedHits, int], Values]]] = {
    "Recall": recall,
    "Precision": precision,
    "HR": hit_rate,
    "NDCG": ndcg,
    "MRR": reciprocal_rank,
    "MAP": average_precision,
}
METRICS: Final = (*AT_K, AUC)


def per_user(
    hits: NDArray[np.bool_],  # [B, k]
    n_relevant: NDArray[np.integer],  # [B]
    specs: Iterable[MetricSpec],
) -> dict[str, Values]:
    """All metrics with a cut-off in `specs`, as {"NDCG@20": values [B], …}.

    A list shorter than a cut-off is a catalogue shorter than it: nothing is missing there.
    """
    ranked = RankedHits.from_hits(hits, n_relevant)
    return {str(spec): AT_K[spec.name](ranked, spec.k) for spec in specs if spec.k is not None}


def parse_metric(text: str) -> MetricSpec:
    """Reads "NDCG@20" or "auc", in any case.

    Raises:
        UsageError: an unknown name; a cut-off that is missing, superfluous or not at least 1.
    """
    name, at, cutoff = text.strip().partition("@")
    known = _known_name(name)
    if known == AUC:
        if at:
            raise UsageError(f"metric AUC has no cut-off, got {text!r}", hint="write AUC")
        return MetricSpec(AUC, None)
    if not at:
        raise UsageError(f"metric {text!r} needs a cut-off", hint=f"for example {known}@20")
    if not re.fullmatch("0*[1-9][0-9]{0,8}", cutoff):
        raise UsageError(
            f"the cut-off of a metric must be a whole number from 1 to 999999999, got {text!r}",
            hint=f"for example {known}@20",
        )
    return MetricSpec(known, int(cutoff))


def metric_specs(metrics: Sequence[str], ks: Sequence[int]) -> list[MetricSpec]:
    """Names with a cut-off ("NDCG@10") as they are, names without one ("NDCG") at each of `ks`.

    Raises:
        UsageError: nothing asked for, an unknown name, or a cut-off that is not at least 1.
    """
    for k in ks:
        if isinstance(k, bool) or int(k) != k or k < 1:
            raise UsageError(f"a cut-off must be a whole number of at least 1, got {k}")
    specs: list[MetricSpec] = []
    for text in metrics:
        if "@" in text or _known_name(text) == AUC:
            specs.append(parse_metric(text))
        else:
            specs.extend(MetricSpec(_known_name(text), int(k)) for k in ks)
    if not specs:
        raise UsageError(
            "at least one metric is needed, got none", hint=f"choose from {', '.join(METRICS)}"
        )
    return list(dict.fromkeys(specs))


def _known_name(text: str) -> str:
    by_lower = {name.lower(): name for name in METRICS}
    name = text.strip().lower()
    if name in by_lower:
        return by_lower[name]
    raise UsageError(
        f"unknown metric {text.strip()!r}: choose from {', '.join(METRICS)}",
        hint=did_you_mean(text, METRICS),
    )


def _ratio(sums: Values, over: NDArray[np.generic]) -> Values:
    result: Values = np.full(len(sums), np.nan)
    np.divide(sums, over, out=result, where=over != 0)
    return result


def _defined(values: Values, ranked: RankedHits) -> Values:
    values[ranked.n_relevant == 0] = np.nan
    return values
