"""VBPR, and with adversarial training AMR: items described by content and by interactions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from advrec import ops
from advrec.errors import UsageError
from advrec.models.base import (
    ModelSpec,
    Noise,
    Recommender,
    Site,
    check_noise,
    chosen,
    fraction_option,
)
from advrec.models.initial import initial, zeros

SCORERS: Final = ("amr", "vbpr")
NOTHING: Final[Noise] = MappingProxyType({})


class Distinct(NamedTuple):
    """The distinct ids among some, and the place of each of those among them."""

    ids: Tensor  # [R] int64, ascending
    place: Tensor  # of the shape of what was given, int64

    @classmethod
    def of(cls, ids: Tensor) -> Distinct:
        """The distinct ones of ids of any shape."""
        return cls(*torch.unique(ids.long(), return_inverse=True))

    def counts(self, like: Tensor) -> Tensor:  # [R, 1]
        """How often each of the different ones was named, as numbers like another tensor's."""
        times = torch.bincount(self.place.flatten(), minlength=len(self.ids))
        return times.to(like).unsqueeze(1)


class Rows(NamedTuple):
    """The rows that a batch names, each once, and the batch's triplets in numbers of these rows."""

    users: Distinct
    items: Distinct
    triplets: Tensor  # [3, B]

    @classmethod
    def of(cls, batch: Tensor) -> Rows:
        """The rows of triplets [3, B]."""
        users, items = Distinct.of(batch[0]), Distinct.of(batch[1:])
        places = torch.cat([users.place.unsqueeze(0), items.place])
        return cls(users, items, places.to(batch.dtype))


