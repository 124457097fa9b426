"""Certificates: metrics that no perturbation within a budget can push below a bound.

From pairs to rankings. n_i(ε) counts the unmasked items that are not relevant and whose radius
against relevant item i (`radius`) is at most ε: only they can stand above i. With a user's relevant
items sorted by n, the k-th of them (from 0) stands at place k + n_(k) or higher, so

    DCG@K ≥ Σ_k 1/log2(2 + k + n_(k)) over k + n_(k) < K,   hits ≥ #{k : k + n_(k) < K}.

Proof. Let N_k be the number of non-relevant items above the k-th best relevant one; N is
non-decreasing. N_k is at most n of each of the relevant items at place k or lower, the smallest of
which is at most n_(k).

What is certified: norm "row" at a site where scores are dot products of the perturbed rows. Noise
on the rows of MF and on the final vectors of graph models: exact for each pair. Noise on LightGCN's
embeddings before propagation (`ego`): sound, not exact; propagation is linear, so that its row u
moves by at most (P·b)_u for row budgets b, but users and items share the rows that move. Features
of VBPR: a user weighs a move of c_i by ‖E θ_u‖.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advrec import ops
from advrec.choices import Part
from advrec.errors import UsageError
from advrec.evaluation.evaluate import evaluate
from advrec.evaluation.scorer import Scored, merged_rows, scoring
from advrec.models.base import Recommender
from advrec.models.lightgcn import LightGCN
from advrec.models.vbpr import VBPR
from advrec.robustness.budget import absolute_reach, canonical_reach, item_scale, relative_reach
from advrec.robustness.radius import UNIT, Lists, Radii, Reach, smallest_radii
from advrec.system import files

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset
    from advrec.ops.graph import Graph

EPS: Final = (0.1, 0.2, 0.5, 1.0)
METRICS: Final = ("NDCG", "Recall", "HR")
BLOCK_USERS: Final = 4096


@dataclass(frozen=True, eq=False)
class Certificate:
    """Certified metrics of one model at one site, for every budget at once."""

    site: str
    side: str
    budget: str  # "eps": absolute; "rho": relative, in canonical form where there is one
    budgets: tuple[float, ...]
    k: int
    part: Part
    clean: Mapping[str, float]  # "NDCG@20" → mean over users
    radii: Radii
    raw: Radii | None  # relative budgets counted in the norms as they are stored
    floored: bool  # the canonical form had to raise eigenvalues

    def at(self, budget: float, radii: Radii | None = None) -> dict[str, float]:
        """The certified lower bound of each metric, as a mean over users."""
        per_user = _bounds(self.radii if radii is None else radii, budget, self.k)
        return {f"{name}@{self.k}": float(values.mean()) for name, values in per_user.items()}

    def per_user(self, budget: float) -> dict[str, NDArray[np.float64]]:
        """The bounds of each user with held-out items, in ascending order of their dense ids."""
        bounds = _bounds(self.radii, budget, self.k)
        return {f"{name}@{self.k}": values for name, values in bounds.items()}

    @property
    def median_radius(self) -> float:
        """Over the held-out items that are among the top k now; NaN without any."""
        inside = self.radii.stays[self.radii.stays > 0]
        return float(np.median(inside)) if len(inside) else float("nan")

    @property
    def exact(self) -> bool:
        """Is every pair's radius exact, or only a lower bound?"""
        return self.radii.reach.exact

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        median = self.median_radius
        document: dict[str, Any] = {
            "site": self.site,
            "side": self.side,
            "norm": "row",
            "part": self.part,
            "k": self.k,
            "exact": self.exact,
            "clean": dict(self.clean),
            "median_radius": None if np.isnan(median) else median,
            "budgets": [],
        }
        for budget in self.budgets:
            entry: dict[str, Any] = {self.budget: budget, "certified": self.at(budget)}
            if self.raw is not None:
                entry["certified_raw"] = self.at(budget, self.raw)
            document["budgets"].append(entry)
        if self.raw is not None:
            document["floored"] = self.floored
        return document

    def write(self, dataset: Dataset, path: str | Path) -> Path:
        """One row per held-out item as csv: user, item, rank, radius.

        The rank counts ties against the item. The radius is the budget below which the item is sure
        to stay among the top k; 0 if it is not among them now.
        """
        path = Path(path)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["user", "item", "rank", "radius"])
        radii = self.radii
        for user, item, rank, radius in zip(
            radii.users.tolist(),
            radii.items.tolist(),
            radii.ranks.tolist(),
            radii.stays.tolist(),
            strict=True,
        ):
            writer.writerow([dataset.user_ids[user], dataset.item_ids[item], rank, radius])
        files.write(path, text.getvalue())
        return path


