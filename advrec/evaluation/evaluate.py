"""How good a model's rankings are, as means over users. The definitions: docs/evaluation.md.

Full ranking by default: every item that the user is not known to have is a candidate. Users are
ranked in blocks, so memory grows with the number of users and not with users × items.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from advrec.choices import Part
from advrec.errors import DataError, UsageError
from advrec.evaluation import metrics as m
from advrec.evaluation.sampled import sampled_protocol, sampled_ranks
from advrec.evaluation.scorer import Noise, Scored, Scorer, merged_rows, rows_of, scoring
from advrec.system import files

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset, Pairs

OnBlock = Callable[[int, int], None]
FULL_RANKING = "full ranking"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Means over users, the users' own values, and how they were measured."""

    values: Mapping[str, float]  # "NDCG@20" → mean over the users below
    n_users: int  # users with at least one relevant item: those in the means
    n_skipped: int  # users without one, left out
    per_user: Mapping[str, m.Values]  # "NDCG@20" → [n_users], in the order of `users`
    users: NDArray[np.int64]  # [n_users] dense ids, ascending
    protocol: str  # "full ranking", or "sampled, 99 negatives, seed 0": as many as there were
    part: Part

    def to_dict(self) -> dict[str, object]:
        """Everything but the arrays, ready for JSON."""
        return {
            "part": self.part,
            "protocol": self.protocol,
            "users": self.n_users,
            "users_skipped": self.n_skipped,
            "metrics": dict(self.values),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `to_dict` wrote, without the users' own values; or KeyError."""
        return cls(
            values=dict(content["metrics"]),
            n_users=content["users"],
            n_skipped=content["users_skipped"],
            per_user={},
            users=np.zeros(0, dtype=np.int64),
            protocol=content["protocol"],
            part=content["part"],
        )


def evaluate(
    model: Scored,
    dataset: Dataset,
    *,
    part: Part = "test",
    ks: Sequence[int] = m.DEFAULT_KS,
    metrics: Sequence[str] = m.DEFAULT_METRICS,
    noise: Noise | None = None,
    sampled: int | None = None,
    sampled_seed: int = 0,
    batch_users: int | None = None,
    on_block: OnBlock | None = None,
) -> Evaluation:
    """Rank items for every user with items in `part` and average the metrics.

    Items in train are masked, and when testing those in validation too. Order: score descending;
    of equal scores the relevant item comes last (a tie counts against the hit), then the lower id
    first. So a model that gives every item the same score gets no hits for it.

    Args:
        model: a model, or its vectors (user [U, d], item [I, d]) whose dot products are the scores.
        part: "test", or "valid" for choosing epochs and settings.
        ks: cut-offs for the metrics that are named without one.
        metrics: "NDCG" (at each of `ks`), "NDCG@10" (at 10), or "AUC"; any case.
        noise: perturbation of the model's parameters, as from `advrec.robustness.search.noise_for`.
        sampled: rank each relevant item against this many random negatives, not the catalogue.
        sampled_seed: seed of these negatives.
        batch_users: users per block; by default what suits the model.
        on_block: called after each block with (users done, users in total).

    Raises:
        UsageError: an unknown metric or part, or a number that is out of range.
        DataError: the part holds no pairs, or no user has an item to draw as a negative.
        TrainingError: scores that are not finite.
    """
    specs = m.metric_specs(metrics, ks)
    relevant = _relevant(dataset, part)
    if batch_users is not None and batch_users < 1:
        raise UsageError(f"batch_users must be at least 1, got {batch_users}")
    if sampled is not None and sampled < 1:
        raise UsageError(f"sampled must be at least 1, got {sampled}")
    if not 0 <= sampled_seed < 2**64:
        raise UsageError(f"sampled_seed must be in [0, 2^64), got {sampled_seed}")

    users = np.flatnonzero(relevant.user_degrees())
    with scoring(model, dataset, noise) as scorer:
        if sampled is None:
            protocol = FULL_RANKING
            blocks = _full(scorer, dataset, part, relevant, specs, batch_users=batch_users)
        else:
            protocol = sampled_protocol(dataset, users, sampled, sampled_seed)
            blocks = _sampled(scorer, dataset, relevant, specs, count=sampled, seed=sampled_seed)
        collected: dict[str, list[m.Values]] = {str(spec): [] for spec in specs}
        done = 0
        for n_block, values in blocks:
            for name, parts in collected.items():
                parts.append(values[name])
            done += n_block
            if on_block is not None:
                on_block(done, len(users))
    per_user = {name: np.concatenate(parts) for name, parts in collected.items()}
    return Evaluation(
        values={name: float(values.mean()) for name, values in per_user.items()},
        n_users=len(users),
        n_skipped=dataset.n_users - len(users),
        per_user=per_user,
        users=users,
        protocol=protocol,
        part=part,
    )


def write_per_user(evaluation: Evaluation, dataset: Dataset, path: str | Path) -> Path:
    """Write every user's own values as csv or tsv (by the ending), with the ids of the data.

    Columns: user, then one per metric, with enough digits to give back the same float64. The file
    appears whole or not at all.

    Raises:
        UsageError: another ending.
        RunError: a path that cannot be written.
    """
    path = Path(path)
    separators = {".csv": ",", ".tsv": "\t"}
    separator = separators.get(path.suffix.lower())
    if separator is None:
        raise UsageError(
            f"{path} must end in .csv or .tsv",
            hint=f"for example {path.with_suffix('.csv')}",
        )
    names = list(evaluation.per_user)
    columns = [evaluation.per_user[name].tolist() for name in names]
    ids = (dataset.user_ids[user] for user in evaluation.users)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    writer.writerow(["user", *names])
    writer.writerows(zip(ids, *columns, strict=True))
    files.write(path, text.getvalue())
    return path


def _full(
    scorer: Scorer,
    dataset: Dataset,
    part: Part,
    relevant: Pairs,
    specs: Sequence[m.MetricSpec],
    *,
    batch_users: int | None,
) -> Iterator[tuple[int, dict[str, m.Values]]]:
    """Full ranking: yields (users in the block, metric → [users in the block])."""
    hidden = [dataset.train, dataset.valid] if part == "test" else [dataset.train]
    k = min(max((spec.k or 1 for spec in specs), default=1), dataset.n_items)
    wants_auc = any(spec.name == m.AUC for spec in specs)
    users = np.flatnonzero(relevant.user_degrees())
    step = batch_users or scorer.block_users()
    for first in range(0, len(users), step):
        block = users[first : first + step]
        mask, own = merged_rows(hidden, block), rows_of(relevant, block)
        ranking = scorer.rank(block, mask, own, k, wants_auc)
        n_relevant = np.diff(own[0])
        values = m.per_user(ranking.hits.cpu().numpy(), n_relevant, specs)
        if wants_auc:
            n_negatives = dataset.n_items - np.diff(mask[0]) - n_relevant
            values[m.AUC] = m.auc(ranking.above.cpu().numpy(), own[0], n_negatives)
        yield len(block), values


def _sampled(
    scorer: Scorer,
    dataset: Dataset,
    relevant: Pairs,
    specs: Sequence[m.MetricSpec],
    *,
    count: int,
    seed: int,
) -> Iterator[tuple[int, dict[str, m.Values]]]:
    """Each relevant item is ranked by itself; a user's value is the mean over them."""
    for users, (indptr, _), above, n_negatives in sampled_ranks(
        scorer, dataset, relevant, count, seed
    ):
        n = len(above)
        one_each = m.RankedHits(
            users=np.arange(n),
            ranks=above,
            ordinals=np.ones(n, np.intp),
            n_relevant=np.ones(n, int),
        )
        values = {}
        for spec in specs:
            if spec.k is None:
                of_items = m.auc(above, np.arange(n + 1), n_negatives)
            else:
                of_items = m.AT_K[spec.name](one_each, spec.k)
            values[str(spec)] = np.add.reduceat(of_items, indptr[:-1]) / np.diff(indptr)
        yield len(users), values


def _relevant(dataset: Dataset, part: Part) -> Pairs:
    if part not in get_args(Part):
        raise UsageError(f"unknown part {part!r}: choose test or valid")
    relevant = dataset.test if part == "test" else dataset.valid
    if not len(relevant):
        raise DataError(
            f"data set {dataset.name!r} has no pairs in its {part} part",
            hint="it was made with valid = none" if part == "valid" else "split it otherwise",
        )
    return relevant
