"""The interface of a recommender to training, attack and evaluation: the class to subclass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from advrec import ops
from advrec.choices import SAMPLE_NORMS
from advrec.errors import UsageError
from advrec.models.losses import SAMPLE_KEYS, squared_norms, triplet_losses
from advrec.ops.graph import Graph
from advrec.ops.positives import ATTACK_EPOCH, Positives
from advrec.validation import did_you_mean

Noise = Mapping[str, Tensor]

ATTACK_USERS = 1024
"""Users in a chunk when the attack goes over all of them, at most."""

ATTACK_SCORES = 2**24
"""Scores of users × items in such a chunk, at most."""


@dataclass(frozen=True)
class Site:
    """A place in a model where a perturbation may act."""

    name: str
    about: str  # a phrase for --help and tables
    norms: tuple[str, ...]  # what may have length eps (robustness.perturb); the first is default
    rows: str = "none"
    """Whose rows its tables have: "both" (users', then items', in one table), "users", "items",
    "named" (a table for each, under keys that begin so) or "none"."""

    @property
    def table_norms(self) -> tuple[str, ...]:
        """The norms that measure whole tables, as an attack needs."""
        return tuple(norm for norm in self.norms if norm not in SAMPLE_NORMS)


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """What a model is built from. Two models of one spec have the same weights, bit for bit."""

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
    draw: bool = True  # False: the weights are left undefined, for those of a run to replace them


class Recommender(nn.Module):
    """A model with a loss for each triplet (or user) and places at which it can be perturbed.

    To write one, subclass, set the class variables, and define:

    - `tables`: the tensors at a site, to which noise is added;
    - `vectors` if a score is a dot product (everything gets faster), otherwise `scores`;
    - `losses`: the loss of each entry of a batch, with noise added at a site if there is any; the
      default is that of triplets and `vectors`;
    - `penalty`: the squared norms that `reg` weighs; the default is that of a model with one
      parameter `embedding` of users and items.

    Then register it in `advrec.models.MODELS`; config, training, attack, evaluation and the
    invariants in tests/test_invariants.py take it from there.

    Noise is a mapping from a key to a tensor that is *added* at that key. A model must use every
    key it is given (`check_noise`): an ignored perturbation looks like a robust model.
    All functions are pure: they keep nothing between calls, so the same weights, batch and noise
    give the same result in any order of calls. What they know of a training step (the key of its
    dropout, and whether its gradients may be sparse) is set by `training_step` alone.
    """

    name: ClassVar[str]
    """What `--model` and a run's configuration call it."""
    about: ClassVar[str]
    """One sentence, with the paper."""
    sites: ClassVar[tuple[Site, ...]]
    """Where it can be perturbed; the first is the default."""
    site_aliases: ClassVar[Mapping[str, str]] = {}
    """Other names under which a site is accepted."""
    combinations: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Names for several sites that training perturbs side by side, each in a pass of its own."""
    defaults: ClassVar[Mapping[str, object]] = {}
    """Options of training (TrainConfig) that the paper or its code fixes."""
    adversarial_defaults: ClassVar[Mapping[str, object]] = {}
    """Those that it fixes otherwise for adversarial training that starts from a pretraining."""
    options: ClassVar[Mapping[str, object]] = {}
    """Options that only this model has (`--option NAME=VALUE`), and their defaults."""
    batch_kind: ClassVar[str] = "triplets"
    """What a batch is: "triplets", [3, B] int32, or "users", [1, B] int32."""
    needs_graph: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    needs_positives: ClassVar[bool] = False
    vectors_are_tables: ClassVar[bool] = False
    """`vectors` gives views of the parameters, and takes no memory of its own."""

    loss: str = "bpr"
    """The option `loss` of a model of triplets; see `advrec.models.losses`."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.n_users, self.n_items, self.dim = spec.n_users, spec.n_items, spec.dim
        self._rng_key: tuple[int, int, int] = (spec.seed, 0, 0)  # see `training_step`
        self._sparse_gradients = False
        if self.needs_graph and spec.graph is None:
            raise UsageError(f"model {self.name!r} needs the graph of the training pairs")
        if self.needs_positives and spec.positives is None:
            raise UsageError(f"model {self.name!r} needs the training pairs")
        if self.needs_features and spec.item_features is None:
            raise UsageError(
                f"model {self.name!r} needs item features, and the data set has none",
                hint="give them with --features FILE, or with --features text if items have text",
            )

    # -- to be written by each model ------------------------------------------------------------

    def tables(self, site: str) -> dict[str, Tensor]:
        """The current values at a site, detached, under the keys that noise has there.

        What a noise is compared with to say how large it is.
        """
        raise NotImplementedError

    # -- to be written where the default does not fit -------------------------------------------

    def losses(self, batch: Tensor, noise: Noise | None = None) -> Tensor:
        """The loss of each entry of a batch, [B], neither summed nor weighted.

        For triplets: `advrec.models.losses`, BPR or what the option `loss` says, with noise of
        tables, of samples, or both. Differentiable in the parameters and in every tensor of
        `noise`.
        """
        tables, samples = split_noise(noise)
        both = self.vectors(tables)
        if both is None:
            raise NotImplementedError(f"{type(self).__name__} has neither vectors nor losses")
        return triplet_losses(self.loss, *both, batch, samples)

    def penalty(self, batch: Tensor) -> Tensor:
        """Squared norms that regularisation shrinks, a scalar summed over the batch, without γ.

        For triplets: Σ ½(‖p_u‖² + ‖q_i‖² + ‖q_j‖²) of the rows that the batch names, before any
        propagation, a row as often as it is named.
        """
        return squared_norms(self.get_parameter("embedding"), batch, self.n_users)

    def vectors(
        self,
        noise: Noise | None = None,  # noqa: ARG002 - the subclasses use it
    ) -> tuple[Tensor, Tensor] | None:
        """User vectors [U, d] and item vectors [I, d] whose dot products are the scores.

        None for a model whose scores are not dot products; it has `scores`.
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
        return ops.product(both[0].index_select(0, users), both[1].T)

    def noise_like(self, site: str, norm: str, batch: Tensor | None) -> dict[str, Tensor]:
        """Zeros for a noise at a site: what the gradient Γ is taken with respect to.

        `batch` None: the whole tables, as the attack perturbs them. With a batch a model may leave
        out the rows that the batch does not reach. A norm of samples measures noise of the batch:
        keys user, positive and negative, [B, d] each, added to the gathered vectors of every
        triplet. Raises UsageError for a site or norm that the model does not have.
        """
        name = self.check_site(site, norm).name
        if norm not in SAMPLE_NORMS:
            return self.zeros(name, batch)
        if batch is None:
            raise UsageError(
                f"norm {norm!r} perturbs the triplets of a batch; whole tables have none",
                hint="use norm row",
            )
        like = next(self.parameters())
        return {key: like.new_zeros(batch.shape[-1], self.sample_dim) for key in SAMPLE_KEYS}

    def zeros(
        self,
        site: str,
        batch: Tensor | None,  # noqa: ARG002 - the subclasses use it
    ) -> dict[str, Tensor]:
        """Zeros of the shapes of `tables`; for a model that can tell them without computing these.

        With a batch, a model may leave out the rows that the batch does not reach.
        """
        return {key: torch.zeros_like(table) for key, table in self.tables(site).items()}

    @classmethod
    def parameter_count(
        cls,
        spec: ModelSpec,
        features: int,  # noqa: ARG003 - the subclasses use it
    ) -> int:
        """How many numbers its tables hold, layers of a few thousand left out.

        Asked before there is a model, to estimate the memory it takes. `features`: the columns of
        the item features, 0 without any.
        """
        return (spec.n_users + spec.n_items) * spec.dim

    @property
    def sample_dim(self) -> int:
        """Width of the vectors that a norm of samples perturbs."""
        return self.dim

    def attack_batches(self, positives: Positives, seed: int) -> Iterator[Tensor]:
        """All of train once, in chunks: over these the attack sums its loss and its gradient.

        Triplets: every pair with one negative that no training has drawn, in a single chunk, so a
        graph model propagates once. Users: every user that has positives.
        """
        if self.batch_kind == "users":
            size = max(1, min(ATTACK_USERS, ATTACK_SCORES // self.n_items))
            for chunk in torch.split(positives.active_users, size):
                yield chunk.unsqueeze(0)
            return
        yield ops.sample_triplets(
            positives,
            seed=seed,
            epoch=ATTACK_EPOCH,
            first=0,
            count=len(positives),
            sampling="pairs",
        )

    # -- given ----------------------------------------------------------------------------------

    @contextmanager
    def training_step(
        self,
        *,
        rng_key: tuple[int, int, int],  # seed, epoch, step
        sparse_gradients: bool = False,
    ) -> Iterator[None]:
        """A step of training: `dropout` is drawn from `rng_key`, and `gather` may be sparse.

        Outside a step dropout is drawn from (seed, 0, 0), and gradients are dense.
        """
        before = self._rng_key, self._sparse_gradients
        self._rng_key, self._sparse_gradients = rng_key, sparse_gradients
        try:
            yield
        finally:
            self._rng_key, self._sparse_gradients = before

    def dropout(self, shape: tuple[int, ...], rate: float, place: int = 0) -> Tensor | None:
        """Factors that drop a share of the entries of something: 0, or 1/(1 − rate) for the rest.

        None outside training or for a rate of 0. Of `rng_key` and `place` alone: the clean and the
        adversarial loss of a step drop the same entries, and so does a resumed run.
        """
        if not self.training or rate == 0:
            return None
        seed = np.random.SeedSequence((*self._rng_key, place)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seed[0]) >> 1)
        kept = torch.rand(shape, generator=generator) >= rate
        return kept.to(next(self.parameters())) / (1 - rate)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Recommender:
        """A graph is not a parameter, and yet follows the model to a device or a precision."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        graph = self.__dict__.get("graph")
        if graph is not None:
            self.graph = graph.map(fn)
        return self

    @classmethod
    def site(cls, name: str | None = None) -> Site:
        """The site of that name or alias; None is the default. Raises UsageError."""
        if name is None:
            return cls.sites[0]
        own_name = cls.site_aliases.get(name, name)
        for site in cls.sites:
            if site.name == own_name:
                return site
        known = [site.name for site in cls.sites]
        raise UsageError(
            f"model {cls.name!r} has no site {name!r}: choose {', '.join(known)}",
            hint=did_you_mean(name, known),
        )

    def gather(
        self,
        table: Tensor,  # [R, d], a parameter
        ids: Tensor,  # [B] int
    ) -> Tensor:  # [B, d]
        """Rows of a table; its gradient is sparse where `training_step` allows it."""
        if self._sparse_gradients:
            return functional.embedding(ids.long(), table, sparse=True)
        return table.index_select(0, ids)

    @classmethod
    def sites_of(cls, name: str | None = None) -> tuple[Site, ...]:
        """The sites of one name, of several joined by "+", or of a combination; each once.

        None is the default site. Raises UsageError.
        """
        if name is None:
            return (cls.sites[0],)
        words = (part.strip() for part in re.split(r"[+,]", name))
        parts = (part for word in words for part in cls.combinations.get(word, (word,)))
        return tuple(dict.fromkeys(cls.site(part) for part in parts))

    @classmethod
    def check_site(cls, name: str | None, norm: str) -> Site:
        """The site, if a noise there can be measured by `norm`; otherwise UsageError."""
        site = cls.site(name)
        if norm not in site.norms:
            raise UsageError(
                f"site {site.name!r} of model {cls.name!r} has no norm {norm!r}: "
                f"choose {', '.join(site.norms)}",
                hint=did_you_mean(norm, site.norms),
            )
        return site


