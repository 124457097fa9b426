"""The two ways from a model to rankings, block by block, so that no [U, I] matrix ever exists.

If a model's scores are dot products, the ranking kernel takes its vectors, scores and selects in
one pass. Any other model gives the scores of a few users at a time, and these are ranked.
Evaluation and recommendation do not know which: they ask a `Scorer`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec import native, ops
from advrec.errors import TrainingError, UsageError
from advrec.ops.reference import Ranking

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset, Pairs
    from advrec.models.base import Recommender

Rows: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.int32]]"  # indptr [B+1], items [nnz]
Scored: TypeAlias = "Recommender | tuple[Tensor, Tensor]"  # a model, or its (user, item) vectors
Noise: TypeAlias = Mapping[str, Tensor]

BLOCK_USERS = 16384  # of vectors: large, the kernel splits the work among threads itself
BLOCK_BYTES = 64 << 20  # of scores: what one block may take
GATHERED_BYTES = 1 << 20  # of gathered vectors: they stay in the cache until they are summed


class Scorer(Protocol):
    """What ranking needs of a model."""

    def block_users(self) -> int:
        """How many users to pass to `rank` at once."""
        ...

    def rank(
        self,
        users: NDArray[np.int64],  # [B]
        mask: Rows,  # items that must not appear, one row per user
        relevant: Rows,  # items that count as hits
        k: int,
        count_above: bool = False,
    ) -> Ranking:
        """The k best unmasked items of each user, as `ops.rank_topk` describes them."""
        ...

    def scores_of(
        self,
        users: NDArray[np.int64],  # [R], ascending
        items: NDArray[np.int32],  # [R, C]
    ) -> NDArray[np.floating]:  # [R, C]
        """The scores of chosen items only. Equal vectors get equal scores in every column."""
        ...


@contextlib.contextmanager
def scoring(model: Scored, dataset: Dataset, noise: Noise | None = None) -> Iterator[Scorer]:
    """A scorer of a model under `noise`, or of vectors ([U, d], [I, d]), without gradients.

    Inside, the model is in evaluation mode (no dropout); afterwards in the mode it was in.

    Raises:
        UsageError: noise for bare vectors, or a model of other users or items than the data set's.
        TrainingError: scores that are not finite, so that no order is defined.
    """
    with torch.no_grad():
        if isinstance(model, tuple):
            yield _scorer(model, dataset, noise)
            return
        was_training = model.training
        model.eval()
        try:
            yield _scorer(model, dataset, noise)
        finally:
            model.train(was_training)


def _scorer(model: Scored, dataset: Dataset, noise: Noise | None) -> Scorer:
    if isinstance(model, tuple):
        if noise is not None:
            raise UsageError(
                "noise must be added to a model, got only its vectors",
                hint="add the noise to the vectors, or pass the model",
            )
        user, item = model
    else:
        vectors = model.vectors(noise)
        if vectors is None:
            return ByScores(model, noise, dataset.n_items)
        user, item = vectors
    if (len(user), len(item)) != (dataset.n_users, dataset.n_items):
        raise UsageError(
            f"the model has {len(user)} users and {len(item)} items, but data set "
            f"{dataset.name!r} has {dataset.n_users} and {dataset.n_items}",
            hint="use the data set and the split that the model was trained on",
        )
    user, item = _at_rest(user, item)
    largest = _check_finite(user, "user"), _check_finite(item, "item")
    _check_range(user.shape[1], *largest, user.dtype)
    return ByVectors(user, item)


@dataclass(frozen=True)
class ByVectors:
    """Scores are dot products."""

    user: Tensor  # [U, d]
    item: Tensor  # [I, d]

    def block_users(self) -> int:
        """Many for the compiled kernel, which stores no scores; its torch twin stores them all."""
        if native.kernels() == "native":
            return BLOCK_USERS
        return max(1, BLOCK_BYTES // max(1, len(self.item) * self.item.element_size()))

    def rank(
        self,
        users: NDArray[np.int64],
        mask: Rows,
        relevant: Rows,
        k: int,
        count_above: bool = False,
    ) -> Ranking:
        """Scored and selected in one pass."""
        device = self.item.device
        block = self.user[torch.from_numpy(users).to(device)]
        lists = _tensors(mask, device), _tensors(relevant, device)
        return _fetched(ops.rank_topk(block, self.item, *lists, k, count_above))

    def scores_of(self, users: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.floating]:
        """Gathered vectors, some rows at a time."""
        gathered = np.empty(items.shape, dtype=np.float64)
        width = max(1, items.shape[1] * self.item.shape[1] * self.item.element_size())
        step = max(1, GATHERED_BYTES // width)
        for first in range(0, len(users), step):
            rows = slice(first, first + step)
            chosen = torch.from_numpy(items[rows].astype(np.int64)).to(self.item.device)
            own = self.user[torch.from_numpy(users[rows]).to(self.item.device)]
            # not a batched matmul: its result may depend on the column of an item
            gathered[rows] = self.item[chosen].mul_(own[:, None, :]).sum(-1).cpu().numpy()
        return gathered


@dataclass(frozen=True)
class ByScores:
    """Scores come from the model, for some users and all items at a time."""

    model: Recommender
    noise: Noise | None
    n_items: int

    def block_users(self) -> int:
        """As many as have BLOCK_BYTES of scores."""
        parameter = next(self.model.parameters())
        return max(1, BLOCK_BYTES // max(1, self.n_items * parameter.element_size()))

    def rank(
        self,
        users: NDArray[np.int64],
        mask: Rows,
        relevant: Rows,
        k: int,
        count_above: bool = False,
    ) -> Ranking:
        """Scored by the model, then selected."""
        scores = self._scores(users)
        lists = _tensors(mask, scores.device), _tensors(relevant, scores.device)
        return _fetched(ops.rank_scores(scores, *lists, k, count_above))

    def scores_of(self, users: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.floating]:
        """All scores of some users at a time; the chosen ones are kept."""
        gathered = np.empty(items.shape, dtype=np.float64)
        distinct = np.unique(users)
        step = self.block_users()
        for first in range(0, len(distinct), step):
            block = distinct[first : first + step]
            scores = self._scores(block).cpu().numpy()
            rows = slice(*np.searchsorted(users, [block[0], block[-1] + 1]))
            places = np.searchsorted(block, users[rows])
            gathered[rows] = scores[places[:, None], items[rows]]
        return gathered

    def _scores(self, users: NDArray[np.int64]) -> Tensor:
        device = next(self.model.parameters()).device
        scores = self.model.scores(torch.from_numpy(users).to(device), self.noise)
        if scores.shape != (len(users), self.n_items):
            raise UsageError(
                f"the model scores {scores.shape[1]} items, but the data set has {self.n_items}",
                hint="use the data set and the split that the model was trained on",
            )
        _check_finite(scores, "score")
        return _at_rest(scores, any_width=True)[0]


def rows_of(pairs: Pairs, users: NDArray[np.int64]) -> Rows:
    """The compressed rows of some users: indptr [B+1] and items [nnz], ascending within a row."""
    starts = pairs.indptr[users]
    degrees = pairs.indptr[users + 1] - starts
    indptr = np.concatenate(([0], np.cumsum(degrees)))
    places = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], degrees)
    return indptr, pairs.items[places]


def merged_rows(several: list[Pairs], users: NDArray[np.int64]) -> Rows:
    """The rows of some users in several sets as one: each item once, ascending."""
    filled = [pairs for pairs in several if len(pairs)]
    if len(filled) <= 1:
        return rows_of((filled or several)[0], users)
    n_items = several[0].n_items
    keys = []
    for pairs in filled:
        indptr, items = rows_of(pairs, users)
        owners = np.repeat(np.arange(len(users)), np.diff(indptr))
        keys.append(owners * n_items + items)
    merged = np.concatenate(keys)
    merged.sort(kind="stable")  # merges ascending runs; np.unique would use a hash table
    merged = merged[np.diff(merged, prepend=-1) > 0]
    indptr = np.searchsorted(merged, np.arange(len(users) + 1) * n_items)
    return indptr, (merged % n_items).astype(np.int32)


def _at_rest(*tensors: Tensor, any_width: bool = False) -> tuple[Tensor, ...]:
    """Where they are if a kernel there ranks them, otherwise on the CPU; float32 or float64."""
    single = all(t.is_floating_point() and t.dtype != torch.float64 for t in tensors)
    dtype = torch.float32 if single else torch.float64
    same = tuple(t.detach().to(dtype).contiguous() for t in tensors)
    stay = all(ops.takes(t, any_width=any_width) for t in same)
    return same if stay else tuple(t.cpu() for t in same)


def _tensors(rows: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
    indptr, items = rows
    return torch.from_numpy(indptr).to(device), torch.from_numpy(items).to(device)


def _fetched(ranking: Ranking) -> Ranking:
    return Ranking(*(t.cpu() for t in (ranking.ids, ranking.scores, ranking.hits, ranking.above)))


DIVERGED = "training diverged; train again with a smaller lr, init_std, reg, adv_weight or eps"


def _check_finite(values: Tensor, what: str) -> float:
    """The largest absolute value, without a copy; TrainingError if it is not finite."""
    if not values.numel():
        return 0.0
    low, high = torch.aminmax(values)  # NaN wherever there is one
    largest = max(-low.item(), high.item())
    if not (math.isfinite(low.item()) and math.isfinite(high.item())):
        bad = sum(
            int((~torch.isfinite(part)).any(dim=1).sum()) for part in torch.split(values, 4096)
        )
        raise TrainingError(
            f"the model cannot rank: {bad} of {len(values)} {what} rows hold NaN or infinity",
            hint=DIVERGED,
        )
    return largest


def _check_range(width: int, user: float, item: float, dtype: torch.dtype) -> None:
    """Dot products of finite vectors may overflow: TrainingError if their bound does."""
    largest = width * user * item
    if largest > torch.finfo(dtype).max:
        raise TrainingError(
            f"the model cannot rank: scores may reach {largest:.1e}, too much for {dtype}",
            hint=DIVERGED,
        )
