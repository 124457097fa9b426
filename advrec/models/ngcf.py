"""NGCF: graph convolution with weights, a product of neighbours, and a non-linearity."""

from __future__ import annotations

from collections.abc import Mapping
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
    fraction_option,
)
from advrec.models.initial import draws, glorot, initial, zeros
from advrec.models.losses import LOSSES, squared_norms

SLOPE = 0.2
"""Of LeakyReLU below 0: TensorFlow's, which the authors' code trains with."""


class NGCF(Recommender):
    """E_k = LeakyReLU((Â + I) E_{k−1} W_k + (Â E_{k−1} ⊙ E_{k−1}) W'_k) (Wang et al., SIGIR 2019).

    Equation 7 of the paper, with biases as in its code. The rows of E_1 … E_K are brought to length
    1, and e = [E_0, …, E_K] side by side, [d·(K+1)]; ŷ_ui = e_u·e_i. In training `message_dropout`
    drops entries of E_k. The paper's node dropout, off in its code, is left out.

    Site `ego` perturbs E_0 before propagation, `final` the rows e, `weights` every W and W'.
    Regularisation is of the rows of E_0 that a batch names and, once per triplet, of all W and W'.
    """

    name: ClassVar[str] = "ngcf"
    about: ClassVar[str] = "neural graph collaborative filtering (Wang et al., SIGIR 2019)"
    sites: ClassVar[tuple[Site, ...]] = (
        Site("ego", "the embeddings before propagation", ("row", "joint"), "both"),
        Site("final", "the vectors after propagation", ("row", "sample", "joint"), "both"),
        Site("weights", "the weights of the layers", ("tensor", "joint")),
    )
    defaults: ClassVar[Mapping[str, object]] = {
        "dim": 64,
        "layers": 3,
        "epochs": 400,
        "batch_size": 1024,
        "lr": 1e-3,
        "optimizer": "adam",
        "reg": 1e-5,
        "negatives": 1,
        "sampling": "users",
        "reduction": "mean",
        "eps": 0.5,
        "adv_weight": 0.1,
        "site": "ego",
        "norm": "row",
    }
    options: ClassVar[Mapping[str, object]] = {"loss": "bpr", "message_dropout": 0.1}
    needs_graph: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        assert spec.graph is not None  # the base class has refused it
        self.loss = chosen(spec, NGCF, "loss", LOSSES)
        self.message_dropout = fraction_option(spec, NGCF, "message_dropout", most=0.99)
        self.graph = spec.graph
        layers = 3 if spec.layers is None else spec.layers
        generator, d = draws(spec), spec.dim
        if spec.init_std is None:
            parts = (glorot(spec, n, d, generator) for n in (spec.n_users, spec.n_items))
            self.embedding = nn.Parameter(torch.cat([*parts]).detach())  # [U+I, d], users first
        else:
            rows = spec.n_users + spec.n_items
            self.embedding = initial(
                spec, rows, spec.init_std, truncated=False, generator=generator
            )
        self.sum = nn.ParameterList(glorot(spec, d, d, generator) for _ in range(layers))
        self.product = nn.ParameterList(glorot(spec, d, d, generator) for _ in range(layers))
        self.bias = nn.ParameterList(zeros(spec, d) for _ in range(layers))

    @property
    def sample_dim(self) -> int:
        """Width of e."""
        return self.dim * (1 + len(self.sum))

    def vectors(self, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """e of users [U, d·(K+1)] and of items [I, d·(K+1)]."""
        weights = self._weights()
        given = check_noise(noise, ("ego", "final", *weights))
        moved = {key: w + given[key] if key in given else w for key, w in weights.items()}
        layer = self.embedding + given["ego"] if "ego" in given else self.embedding
        every = [layer]
        for k, bias in enumerate(self.bias, start=1):
            # One layer of `propagate` is the mean of x and Âx.
            both = 2 * ops.propagate(layer, self.graph, 1)
            around = both - layer
            mixed = ops.product(both, moved[f"sum{k}"])
            mixed = mixed + ops.product(around * layer, moved[f"product{k}"]) + bias
            layer = functional.leaky_relu(mixed, SLOPE)
            dropped = self.dropout(tuple(layer.shape), self.message_dropout, place=k)
            if dropped is not None:
                layer = layer * dropped
            every.append(functional.normalize(layer, dim=1))
        final = torch.cat(every, 1)
        if "final" in given:
            final = final + given["final"]
        return final[: self.n_users], final[self.n_users :]

    def penalty(self, batch: Tensor) -> Tensor:
        """Rows of E_0 as often as they are named; the weights once per triplet."""
        squares = sum(ops.total(weight.square()) for weight in self._weights().values())
        return squared_norms(self.embedding, batch, self.n_users) + squares * (batch.shape[-1] / 2)

    def tables(self, site: str) -> dict[str, Tensor]:
        """E_0, or e, or the weights under `sum1`, `product1`, …"""
        name = self.site(site).name
        if name == "weights":
            return {key: weight.detach() for key, weight in self._weights().items()}
        if name == "ego":
            return {name: self.embedding.detach()}
        with torch.no_grad():
            return {name: torch.cat(self.vectors())}

    def zeros(self, site: str, batch: Tensor | None) -> dict[str, Tensor]:
        """As the base class says; without the propagation that `tables` needs."""
        if site != "final":
            return super().zeros(site, batch)
        return {site: self.embedding.new_zeros(len(self.embedding), self.sample_dim)}

    def _weights(self) -> dict[str, Tensor]:
        kinds = {"sum": self.sum, "product": self.product}
        return {f"{kind}{k}": w for kind, ws in kinds.items() for k, w in enumerate(ws, start=1)}