class VBPR(Recommender):
    """Matrix factorisation in which an item's content features move its vector, c_i·E.

    The option `scorer` chooses the form; c_i is the feature row of item i, divided by the largest
    |c| of all, so that eps is always in units of the largest feature:

    - `amr` (Tang et al., TKDE 2019, and their code): ŷ_ui = p_u·(q_i + E c_i).
    - `vbpr` (He & McAuley, AAAI 2016): ŷ_ui = p_u·q_i + θ_u·(E c_i) + b_i + b'·c_i, with a visual
      vector θ_u of the user, a bias of the item and a visual bias. The user's bias and the overall
      one change no ranking and no BPR loss, so they are left out.

    Site `features` perturbs the rows c_i of a batch's positive and negative items: adversarial
    training there is AMR. Site `ego` perturbs the vectors p_u, θ_u and q_i, each a row of its own.
    Adversarial training that starts from a trained VBPR has the settings of the authors' code of
    AMR. How they trained that VBPR is not published: its learning rate and γ are this project's.
    """

    name: ClassVar[str] = "vbpr"
    about: ClassVar[str] = (
        "matrix factorisation with item features (VBPR, He & McAuley, AAAI 2016);"
        " its adversarial training is AMR (Tang et al., TKDE 2019)"
    )
    sites: ClassVar[tuple[Site, ...]] = (
        Site("features", "the content features of items", ("row", "joint"), "items"),
        Site("ego", "the embeddings of users and items", ("row", "joint"), "named"),
    )
    options: ClassVar[Mapping[str, object]] = {"scorer": "amr", "reg_items": 0.01}
    """scorer: amr or vbpr. reg_items: γ of the item vectors as a share of γ of the user vectors."""
    defaults: ClassVar[Mapping[str, object]] = {
        "dim": 64,
        "init_std": 0.01,
        "epochs": 1000,
        "batch_size": 512,
        "lr": {"users": 0.05, "items": 0.05, "projection": 0.05},
        "optimizer": "adagrad",
        "reg": 0.01,
        "negatives": 1,
        "sampling": "pairs",
        "reduction": "sum",
        "eps": 0.1,
        "adv_weight": 1.0,
        "site": "features",
        "norm": "row",
    }
    adversarial_defaults: ClassVar[Mapping[str, object]] = {
        "lr": {"users": 0.01, "items": 1e-4, "projection": 1e-3},
        "reg": 0.1,
    }
    needs_features: ClassVar[bool] = True

    features: Tensor  # [I, F], the largest |c| is 1; read from the data set, not saved

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        assert spec.item_features is not None  # the base class has refused it
        self.scorer = chosen(spec, VBPR, "scorer", SCORERS)
        self.reg_items = fraction_option(spec, VBPR, "reg_items", most=1e6)
        self.register_buffer("features", scaled(spec.item_features), persistent=False)
        users, items, width = spec.n_users, spec.n_items, self.features.shape[1]
        sizes = [users, items, width, *([users] if self.scorer == "vbpr" else [])]
        std = 0.01 if spec.init_std is None else spec.init_std
        # One draw for all tables: a draw for each would start each from the same numbers.
        drawn = torch.split(initial(spec, sum(sizes), std, truncated=True).detach(), sizes)
        tables = [nn.Parameter(table.clone()) for table in drawn]
        self.users, self.items, self.projection = tables[:3]  # P [U, d], Q [I, d], E [F, d]
        if self.scorer == "vbpr":
            self.users_visual = tables[3]  # θ [U, d]
            self.items_bias = zeros(spec, items, 1)  # b
            self.projection_bias = zeros(spec, width, 1)  # b'

    @classmethod
    def parameter_count(cls, spec: ModelSpec, features: int) -> int:
        """The size of the tables of users (twice for scorer vbpr), items and projection."""
        twice = spec.options.get("scorer", cls.options["scorer"]) == "vbpr"
        return (spec.n_users * (1 + twice) + spec.n_items + features) * spec.dim

    def vectors(self, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """User and item vectors whose dot products are the scores, with noise of whole tables.

        `amr`: p_u and q_i + E c_i, of d numbers. `vbpr`: (p_u, θ_u, 1) and
        (q_i, E c_i, b_i + b'·c_i), of 2d + 1 numbers.
        """
        given = check_noise(noise, ("features", *self.tables("ego")))
        content = ops.product(self._moved("features", None, given), self.weights())
        user, own = self.user_rows(None, given), self.own_rows(None, given)
        return self.widened(user), self.joined(own, content)

    def losses(self, batch: Tensor, noise: Noise | None = None) -> Tensor:
        """BPR of each triplet [B]; noise of whole tables, or of the batch's own rows.

        An item's vector is computed once, however often the batch names it: nothing of the size of
        the catalogue is built.
        """
        given = check_noise(noise, ("features", *self.tables("ego")))
        rows = Rows.of(batch)
        content = ops.product(self._moved("features", rows.items.ids, given), self.weights())
        user, own = self.user_rows(rows.users.ids, given), self.own_rows(rows.items.ids, given)
        vectors = (self.widened(user), self.joined(own, content))
        return -functional.logsigmoid(ops.triplet_margin(*vectors, rows.triplets))

    def penalty(self, batch: Tensor) -> Tensor:
        """Σ ‖p_u‖² + reg_items·(‖v_i‖² + ‖v_j‖²) over the triplets, as AMR's code has it: no ½.

        v is q + E c for the scorer `amr`. For `vbpr` it is (q, b), and p_u is (p_u, θ_u): He &
        McAuley shrink parameters. E is not shrunk; AMR's code gives that a weight of 0.
        """
        rows = Rows.of(batch)
        user, own = self.user_rows(rows.users.ids), self.own_rows(rows.items.ids)
        if self.scorer == "vbpr":  # no content in it
            return self.squares(user, own, own, rows)
        content = ops.product(self.features.index_select(0, rows.items.ids), self.weights())
        return self.squares(user, own, content, rows)

    def tables(self, site: str) -> dict[str, Tensor]:
        """C; or at `ego` P, Q and, where there is one, θ."""
        if self.site(site).name == "features":
            return {"features": self.features}
        names = ["users", "items", *(["users_visual"] if self.scorer == "vbpr" else [])]
        return {name: self.get_parameter(name).detach() for name in names}

    def zeros(self, site: str, batch: Tensor | None) -> dict[str, Tensor]:
        """Zeros for whole tables; with a batch, a row per different user or item in it.

        Those rows are in ascending order of the ids. A catalogue of features may take gigabytes,
        the rows of a batch do not.
        """
        tables = self.tables(site)
        if batch is None:
            return {key: torch.zeros_like(table) for key, table in tables.items()}
        ids = {key: batch[0] if key.startswith("users") else batch[1:] for key in tables}
        return {
            key: table.new_zeros(len(torch.unique(ids[key])), table.shape[1])
            for key, table in tables.items()
        }

    # -- the pieces of a score, for some rows or for all (ids None) ------------------------------

    def user_rows(self, ids: Tensor | None, noise: Noise = NOTHING) -> Tensor:  # [R, d] or [R, 2d]
        """p; or (p, θ)."""
        user = self._moved("users", ids, noise)
        if self.scorer == "amr":
            return user
        return torch.cat([user, self._moved("users_visual", ids, noise)], 1)

    def own_rows(self, ids: Tensor | None, noise: Noise = NOTHING) -> Tensor:  # [R, d] or [R, d+1]
        """What an item has in addition to its features: q; or (q, b)."""
        item = self._moved("items", ids, noise)
        if self.scorer == "amr":
            return item
        return torch.cat([item, self._moved("items_bias", ids, NOTHING)], 1)

    def weights(self) -> Tensor:  # [F, w]
        """What turns features into an item's content: E; or (E, b')."""
        if self.scorer == "amr":
            return self.projection
        return torch.cat([self.projection, self.projection_bias], 1)

    def squares(self, user: Tensor, own: Tensor, content: Tensor, rows: Rows) -> Tensor:
        """`penalty` from the rows of a batch."""
        item = own + content if self.scorer == "amr" else own
        by_user = rows.users.counts(user) * user.square()
        by_item = rows.items.counts(item) * item.square()
        return ops.total(by_user) + self.reg_items * ops.total(by_item)

    def widened(self, user: Tensor) -> Tensor:
        """User vectors from user rows: p; or (p, θ, 1)."""
        if self.scorer == "amr":
            return user
        return torch.cat([user, user.new_ones(len(user), 1)], 1)

    def joined(self, own: Tensor, content: Tensor) -> Tensor:
        """Item vectors from what an item has: q + E c; or (q, E c, b + b'·c)."""
        if self.scorer == "amr":
            return own + content
        item, bias = own[:, : self.dim], own[:, self.dim :]
        return torch.cat([item, content[:, : self.dim], bias + content[:, self.dim :]], 1)

    def parts(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Split a gradient in item vectors: in an item's own rows, and in its content."""
        if self.scorer == "amr":
            return slopes, slopes
        item, bias = slopes[:, : self.dim], slopes[:, 2 * self.dim :]
        return torch.cat([item, bias], 1), slopes[:, self.dim :]

    def _moved(self, key: str, ids: Tensor | None, noise: Noise) -> Tensor:
        """The rows `ids` of a table (None: all) with its noise added, if it has any.

        The noise has a row for each row of the table, or one for each of the ids.
        """
        whole: Tensor = getattr(self, key)
        if ids is None:
            rows = whole
        elif key == "features":
            rows = whole.index_select(0, ids)
        else:
            rows = self.gather(whole, ids)
        if key not in noise:
            return rows
        added = noise[key]
        if ids is not None and len(added) == len(whole):
            added = added.index_select(0, ids)
        if added.shape != rows.shape:
            raise UsageError(
                f"noise of {key} has shape {list(added.shape)}, expected {list(rows.shape)}"
            )
        return rows + added


def scaled(features: Tensor) -> Tensor:
    """Features divided by the largest |c|, as the code of AMR does; UsageError if all are 0."""
    largest = float(features.abs().max()) if features.numel() else 0.0
    if largest == 0.0:
        raise UsageError(
            "all item features are 0: there is nothing to learn from them",
            hint="check the file that --features names",
        )
    return (features / largest).contiguous()
