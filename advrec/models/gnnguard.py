"""LightGCN with GNNGuard: neighbours are weighted by similarity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from advrec.models.base import (
    ModelSpec,
    Noise,
    Recommender,
    Site,
    check_noise,
    chosen,
    fraction_option,
)
from advrec.models.edges import Edges, dots, sums
from advrec.models.initial import initial
from advrec.models.losses import LOSSES


class GNNGuard(Recommender):
    """LightGCN whose edges are weighted anew in every layer (Zhang & Zitnik, NeurIPS 2020).

    With x the rows of layer k − 1 and N(v) the neighbours of node v, layer k is

        s_vw = cos(x_v, x_w), or 0 where that is below `threshold`: the edge is pruned
        α_vw = s_vw / Σ_{w' in N(v)} s_vw', or 0 for a node whose edges are all pruned
        ω_k  = memory·ω_{k−1} + (1 − memory)·α,   ω_0 = Â
        x_v  = Σ_{w in N(v)} ω_k,vw x_w

    and e is the mean of all layers, as in LightGCN, which `memory` 1 gives exactly. s is computed
    along edges only. From GNNGuard: similarity, threshold 0.1, normalisation, layer-wise memory;
    from RS_Zoos (LGNGuard): memory 0.5, ω_0 = Â, no self-loops. Left out is the learned pruning of
    both: it cuts its own gradient, so that its weights stay as they were drawn. Unlike in RS_Zoos
    the sum is weighted with ω, not with ω ⊙ Â, which would count degrees twice, and s is part of
    the gradient: a defence that the gradient does not see looks robust without being so.
    """

    name: ClassVar[str] = "gnnguard"
    about: ClassVar[str] = (
        "LightGCN that weighs and prunes edges by similarity (GNNGuard; Zhang & Zitnik, 2020)"
    )
    sites: ClassVar[tuple[Site, ...]] = (
        Site("ego", "the embeddings before propagation", ("row", "joint"), "both"),
        Site("final", "the embeddings after propagation", ("row", "sample", "joint"), "both"),
    )
    defaults: ClassVar[Mapping[str, object]] = {
        "dim": 64,
        "layers": 3,
        "init_std": 0.1,
        "epochs": 1000,
        "batch_size": 2048,
        "lr": 1e-3,
        "optimizer": "adam",
        "reg": 1e-4,
        "negatives": 1,
        "sampling": "users",
        "reduction": "mean",
        "eps": 0.5,
        "adv_weight": 0.1,
        "site": "ego",
        "norm": "row",
    }
    options: ClassVar[Mapping[str, object]] = {"loss": "bpr", "threshold": 0.1, "memory": 0.5}
    needs_graph: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        assert spec.graph is not None  # the base class has refused it
        self.loss = chosen(spec, GNNGuard, "loss", LOSSES)
        self.threshold = fraction_option(spec, GNNGuard, "threshold")
        self.memory = fraction_option(spec, GNNGuard, "memory")
        self.graph = spec.graph
        self.edges = Edges.of(spec.graph)
        self.layers = 3 if spec.layers is None else spec.layers
        rows = spec.n_users + spec.n_items
        self.embedding = initial(spec, rows, spec.init_std or 0.1, truncated=False)  # [U+I, d]

    def vectors(self, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Propagated users [U, d] and items [I, d]: noise `ego` before, `final` after."""
        given = check_noise(noise, ("ego", "final"))
        ego = self.embedding + given["ego"] if "ego" in given else self.embedding
        final = self._propagated(ego)
        if "final" in given:
            final = final + given["final"]
        return final[: self.n_users], final[self.n_users :]

    def tables(self, site: str) -> dict[str, Tensor]:
        """The embeddings, or at `final` their propagation."""
        name = self.site(site).name
        with torch.no_grad():
            ego = self.embedding.detach()
            return {name: ego if name == "ego" else self._propagated(ego)}

    def zeros(
        self,
        site: str,
        batch: Tensor | None,  # noqa: ARG002 - the noise is that of whole tables
    ) -> dict[str, Tensor]:
        """As the base class says; without the propagation that `tables` needs."""
        return {site: torch.zeros_like(self.embedding, requires_grad=False)}

    def _propagated(self, layer: Tensor) -> Tensor:  # [N, d]
        edges, total = self.edges, layer
        scale = self.graph.scale.to(layer.dtype)
        to_user = to_item = scale[edges.user] * scale[edges.item]
        for _ in range(self.layers):
            if self.memory < 1:
                alike = dots(functional.normalize(layer, dim=1), edges)
                alike = alike * (alike >= self.threshold)
                to_user = self._remembered(to_user, alike, edges.user)
                to_item = self._remembered(to_item, alike, edges.item)
            layer = sums(to_user, to_item, layer, edges)
            total = total + layer
        return total / (self.layers + 1)

    def _remembered(self, before: Tensor, alike: Tensor, node: Tensor) -> Tensor:  # [P]
        """memory·ω + (1 − memory)·α, α the similarities divided by their sum at each node."""
        # index_select and not whole[node]: the sums in its backward do not depend on threads.
        whole = alike.new_zeros(self.graph.n_nodes).index_add(0, node, alike).index_select(0, node)
        pruned = whole <= 0
        shares = alike / whole.masked_fill(pruned, 1)
        return self.memory * before + (1 - self.memory) * shares

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GNNGuard:
        """The edges follow the graph to a device."""
        super()._apply(fn, recurse)
        self.edges = Edges(*map(fn, self.edges))
        return self
