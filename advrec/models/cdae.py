"""CDAE, and with adversarial training ACAE and ACNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from advrec import ops
from advrec.models.base import (
    ModelSpec,
    Noise,
    Recommender,
    Site,
    check_noise,
    chosen,
    fraction_option,
)
from advrec.models.cross_entropy import (
    half_squares,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from advrec.models.initial import draws, initial, zeros

LOSSES = {"sigmoid": sigmoid_cross_entropy, "multinomial": softmax_cross_entropy}
SITES = ("encoder", "decoder", "user", "hidden_concat", "user_concat")


class History(NamedTuple):
    """The items of some users, one after the other."""

    items: Tensor  # [E] int64
    rows: Tensor  # [E] int64, whose: a place in the batch
    starts: Tensor  # [B] int64, where each user's items begin


class CDAE(Recommender):
    """h = σ(Σ_{i∈u} W1_i + p_u + b1), ŷ_u = W2 h + b2 (CDAE; Wu et al., WSDM 2016).

    A batch is of users; the loss is of a user's whole row: with loss `sigmoid` the cross-entropy
    of σ(ŷ_ui) with y_ui, summed over the items, with `multinomial` −Σ_{i∈u} log softmax(ŷ_u)_i.
    `corruption` q drops each input item with probability q and scales the rest by 1/(1 − q).

    Adversarial training at `encoder+decoder` (the combination `acae`) is ACAE (Yuan et al., IJCNN
    2019), at all five sites (`acnn`) the ACNN of SIGIR 2019; a tensor of noise has one length, its
    Frobenius norm. The two concatenated sources append a noise vector n as wide as the feature f to
    h or to p_u, and a dense layer brings it back: [f, n]·[I; M] = f + n·M. The block for f is held
    at the identity, so that without noise the model is exactly the CDAE; in the authors' code, too,
    concatenated noise has its own weights in addition to the model's. M starts as the other weights
    do, is moved only by passes with that noise, and shrinks by `reg` as they do.

    Width, batch, optimiser, initial weights, `reg` and an input that loses nothing are those of the
    authors' code of ACAE. Its λ of 100 to 500 at ε 0.5 amounts to λ 1 at ε 1: the adversarial loss
    is about the clean one + ε‖Γ‖, so that the pull on ‖Γ‖ goes with ε·λ/(1 + λ).
    """

    name: ClassVar[str] = "cdae"
    about: ClassVar[str] = (
        "collaborative denoising auto-encoder (Wu et al., WSDM 2016); its adversarial training is"
        " ACAE (Yuan et al., IJCNN 2019) or ACNN (SIGIR 2019)"
    )
    sites: ClassVar[tuple[Site, ...]] = (
        Site("decoder", "the output weights W2, one row per item", ("tensor", "row"), "items"),
        Site("encoder", "the input weights W1, one row per item", ("tensor", "row"), "items"),
        Site("user", "the user vectors P", ("tensor", "row"), "users"),
        Site("hidden_concat", "a vector appended to the hidden one", ("tensor", "row"), "users"),
        Site("user_concat", "a vector appended to the user's", ("tensor", "row"), "users"),
    )
    combinations: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "acae": SITES[:2],
        "acnn": SITES,
    }
    defaults: ClassVar[Mapping[str, object]] = {
        "dim": 200,
        "init_std": 0.01,
        "epochs": 1000,
        "batch_size": 128,
        "lr": 0.05,
        "optimizer": "adagrad",
        "reg": 1e-3,
        "reduction": "mean",
        "eps": 1.0,
        "adv_weight": 1.0,
        "site": "encoder+decoder",
        "norm": "tensor",
    }
    adversarial_defaults: ClassVar[Mapping[str, object]] = {"lr": 0.005}
    options: ClassVar[Mapping[str, object]] = {"loss": "sigmoid", "corruption": 0.0}
    batch_kind: ClassVar[str] = "users"
    needs_positives: ClassVar[bool] = True

    indptr: Tensor  # [U+1] int64 \ all of train: the items of user u are
    items: Tensor  # [P] int64    / items[indptr[u]:indptr[u+1]]

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        assert spec.positives is not None  # the base class has refused it
        self.loss = chosen(spec, CDAE, "loss", tuple(LOSSES))
        self.corruption = fraction_option(spec, CDAE, "corruption", most=0.99)
        self.register_buffer("indptr", spec.positives.indptr.long(), persistent=False)
        self.register_buffer("items", spec.positives.items.long(), persistent=False)
        std, generator = spec.init_std or 0.01, draws(spec)

        def weights(rows: int) -> torch.nn.Parameter:
            return initial(spec, rows, std, truncated=True, generator=generator)

        self.encoder = weights(spec.n_items)  # W1 [I, d]
        self.decoder = weights(spec.n_items)  # W2 [I, d]
        self.user = weights(spec.n_users)  # P [U, d]
        self.hidden_mix = weights(spec.dim)  # M of hidden_concat [d, d]
        self.user_mix = weights(spec.dim)  # M of user_concat [d, d]
        self.hidden_bias = zeros(spec, spec.dim)  # b1
        self.item_bias = zeros(spec, spec.n_items)  # b2

    @classmethod
    def parameter_count(cls, spec: ModelSpec, features: int) -> int:  # noqa: ARG003
        """The size of encoder, decoder and user vectors."""
        return (spec.n_users + 2 * spec.n_items) * spec.dim

    def losses(self, batch: Tensor, noise: Noise | None = None) -> Tensor:
        """The loss of each user [B], summed over all items."""
        given, users = check_noise(noise, SITES), batch[0]
        history = self._history(users)
        logits = self._logits(self._hidden(users, history, given), given)
        return LOSSES[self.loss](logits, history.rows, history.items)

    def penalty(self, batch: Tensor) -> Tensor:
        """½‖Θ‖² of all weights, once for each user of the batch: the mean has it once."""
        return torch.stack([half_squares(p) for p in self.parameters()]).sum() * batch.shape[-1]

    def scores(self, users: Tensor, noise: Noise | None = None) -> Tensor:
        """Logits of every item, [B, I]."""
        given = check_noise(noise, SITES)
        return self._logits(self._hidden(users, self._history(users), given), given)

    def vectors(self, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """[h_u, 1] and [W2_i, b2_i], whose dot products are the logits."""
        given = check_noise(noise, SITES)
        all_users = torch.arange(self.n_users, device=self.items.device)
        hidden = self._hidden(all_users, self._history(all_users), given)
        user = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], 1)
        return user, torch.cat([_moved(self.decoder, given, "decoder"), self.item_bias[:, None]], 1)

    def tables(self, site: str) -> dict[str, Tensor]:
        """The weights; for an appended vector the feature that it is appended to."""
        name = self.site(site).name
        if name != "hidden_concat":
            tables = {"encoder": self.encoder, "decoder": self.decoder}
            return {name: tables.get(name, self.user).detach()}
        with torch.no_grad():
            return {name: self.vectors()[0][:, :-1].contiguous()}

    def zeros(
        self,
        site: str,
        batch: Tensor | None,  # noqa: ARG002 - the noise is that of whole tables
    ) -> dict[str, Tensor]:
        """As the base class says; without the forward pass that `tables` may need."""
        like = self.encoder if site in ("encoder", "decoder") else self.user
        return {site: torch.zeros_like(like, requires_grad=False)}

    def _history(self, users: Tensor) -> History:
        first = self.indptr[users.long()]
        counts = self.indptr[users.long() + 1] - first
        starts = counts.cumsum(0) - counts
        rows = torch.arange(len(users), device=users.device).repeat_interleave(counts)
        places = torch.arange(len(rows), device=users.device) + (first - starts)[rows]
        return History(self.items[places], rows, starts)

    def _hidden(self, users: Tensor, history: History, noise: Noise) -> Tensor:  # [B, d]
        summed = functional.embedding_bag(
            history.items,
            _moved(self.encoder, noise, "encoder"),
            history.starts,
            mode="sum",
            per_sample_weights=self.dropout((len(history.items),), self.corruption),
        )
        own = _moved(self.user, noise, "user").index_select(0, users)
        if "user_concat" in noise:
            own = own + ops.product(noise["user_concat"].index_select(0, users), self.user_mix)
        hidden = torch.sigmoid(summed + own + self.hidden_bias)
        if "hidden_concat" in noise:
            hidden = hidden + ops.product(
                noise["hidden_concat"].index_select(0, users), self.hidden_mix
            )
        return hidden

    def _logits(self, hidden: Tensor, noise: Noise) -> Tensor:  # [B, I]
        return ops.product(hidden, _moved(self.decoder, noise, "decoder").T) + self.item_bias


def _moved(table: Tensor, noise: Noise, key: str) -> Tensor:
    return table + noise[key] if key in noise else table