def certify(
    model: Scored,
    dataset: Dataset,
    *,
    eps: float | Sequence[float] | None = None,
    rho: float | Sequence[float] | None = None,
    site: str | None = None,
    side: str = "both",
    k: int = 20,
    part: Part = "test",
) -> Certificate:
    """Lower bounds of NDCG, Recall and HR at k under every perturbation within each budget.

    Args:
        model: a model, or its vectors (user [U, d], item [I, d]) whose dot products are the scores.
        eps: absolute budgets, L2 length per row; by default 0.1, 0.2, 0.5 and 1.
        rho: relative budgets instead, 0.05 for 5 % (see `robustness.budget`).
        site: what is perturbed; by default the model's first site that can be certified.
        side: "both", "users" or "items": whose rows move.
        k: the cut-off.
        part: "test" or "valid".

    Raises:
        UsageError: a model or site without a certificate, or budgets that make no sense.
        DataError: the part holds no pairs.
    """
    name, budgets = _budgets(eps, rho)
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    clean = evaluate(model, dataset, part=part, ks=[k], metrics=METRICS)
    relevant = dataset.test if part == "test" else dataset.valid
    hidden = [dataset.train, dataset.valid] if part == "test" else [dataset.train]
    masked = Lists(*merged_rows(hidden, np.arange(dataset.n_users)))
    lists = (Lists(relevant.indptr, relevant.items), masked)
    threat = threat_of(model, site, side)
    users, items = threat.users, threat.items
    raw: Radii | None = None
    floored = False
    if name == "eps":
        radii = smallest_radii(users, items, threat.reach(None), *lists, k)
    else:
        shown = exposure_of(model, dataset, masked, k)
        radii = smallest_radii(users, items, threat.reach(shown), *lists, k)
        if threat.tables:
            form, reach = canonical_reach(users, items, shown, side)
            raw, floored = radii, form.floored
            radii = smallest_radii(form.users, form.items, reach, *lists, k)
    return Certificate(
        threat.site, side, name, budgets, k, part, dict(clean.values), radii, raw, floored
    )


class Threat(NamedTuple):
    """The vectors whose dot products are the scores, and what can move them."""

    site: str
    users: Tensor  # [U, d]
    items: Tensor  # [I, d]
    reach: Callable[[Tensor | None], Reach]  # from the items' exposure, if the budget is relative
    tables: bool  # the perturbed rows are these vectors themselves


def threat_of(model: Scored, site: str | None, side: str) -> Threat:
    """What noise of norm "row" at a site of a model can do to its vectors. Raises UsageError."""
    if isinstance(model, tuple):
        if site is not None:
            raise UsageError(f"vectors have no sites, got site {site!r}")
        return _of_vectors("vectors", *model, side)
    known = CERTIFIED.get(model.name, {})
    chosen = model.site(site).name if site is not None else next(iter(known), None)
    if chosen is None or chosen not in known:
        where = f" at site {chosen!r}" if chosen else ""
        raise UsageError(
            f"model {model.name!r} has no certificate{where}",
            hint=f"certified: {', '.join(known)}"
            if known
            else "its scores are not dot products"
            " of the perturbed rows; advrec attack measures what noise costs it",
        )
    with torch.no_grad():
        return known[chosen](model, chosen, side)


def _vectors(model: Recommender, site: str, side: str) -> Threat:
    """Noise on the vectors themselves: MF at `ego`, graph models at `final`."""
    return _of_vectors(site, *_scored(model), side)


