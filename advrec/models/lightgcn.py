"""LightGCN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from advrec import ops
from advrec.models.base import (
    ModelSpec,
    Noise,
    Recommender,
    Site,
    check_noise,
    chosen,
)
from advrec.models.initial import initial
from advrec.models.losses import LOSSES


class LightGCN(Recommender):
    """ŷ_ui = e_u·e_i, e = mean over k = 0..K of Â^k E (He et al., SIGIR 2020).

    Site `ego` perturbs E: the noise is propagated with it and moves every row that a batch reaches.
    Site `final` perturbs the propagated e of the batch's own rows. Defaults are those of the
    authors' code, and ε, λ and site those of the LightGCN + APR in RS_Zoos.
    """

    name: ClassVar[str] = "lightgcn"
    about: ClassVar[str] = "light graph convolution with the BPR loss (He et al., SIGIR 2020)"
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
    options: ClassVar[Mapping[str, object]] = {"loss": "bpr"}
    needs_graph: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.loss = chosen(spec, LightGCN, "loss", LOSSES)
        assert spec.graph is not None  # the base class has refused it
        self.graph = spec.graph
        self.layers = 3 if spec.layers is None else spec.layers
        std = 0.1 if spec.init_std is None else spec.init_std
        rows = spec.n_users + spec.n_items
        self.embedding = initial(spec, rows, std, truncated=False)  # [U+I, d], users first

    def vectors(self, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Â-propagated users [U, d] and items [I, d]: noise `ego` before, `final` after."""
        given = check_noise(noise, ("ego", "final"))
        ego = self.embedding + given["ego"] if "ego" in given else self.embedding
        final = ops.propagate(ego, self.graph, self.layers)
        if "final" in given:
            final = final + given["final"]
        return final[: self.n_users], final[self.n_users :]

    def tables(self, site: str) -> dict[str, Tensor]:
        """E, or at `final` its propagation."""
        name = self.site(site).name
        ego = self.embedding.detach()
        return {name: ego if name == "ego" else ops.propagate(ego, self.graph, self.layers)}

    def zeros(
        self,
        site: str,
        batch: Tensor | None,  # noqa: ARG002 - the noise is that of whole tables
    ) -> dict[str, Tensor]:
        """As the base class says; without the propagation that `tables` needs."""
        return {site: torch.zeros_like(self.embedding, requires_grad=False)}
