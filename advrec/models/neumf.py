"""NeuMF: a product of vectors and a tower of layers, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from advrec import ops
from advrec.models.base import (
    ModelSpec,
    Noise,
    Recommender,
    Site,
    check_noise,
    chosen,
    split_noise,
)
from advrec.models.initial import draws, glorot, initial, zeros
from advrec.models.losses import LOSSES, SAMPLE_KEYS, loss_of_scores

CHUNK_NUMBERS = 2**20
"""Numbers in the widest layer when many pairs are scored at once: what a cache holds."""


class NeuMF(Recommender):
    """ŷ_ui = w·[p_u ⊙ q_i, MLP([p'_u, q'_i])] + b (He et al., WWW 2017).

    `dim` d is the width of the product and of the tower's last layer. Each of the `layers` L halves
    its input, and the last gives d: p' and q' have d·2^(L−1) numbers, as in the authors' code and
    in RS_Zoos. Without layers it is GMF. A row of `embedding` is [p, p'] of a user or [q, q'] of an
    item; that is what has length eps at site `ego` with norm `row`. Site `mlp` perturbs the weights
    of the tower and of the output, not their biases.

    The paper trains on single pairs with labels; here a triplet is a pair of each label (loss
    `bce`), so a positive weighs as much as its negatives together. Other defaults are the authors',
    and ε and λ those of RS_Zoos.
    """

    name: ClassVar[str] = "neumf"
    about: ClassVar[str] = "neural matrix factorisation, GMF + MLP (He et al., WWW 2017)"
    sites: ClassVar[tuple[Site, ...]] = (
        Site("ego", "the embeddings of users and items", ("row", "sample", "joint"), "both"),
        Site("mlp", "the weights of the layers", ("tensor", "joint")),
    )
    site_aliases: ClassVar[Mapping[str, str]] = {"final": "ego"}
    defaults: ClassVar[Mapping[str, object]] = {
        "dim": 8,
        "layers": 3,
        "init_std": 0.01,
        "epochs": 100,
        "batch_size": 256,
        "lr": 1e-3,
        "optimizer": "adam",
        "reg": 0.0,
        "negatives": 4,
        "sampling": "pairs",
        "reduction": "mean",
        "eps": 0.5,
        "adv_weight": 0.1,
        "site": "ego",
        "norm": "row",
    }
    options: ClassVar[Mapping[str, object]] = {"loss": "bce"}

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.loss = chosen(spec, NeuMF, "loss", LOSSES)
        layers = 3 if spec.layers is None else spec.layers
        widths = [spec.dim * 2**n for n in range(layers, -1, -1)] if layers else []
        std, generator = spec.init_std or 0.01, draws(spec)
        rows, columns = spec.n_users + spec.n_items, spec.dim + (widths[0] // 2 if widths else 0)
        self.embedding = initial(
            spec, rows, std, truncated=False, columns=columns, generator=generator
        )  # [U+I, d + d·2^(L−1)], users first
        self.tower = nn.ParameterList(
            glorot(spec, outer, inner, generator) for inner, outer in pairwise(widths)
        )  # [d·2^(L−1), d·2^L], …, [d, 2d]
        self.tower_bias = nn.ParameterList(zeros(spec, width) for width in widths[1:])
        self.output = glorot(spec, 1, spec.dim * (2 if widths else 1), generator)
        self.output_bias = zeros(spec, 1)

    @classmethod
    def parameter_count(cls, spec: ModelSpec, features: int) -> int:  # noqa: ARG003
        """The size of all [p, p'] and [q, q']."""
        layers = 3 if spec.layers is None else spec.layers
        columns = spec.dim + (spec.dim * 2 ** (layers - 1) if layers else 0)
        return (spec.n_users + spec.n_items) * columns

    @property
    def sample_dim(self) -> int:
        """Width of [p, p']."""
        return self.embedding.shape[1]

    def losses(self, batch: Tensor, noise: Noise | None = None) -> Tensor:
        """The loss of each triplet [B]; noise of tables, of samples, or both."""
        tables, samples = split_noise(noise)
        table, weights = self._parts(tables)
        # All rows at once: the gradient of each gathering is as large as the table.
        nodes = torch.cat([batch[0], batch[1:].flatten() + self.n_users])
        user, positive, negative = table.index_select(0, nodes).view(3, batch.shape[1], -1)
        if samples:
            user, positive, negative = (
                row + samples[key]
                for row, key in zip((user, positive, negative), SAMPLE_KEYS, strict=True)
            )
        scores = (self._score(user, item, weights) for item in (positive, negative))
        return loss_of_scores(self.loss, *scores)

    def scores(self, users: Tensor, noise: Noise | None = None) -> Tensor:
        """Every item for some users [B, I]; a layer is wider than a score, so a few at a time."""
        table, weights = self._parts(noise)
        items = table[self.n_users :]
        widest = max((len(weight) for weight in weights), default=1)
        step = max(1, CHUNK_NUMBERS // (widest * self.n_items))
        chunks = []
        for chunk in torch.split(users, step):
            user = table.index_select(0, chunk)
            chunks.append(self._score(user[:, None], items[None], weights))
        return torch.cat(chunks) if chunks else table.new_empty(0, self.n_items)

    def tables(self, site: str) -> dict[str, Tensor]:
        """The embeddings, or the weights under `layer1`, …, `output`."""
        if self.site(site).name == "ego":
            return {"ego": self.embedding.detach()}
        return {key: weight.detach() for key, weight in self._weights().items()}

    def _weights(self) -> dict[str, Tensor]:
        layers = {f"layer{n}": weight for n, weight in enumerate(self.tower, start=1)}
        return {**layers, "output": self.output}

    def _parts(self, noise: Noise | None) -> tuple[Tensor, list[Tensor]]:
        """The embeddings and the weights, with their noise."""
        known = self._weights()
        given = check_noise(noise, ("ego", *known))
        table = self.embedding + given["ego"] if "ego" in given else self.embedding
        weights = [w + given[key] if key in given else w for key, w in known.items()]
        return table, weights

    def _score(
        self,
        user: Tensor,  # [..., d + d'], of a shape that
        item: Tensor,  # [..., d + d'] broadcasts against this one
        weights: list[Tensor],
    ) -> Tensor:  # [...]
        *tower, output = weights
        d = self.dim
        # Sums, not products with a vector: those depend on the number of threads (gemv in MKL).
        score = (user[..., :d] * item[..., :d] * output[0, :d]).sum(-1)
        if tower:
            # The first layer is a sum of a part for the user and one for the item: a user's part
            # is computed once, however many items there are.
            half = tower[0].shape[1] // 2
            of_user = ops.product(user[..., d:], tower[0][:, :half].T) + self.tower_bias[0]
            hidden = functional.relu(of_user + ops.product(item[..., d:], tower[0][:, half:].T))
            for weight, bias in zip(tower[1:], list(self.tower_bias)[1:], strict=True):
                hidden = functional.relu(ops.product(hidden, weight.T) + bias)
            score = score + (hidden * output[0, d:]).sum(-1)
        return score + self.output_bias