def _of_vectors(site: str, users: Tensor, items: Tensor, side: str) -> Threat:
    def reach(exposure: Tensor | None) -> Reach:
        if exposure is None:
            return absolute_reach(users, items, side)
        return relative_reach(users, items, exposure, side)

    return Threat(site, users.detach(), items.detach(), reach, tables=True)


def _propagated(model: Recommender, site: str, side: str) -> Threat:
    """Noise on LightGCN's embeddings before propagation: row n of it moves by (P·b)_n at most."""
    assert isinstance(model, LightGCN)
    users, items = _scored(model)
    n, graph = model.n_users, model.graph.to(device="cpu", dtype=torch.float64)
    embedding = model.embedding.detach().cpu()
    norms = embedding.double().norm(dim=1)
    sides = torch.ones(len(norms), dtype=torch.float64)
    if side != "both":
        sides[n:] = float(side == "items")
        sides[:n] = float(side == "users")

    def reach(exposure: Tensor | None) -> Reach:
        budget = sides.clone()
        if exposure is not None:
            budget[:n] *= norms[:n]
            budget[n:] *= item_scale(embedding[n:], exposure)
        mean, rounding = _propagate_norms(budget, graph, model.layers)
        _, slack = _propagate_norms(norms, graph, model.layers)
        moves = (mean + rounding) * (1 + 1e-9)
        return Reach(moves[:n], moves[n:], slack[:n], slack[n:], exact=False)

    return Threat(site, users, items, reach, tables=False)


def _propagate_norms(x: Tensor, graph: Graph, layers: int) -> tuple[Tensor, Tensor]:
    """P·x for row norms x [N], and a bound of what float32 rounds on the way to it.

    As the kernel computes it, y ← E + Â y layer by layer and once divided by K + 1. A row that sums
    `degree` terms rounds by at most (degree + 5)·2⁻²⁴ of the norms that it sums.
    """
    degrees = graph.indptr.diff().double()
    owners = torch.repeat_interleave(torch.arange(len(x)), graph.indptr.diff())
    weights = graph.scale[owners] * graph.scale[graph.indices.long()]

    def hop(y: Tensor) -> Tensor:
        return torch.zeros_like(y).index_add_(0, owners, weights * y[graph.indices.long()])

    value, error = x, 2 * UNIT * x
    for _ in range(layers):
        value = x + hop(value)
        error = 2 * UNIT * x + hop(error) + (degrees + 5) * UNIT * value
    return value / (layers + 1), 1.001 * (error + 3 * UNIT * value) / (layers + 1)


def _features(model: Recommender, site: str, side: str) -> Threat:
    """Noise on VBPR's features: a user weighs a move of c_i by ‖E θ_u‖, and users do not move."""
    assert isinstance(model, VBPR)
    if side == "users":
        raise UsageError("site 'features' has no rows of users, got side 'users'")
    users, items = _scored(model)
    features = model.features.cpu().double()
    weights = model.weights().detach().cpu().double()
    mine = model.parts(users)[1].double()  # what content is multiplied by: p, or (θ, 1)
    rounding = 1.001 * (features.shape[1] + 8) * UNIT * float(weights.norm())
    levers = ops.product(mine, weights.T).norm(dim=1) + rounding * mine.norm(dim=1)
    lengths = features.norm(dim=1)

    def reach(exposure: Tensor | None) -> Reach:
        length = 1.0 if exposure is None else float(ops.total(lengths) / lengths.numel())
        return Reach(
            users=torch.zeros(len(users), dtype=torch.float64),
            items=torch.full((len(items),), length, dtype=torch.float64),
            user_slack=torch.zeros(len(users), dtype=torch.float64),
            item_slack=rounding * lengths + 2 * UNIT * items.double().norm(dim=1),
            levers=levers,
        )

    return Threat(site, users, items, reach, tables=False)


