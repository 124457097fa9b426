"""Matrix factorisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

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


class MF(Recommender):
    """ŷ_ui = p_u·q_i without biases (Rendle et al., UAI 2009).

    The settings are those of the code of APR (He et al., SIGIR 2018): the loss is a sum over the
    batch, nothing is regularised, every pair comes once an epoch.
    """

    name: ClassVar[str] = "mf"
    about: ClassVar[str] = "matrix factorisation with the BPR loss (Rendle et al., UAI 2009)"
    sites: ClassVar[tuple[Site, ...]] = (
        Site("ego", "the embeddings of users and items", ("row", "sample", "joint"), "both"),
    )
    site_aliases: ClassVar[Mapping[str, str]] = {"final": "ego"}
    defaults: ClassVar[Mapping[str, object]] = {
        "dim": 64,
        "init_std": 0.01,
        "epochs": 1000,
        "batch_size": 512,
        "lr": 0.05,
        "optimizer": "adagrad",
        "reg": 0.0,
        "negatives": 1,
        "sampling": "pairs",
        "reduction": "sum",
        "eps": 0.5,
        "adv_weight": 1.0,
        "site": "ego",
        "norm": "row",
    }
    options: ClassVar[Mapping[str, object]] = {"loss": "bpr"}
    vectors_are_tables: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.loss = chosen(spec, MF, "loss", LOSSES)
        std = 0.01 if spec.init_std is None else spec.init_std
        rows = spec.n_users + spec.n_items
        self.embedding = initial(spec, rows, std, truncated=True)  # [U+I, d], users first

    def vectors(self, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """P and Q [U, d], [I, d], with noise `ego` added."""
        given = check_noise(noise, ("ego",))
        table = self.embedding + given["ego"] if "ego" in given else self.embedding
        return table[: self.n_users], table[self.n_users :]

    def tables(self, site: str) -> dict[str, Tensor]:
        """The embeddings themselves."""
        return {self.site(site).name: self.embedding.detach()}
