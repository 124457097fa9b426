"""What a recommender is to training, attack and evaluation: the class that people subclass."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from advrec import ops
from advrec.errors import UsageError
from advrec.graph import Graph
from advrec.sampling import ATTACK_EPOCH, Positives

Noise = Mapping[str, Tensor]

SAMPLE_KEYS = ("user", "positive", "negative")
"""Keys of a noise with norm "sample": the three vectors of a triplet."""

ATTACK_USERS = 1024
"""Users in a chunk when the attack goes over all of them."""


@dataclass(frozen=True)
class Site:
    """A place in a model where a perturbation may act."""

    name: str
    about: str  # a phrase for --help and tables
    norms: tuple[str, ...]  # what of it may have length eps (advrec.perturb); the first is default


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """What a model is made from. Two models of one spec have the same weights, bit for bit."""

    n_users: int
    n_items: int
    dim: int = 64
    layers: int | None = None  # None: the model's own
    seed: int = 0
    graph: Graph | None = None
    positives: Positives | None = None
    item_features: Tensor | None = None  # [I, F]
    dtype: torch.dtype = torch.float32
    init_std: float | None = None  # None: the model's own
    options: Mapping[str, object] = field(default_factory=dict)  # what only this model has


class Recommender(nn.Module):
    """A model with a loss for each triplet (or user) and places at which it can be perturbed.

    To write one, subclass, set the class variables, and define:

    - `losses`: the loss of each entry of a batch, with noise added at a site if there is any;
    - `penalty`: the squared norms that `reg` weighs;
    - `tables`: the tensors at a site, to which noise is added;
    - `vectors` if a score is a dot product (everything gets faster), otherwise `scores`.

    Then register it in `advrec.models.MODELS`; config, training, attack, evaluation and the
    invariants in tests/test_invariants.py take it from there.

    Noise is a mapping from a key to a tensor that is *added* at that key. A model must use every
    key it is given (`check_noise`): an ignored perturbation looks like a robust model.
    All functions are pure: they keep nothing between calls, so the same weights, batch and noise
    give the same result whatever ran before.
    """

    name: ClassVar[str]
    """What `--model` and a run's configuration call it."""
    about: ClassVar[str]
    """One sentence, with the paper."""
    sites: ClassVar[tuple[Site, ...]]
    """Where it can be perturbed; the first is the default."""
    site_aliases: ClassVar[Mapping[str, str]] = {}
    """Other names under which a site is accepted."""
    defaults: ClassVar[Mapping[str, object]] = {}
    """Options of training (TrainConfig) that the paper or its code fixes."""
    batch_kind: ClassVar[str] = "triplets"
    """What a batch is: "triplets", [3, B] int32, or "users", [1, B] int32."""
    needs_graph: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.n_users, self.n_items, self.dim = spec.n_users, spec.n_items, spec.dim
        if self.needs_graph and spec.graph is None:
            raise UsageError(f"The model {self.name!r} needs the graph of the training pairs.")
        if self.needs_features and spec.item_features is None:
            raise UsageError(
                f"The model {self.name!r} needs item features, and the data set has none.",
                hint="give them with --features FILE",
            )

    # -- to be written by each model ------------------------------------------------------------

    def losses(self, batch: Tensor, noise: Noise | None = None) -> Tensor:
        """The loss of each entry of a batch, [B], neither summed nor weighted.

        For triplets: softplus(−(ŷ_ui − ŷ_uj)), the BPR loss (Rendle et al., UAI 2009).
        Differentiable in the parameters and in every tensor of `noise`.
        """
        raise NotImplementedError

    def penalty(self, batch: Tensor) -> Tensor:
        """Squared norms that regularisation shrinks, a scalar summed over the batch, without γ.

        For triplets: Σ ½(‖p_u‖² + ‖q_i‖² + ‖q_j‖²) of the rows that the batch names.
        """
        raise NotImplementedError

    def tables(self, site: str) -> dict[str, Tensor]:
        """The current values at a site, detached, under the keys that noise has there.

        What a noise is compared with to say how large it is.
        """
        raise NotImplementedError

    # -- to be written where the default does not fit -------------------------------------------

    def vectors(
        self,
        noise: Noise | None = None,  # noqa: ARG002 - the subclasses use it
    ) -> tuple[Tensor, Tensor] | None:
        """User vectors [U, d] and item vectors [I, d] whose dot products are the scores.

        None for a model whose scores are no dot products; it has `scores`.
        """
        return None

    def scores(
        self,
        users: Tensor,  # [B] int
        noise: Noise | None = None,
    ) -> Tensor:  # [B, I]
        """The score of every item for each of the users."""
        both = self.vectors(noise)
        if both is None:
            raise NotImplementedError(f"{type(self).__name__} has neither vectors nor scores")
        return both[0].index_select(0, users) @ both[1].T

    def noise_like(self, site: str, norm: str, batch: Tensor | None) -> dict[str, Tensor]:
        """Zeros for a noise at a site: what the gradient Γ is taken with respect to.

        `batch` None: the whole tables, as the attack perturbs them. With norm "sample" the noise
        belongs to the batch: keys user, positive and negative, [B, d] each, added to the gathered
        vectors of every triplet. Raises UsageError for a site or norm that the model does not have.
        """
        found = self.check_site(site, norm)
        if norm != "sample":
            return {key: torch.zeros_like(table) for key, table in self.tables(found.name).items()}
        if batch is None:
            raise UsageError(
                "Norm 'sample' perturbs the triplets of a batch; whole tables have none.",
                hint="use norm 'row'",
            )
        like = next(self.parameters())
        return {key: like.new_zeros(batch.shape[-1], self.dim) for key in SAMPLE_KEYS}

    def attack_batches(self, positives: Positives, seed: int) -> Iterator[Tensor]:
        """All of train once, in chunks: over these the attack sums its loss and its gradient.

        Triplets: every pair with one negative that no training has drawn, in a single chunk, so a
        graph model propagates once. Users: every user that has positives.
        """
        if self.batch_kind == "users":
            for chunk in torch.split(positives.active_users, ATTACK_USERS):
                yield chunk.unsqueeze(0)
            return
        yield ops.sample_triplets(
            positives, seed=seed, epoch=ATTACK_EPOCH, first=0, count=len(positives), mode="pairs"
        )

    # -- given ----------------------------------------------------------------------------------

    @classmethod
    def site(cls, name: str | None = None) -> Site:
        """The site of that name or alias; None is the default. Raises UsageError."""
        if name is None:
            return cls.sites[0]
        wanted = cls.site_aliases.get(name, name)
        for site in cls.sites:
            if site.name == wanted:
                return site
        known = [site.name for site in cls.sites]
        raise UsageError(
            f"The model {cls.name!r} has no site {name!r}; it has {', '.join(known)}.",
            hint=_near(name, known),
        )

    @classmethod
    def check_site(cls, name: str | None, norm: str) -> Site:
        """The site, if a noise there can be measured by `norm`; otherwise UsageError."""
        site = cls.site(name)
        if norm not in site.norms:
            raise UsageError(
                f"Site {site.name!r} of the model {cls.name!r} has no norm {norm!r}; "
                f"it has {', '.join(site.norms)}.",
                hint=_near(norm, site.norms),
            )
        return site