def _own_rows(model: Recommender, site: str, side: str) -> Threat:
    """Noise on VBPR's embeddings: with the scorer of AMR, q + E c moves as q does."""
    assert isinstance(model, VBPR)
    if model.scorer != "amr":
        raise UsageError(
            "site 'ego' of scorer 'vbpr' moves p and θ as separate rows, which has no certificate",
            hint="certified: features, or scorer 'amr'",
        )
    users, items = _scored(model)
    threat = _of_vectors(site, users, items, side)
    weights = float(model.weights().detach().cpu().double().norm())
    content = 1.001 * (model.features.shape[1] + 8) * UNIT * weights
    slack = content * model.features.cpu().double().norm(dim=1)

    def reach(exposure: Tensor | None) -> Reach:
        own = threat.reach(exposure)
        return replace(own, item_slack=own.item_slack + slack)

    return threat._replace(reach=reach, tables=False)


def _scored(model: Recommender) -> tuple[Tensor, Tensor]:
    """The model's vectors, float32 or float64, on the CPU."""
    was_training = model.training
    model.eval()
    vectors = model.vectors()
    model.train(was_training)
    assert vectors is not None  # every model of CERTIFIED scores by dot products
    return vectors[0].detach().cpu(), vectors[1].detach().cpu()


Maker = Callable[[Recommender, str, str], Threat]

CERTIFIED: Final[Mapping[str, Mapping[str, Maker]]] = {
    "mf": {"ego": _vectors},
    "lightgcn": {"final": _vectors, "ego": _propagated},
    "ngcf": {"final": _vectors},
    "gnnguard": {"final": _vectors},
    "vbpr": {"features": _features, "ego": _own_rows},
}
"""Sites with a certificate, by model; the first is the default."""


def exposure_of(model: Scored, dataset: Dataset, masked: Lists, k: int) -> Tensor:
    """How many users' clean top-k lists hold each item, [I]."""
    shown = torch.zeros(dataset.n_items, dtype=torch.float64)
    with scoring(model, dataset) as scorer:
        step = min(BLOCK_USERS, scorer.block_users())
        for first in range(0, dataset.n_users, step):
            users = np.arange(first, min(first + step, dataset.n_users))
            start, end = masked.indptr[users[0]], masked.indptr[users[-1] + 1]
            mask = (masked.indptr[users[0] : users[-1] + 2] - start, masked.items[start:end])
            nothing = (np.zeros(len(users) + 1, np.int64), np.empty(0, np.int32))
            ids = scorer.rank(users, mask, nothing, min(k, dataset.n_items)).ids.cpu()
            shown += torch.bincount(ids[ids >= 0].long(), minlength=dataset.n_items)
    return shown


def _bounds(radii: Radii, budget: float, k: int) -> dict[str, NDArray[np.float64]]:
    """The certified metrics of each user with held-out items, [users]."""
    reached = (radii.rivals <= budget).sum(1)
    order = np.lexsort((reached, radii.users))
    owners, first, counts = np.unique(radii.users, return_index=True, return_counts=True)
    rows = np.repeat(np.arange(len(owners)), counts)
    places = np.arange(len(rows)) - first[rows] + reached[order]
    inside = places < k
    gains = 1 / np.log2(np.arange(k) + 2.0)
    ideal = np.cumsum(gains)[np.minimum(counts, k) - 1]
    dcg = np.bincount(rows[inside], gains[places[inside]], minlength=len(owners))
    hits = np.bincount(rows[inside], minlength=len(owners))
    return {"NDCG": dcg / ideal, "Recall": hits / counts, "HR": (hits > 0).astype(np.float64)}


def _budgets(
    eps: float | Sequence[float] | None, rho: float | Sequence[float] | None
) -> tuple[str, tuple[float, ...]]:
    if eps is not None and rho is not None:
        raise UsageError("eps and rho exclude each other", hint="give one of them")
    name, given = ("eps", EPS if eps is None else eps) if rho is None else ("rho", rho)
    budgets = tuple(float(b) for b in ([given] if isinstance(given, (int, float)) else given))
    for budget in budgets:
        if not 0 <= budget < float("inf"):
            raise UsageError(f"{name} must be a finite number of at least 0, got {budget}")
    return name, budgets
