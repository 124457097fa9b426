"""VBPR, and with adversarial training AMR: items known by their content as well as by who took them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from advrec import ops
from advrec.errors import UsageError
from advrec.models.base import ModelSpec, Noise, Recommender, Site, check_noise, chosen, share
from advrec.models.initial import initial, zeros

SCORERS: Final = ("amr", "vbpr")


class Distinct(NamedTuple):
    """The different ids among some, and where each of those stands among them."""

    ids: Tensor  # [R] int64, ascending
    place: Tensor  # of the shape of what was given, int64

    @classmethod
    def of(cls, ids: Tensor) -> Distinct:
        """Of ids of any shape."""
        return cls(*torch.unique(ids.long(), return_inverse=True))


class VBPR(Recommender):
    """Matrix factorisation in which an item's content features move its vector, c_i·E.

    The option `scorer` chooses the form; c_i is the feature row of item i, divided by the largest
    |c| of all, so that eps is in units of the largest feature whatever the features were:

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
        Site("features", "the content features of items", ("row", "joint")),
        Site("ego", "the embeddings of users and items", ("row", "joint")),
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
        self.reg_items = share(spec, VBPR, "reg_items", most=1e6)
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

    def vectors(self, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """User and item vectors whose dot products are the scores, with noise of whole tables.

        `amr`: p_u and q_i + E c_i, of d numbers. `vbpr`: (p_u, θ_u, 1) and
        (q_i, E c_i, b_i + b'·c_i), of 2d + 1 numbers.
        """
        return self._users(None, noise), self._items(None, noise)

    def losses(self, batch: Tensor, noise: Noise | None = None) -> Tensor:
        """BPR of each triplet [B]; noise of whole tables, or of the batch's own rows.

        An item's vector is computed once, however often the batch names it, and Γ of its features
        is the gradient of that vector times Eᵀ: nothing of the size of the catalogue is made.
        """
        users, items = Distinct.of(batch[0]), Distinct.of(batch[1:])
        triplets = torch.cat([users.place.unsqueeze(0), items.place]).to(batch.dtype)
        user, item = self._users(users.ids, noise), self._items(items.ids, noise)
        return -functional.logsigmoid(ops.triplet_margin(user, item, triplets))

    def penalty(self, batch: Tensor) -> Tensor:
        """Σ ‖p_u‖² + reg_items·(‖v_i‖² + ‖v_j‖²) over the triplets, as AMR's code has it: no ½.

        v is q + E c for the scorer `amr`. For `vbpr` it is (q, b), and p_u is (p_u, θ_u): He &
        McAuley shrink parameters. E is not shrunk, which is those codes' default.
        """
        users, items = Distinct.of(batch[0]), Distinct.of(batch[1:])
        user = self._users(users.ids, None)
        if self.scorer == "amr":
            item = self._items(items.ids, None)
        else:
            user = user[:, :-1]  # the constant 1 is no parameter
            item = torch.cat(
                [self.gather(self.items, items.ids), self.gather(self.items_bias, items.ids)], 1
            )
        by_user = user.square().sum(1).index_select(0, users.place)
        by_item = item.square().sum(1).index_select(0, items.place.flatten())
        return by_user.sum() + self.reg_items * by_item.sum()

    def tables(self, site: str) -> dict[str, Tensor]:
        """C; or at `ego` P, Q and, where there is one, θ."""
        if self.site(site).name == "features":
            return {"features": self.features}
        names = ["users", "items", *(["users_visual"] if self.scorer == "vbpr" else [])]
        return {name: self.get_parameter(name).detach() for name in names}

    def noise_like(self, site: str, norm: str, batch: Tensor | None) -> dict[str, Tensor]:
        """Zeros for whole tables; with a batch, a row for each different user or item in it.

        Those rows are in ascending order of the ids. A catalogue of features may have gigabytes,
        a batch's rows have not.
        """
        self.check_site(site, norm)
        tables = self.tables(site)
        if batch is None:
            return {key: torch.zeros_like(table) for key, table in tables.items()}
        rows = {key: batch[0] if key.startswith("users") else batch[1:] for key in tables}
        return {
            key: table.new_zeros(len(torch.unique(rows[key])), table.shape[1])
            for key, table in tables.items()
        }

    @property
    def _keys(self) -> tuple[str, ...]:
        """The keys that a noise may have here."""
        return ("features", *self.tables("ego"))

    def _users(self, ids: Tensor | None, noise: Noise | None) -> Tensor:  # [R, d] or [R, 2d + 1]
        given = check_noise(noise, self._keys)
        user = self._moved("users", ids, given)
        if self.scorer == "amr":
            return user
        return torch.cat(
            [user, self._moved("users_visual", ids, given), user.new_ones(len(user), 1)], 1
        )

    def _items(self, ids: Tensor | None, noise: Noise | None) -> Tensor:  # [R, d] or [R, 2d + 1]
        given = check_noise(noise, self._keys)
        content = self._moved("features", ids, given)
        item = self._moved("items", ids, given)
        if self.scorer == "amr":
            return torch.addmm(item, content, self.projection)
        bias = self.items_bias if ids is None else self.gather(self.items_bias, ids)
        visual = content @ self.projection
        return torch.cat([item, visual, torch.addmm(bias, content, self.projection_bias)], 1)

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
                f"A noise of {key} has shape {list(added.shape)}, wanted {list(rows.shape)}."
            )
        return rows + added


def scaled(features: Tensor) -> Tensor:
    """Features divided by the largest |c|, as the code of AMR does; UsageError if all are 0."""
    largest = float(features.abs().max()) if features.numel() else 0.0
    if largest == 0.0:
        raise UsageError(
            "All item features are 0: there is nothing to learn from them.",
            hint="look at what --features names",
        )
    return features / largest