def check_noise(noise: Noise | None, known: tuple[str, ...]) -> Noise:
    """`noise`, or nothing at all for None; UsageError if it has a key that would be ignored."""
    if noise is None:
        return {}
    unknown = [key for key in noise if key not in known]
    if unknown:
        raise UsageError(
            f"unknown noise key {', '.join(map(repr, unknown))}: choose {', '.join(known)}"
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
        raise UsageError(
            f"noise of samples has {', '.join(samples)}, expected all of {', '.join(SAMPLE_KEYS)}"
        )
    return tables, samples


def chosen(spec: ModelSpec, kind: type[Recommender], name: str, known: tuple[str, ...]) -> str:
    """The value of an option that is one of several words; UsageError for another."""
    value = spec.options.get(name, kind.options[name])
    if value not in known:
        raise UsageError(
            f"option {name!r} of model {kind.name!r} is {value!r}: choose {', '.join(known)}",
            hint=did_you_mean(str(value), known),
        )
    return str(value)


def fraction_option(
    spec: ModelSpec, kind: type[Recommender], name: str, *, most: float = 1.0
) -> float:
    """The value of an option that is a number from 0 to `most`; UsageError for another."""
    value = spec.options.get(name, kind.options[name])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise UsageError(
            f"option {name!r} of model {kind.name!r} must be a number from 0 to {most:g}, "
            f"got {value!r}"
        )
    return float(value)