def check_noise(noise: Noise | None, known: tuple[str, ...]) -> Noise:
    """`noise`, or nothing at all for None; UsageError if it has a key that would be ignored."""
    if noise is None:
        return {}
    unknown = [key for key in noise if key not in known]
    if unknown:
        raise UsageError(
            f"A noise has {', '.join(map(repr, unknown))}; here it can have {', '.join(known)}."
        )
    return noise


def split_noise(noise: Noise | None) -> tuple[Noise, Noise]:
    """A noise in two: what is added to tables, and what is added to the vectors of a batch.

    Raises UsageError if the second has some of its keys and not all.
    """
    given = noise or {}
    tables = {key: value for key, value in given.items() if key not in SAMPLE_KEYS}
    samples = {key: value for key, value in given.items() if key in SAMPLE_KEYS}
    if samples and len(samples) < len(SAMPLE_KEYS):
        raise UsageError(f"A noise has {', '.join(samples)}; wanted {', '.join(SAMPLE_KEYS)}.")
    return tables, samples


def bpr_losses(
    user_table: Tensor,  # [U, d]
    item_table: Tensor,  # [I, d]
    triplets: Tensor,  # [3, B] int32
    samples: Noise,  # all of SAMPLE_KEYS, [B, d] each, or nothing
) -> Tensor:  # [B]
    """softplus(−(p_u·q_i − p_u·q_j)), each triplet's vectors moved by their own noise."""
    if not samples:
        margins = ops.triplet_margin(user_table, item_table, triplets)
    else:
        user = user_table.index_select(0, triplets[0]) + samples["user"]
        positive = item_table.index_select(0, triplets[1]) + samples["positive"]
        negative = item_table.index_select(0, triplets[2]) + samples["negative"]
        margins = (user * positive).sum(1) - (user * negative).sum(1)
    return -functional.logsigmoid(margins)


def squared_norms(
    embedding: Tensor,  # [U+I, d], users first
    triplets: Tensor,  # [3, B] int32
    n_users: int,
) -> Tensor:  # scalar
    """Σ over the triplets of ½(‖p_u‖² + ‖q_i‖² + ‖q_j‖²)."""
    rows = torch.cat([triplets[0], triplets[1] + n_users, triplets[2] + n_users])
    return embedding.index_select(0, rows).square().sum() / 2


def initial(
    spec: ModelSpec, rows: int, std: float, *, truncated: bool
) -> nn.Parameter:  # [rows, dim]
    """Normal(0, std), cut at two standard deviations if truncated, from the spec's seed.

    Drawn on the CPU in float64 and then rounded: the same weights on every device and, to
    rounding, in every precision.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    values = torch.empty(rows, spec.dim, dtype=torch.float64)
    if truncated:
        nn.init.trunc_normal_(values, 0.0, std, -2 * std, 2 * std, generator=generator)
    else:
        nn.init.normal_(values, 0.0, std, generator=generator)
    return nn.Parameter(values.to(spec.dtype))


def _near(name: str, known: tuple[str, ...] | list[str]) -> str | None:
    matches = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {matches[0]!r}?" if matches else None
