"""The ball that noise must lie in: norm, side, and an absolute or a relative budget.

A size counts in ε or in ρ. Every row of user u, of an item or of neither has a length per unit of
size: 1 for an absolute budget; for a relative one ‖p_u‖ of a user and q̄ of every item (the mean
item norm, weighted by exposure, see `budget`), or the mean row norm of a table that does not hold
the rows of both. Norms `joint` and `tensor` have one length for the whole: the norm of what is
perturbed. Rows of the other side do not move.

Where the perturbed rows are the vectors that are compared (MF, `final` of graph models), a relative
budget is counted in canonical form: noise (δP, δQ) has there the rows δP M⁻¹ and δQ M. The other
relative budgets are counted in the norms as stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from advrec.choices import SIDES, Part
from advrec.errors import UsageError
from advrec.evaluation.scorer import merged_rows
from advrec.models.base import Noise, Recommender, Site
from advrec.robustness import perturb
from advrec.robustness.budget import Canonical, canonical, item_scale
from advrec.robustness.certify import exposure_of, threat_of
from advrec.robustness.radius import Lists

if TYPE_CHECKING:
    from advrec.data.dataset import Dataset

UNITS: Final = ("eps", "rho")
"""An absolute budget and a relative one, as flags and JSON name them."""


Owners = Mapping[str, tuple[int, int]]
"""The rows of "users" and of "items" in a table: first and last."""


class Form(NamedTuple):
    """The change to canonical form: users are multiplied by `users`, items by `items`."""

    n_users: int
    users: Tensor  # [d, d] M⁻¹, symmetric
    items: Tensor  # [d, d] M, symmetric
    floored: bool  # eigenvalues had to be raised

    def to(self, rows: Tensor) -> Tensor:
        """Noise [U+I, d] in canonical form."""
        return self._changed(rows, self.users, self.items)

    def back(self, rows: Tensor) -> Tensor:
        """Noise in canonical form as noise on the vectors as stored; what a gradient is there."""
        return self._changed(rows, self.items, self.users)

    def _changed(self, rows: Tensor, of_users: Tensor, of_items: Tensor) -> Tensor:
        n = self.n_users
        return torch.cat([rows[:n] @ of_users, rows[n:] @ of_items])


@dataclass(frozen=True, eq=False)
class Ball:
    """All noise at a site within one unit of the budget, and its steepest and random points."""

    site: str
    norm: str
    side: str = "both"
    unit: str = "eps"
    lengths: Mapping[str, Tensor] = field(default_factory=dict)
    """Per key the length per unit of size, float64: [rows, 1] for norm `row`, 0 for rows that stay;
    a number otherwise. Empty: 1 everywhere."""
    live: Mapping[str, Tensor] = field(default_factory=dict)
    """Per key the rows [rows, 1] that may move. Empty: all."""
    owners: Mapping[str, Owners] = field(default_factory=dict)
    """Per key whose rows they are."""
    form: Form | None = None
    rates: Tensor | None = None
    """[U] how far a user's scores move at most per unit of ρ; None: not known."""

    def vertex(self, grads: Noise, size: float) -> dict[str, Tensor]:
        """The point of the ball where a loss with this gradient is largest to first order.

        What has a gradient of 0 stays. Independent of the gradient's scale.
        """
        if not self.lengths:
            return perturb.fgm(grads, eps=size, norm=self.norm)
        units = perturb.fgm(self._gradient(grads), eps=1.0, norm=self.norm)
        return self._noise(units, size, grads)

    def random_like(
        self, grads: Noise, size: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Gaussian directions with the row norms of the vertex: only the direction differs."""
        if not self.lengths:
            return perturb.random_like(grads, eps=size, norm=self.norm, generator=generator)
        moved = perturb.random_like(
            self._gradient(grads), eps=1.0, norm=self.norm, generator=generator
        )
        return self._noise(moved, size, grads)

    def random_start(
        self, grads: Noise, size: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """A point drawn uniformly from the ball, in the rows that have a gradient."""
        if not self.lengths:
            return perturb.random_start(grads, eps=size, norm=self.norm, generator=generator)
        moved = perturb.random_start(
            self._gradient(grads), eps=1.0, norm=self.norm, generator=generator
        )
        return self._noise(moved, size, grads)

    def project(self, noise: Noise, size: float) -> dict[str, Tensor]:
        """What is longer than the budget scaled back to it; the rest stays as it is."""
        if not self.lengths:
            return perturb.project(noise, eps=size, norm=self.norm)
        return self._scaled(noise, size, 0.0)

    def stretched(self, noise: Noise, size: float) -> dict[str, Tensor]:
        """Every row, or the whole, as long as the budget allows; what is 0 stays."""
        kept = {key: value.double() for key, value in noise.items()}
        for key, rows in self.live.items():
            kept[key] = kept[key] * rows
        peaks = perturb.NORMS[self.norm].peaks(kept)
        for key, value in kept.items():  # by the largest entry first: a tiny row has a square of 0
            kept[key] = value / torch.where(peaks[key] > 0, peaks[key], torch.ones_like(peaks[key]))
        scaled = {}
        for key, length in self._lengths(kept).items():
            allowed = self.lengths[key].to(length) if self.lengths else torch.ones_like(length)
            factor = torch.where(length > 0, allowed * size / length, torch.zeros_like(length))
            scaled[key] = (kept[key] * factor).to(noise[key].dtype)
        return scaled

    def within(self, noise: Noise, size: float) -> dict[str, Tensor]:
        """`project`, so that what is stored, measured in float64, is at most the budget."""
        kept = {key: value.clone() for key, value in noise.items()}
        for key, rows in self.live.items():
            kept[key] = torch.where(rows, kept[key], torch.zeros_like(kept[key]))
        if not self.lengths:
            return perturb.within(kept, eps=size, norm=self.norm)
        # Storage rounds in the basis as stored, which canonical form may stretch: try again.
        for spare in (0.0, 2**-22, 2**-20, 2**-16, 2**-12):
            kept = self._scaled(kept, size, spare)
            if self.size_of(kept) <= size:
                return kept
        return self._scaled(kept, size, 2**-6)

    def size_of(self, noise: Noise) -> float:
        """The smallest size whose ball holds the noise: ε or ρ as measured, in float64.

        Infinite for noise on rows that may not move.
        """
        return max(float(share.max()) for share in self._shares(noise).values())

    def share(self, tables: Noise) -> float:
        """A size of one as a share of the mean length of what is perturbed: 1 for ρ."""
        if self.unit == "rho":
            return 1.0
        lengths = perturb.NORMS[self.norm].lengths({k: t.double() for k, t in tables.items()})
        return 1.0 / max(float(torch.cat([x.flatten() for x in lengths.values()]).mean()), 1e-30)

    def measure(self, noise: Noise, tables: Noise, size_name: str = "rho") -> perturb.Budget:
        """`perturb.measure`; the relative size of a relative budget is the ρ of its own."""
        budget = perturb.measure(noise, tables, self.norm)
        if self.unit != size_name:
            return budget
        return perturb.Budget(
            budget.norm, budget.absolute, self.size_of(noise), budget.rows, budget.largest_row
        )

    def _gradient(self, grads: Noise) -> dict[str, Tensor]:
        """A gradient in the form that the budget is counted in, of the rows that may move."""
        moved = {}
        for key, grad in grads.items():
            # By the largest entry first: the change of form must not lose a tiny gradient.
            peak = grad.abs().amax(-1, keepdim=True) if self.norm == "row" else grad.abs().max()
            scaled = grad.double() / torch.where(peak > 0, peak, torch.ones_like(peak)).double()
            moved[key] = scaled if self.norm == "row" else grad.double()
            if self.form is not None:
                moved[key] = self.form.back(moved[key])
            if key in self.live:
                moved[key] = moved[key] * self.live[key]
        return moved

    def _noise(self, units: Noise, size: float, like: Noise) -> dict[str, Tensor]:
        """Noise as stored from rows of length 1 in the form that the budget is counted in."""
        noise = {}
        for key, unit in units.items():
            rows = unit * (self.lengths[key].to(unit) * size)
            noise[key] = (rows if self.form is None else self.form.back(rows)).to(like[key])
        return noise

    def _lengths(self, noise: Noise) -> dict[str, Tensor]:
        rows = {key: value.double() for key, value in noise.items()}
        if self.form is not None:
            rows = {key: self.form.to(value) for key, value in rows.items()}
        return perturb.NORMS[self.norm].lengths(rows)

    def _scaled(self, noise: Noise, size: float, spare: float) -> dict[str, Tensor]:
        """What is larger than the size scaled back to (1 − spare) of it."""
        scaled = {}
        for key, share in self._shares(noise).items():
            factor = torch.where(share > size, size / share * (1 - spare), torch.ones_like(share))
            scaled[key] = (noise[key].double() * factor).to(noise[key].dtype)
        return scaled

    def _shares(self, noise: Noise) -> dict[str, Tensor]:
        """The size that each row, or the whole, needs: its length per unit of what is allowed."""
        shares = {}
        for key, length in self._lengths(noise).items():
            allowed = self.lengths.get(key, torch.ones((), dtype=torch.float64)).to(length)
            shares[key] = torch.where(length > 0, length / allowed, torch.zeros_like(length))
        return shares


def ball_of(
    model: Recommender,
    site: str,
    norm: str,
    *,
    side: str = "both",
    unit: str = "eps",
    exposure: Tensor | None = None,
    as_stored: bool = False,
) -> Ball:
    """The ball of a site of a model.

    Args:
        exposure: how many clean top-k lists hold each item, [I]; for a relative budget.
        as_stored: count a relative budget in the norms as stored even where there is a canonical
            form.

    Raises:
        UsageError: a side that the site has no rows of, or a relative budget on rows of zeros.
    """
    if side not in SIDES:
        raise UsageError(f"unknown side {side!r}: choose {', '.join(SIDES)}")
    if unit not in UNITS:
        raise UsageError(f"unknown budget {unit!r}: choose {' or '.join(UNITS)}")
    place = model.site(site)
    tables = model.tables(place.name)
    owners = {key: _owners(model, place, key, len(table)) for key, table in tables.items()}
    if side != "both":
        held = {owner for each in owners.values() for owner in each}
        if side not in held:
            what = f"rows of {' and '.join(sorted(held))} only" if held else "no rows of either"
            raise UsageError(
                f"site {place.name!r} of model {model.name!r} has {what}, got side {side!r}"
            )
    live = {}
    if side != "both":
        for key, table in tables.items():
            rows = torch.zeros(len(table), 1, dtype=torch.bool, device=table.device)
            for owner, (first, last) in owners[key].items():
                rows[first:last] = owner == side
            live[key] = rows
    if unit == "eps":
        whole = {key: torch.ones((), dtype=torch.float64) for key in tables}
        lengths = whole if live and norm != "row" else {}
        if live and norm == "row":
            lengths = {key: rows.double() for key, rows in live.items()}
        return Ball(place.name, norm, side, unit, lengths, live, owners)
    with torch.no_grad():
        lengths, form, rates = _relative(
            model, place, norm, side, tables, owners, exposure, as_stored=as_stored
        )
    if norm == "row":
        lengths = {key: value * live[key] if live else value for key, value in lengths.items()}
    if not any(bool((length > 0).any()) for length in lengths.values()):
        raise UsageError(
            "all rows that may move are 0, so a relative budget means nothing",
            hint="check the model, or give an absolute budget",
        )
    return Ball(place.name, norm, side, unit, lengths, live, owners, form, rates)


def exposure(model: Recommender, dataset: Dataset, part: Part, k: int) -> Tensor:
    """How many clean top-k lists of the part hold each item, [I]."""
    hidden = [dataset.train, dataset.valid] if part == "test" else [dataset.train]
    masked = Lists(*merged_rows(hidden, np.arange(dataset.n_users)))
    return exposure_of(model, dataset, masked, k)


def _owners(model: Recommender, site: Site, key: str, rows: int) -> Owners:
    """Whose rows a table has."""
    n, count = model.n_users, model.n_users + model.n_items
    if site.rows == "both" and rows == count:
        return {"users": (0, n), "items": (n, count)}
    owner = site.rows
    if site.rows == "named":
        owner = next((kind for kind in ("users", "items") if key.startswith(kind)), "none")
    if (owner, rows) in (("users", model.n_users), ("items", model.n_items)):
        return {owner: (0, rows)}
    return {}


def _relative(
    model: Recommender,
    site: Site,
    norm: str,
    side: str,
    tables: Noise,
    owners: Mapping[str, Owners],
    exposure: Tensor | None,
    *,
    as_stored: bool,
) -> tuple[dict[str, Tensor], Form | None, Tensor | None]:
    """The lengths for one unit of ρ, the canonical form and the rates of scores."""
    if norm != "row":
        return perturb.NORMS[norm].lengths({k: t.double() for k, t in tables.items()}), None, None
    norms = {key: table.double().norm(dim=1, keepdim=True) for key, table in tables.items()}
    mean = {key: rows.mean().expand_as(rows).clone() for key, rows in norms.items()}
    if {owner for each in owners.values() for owner in each} != {"users", "items"}:
        return mean, None, None
    if exposure is None:
        raise ValueError("a relative budget needs the exposure of the items")
    if site.rows == "named":
        shown = _scored_items(model, tables)
        scale = item_scale(shown.cpu(), exposure)
        return {
            key: norms[key] if "users" in owners[key] else torch.full_like(norms[key], scale)
            for key in tables
        }, None, None  # fmt: skip
    (key,) = tables
    table, n = tables[key], model.n_users
    users, items = table[:n].cpu(), table[n:].cpu()
    form = None if as_stored else _canonical(model, site.name, users, items, exposure)
    if form is not None:
        users, items = form.users, form.items
    scale = item_scale(items, exposure)
    of_users = users.double().norm(dim=1)
    of_items = torch.full((len(items),), scale, dtype=torch.float64)
    lengths = {key: torch.cat([of_users, of_items])[:, None].to(table.device)}
    moving = float(side != "items") + float(side != "users")
    rates = (of_users * scale * moving).to(table.device) if compared(model, site.name) else None
    if form is None:
        return lengths, None, rates
    change = Form(n, form.back.to(table.device), form.change.to(table.device), form.floored)
    return lengths, change, rates


def _scored_items(model: Recommender, tables: Noise) -> Tensor:
    """The item vectors that are compared, where noise on `items` moves them as it is; or items."""
    vectors = model.vectors()
    own = tables["items"]
    return vectors[1] if vectors is not None and vectors[1].shape == own.shape else own


def compared(model: Recommender, site: str) -> bool:
    """Are the rows at the site the vectors whose dot products are the scores?"""
    try:
        return threat_of(model, site, "both").tables
    except UsageError:
        return False


def _canonical(
    model: Recommender, site: str, users: Tensor, items: Tensor, exposure: Tensor
) -> Canonical | None:
    return canonical(users, items, exposure) if compared(model, site) else None
